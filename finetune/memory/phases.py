"""Memory of a run besides its training step: encoding before it, and the pictures drawn before, during and after it.

Encoding and class pictures that do not fit are refused; previews and candidate scoring that do not fit only bring a
warning, since a run can skip them. No weights are loaded.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from finetune.core.console import amount, warn
from finetune.core.errors import OutOfMemory
from finetune.core.painting.offload import needs_cpu_offload
from finetune.core.tracing.device_fit import SPARE, Device, architecture_of, cached
from finetune.memory.budget import Setup
from finetune.memory.fit import Fit

CLASS, STEP = "class pictures", "training step"
ENCODERS = ("text_encoder", "text_encoder_2", "vae")


@dataclass(frozen=True)
class Pictures:
    """Which pictures a run draws."""

    of_class: bool
    """Pictures of the class by the base alone, for prior preservation."""
    previews: bool
    """Previews during training."""
    scoring: bool
    """Pictures of each candidate, to select among them."""


@dataclass(frozen=True)
class DrawingFit:
    """The memory drawing needs, beside what a device has: with the training UNet, or with the base alone."""

    what: str
    """`drawing` (previews, candidate scoring) or `class pictures`."""
    total: int
    """Peak bytes, the process itself included."""
    offloaded: bool
    """Whether text encoders, UNet and VAE take turns on the device (model CPU offload)."""
    spare: int
    """Bytes left over with the reserve left free; negative when it does not fit."""

    def settings(self) -> str:
        """The `--set` overrides that switch this drawing off."""
        if self.what == CLASS:
            return "--set objective.prior_weight=0"
        return "--set validation.choose=loss --set preview.every=0"

    def problem(self, device: Device) -> str:
        """One sentence: how much it needs and how much there is."""
        need, have = self.total / 2**30, device.memory / 2**30
        return f"{self.what} would need {need:.1f} GiB of the {have:.1f} GiB of {device.name}"


@dataclass(frozen=True)
class Phases:
    """Memory of a run outside its training step."""

    encoding: int
    """Peak bytes, the process itself included."""
    class_pictures: DrawingFit | None
    drawing: DrawingFit | None

    def totals(self, step: int) -> dict[str, int]:
        """Peak bytes of each phase by name, in the order of a run.

        Args:
            step: peak bytes of the training step.
        """
        before = self.class_pictures.total if self.class_pictures else 0
        after = self.drawing.total if self.drawing else 0
        totals = {"encoding": self.encoding, CLASS: before, STEP: step, "drawing": after}
        return {name: total for name, total in totals.items() if total}

    def hold_against(self, device: Device) -> None:
        """Warn when previews and candidate scoring do not fit; a run skips them.

        Raises:
            OutOfMemory: class pictures do not fit, and training needs them.
        """
        if self.class_pictures and self.class_pictures.spare < 0:
            cure = self.class_pictures.settings()
            raise OutOfMemory(self.class_pictures.problem(device), f"close other programs, or train without: {cure}")
        if self.drawing and self.drawing.spare < 0:
            skipped = "training fits; previews and candidate scoring will be skipped"
            warn(f"{self.drawing.problem(device)}; {skipped} (disable them: {self.drawing.settings()})")


def trace_phases(fit: Fit, pictures: Pictures, folder: Path, cache: Path) -> Phases:
    """Memory of a run outside its training step.

    Args:
        fit: the training step on its device.
        pictures: what the run draws.
        folder: of the base's configuration files.
        cache: the workspace's cache folder.

    Raises:
        OutOfMemory: encoding does not fit the device.
    """
    return Phases(
        encoding_peak(folder, fit.setup.size, fit.device, cache),
        class_drawing(fit, folder, cache) if pictures.of_class else None,
        drawing(fit, pictures, folder, cache) if pictures.previews or pictures.scoring else None,
    )


def encoding_peak(folder: Path, size: int, device: Device, cache: Path) -> int:
    """Peak bytes of encoding latents and text embeddings, before the UNet loads; from the cache or traced.

    Args:
        folder: of the base's configuration files.
        size: side of the pictures in pixels.
        device: where encoding runs.
        cache: the workspace's cache folder.

    Raises:
        OutOfMemory: it does not fit the device.
    """
    from finetune.core.painting.cost import CPU_LIBRARIES
    from finetune.memory.encoding import caching_peak

    parts = architecture_of(folder, *ENCODERS)
    kept = cached(
        cache,
        [2, "encoding", parts, size, device.cuda],
        lambda: {"peak": caching_peak(folder, size, cuda=device.cuda)},
    )
    need = int(kept["peak"]) + device.context + (0 if device.cuda else CPU_LIBRARIES)
    if need > device.memory * (1 - SPARE):
        raise OutOfMemory(
            f"encoding pictures of {size} px needs {amount(need)} of the {amount(device.memory)} of {device.name} "
            f"({SPARE:.0%} stay free)",
            "close other programs, or use a smaller data.size",
        )
    return need


def drawing(fit: Fit, pictures: Pictures, folder: Path, cache: Path) -> DrawingFit:
    """Previews and candidate scoring, beside what training keeps in memory.

    Args:
        fit: the training step on its device.
        pictures: what the run draws.
        folder: of the base's configuration files.
        cache: the workspace's cache folder.
    """
    # gradients are gone after a step; text encoders with trained tokens stay for the first half of a run
    stays = fit.budget.optimizer + (fit.setup.text_encoders if pictures.previews else 0)
    return _drawing_fit("drawing", fit.setup, stays, fit.device, folder, cache)


def class_drawing(fit: Fit, folder: Path, cache: Path) -> DrawingFit:
    """Class pictures, drawn by the base alone before any part of training is in memory."""
    return _drawing_fit(CLASS, replace(fit.setup, rank=0, nf4=False), 0, fit.device, folder, cache)


def _drawing_fit(what: str, setup: Setup, stays: int, device: Device, folder: Path, cache: Path) -> DrawingFit:
    from finetune.core.painting.cost import DrawingCost
    from finetune.memory.drawing import trace_drawing

    size = setup.unet["sample_size"] * 8
    parts = architecture_of(folder, *ENCODERS)
    traits = [setup.unet, setup.dtype, setup.rank, setup.targets, setup.dora, setup.nf4, setup.cuda]
    cost = DrawingCost(
        **cached(cache, [2, "drawing", parts, traits], lambda: asdict(trace_drawing(folder, setup, size)))
    )
    offloaded = device.cuda and needs_cpu_offload(cost.weights, size, device.memory - device.context)
    total = stays + (cost.peak(offloaded=offloaded) if device.cuda else cost.process_peak) + device.context
    return DrawingFit(what, total, offloaded, int(device.memory * (1 - SPARE)) - total)
