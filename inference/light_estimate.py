"""Where the light of a photograph seems to come from, by its pixels alone.

A guess from two cues, not a measurement: a light that is seen in the picture shines from behind; otherwise the ground
is brighter on the side of the light. How dark a shadow is follows the photograph's own contrast on the ground. People
who know better say so (`--light`).
"""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import ndimage

from finetune.core.compositing.light import Light
from finetune.core.pictures.images import LUMINANCE, Floats, to_linear

SIDE = 96
"""Width at which the picture is looked at, pixels."""
SEEN = 3.0
"""A light is in the picture where the brightest twentieth above the ground is this many times as bright as it."""
SLOPE = 0.35
"""Change of the ground's log luminance across the picture's width at which the light comes fully from the side."""


def estimate_light(picture: Image.Image, foot: tuple[float, float]) -> Light:
    """The main light of a photograph.

    Args:
        picture: RGB.
        foot: Column and row where the product stands.

    Returns:
        A soft light, its shade tinted as the dark half of the ground is against the bright half.
    """
    scale = SIDE / picture.width
    height = max(8, round(picture.height * scale))
    linear = to_linear(np.asarray(picture.convert("RGB").resize((SIDE, height), Image.Resampling.BOX)))
    luminance = ndimage.gaussian_filter(linear @ LUMINANCE, 1.5) + np.float32(1e-3)
    row = int(np.clip(foot[1] * scale, 0.2 * height, 0.9 * height))
    ground, above = luminance[row - height // 10 :], luminance[: row - height // 10]
    bright = above >= np.quantile(above, 0.95)
    shade = _shade(linear[row - height // 10 :])
    if float(above[bright].mean()) > SEEN * float(ground.mean()):
        column = float(np.nonzero(bright)[1].mean()) / SIDE - foot[0] / picture.width
        return Light(azimuth=(180 - 90 * float(np.clip(column, -0.6, 0.6))) % 360, height=35, softness=0.5, shade=shade)
    slope = float(np.polyfit(np.linspace(-0.5, 0.5, SIDE), np.log(ground).mean(axis=0), 1)[0])
    side = float(np.clip(slope / SLOPE, -1, 1))
    return Light(azimuth=(75 * side) % 360, height=62, softness=0.5, shade=shade)


def _shade(ground: Floats) -> tuple[float, float, float]:
    """Light of the ground in shadow over that in the light, by the colours of its darker and brighter half."""
    values = ground.reshape(-1, 3)
    order = np.argsort(values @ LUMINANCE)
    dark, light = (values[part].mean(axis=0) + 1e-4 for part in (order[: len(order) // 2], order[len(order) // 2 :]))
    tint = dark / light
    tint = tint / float(tint @ LUMINANCE)
    red, green, blue = (float(v) for v in np.clip(0.42 * np.clip(tint, 0.8, 1.25), 0.2, 0.8))
    return red, green, blue
