"""Finishing a painted scene for delivery: size, a clean edge around the product, film grain.

The scene leaves the autoencoder at the base's size. Everything here happens before the product's own pixels are
composited over it, so nothing here can change the product.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from finetune.core.pictures.images import Array, Floats
from finetune.core.pictures.masks import dilate

STREAK = 0.2
"""Blur of the pixels carried up to the product's edge, as a share of the distance: unblurred they show streaks."""


def clear_fringe(scene: Array, matte: Floats, reach: float) -> Array:
    """Replace what was painted within `reach` pixels of the product by what was painted beyond.

    The base paints the product's edge too, softened by its autoencoder: upscaled, it would surround the sharp cutout
    with a seam of the product's own colours. The nearest clean pixel is carried up to the edge instead, so that
    lines of the ground continue; farther than `reach` from the product no byte changes.

    Args:
        scene: (H, W, 3) uint8.
        matte: (H, W) in 0..1.
        reach: Pixels of the scene; 0 changes nothing.
    """
    if reach <= 0:
        return scene
    tainted = dilate(np.asarray(matte > 0), reach)
    if not tainted.any() or tainted.all():
        return scene
    nearest = ndimage.distance_transform_edt(tainted, return_distances=False, return_indices=True)
    carried = scene[nearest[0], nearest[1]].astype(np.float32)
    soft = ndimage.gaussian_filter(carried, (STREAK * reach, STREAK * reach, 0))
    return np.where(tainted[..., None], np.clip(soft + 0.5, 0, 255), scene).astype(np.uint8)


def add_grain(scene: Array, sigma: float, rng: np.random.Generator) -> Array:
    """Film grain: the same normal noise on all three channels, weaker towards black and white.

    Breaks up the banding of an upscaled scene and its contrast to the product's own grain.

    Args:
        scene: (H, W, 3) uint8.
        sigma: Standard deviation in 8-bit steps; 0 changes nothing.
        rng: Draws the noise.
    """
    if sigma <= 0:
        return scene
    noise = rng.standard_normal(scene.shape[:2]) * sigma
    tone = scene.mean(axis=2) / 255.0
    weight = 0.35 + 0.65 * 4.0 * tone * (1.0 - tone)
    return np.asarray(np.clip(scene + (noise * weight)[..., None] + 0.5, 0, 255), dtype=np.uint8)
