"""What a run needs in memory besides its training step: encoding before it, pictures drawn before, during and after it.

A recipe beside `finetune.memory.fit`: it sees the config. Called by `packshot plan` and by training, before anything loads.
Encoding and class pictures that do not fit are refused; previews and the choice among candidates only warn, since a
run goes on without them. It loads no weights.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from finetune.core.basemodel.resolve import ResolvedBase
from finetune.core.console import say, warn
from finetune.core.errors import OutOfMemory
from finetune.core.painting.inpainter import needs_cpu_offload
from finetune.memory.budget import Setup, unet_config
from finetune.memory.fit import SPARE, Device, Verdict, cached, judge, refuse, setup_of, this_device
from finetune.settings import TrainConfig

CLASS, STEP = "class pictures", "training step"
ENCODERS = ("text_encoder", "text_encoder_2", "vae")


@dataclass(frozen=True)
class Drawn:
    """What drawing needs on a device: of the run's own UNet beside what training keeps, or of the base alone."""

    what: str
    """`drawing` (previews, the choice among candidates) or `class pictures`."""
    total: int
    """Peak bytes, the process itself included."""
    offloaded: bool
    """Whether the pipeline runs with model CPU offload: text encoders, UNet and VAE one at a time on the device."""
    spare: int
    """Bytes left over with the reserve left free; negative when it does not fit."""

    def settings(self) -> str:
        """The overrides that draw nothing."""
        if self.what == CLASS:
            return "--set objective.prior_weight=0"
        return "--set validation.choose=loss --set preview.every=0"

    def problem(self, device: Device) -> str:
        """One line that says it does not fit."""
        need, have = self.total / 2**30, device.memory / 2**30
        return f"{self.what} would need {need:.1f} GiB of the {have:.1f} GiB of {device.name}"


@dataclass(frozen=True)
class Phases:
    """What a run needs in memory when it does not train."""

    encoding: int
    """Peak bytes; as all here, with the process itself."""
    class_pictures: Drawn | None
    drawing: Drawn | None

    def totals(self, step: int) -> dict[str, int]:
        """Bytes of each phase by name, in the order of a run; `step` is the training step's."""
        before = self.class_pictures.total if self.class_pictures else 0
        after = self.drawing.total if self.drawing else 0
        totals = {"encoding": self.encoding, CLASS: before, STEP: step, "drawing": after}
        return {name: total for name, total in totals.items() if total}

    def hold_against(self, device: Device) -> None:
        """Say that previews and the choice do not fit; a run goes on without them.

        Raises:
            OutOfMemory: class pictures do not fit, which it can't go on without.
        """
        if self.class_pictures and self.class_pictures.spare < 0:
            cure = self.class_pictures.settings()
            raise OutOfMemory(self.class_pictures.problem(device), f"close other programs, or train without: {cure}")
        if self.drawing and self.drawing.spare < 0:
            without = "training fits, and goes on without what can't be drawn"
            warn(f"{self.drawing.problem(device)}; {without} (to ask for nothing: {self.drawing.settings()})")


def phases_of(config: TrainConfig, verdict: Verdict, folder: Path, cache: Path, *, draw_class: bool = True) -> Phases:
    """What a run needs besides its training step.

    Args:
        folder: of the base's configuration files.
        draw_class: whether class pictures that the config wants are still to be drawn.

    Raises:
        OutOfMemory: encoding does not fit the device.
    """
    return Phases(
        encoding_peak(folder, config.data.size, verdict.device, cache),
        class_drawing_of(config, verdict.setup, verdict.device, folder, cache) if draw_class else None,
        drawing_of(config, verdict, folder, cache),
    )


def encoding_peak(folder: Path, size: int, device: Device, cache: Path) -> int:
    """Peak bytes of caching latents and text embeddings, before the UNet loads; from the cache or traced.

    Args:
        folder: of the base's configuration files. size: side of the pictures in pixels.

    Raises:
        OutOfMemory: it does not fit the device.
    """
    from finetune.memory.encoding import caching_peak

    parts = [(folder / name / "config.json").read_text(encoding="utf-8") for name in ENCODERS]
    kept = cached(
        cache,
        [1, "encoding", parts, size, device.cuda],
        lambda: {"peak": caching_peak(folder, size, cuda=device.cuda)},
    )
    need = int(kept["peak"]) + device.context
    if need > device.memory * (1 - SPARE):
        raise OutOfMemory(
            f"encoding pictures of {size} px needs {need / 2**30:.1f} GiB of the {device.memory / 2**30:.1f} GiB of "
            f"{device.name}",
            "close other programs, or use a smaller data.size",
        )
    return need


def drawing_of(config: TrainConfig, verdict: Verdict, folder: Path, cache: Path) -> Drawn | None:
    """Previews and the choice among candidates, beside what training keeps; None where the config asks for neither.

    Args:
        folder: of the base's configuration files.
    """
    t, v = config.train, config.validation
    if not config.preview.every and not (v.choose == "measured" and t.steps > v.every > 0):
        return None
    # gradients are gone after a step; the text encoders whose tokens are trained stay for its first half
    stays = verdict.budget.optimizer + (verdict.setup.text_encoders if config.preview.every else 0)
    return _drawn("drawing", verdict.setup, stays, verdict.device, folder, cache)


def class_drawing_of(config: TrainConfig, setup: Setup, device: Device, folder: Path, cache: Path) -> Drawn | None:
    """Class pictures, drawn by the base as it is before anything of training is there; None where none are wanted."""
    if not config.objective.prior_weight:
        return None
    return _drawn(CLASS, replace(setup, rank=0, nf4=False), 0, device, folder, cache)


def _drawn(what: str, setup: Setup, stays: int, device: Device, folder: Path, cache: Path) -> Drawn:
    from finetune.memory.drawing import Drawing, trace_drawing

    size = setup.unet["sample_size"] * 8
    parts = [(folder / name / "config.json").read_text(encoding="utf-8") for name in ENCODERS]
    traits = [setup.unet, setup.dtype, setup.rank, setup.targets, setup.dora, setup.nf4, setup.cuda]
    kept = cached(cache, [1, "drawing", parts, traits], lambda: asdict(trace_drawing(folder, setup, size)))
    drawing = Drawing(**kept)
    offloaded = device.cuda and needs_cpu_offload(drawing.weights, size, device.memory - device.context)
    total = stays + drawing.peak(offloaded=offloaded) + device.context
    return Drawn(what, total, offloaded, int(device.memory * (1 - SPARE)) - total)


def check_memory(config: TrainConfig, base: ResolvedBase, cache: Path, *, draw_class: bool = True) -> None:
    """Hold a run against this device before anything loads. That previews or the choice do not fit is only said.

    Args:
        draw_class: whether class pictures that the config wants are still to be drawn.

    Raises:
        OutOfMemory: it would not fit, or spill.
    """
    device = this_device()
    encoding_peak(base.config, config.data.size, device, cache)
    verdict = judge(setup_of(config, unet_config(base.config), device, base.config), device, cache)
    if not verdict.fits:
        raise refuse(verdict, cache)
    phases = phases_of(config, verdict, base.config, cache, draw_class=draw_class)
    phases.hold_against(device)
    total = verdict.budget.total
    peak = max(total, phases.drawing.total if phases.drawing and phases.drawing.spare >= 0 else 0)
    what = STEP if peak == total else "drawing"
    say(f"  memory: {peak / 2**30:.1f} GiB planned ({what}) of {device.memory / 2**30:.1f} GiB ({device.name})")
