"""A look at a picture before it is finished: at two thirds of the sampler's steps it is clear what it will show.

What the sampler is heading for is computed from two neighbouring states: an Euler step goes along a straight line
(Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models", NeurIPS 2022, equation 1), so
x0 = x_b - s_b (x_b - x_a) / (s_b - s_a) for states x_a, x_b at noise levels s_a > s_b.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from PIL import Image

if TYPE_CHECKING:
    from torch import Tensor

LOOK_AT = 2 / 3
"""Share of the sampler's steps after which the picture is looked at."""
PREVIEW_CELLS = 32
"""Longer side of a preview in latent cells: 256 px, whatever the base paints, so that a look costs little."""


class Stopped(Exception):
    """The picture was given up after a look at it: no error, the caller paints with another seed."""

    def __init__(self, preview: Image.Image, steps: int) -> None:
        """Keep what was seen.

        Args:
            preview: RGB, up to 256 px.
            steps: Sampler steps that were taken.
        """
        super().__init__("the picture was given up")
        self.preview, self.steps = preview, steps


class EarlyLook:
    """Watches the sampler and stops it where `judge` says so."""

    def __init__(self, judge: Callable[[Image.Image], bool]) -> None:
        """Look once.

        Args:
            judge: Receives the preview; whether painting goes on.
        """
        self.judge = judge
        self._before: Tensor | None = None

    def after_step(self, pipeline: Any, step: int, latents: Tensor, decode: Callable[[Tensor], Image.Image]) -> None:
        """Called by the pipeline after each step.

        Args:
            pipeline: Of diffusers, with an Euler scheduler.
            step: Number of the step, from 0.
            latents: (1, c, h, w) after it.
            decode: Latents to a picture.

        Raises:
            Stopped: `judge` gave the picture up.
        """
        last = pipeline.num_timesteps - 1
        at = min(max(1, round(LOOK_AT * pipeline.num_timesteps) - 1), last - 1)
        if step == at - 1:
            self._before = latents.float().clone()
        if step != at or self._before is None:
            return
        if not latents.isfinite().all():  # nothing to look at: the caller paints in another precision
            return
        sigmas = pipeline.scheduler.sigmas
        first = len(sigmas) - 1 - pipeline.num_timesteps  # a strength under 1 begins later
        before, after = float(sigmas[first + step]), float(sigmas[first + step + 1])
        preview = decode(_reduced(expected_end(self._before, latents.float(), before, after)))
        if not self.judge(preview):
            raise Stopped(preview, step + 1)


def expected_end(earlier: Tensor, later: Tensor, noise_earlier: float, noise_later: float) -> Tensor:
    """Where the sampler is heading: latents without noise, from two states of neighbouring noise levels."""
    return later - noise_later * (later - earlier) / (noise_later - noise_earlier)


def _reduced(latents: Tensor) -> Tensor:
    from torch.nn import functional

    scale = PREVIEW_CELLS / max(latents.shape[-2:])
    if scale >= 1:
        return latents
    size = [max(1, round(side * scale)) for side in latents.shape[-2:]]
    return functional.interpolate(latents, size=size, mode="area")
