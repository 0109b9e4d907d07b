"""Drawn bottles of glass and of opaque material, as layers whose transmittance is known, and their photographs."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from finetune.core.pictures.images import to_srgb8

SIDE = 300
Tint = tuple[float, float, float]


def bottle(tint: Tint, *, lined: bool, label: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A bottle as layers (H, W): coverage, transmittance (H, W, 3), own light (H, W, 3); its cap and label are opaque.

    Lined, its rim is dark as refraction makes it; otherwise it is opaque and of the tint's colour.
    """
    masks = []
    for box in ((100, 90, 200, 270), (130, 50, 170, 95), (120, 150, 180, 210)):
        big = Image.new("L", (4 * SIDE, 4 * SIDE), 0)
        ImageDraw.Draw(big).rounded_rectangle([4 * edge for edge in box], 24, fill=255)
        masks.append(np.asarray(big.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float32) / 255)
    body, cap, paper = masks
    depth = ndimage.distance_transform_edt(body > 0.5)
    line = np.clip(np.abs(depth - 3) / 2, 0.15, 1) if lined else np.ones_like(depth)
    through = line[..., None] * np.array(tint) * (body * (1 - cap))[..., None]
    own = np.zeros((SIDE, SIDE, 3)) if lined else through
    if label:
        through = through * (1 - paper[..., None])
        own = own * (1 - paper[..., None]) + paper[..., None] * np.array([0.82, 0.8, 0.76])
    own = own + cap[..., None] * np.array([0.08, 0.08, 0.09])
    return np.maximum(body, cap), through if lined else np.zeros_like(through), own


def photograph(layers: tuple[np.ndarray, np.ndarray, np.ndarray], ground: np.ndarray) -> Image.Image:
    cover, through, own = layers
    light = own + through * ground + (1 - cover[..., None]) * ground
    return Image.fromarray(to_srgb8(light.astype(np.float32)))


def white(level: float = 0.97) -> np.ndarray:
    return np.full((SIDE, SIDE, 3), level)
