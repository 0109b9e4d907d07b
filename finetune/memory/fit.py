"""Whether a training step fits a device, and the fastest settings that do.

Traced budgets are kept in the workspace's cache by content, since a full-size step takes a while to trace. No weights
are loaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from finetune.core.errors import ConfigError, OutOfMemory
from finetune.core.tracing.device_fit import SPARE, Device, cached
from finetune.memory.budget import CONTEXT, Budget, Setup, preset_for, trace_budget

RESERVED = 0.35
"""GiB of a card's nominal memory that its driver keeps: 12 GB cards report about 11.65 GiB."""
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


def estimate(setup: Setup, device: Device, cache: Path) -> Fit:
    """The memory a setup needs on a device, from the cache or traced."""
    budget = cached(cache, [1, asdict(setup)], lambda: asdict(trace_budget(setup, context=0)))
    return Fit(setup, replace(Budget(**budget), context=device.context), device)


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
