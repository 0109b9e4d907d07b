"""Whether a training run fits a device, and the fastest settings that do. Called by `packshot plan` and by training.

A recipe: it sees the config. What a step needs comes from `finetune.memory.budget`; budgets are kept in the workspace's cache
by content, since a full-size step takes a while to trace. It loads no weights.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from finetune.core import fingerprint
from finetune.core.basemodel.resolve import EMBEDDED, HUB_ID, resolve_base, single_file_config
from finetune.core.config import validate
from finetune.core.device import computes_bf16, free_gpu_memory
from finetune.core.environment import environment
from finetune.core.errors import ConfigError, OutOfMemory
from finetune.core.storage.durable import write_text
from finetune.memory import budget as memory
from finetune.memory.budget import Budget, Setup
from finetune.settings import TrainConfig

RESERVED = 0.35
"""GiB of a card's nominal memory that its driver keeps: 12 GB cards report about 11.65 GiB."""
SPARE = 0.04
"""Share of the device left free: the allocator's fragments and cuDNN's workspace, which no trace sees. Past the end of
its memory a card on Windows spills into RAM and crawls instead of failing."""
SDXL_CROSS_ATTENTION = 2048
"""Width of SDXL's text embeddings: presets are made for that UNet, not for a small one of its kind."""
LIBRARIES = ("torch", "diffusers", "peft", "accelerate", "bitsandbytes")
DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


@dataclass(frozen=True)
class Device:
    """Where a run is to fit."""

    name: str
    memory: int
    """Bytes a run may use: free memory of a GPU or of the machine, or of a card that is not here."""
    cuda: bool
    context: int
    """Bytes of the process itself there."""
    bf16: bool = True


@dataclass(frozen=True)
class Verdict:
    """A setup on a device."""

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
        """The overrides that ask for this setup."""
        s = self.setup
        return [
            f"memory.gradient_checkpointing={s.checkpoint}",
            f"train.batch={s.batch}",
            f"train.accumulation={s.accumulation}",
        ]


def this_device() -> Device:
    """The GPU of this machine, with what is free of it now; without one the CPU with its free memory."""
    import psutil
    import torch

    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
        # the context of this very process is taken off already
        return Device(name, free_gpu_memory(), cuda=True, context=0, bf16=computes_bf16())
    import diffusers  # noqa: F401  the process as it will be

    here = psutil.Process().memory_info().rss
    return Device("CPU", psutil.virtual_memory().available + here, cuda=False, context=here)


def named_device(text: str) -> Device:
    """A card that is not here, by its nominal size: `12GB`, `8`, `24 GiB`.

    Raises:
        ConfigError: not a size.
    """
    number = text.strip().lower().removesuffix("gib").removesuffix("gb").strip()
    try:
        size = float(number)
    except ValueError as error:
        raise ConfigError(f"--gpu wants a size, not '{text}'", "for example: --gpu 12GB") from error
    if not 1 <= size <= 1024:
        raise ConfigError(f"--gpu wants 1 to 1024 GB, not '{text}'", "for example: --gpu 12GB")
    return Device(f"GPU of {size:g} GB", int((size - RESERVED) * 2**30), cuda=True, context=memory.CONTEXT)


def base_folder(config: TrainConfig) -> tuple[Path, str]:
    """The folder of configuration files of a config's base, and where it is from. Never asks the network.

    A hub id that is not on disk is planned with SDXL's public configuration.

    Raises:
        BaseModelError: a folder or file that is no SDXL model.
    """
    model = config.base.model
    if model != EMBEDDED and not Path(model).expanduser().exists() and HUB_ID.fullmatch(model):
        from huggingface_hub import snapshot_download

        try:
            snapshot_download(model, revision=config.base.revision or None, local_files_only=True)
        except Exception:  # whatever the reason: it is not there
            folder = single_file_config(9 if "inpaint" in model.lower() else 4, model)
            return folder, "SDXL's public configuration (the base is not on disk)"
    base = resolve_base(model, config.base.revision)
    return base.config, base.name


def setup_of(config: TrainConfig, unet: dict[str, Any], device: Device, folder: Path | None = None) -> Setup:
    """What decides memory in a config, on a device.

    Args:
        folder: of the base's configuration files; looked into where text encoders stay in memory.
    """
    from finetune.core.device import pick_dtype
    from finetune.memory.encoding import text_encoders

    m, t, a = config.memory, config.train, config.adapter
    if device.cuda:
        dtype = DTYPES[m.precision if m.precision != "auto" else "bf16" if device.bf16 else "fp16"]
    else:
        dtype = str(pick_dtype(m.precision, "cpu", batch=t.batch)).removeprefix("torch.")
    text = text_encoders(folder, device.cuda) if folder and a.token_embeddings else 0
    return Setup(
        unet=unet,
        size=config.data.size,
        batch=t.batch,
        accumulation=t.accumulation,
        dtype=dtype,
        checkpoint=m.gradient_checkpointing,
        rank=a.rank,
        targets=a.targets,
        dora=a.dora,
        optimizer=t.optimizer,
        min_8bit_size=t.min_8bit_size,
        frozen_pass=config.objective.base_preservation_weight > 0,
        class_pass=config.objective.prior_weight > 0,
        cuda=device.cuda,
        nf4=m.quantize == "nf4",
        text_encoders=text if dtype == "float32" else text // 2,
    )


def judge(setup: Setup, device: Device, cache: Path) -> Verdict:
    """Budget of a setup on a device, from the cache or traced."""
    budget = cached(cache, [1, asdict(setup)], lambda: asdict(memory.budget(setup, context=0)))
    return Verdict(setup, replace(Budget(**budget), context=device.context), device)


def cached(cache: Path, key: list[Any], make: Callable[[], dict[str, int]]) -> dict[str, int]:
    """A result that was worked out before for this key and these libraries, or is now."""
    versions = environment(LIBRARIES)
    file = cache / "plans" / f"{fingerprint.of_value([*key, {name: versions[name] for name in LIBRARIES}])}.json"
    if file.is_file():
        known: dict[str, int] = json.loads(file.read_text(encoding="utf-8"))
        return known
    made = make()
    write_text(file, json.dumps(made))
    return made


def smaller(setup: Setup) -> Iterator[Setup]:
    """Setups that train the same, fastest first: levels of checkpointing, in each smaller and smaller batches."""
    from finetune.unet.checkpointing import LEVELS

    effective = setup.batch * setup.accumulation
    for level in LEVELS:
        for batch in sorted((b for b in range(1, effective + 1) if effective % b == 0), reverse=True):
            yield replace(setup, checkpoint=level, batch=batch, accumulation=effective // batch)


def fastest(setup: Setup, device: Device, cache: Path) -> Verdict | None:
    """The fastest setup of the same effective batch that fits; None when none does.

    Recomputing costs more than a small batch at SDXL's size, so less checkpointing goes before a larger batch. Of each
    level batch 1 is judged first: if that does not fit, no larger one is traced.
    """
    if setup.checkpoint == "none" and setup.accumulation == 1 and (asked := judge(setup, device, cache)).fits:
        return asked
    candidates = list(smaller(setup))
    for level in dict.fromkeys(c.checkpoint for c in candidates):
        best = None
        for candidate in reversed([c for c in candidates if c.checkpoint == level]):
            verdict = judge(candidate, device, cache)
            if not verdict.fits:
                break
            best = verdict
        if best:
            return best
    return None


def refuse(verdict: Verdict, cache: Path) -> OutOfMemory:
    """The error of a run that does not fit, with the nearest settings that do."""
    need, have = verdict.budget.total / 2**30, verdict.device.memory / 2**30
    better = fastest(verdict.setup, verdict.device, cache)
    less = "" if verdict.setup.nf4 or verdict.setup.dora else "memory.quantize=nf4, "
    hint = (
        "--set " + " --set ".join(better.settings())
        if better
        else f"{_preset_of(verdict)}{less}a lower adapter.rank, a smaller data.size, or another base"
    )
    return OutOfMemory(
        f"this run needs {need:.1f} GiB of the {have:.1f} GiB of {verdict.device.name} ({SPARE:.0%} stay free)",
        f"it fits with {hint}" if better else f"no checkpointing or batch makes it fit; try {hint}",
    )


def _preset_of(verdict: Verdict) -> str:
    """The preset for a GPU of that size, as a suggestion; empty where none is meant for it."""
    if not verdict.device.cuda or verdict.setup.unet.get("cross_attention_dim") != SDXL_CROSS_ATTENTION:
        return ""
    try:
        return f"--config {memory.preset_for(verdict.device.memory / 2**30)[0]}, "
    except OutOfMemory:
        return "--config sdxl-8gb-nf4, "


def effective_batch(config: TrainConfig, wanted: int | None) -> TrainConfig:
    """The config with accumulation set for a wanted effective batch; the batch is kept where it divides it.

    Raises:
        ConfigError: below 1.
    """
    if wanted is None:
        return config
    batch = config.train.batch if wanted % config.train.batch == 0 else 1
    data = config.model_dump(mode="json")
    data["train"] |= {"batch": batch, "accumulation": wanted // batch}
    return validate(TrainConfig, data, "--effective-batch")
