"""Whether a training step fits a device, and the fastest settings that do.

Traced budgets are kept in the workspace's cache by content, since a full-size step takes a while to trace. No weights
are loaded.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from finetune.core.errors import ConfigError, OutOfMemory
from finetune.core.tracing.device_fit import SPARE, Device, cached, place_of, this_device
from finetune.memory.budget import CONTEXT, Budget, Setup, preset_for, trace_budget

RESERVED = 0.35
"""GiB of a card's nominal memory that its driver keeps: 12 GB cards report about 11.65 GiB."""
KEPT_WHILE_TRAINING = 0.5
"""Share of what a step without checkpointing keeps that a CPU's allocator holds beside it (measured)."""
TRACE_PER_BUILD = 1.8
"""Time of tracing a step for each second that making the UNet without data takes (measured: 0.9 to 2.1)."""
TRAINING_LIBRARIES = ("accelerate", "peft", "datasets", "bitsandbytes.optim", "torch.utils.tensorboard")
SDXL_CROSS_ATTENTION = 2048
"""Width of SDXL's text embeddings: presets are made for that UNet, not for a small one of its kind."""


@dataclass(frozen=True)
class Fit:
    """The memory a setup needs, beside what a device has."""

    setup: Setup
    budget: Budget
    device: Device

    @property
    def spare(self) -> int:
        """Bytes left over; negative when it does not fit."""
        return int(self.device.memory * (1 - SPARE)) - self.budget.total

    @property
    def fits(self) -> bool:
        """Whether it fits with the reserve left free."""
        return self.spare >= 0

    def settings(self) -> list[str]:
        """The `--set` overrides that select this setup."""
        s = self.setup
        return [
            f"memory.gradient_checkpointing={s.checkpoint}",
            f"train.batch={s.batch}",
            f"train.accumulation={s.accumulation}",
        ]


def named_device(text: str) -> Device:
    """A card that is not here, by its nominal size: `12GB`, `8`, `24 GiB`.

    Raises:
        ConfigError: not a size.
    """
    number = text.strip().lower().removesuffix("gib").removesuffix("gb").strip()
    try:
        size = float(number)
    except ValueError as error:
        raise ConfigError(f"--gpu takes a size, not '{text}'", "for example: --gpu 12GB") from error
    if not 1 <= size <= 1024:
        raise ConfigError(f"--gpu takes 1 to 1024 GB, not '{text}'", "for example: --gpu 12GB")
    return Device(f"GPU of {size:g} GB", int((size - RESERVED) * 2**30), cuda=True, context=CONTEXT)


def training_device() -> Device:
    """This machine's device with the libraries of training in memory, as the process will be."""
    import torch

    if not torch.cuda.is_available():
        for name in TRAINING_LIBRARIES:
            with suppress(ImportError, RuntimeError, OSError):  # one that is needed and does not load is refused later
                importlib.import_module(name)
    return this_device()


def estimate(setup: Setup, device: Device, cache: Path) -> Fit:
    """The memory a setup needs on a device, from the cache or traced.

    A process on a CPU takes more than its tensors: what its libraries need, and what the allocator keeps of the many
    pieces that come and go. The latter follows what a step without checkpointing keeps (measured, docs/memory.md).
    """
    budget = _traced(setup, cache)
    if device.cuda:
        return Fit(setup, replace(budget, context=device.context), device)
    from finetune.core.painting.cost import CPU_LIBRARIES

    whole = budget if setup.checkpoint == "none" else _traced(replace(setup, checkpoint="none"), cache)
    kept = int(KEPT_WHILE_TRAINING * (whole.activations + whole.workspace + whole.gradients))
    return Fit(
        setup,
        replace(budget, workspace=budget.workspace + kept, context=device.context + CPU_LIBRARIES),
        device,
    )


def _traced(setup: Setup, cache: Path) -> Budget:
    return Budget(**cached(cache, key_of(setup), lambda: asdict(trace_budget(setup, context=0))))


def key_of(setup: Setup) -> list[Any]:
    """Under what a setup's traced budget is kept."""
    return [1, asdict(setup)]


def still_to_trace(setup: Setup, device: Device, cache: Path) -> tuple[int, float]:
    """How many steps a plan may have to trace, and about how many seconds of one core that takes here.

    The UNet, which is made without data first, tells how fast this machine is; it is kept for the tracing.

    Args:
        setup: what is planned.
        device: the device it is planned for.
        cache: the workspace's cache folder, which keeps what was traced.
    """
    from finetune.memory.step_trace import unet_without_data

    wanted = [setup, *smaller(setup)] if setup.checkpoint != "none" or setup.accumulation > 1 else [setup]
    wanted += [] if device.cuda else [replace(each, checkpoint="none") for each in wanted]
    keys = {str(place_of(cache, key_of(each))): each for each in wanted}
    missing = sum(not Path(file).is_file() for file in keys)
    if not missing:
        return 0, 0.0
    began = time.process_time()
    dtype = getattr(importlib.import_module("torch"), setup.dtype)
    unet_without_data(setup.unet, dtype=dtype, rank=setup.rank, targets=setup.targets, dora=setup.dora, nf4=setup.nf4)
    return missing, (time.process_time() - began) * TRACE_PER_BUILD * missing


def smaller(setup: Setup) -> Iterator[Setup]:
    """Setups of the same effective batch, fastest first: by level of checkpointing, then the larger batch."""
    from finetune.unet.checkpointing import LEVELS

    effective = setup.batch * setup.accumulation
    for level in LEVELS:
        for batch in sorted((b for b in range(1, effective + 1) if effective % b == 0), reverse=True):
            yield replace(setup, checkpoint=level, batch=batch, accumulation=effective // batch)


def fastest(setup: Setup, device: Device, cache: Path) -> Fit | None:
    """The fastest setup of the same effective batch that fits; None when none does.

    Recomputing costs more than a small batch at SDXL's size, so less checkpointing goes before a larger batch. Of each
    level batch 1 is tried first: if that does not fit, no larger one is traced.
    """
    if setup.checkpoint == "none" and setup.accumulation == 1 and (asked := estimate(setup, device, cache)).fits:
        return asked
    candidates = list(smaller(setup))
    for level in dict.fromkeys(c.checkpoint for c in candidates):
        best = None
        for candidate in reversed([c for c in candidates if c.checkpoint == level]):
            fit = estimate(candidate, device, cache)
            if not fit.fits:
                break
            best = fit
        if best:
            return best
    return None


def refuse(fit: Fit, cache: Path) -> OutOfMemory:
    """The error of a run that does not fit, with the nearest settings that do."""
    need, have = fit.budget.total / 2**30, fit.device.memory / 2**30
    better = fastest(fit.setup, fit.device, cache)
    less = "" if fit.setup.nf4 or fit.setup.dora else "memory.quantize=nf4, "
    hint = (
        "--set " + " --set ".join(better.settings())
        if better
        else f"{_preset_of(fit)}{less}a lower adapter.rank, a smaller data.size, or another base"
    )
    return OutOfMemory(
        f"this run needs {need:.1f} GiB of the {have:.1f} GiB of {fit.device.name} ({SPARE:.0%} stay free)",
        f"it fits with {hint}" if better else f"no batch size or checkpointing makes it fit; try {hint}",
    )


def _preset_of(fit: Fit) -> str:
    """The preset for a GPU of that size, as part of a hint; empty where there is none."""
    if not fit.device.cuda or fit.setup.unet.get("cross_attention_dim") != SDXL_CROSS_ATTENTION:
        return ""
    try:
        return f"--config {preset_for(fit.device.memory / 2**30)[0]}, "
    except OutOfMemory:
        return "--config sdxl-8gb-nf4, "
