"""Whether a training step fits a device, and the fastest settings that do.

Traced budgets are kept in the workspace's cache by content, since a full-size step takes a while to trace. No weights
are loaded.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import RootModel

from finetune.core import fingerprint
from finetune.core.console import warn
from finetune.core.device import computes_bf16, free_gpu_memory
from finetune.core.environment import environment
from finetune.core.errors import ConfigError, OutOfMemory, RunError
from finetune.core.json_files import read_json
from finetune.core.machine_memory import machine_memory
from finetune.core.storage.durable import write_text
from finetune.memory.budget import CONTEXT, Budget, Setup, preset_for, trace_budget

RESERVED = 0.35
"""GiB of a card's nominal memory that its driver keeps: 12 GB cards report about 11.65 GiB."""
SPARE = 0.04
"""Share of the device left free: the allocator's fragments and cuDNN's workspace, which no trace sees. Past the end of
its memory a card on Windows spills into RAM and crawls instead of failing."""
SDXL_CROSS_ATTENTION = 2048
"""Width of SDXL's text embeddings: presets are made for that UNet, not for a small one of its kind."""
LIBRARIES = ("torch", "diffusers", "peft", "accelerate", "bitsandbytes")


class Traced(RootModel[dict[str, int]]):
    """A traced result in the cache: bytes by name."""


@dataclass(frozen=True)
class Device:
    """The device a run must fit on."""

    name: str
    memory: int
    """Bytes a run may use: free memory of a GPU or of the machine, or of a card that is not here."""
    cuda: bool
    context: int
    """Bytes of the process itself there."""
    bf16: bool = True


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


def this_device() -> Device:
    """This machine's GPU with its free memory; without a GPU, the CPU with the machine's free memory."""
    import psutil
    import torch

    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
        # the context of this very process is taken off already
        return Device(name, free_gpu_memory(), cuda=True, context=0, bf16=computes_bf16())
    import diffusers  # noqa: F401  the process as it will be

    here = psutil.Process().memory_info().rss
    memory = machine_memory()
    name = f"CPU, limited to {memory.total / 2**30:.1f} GiB by its cgroup" if memory.limited else "CPU"
    return Device(name, memory.available + here, cuda=False, context=here)


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


def cached(cache: Path, key: list[Any], make: Callable[[], dict[str, int]]) -> dict[str, int]:
    """A result from the cache by this key and the libraries' versions, or computed now and kept."""
    versions = environment(LIBRARIES)
    file = cache / "plans" / f"{fingerprint.of_value([*key, {name: versions[name] for name in LIBRARIES}])}.json"
    if file.is_file():
        try:
            return read_json(file, Traced, RunError).root
        except RunError as error:
            warn(f"{error.message}; tracing again")
    made = make()
    write_text(file, json.dumps(made))
    return made


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
