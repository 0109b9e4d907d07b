"""SDXL's UNet with random weights and an adapter on a device, and optimizer steps of it measured.

Neither speed nor memory depends on the weights' values.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu.setups import Card, Named
from benchmarks.memory.checkpointing import ATTENTION, attention_flops
from finetune.core.device import release_memory
from finetune.memory.budget import Setup
from finetune.memory.step_trace import TIMESTEPS, fake_batch
from finetune.settings import TrainConfig
from finetune.training.loop import Objective, batch_loss
from finetune.training.optimizers import make_optimizer
from finetune.unet import checkpointing, execution, lora, nf4

WARM, TIMED = 2, 5


@dataclass(frozen=True)
class Measured:
    """Some optimizer steps on a device."""

    seconds: float
    """A step, the mean."""
    peak: int | None
    """Bytes of torch's allocator at most, beyond what it had before; None on a CPU."""
    teraflop: float
    """A step, by torch's FlopCounterMode."""
    parameters: int
    compiling: float = 0.0
    """Seconds of the first step more than of a later one, blocks compiled; 0 where they are not."""


@dataclass
class Trainable:
    """SDXL's UNet with an adapter on the device, and its optimizer, as training has them."""

    accelerator: Any
    unet: Any
    optimizer: Any
    settings: Objective

    @property
    def parameters(self) -> int:
        """Of the frozen base; two to a byte in 4 bits."""
        frozen = (p for p in self.unet.parameters() if not p.requires_grad)
        return sum(p.numel() * (1 + (p.dtype == torch.uint8)) for p in frozen)

    def step(self, setup: Setup) -> Callable[[], None]:
        """One optimizer step of that batch and accumulation through accelerate, on a batch that stays."""
        with torch.device(self.accelerator.device):
            batch = fake_batch(self.unet, size=setup.size, batch=setup.batch)
        for value in filter(torch.is_tensor, vars(batch).values()):
            value.fill_(1)
        self.accelerator.gradient_accumulation_steps = setup.accumulation

        def step() -> None:
            for _ in range(setup.accumulation):
                with self.accelerator.accumulate(self.unet):
                    loss = batch_loss(self.unet, batch, self.settings, getattr(torch, setup.dtype))
                    self.accelerator.backward(loss)
                    self.optimizer.step()
                    self.optimizer.zero_grad()

        return step

    def forget(self) -> None:
        """Drop what a step that ran out of memory has left."""
        self.optimizer.optimizer.zero_grad(set_to_none=True)
        self.accelerator.step = 0
        release_memory(str(self.accelerator.device))


def random_unet(setup: Setup, device: str) -> Any:
    """The frozen UNet with random weights and a new adapter."""
    from diffusers import UNet2DConditionModel

    dtype = getattr(torch, setup.dtype)
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(setup.unet).to(dtype)
    unet = unet.to_empty(device=device).requires_grad_(False)
    for parameter in unet.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    if setup.nf4:
        nf4.quantize_linears(unet, dtype=dtype, device=device)
    lora.add_lora(unet, rank=setup.rank, alpha=1, rslora=False, dora=setup.dora, targets=setup.targets, seed=0)
    checkpointing.set_level(unet, setup.checkpoint)
    unet.train()
    return unet


def trainable(setup: Setup, config: TrainConfig, device: str) -> Trainable:
    """The UNet and the setup's optimizer, as accelerate prepares them."""
    from accelerate import Accelerator

    execution.allow_tf32(device)
    unet = random_unet(setup, device)
    t, o = config.train, config.objective
    options: dict[str, Any] = {"weight_decay": t.weight_decay, "betas": t.betas, "min_8bit_size": setup.min_8bit_size}
    optimizer = make_optimizer(setup.optimizer, lora.lora_parameters(unet), learning_rate=t.learning_rate, **options)
    mixed = {"bfloat16": "bf16", "float16": "fp16"}.get(setup.dtype, "no")
    accelerator = Accelerator(mixed_precision=mixed, cpu=device == "cpu")
    unet, optimizer = accelerator.prepare(unet, optimizer)
    alphas = torch.linspace(0.999, 0.005, TIMESTEPS, device=device)
    elsewhere = o.base_preservation_weight if setup.frozen_pass else 0.0
    settings = Objective(alphas, "epsilon", o.snr_gamma, o.product_weight, o.ring_weight, elsewhere)
    return Trainable(accelerator, unet, optimizer, settings)


def measured_step(
    setup: Setup, config: TrainConfig | None = None, *, device: str = "cuda", seconds: float = 30
) -> Measured:
    """Train TIMED steps, or as many as go into `seconds`, after WARM that don't count."""
    before = _allocated(device)
    made = trainable(setup, config or TrainConfig(), device)
    step = made.step(setup)
    teraflop = teraflop_of(step)
    for _ in range(WARM - 1):
        step()
    wait(device)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    each = timed(step, TIMED, seconds, device)
    peak = torch.cuda.max_memory_allocated() - before if device == "cuda" else None
    return Measured(each, peak, teraflop, made.parameters)


def _allocated(device: str) -> int:
    """Bytes that torch has on the device and can't give back, cuBLAS's workspaces given back."""
    release_memory(device)
    if device != "cuda":
        return 0
    torch._C._cuda_clearCublasWorkspaces()
    torch.cuda.empty_cache()
    return int(torch.cuda.memory_allocated())


def teraflop_of(step: Callable[[], None]) -> float:
    """TFLOP of a step that is not compiled."""
    formulas: dict[Any, Any] = {ATTENTION: attention_flops}
    if hasattr(torch.ops.bitsandbytes, "gemm_4bit"):  # bitsandbytes is imported, and new enough
        formulas[torch.ops.bitsandbytes.gemm_4bit] = four_bit_flops
    counter = FlopCounterMode(display=False, custom_mapping=formulas)
    with counter:
        step()
    return counter.get_total_flops() / 1e12


def four_bit_flops(picture: Any, packed: Any, shape: Any, *_: Any, **__: Any) -> int:
    """FLOPs of a matrix product with 4-bit weights, from the shapes of its inputs; unpacking not counted."""
    return 2 * math.prod(picture) * int(shape[0])


def timed(step: Callable[[], None], steps: int, seconds: float, device: str) -> float:
    """Mean seconds of some steps."""
    began = time.perf_counter()
    done = 0
    while done < steps and (not done or time.perf_counter() - began < seconds):
        step()
        wait(device)
        done += 1
    return (time.perf_counter() - began) / done


def wait(device: str) -> None:
    """Until the device is through."""
    if device == "cuda":
        torch.cuda.synchronize()


def row(name: str, setup: Setup, found: Measured, **more: Any) -> dict[str, Any]:
    """What is written of some steps."""
    fixed = {"checkpoint", "batch", "accumulation", "dtype", "rank", "targets", "size", "optimizer", "nf4", "dora"}
    return {
        "part": name,
        "setup": {key: value for key, value in vars(setup).items() if key in fixed},
        "seconds_a_step": round(found.seconds, 4),
        "samples_a_second": round(setup.batch * setup.accumulation / found.seconds, 3),
        "teraflop_a_step": round(found.teraflop, 7),
        "measured_peak_mib": round(found.peak / 2**20, 1) if found.peak is not None else None,
        "parameters": found.parameters,
        "compile_seconds": round(found.compiling, 1),
    } | more


def one_setup(chosen: Named, device: str, seconds: float) -> dict[str, Any]:
    """Train some steps of a setup, inside its card's memory if it has a card."""
    if device == "cuda":
        torch.cuda.set_per_process_memory_fraction(_fraction(chosen.card))
    return row(chosen.name, chosen.setup, measured_step(chosen.setup, chosen.config, device=device, seconds=seconds))


def _fraction(card: Card | None) -> float:
    if card is None:
        return 1.0
    return min(1.0, card.for_torch / torch.cuda.get_device_properties("cuda").total_memory)
