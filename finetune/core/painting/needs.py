"""What drawing needs in memory on a CPU, told before anything loads, and refused where it cannot fit.

The kernel ends a process that outgrows its memory without a message. On a GPU nothing is asked here: torch says what
does not fit, and parts take turns where they must (`offload.bring_to_device`).
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from finetune.core.basemodel.resolve import ResolvedBase
from finetune.core.console import amount, say
from finetune.core.device import pick_device, pick_dtype
from finetune.core.errors import OutOfMemory
from finetune.core.tracing.device_fit import SPARE, Device, architecture_of, cached, this_device

if TYPE_CHECKING:
    import torch

    from finetune.core.adapters.foreign import Adapter

PARTS = ("unet", "text_encoder", "text_encoder_2", "vae")
FLOAT32 = 4


def check_drawing(
    what: str,
    base: ResolvedBase,
    adapter: Adapter | None,
    *,
    cache: Path,
    precision: str = "auto",
    device: str = "auto",
    finishing: int = 0,
) -> int:
    """Say what drawing pictures needs on a CPU, and refuse what cannot fit.

    Args:
        what: what is done, for messages: `placing`.
        base: the base that draws.
        adapter: its adapter, the header read; None for the base alone.
        cache: the workspace's cache folder, which keeps what was traced.
        precision: `auto`, `fp32`, `bf16` or `fp16`.
        device: `auto`, `cpu`, `cuda` or `cuda:1`.
        finishing: bytes that are needed beside the weights after a picture is drawn.

    Returns:
        The peak in bytes, the process itself included; 0 on a GPU.

    Raises:
        OutOfMemory: the machine, or the limit this process runs under, has less.
    """
    where = pick_device(device)
    if where.startswith("cuda"):
        return 0
    from finetune.core.painting.cost import CPU_LIBRARIES, DrawingCost

    machine, dtype = this_device("cpu"), pick_dtype(precision, where)
    key = [2, "drawing alone", architecture_of(base.config, *PARTS), str(dtype), base.size]
    cost = DrawingCost(**cached(cache, key, lambda: _traced(base, dtype)))
    need = max(cost.process_peak, cost.weights + CPU_LIBRARIES + finishing) + _weights_of(adapter) + machine.context
    _hold(what, need, machine)
    return need


def check_predicting(
    what: str, base: ResolvedBase, adapter: Adapter, *, cache: Path, size: int, device: str = "auto"
) -> int:
    """The same for a UNet alone that predicts with two files of an adapter in turn, as an export is checked.

    First the file is written: what is read, what is renamed, and the bytes that go to disk. Then the UNet comes, with
    the adapter in it and another copy that is read to take its place.

    Args:
        what: what is done, for messages.
        base: whose UNet predicts.
        adapter: the adapter, its header read.
        cache: the workspace's cache folder.
        size: side, in pixels, of what is predicted.
        device: `auto`, `cpu`, `cuda` or `cuda:1`.

    Raises:
        OutOfMemory: the machine, or the limit this process runs under, has less.
    """
    where = pick_device(device)
    if where.startswith("cuda"):
        return 0
    from finetune.core.painting.cost import KEPT_WHILE_DRAWING, PREDICTING_LIBRARIES

    machine, dtype = this_device("cpu"), pick_dtype("auto", where)
    key = [1, "predicting", architecture_of(base.config, "unet"), str(dtype), size]
    kept = cached(cache, key, lambda: _traced_unet(base, dtype, size))
    matrices = _weights_of(adapter)
    predicting = kept["unet"] + int(KEPT_WHILE_DRAWING * kept["predicting"]) + 2 * matrices
    need = max(3 * matrices, predicting) + PREDICTING_LIBRARIES + machine.context
    _hold(what, need, machine)
    return need


def _hold(what: str, need: int, machine: Device) -> None:
    """Say a need beside what there is, and refuse what does not fit."""
    if need > machine.memory * (1 - SPARE):
        raise OutOfMemory(
            f"{what} needs {amount(need)} of the {amount(machine.memory)} of {machine.name} ({SPARE:.0%} stay free)",
            f"close other programs, or use a GPU or a machine with {amount(need / (1 - SPARE))} free",
        )
    say(f"  memory: {amount(need)} planned of {amount(machine.memory)} ({machine.name})")


def _traced(base: ResolvedBase, dtype: torch.dtype) -> dict[str, int]:
    from finetune.core.painting.cost import trace_drawing, unet_alone

    return asdict(trace_drawing(base.config, unet_alone(base.config, dtype), dtype, base.size, cuda=False))


def _traced_unet(base: ResolvedBase, dtype: torch.dtype, size: int) -> dict[str, int]:
    from finetune.core.painting.cost import prediction, unet_alone, weights_of

    unet = unet_alone(base.config, dtype)
    return {"unet": weights_of(unet, False), "predicting": prediction(unet, size, dtype, cuda=False)}


def _weights_of(adapter: Adapter | None) -> int:
    """Bytes of an adapter's matrices in the UNet, which are float32 whatever the file holds."""
    if adapter is None:
        return 0
    from math import prod

    from finetune.core.storage.safetensors_header import read_safetensors_header

    return FLOAT32 * sum(prod(shape) for shape in read_safetensors_header(adapter.path).shapes.values())
