"""Memory of a training step by component, computed from the model's own graph on any machine.

The step is traced without data (`memory.step_trace`); the rest follows from sizes. Nothing is measured.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.core.device import gpu_memory_gib
from finetune.core.errors import BaseModelError, OutOfMemory
from finetune.core.json_files import read_object

if TYPE_CHECKING:
    import torch

    from finetune.memory.step_trace import Timeline

# preset -> least total memory of the GPU in GiB (cards report a little under their nominal size)
SDXL_PRESETS = (("sdxl-24gb", 22.0), ("sdxl-16gb", 15.0), ("sdxl-12gb", 11.0), ("sdxl-8gb", 7.4))

CONTEXT = 450 << 20
"""CUDA's own memory in a process (kernels, driver): assumed, it differs by driver and card; not torch's to count."""
CUBLAS = 2 * 8_519_680
"""cuBLAS's workspace (torch's default `:4096:2:16:8`), once for the forward and once for the backward thread."""
BLOCK_8BIT = 256
"""Elements that share a scale in bitsandbytes' block-wise 8-bit state (arXiv 2110.02861)."""


@dataclass(frozen=True)
class Setup:
    """What decides how much memory training needs, as plain values."""

    unet: dict[str, Any]
    """Configuration of the UNet, as diffusers writes it."""
    size: int
    """Side of the pictures in pixels."""
    batch: int
    accumulation: int
    dtype: str
    """`float32`, `bfloat16` or `float16`: of the frozen base and of the computation."""
    checkpoint: str
    """`none`, `partial` or `all`."""
    rank: int
    targets: str
    dora: bool
    optimizer: str
    min_8bit_size: int
    frozen_pass: bool
    """Whether the frozen base's own prediction is a target (objective.base_preservation_weight above 0)."""
    cuda: bool
    nf4: bool = False
    """Whether the transformers' layers of the base are held in 4 bits (memory.quantize)."""
    class_pass: bool = False
    """Whether class pictures are trained in a pass of their own after the product's (objective.prior_weight)."""
    text_encoders: int = 0
    """Bytes of the text encoders, where they stay for the first half (adapter.token_embeddings)."""


@dataclass(frozen=True)
class Budget:
    """Peak memory of a training step in bytes, by component, at the moment of the peak."""

    weights: int
    adapter: int
    optimizer: int
    gradients: int
    activations: int
    """Kept for the backward pass, and what else is in use when the loss is there."""
    workspace: int
    """What comes and goes within operations beyond that, and the libraries' own buffers."""
    context: int
    """The process itself: CUDA's context on a GPU, the interpreter with its libraries on a CPU."""

    @property
    def torch_peak(self) -> int:
        """What torch's allocator has at the peak (on CUDA: `torch.cuda.max_memory_allocated`)."""
        return self.total - self.context

    @property
    def total(self) -> int:
        """All of it."""
        return sum(value for _, value in self.rows())

    def rows(self) -> list[tuple[str, int]]:
        """(component, bytes), in the order of the table."""
        return [
            ("weights of the base", self.weights),
            ("adapter", self.adapter),
            ("optimizer state", self.optimizer),
            ("gradients", self.gradients),
            ("activations", self.activations),
            ("workspace", self.workspace),
            ("context", self.context),
        ]


def trace_budget(setup: Setup, *, context: int) -> Budget:
    """Trace a step of this setup and add up; takes seconds to minutes, by the size of the UNet.

    The first forward and backward pass of a step that accumulates, or that trains class pictures in a pass of their
    own, makes the gradients, the later ones add to them while all are there. After the backward pass the optimizer
    works in place.

    Args:
        context: bytes of the process itself.
    """
    import torch

    from finetune.memory import step_trace
    from finetune.unet import nf4

    unet = step_trace.unet_without_data(
        setup.unet,
        dtype=getattr(torch, setup.dtype),
        rank=setup.rank,
        targets=setup.targets,
        dora=setup.dora,
        nf4=setup.nf4,
    )
    trained = [p for p in unet.parameters() if p.requires_grad]
    frozen = [*(p for p in unet.parameters() if not p.requires_grad), *unet.buffers(), *nf4.scales_of(unet)]
    timeline = step_trace.trace_step(
        unet,
        size=setup.size,
        batch=setup.batch,
        dtype=getattr(torch, setup.dtype),
        checkpoint=setup.checkpoint,
        frozen_pass=setup.frozen_pass,
        cuda=setup.cuda,
    )
    gradients, activations, workspace = _at_the_peak(timeline, accumulates=setup.accumulation > 1 or setup.class_pass)
    adapter = bytes_of(trained, setup.cuda)
    if timeline.at("backward") > gradients + activations + workspace:
        gradients, activations, workspace = timeline.at("backward"), 0, 0
    return Budget(
        weights=bytes_of(frozen, setup.cuda) + setup.text_encoders,
        adapter=adapter,
        optimizer=optimizer_state(
            trained,
            setup.optimizer,
            setup.min_8bit_size,
            zeros=[p for n, p in unet.named_parameters() if "lora_B" in n],
        ),
        gradients=gradients,
        activations=activations,
        workspace=workspace + (CUBLAS if setup.cuda else 0),
        context=context,
    )


def _at_the_peak(timeline: Timeline, *, accumulates: bool) -> tuple[int, int, int]:
    """(gradients, activations, workspace) in bytes at the moment when their sum is largest."""
    born = dict(timeline.survivors)
    there = 0
    live, gradients = [], []
    total = 0
    for index, delta in enumerate(timeline.deltas):
        total += delta
        there += born.get(index, 0)
        live.append(total)
        gradients.append(there)
    everything = sum(born.values())
    # a gradient that is added to one that is there is gone afterwards
    sums = [everything + now - new for now, new in zip(live, gradients, strict=True)] if accumulates else live
    peak = max(range(len(sums)), key=sums.__getitem__)
    held = everything if accumulates else gradients[peak]
    rest = sums[peak] - held
    activations = min(rest, timeline.at("forward"))
    return held, activations, rest - activations


def unet_config(folder: Path) -> dict[str, Any]:
    """The configuration of a base's UNet; `folder` holds the base's configuration files."""
    return read_object(folder / "unet" / "config.json", BaseModelError, hint="download the base again")


def bytes_of(tensors: Iterable[torch.Tensor], cuda: bool) -> int:
    """Bytes of tensors; on CUDA in units of its allocator, 512 bytes."""
    unit = 512 if cuda else 1
    return sum(-(-t.numel() * t.element_size() // unit) * unit for t in tensors)


def optimizer_state(
    parameters: Iterable[torch.Tensor], optimizer: str, min_8bit_size: int, zeros: Iterable[torch.Tensor] = ()
) -> int:
    """Bytes of two moments for every element: 4 each, or 1 and a float32 scale for each block of 256.

    Tensors with fewer than `min_8bit_size` elements keep float32 moments. The tables of the 8-bit code are shared.
    Prodigy keeps a sum of gradients besides, and where each element began.

    Args:
        zeros: those of the parameters that begin at zero; Prodigy then keeps one number for the whole tensor.
    """
    if optimizer == "prodigy":
        return sum(4 * 4 * p.numel() for p in parameters) - sum(4 * (p.numel() - 1) for p in zeros)
    total = 0
    eight = False
    for parameter in parameters:
        count = parameter.numel()
        if optimizer == "adamw8bit" and count >= min_8bit_size:
            total += 2 * (count + 4 * -(-count // BLOCK_8BIT))
            eight = True
        else:
            total += 2 * 4 * count
    return total + (2 * 256 * 4 if eight else 0)


def preset_for_this_machine() -> tuple[str, str]:
    """Name of the training preset for this machine, and one line that says why.

    Raises:
        OutOfMemory: there is a GPU, too small for SDXL.
    """
    return preset_for(gpu_memory_gib())


def preset_for(memory_gib: float) -> tuple[str, str]:
    """Name of the training preset for a GPU of that much memory (0: none), and one line that says why.

    Raises:
        OutOfMemory: there is a GPU, too small for SDXL.
    """
    if memory_gib == 0:
        return "embedded", (
            "no CUDA device: training on the embedded base (256 px), to try Packshot out; "
            "such an adapter fits only the embedded base"
        )
    for name, least in SDXL_PRESETS:
        if memory_gib >= least:
            return name, f"GPU with {memory_gib:.1f} GiB: preset {name}"
    raise OutOfMemory(
        f"the GPU has {memory_gib:.1f} GiB; SDXL in 16 bits needs {SDXL_PRESETS[-1][1]:g}",
        "try --config sdxl-8gb-nf4 (base in 4 bits), a larger GPU, or --config embedded to try Packshot out",
    )
