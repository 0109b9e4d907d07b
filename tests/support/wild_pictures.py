"""Products in surroundings that are not plain, with a stand-in for a learned model's answer."""

from __future__ import annotations

import numpy as np
from drawn_products import draw_bottle
from PIL import Image, ImageFilter


def silhouette(size: int = 400) -> Image.Image:
    """Where the drawn bottle is, L."""
    return Image.fromarray((np.asarray(draw_bottle(size).convert("L")) < 250).astype(np.uint8) * 255)


def in_the_wild(size: int = 400) -> Image.Image:
    """The bottle before leaves: no plain ground."""
    noise = np.random.default_rng(5).integers(0, 256, (size, size, 3), dtype=np.uint8)
    leaves = Image.fromarray(noise).filter(ImageFilter.GaussianBlur(3)).convert("HSV")
    hue = leaves.getchannel("S").point(lambda v: 60 + v // 6)
    ground = Image.merge("HSV", [hue, leaves.getchannel("H"), leaves.getchannel("V")]).convert("RGB")
    return Image.composite(draw_bottle(size), ground, silhouette(size))
