"""The recipe `packshot plan`: what a training run needs in memory on a device, and the fastest settings that fit.

It also answers the question before every training: does the run fit this machine? No weights are loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.core.basemodel.resolve import EMBEDDED, HUB_ID, ResolvedBase, resolve_base, single_file_config
from finetune.core.config import validate
from finetune.core.console import say
from finetune.core.text_files import expanded, is_there
from finetune.memory import fit
from finetune.memory.budget import Setup, unet_config
from finetune.memory.fit import Device, Fit
from finetune.memory.phases import STEP, Phases, Pictures, encoding_peak, trace_phases
from finetune.settings import TrainConfig

DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


@dataclass(frozen=True)
class TrainingPlan:
    """A training run's memory on a device, and better settings where there are some."""

    base: str
    """Where the base's configuration is from."""
    asked: Fit
    """The training step as configured."""
    phases: Phases
    """What the run needs outside that step."""
    fastest: Fit | None
    """The fastest settings of the same effective batch that fit; None when none fits."""


def plan_training(config: TrainConfig, device: Device, cache: Path) -> TrainingPlan:
    """Plan a run on a device.

    Args:
        config: the training configuration.
        device: this machine's, or one that is not here (`memory.fit.named_device`).
        cache: the workspace's cache folder, which keeps what was traced.

    Raises:
        BaseModelError: the base is a folder or file that is no SDXL model.
        OutOfMemory: encoding does not fit the device.
    """
    folder, source = base_folder(config)
    say(f"base: {source}; tracing a training step and drawing (seconds on a free machine, cached for the next call)")
    asked = fit.estimate(setup_of(config, unet_config(folder), device, folder), device, cache)
    phases = trace_phases(asked, pictures_of(config), folder, cache)
    return TrainingPlan(source, asked, phases, fit.fastest(asked.setup, device, cache))


def check_memory(config: TrainConfig, base: ResolvedBase, cache: Path, class_noun: str) -> None:
    """Check that a run fits this device, before anything loads; warn when previews or candidate scoring do not.

    Args:
        config: the training configuration.
        base: the base it trains on.
        cache: the workspace's cache folder.
        class_noun: the product's; pictures of its class that are cached are not drawn again.

    Raises:
        OutOfMemory: it would not fit, or spill.
    """
    from finetune.latents.class_images import missing_pictures
    from finetune.memory.step_trace import forget_unet

    wanted = config.objective.prior_pictures if config.objective.prior_weight else 0
    draw_class = bool(missing_pictures(cache / "class", base, class_noun, wanted))
    device = fit.this_device()
    encoding_peak(base.config, config.data.size, device, cache)
    asked = fit.estimate(setup_of(config, unet_config(base.config), device, base.config), device, cache)
    if not asked.fits:
        raise fit.refuse(asked, cache)
    phases = trace_phases(asked, pictures_of(config, draw_class=draw_class), base.config, cache)
    forget_unet()
    phases.hold_against(device)
    total = asked.budget.total
    peak = max(total, phases.drawing.total if phases.drawing and phases.drawing.spare >= 0 else 0)
    what = STEP if peak == total else "drawing"
    say(f"  memory: {peak / 2**30:.1f} GiB planned ({what}) of {device.memory / 2**30:.1f} GiB ({device.name})")


def pictures_of(config: TrainConfig, *, draw_class: bool = True) -> Pictures:
    """Which pictures a run draws.

    Args:
        config: the training configuration.
        draw_class: whether class pictures that the config wants are still missing.
    """
    t, v = config.train, config.validation
    return Pictures(
        of_class=draw_class and bool(config.objective.prior_weight),
        previews=config.preview.every > 0,
        scoring=v.choose == "measured" and t.steps > v.every > 0,
    )


def base_folder(config: TrainConfig) -> tuple[Path, str]:
    """The folder of a base's configuration files, and a name for where it is from. Never asks the network.

    A hub id that is not on disk is planned with SDXL's public configuration.

    Raises:
        BaseModelError: the base is a folder or file that is no SDXL model.
    """
    model = config.base.model
    if model != EMBEDDED and not is_there(expanded(model)) and HUB_ID.fullmatch(model):
        from huggingface_hub import snapshot_download

        try:
            snapshot_download(model, revision=config.base.revision or None, local_files_only=True)
        except Exception:  # whatever the reason: it is not there
            folder = single_file_config(9 if "inpaint" in model.lower() else 4, model)
            return folder, "SDXL's public configuration (the base is not on disk)"
    base = resolve_base(model, config.base.revision)
    return base.config, base.name


def setup_of(config: TrainConfig, unet: dict[str, Any], device: Device, folder: Path | None = None) -> Setup:
    """The settings that decide memory, as plain values.

    Args:
        config: the training configuration.
        unet: configuration of the base's UNet.
        device: decides the precision that `auto` stands for.
        folder: of the base's configuration files; read where text encoders stay in memory.
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


def effective_batch(config: TrainConfig, wanted: int | None) -> TrainConfig:
    """The config with the accumulation that gives a wanted effective batch.

    Args:
        config: its batch is kept where it divides the wanted one, else set to 1.
        wanted: examples per optimizer step; None changes nothing.

    Raises:
        ConfigError: below 1.
    """
    if wanted is None:
        return config
    batch = config.train.batch if wanted % config.train.batch == 0 else 1
    data = config.model_dump(mode="json")
    data["train"] |= {"batch": batch, "accumulation": wanted // batch}
    return validate(TrainConfig, data, "--effective-batch")
