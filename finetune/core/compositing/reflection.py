"""What a glossy ground mirrors of the product.

The product is mirrored about its lower contour, column by column, weighted by Fresnel's reflectance at the angle at
which the camera sees the ground (Schlick's approximation, Computer Graphics Forum 13(3), 1994), and blurred the more
the rougher the ground and the higher the mirrored point. What the ground mirrored there before - the scene above the
same contour - is taken out, so that a dark product darkens a shining ground.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import ndimage

from finetune.core.compositing.volume import TOUCHES
from finetune.core.pictures.images import Array, Floats, to_linear, to_srgb8
from finetune.core.pictures.masks import bounding_box

MATT = 0.55
"""Roughness above which nothing is mirrored that the eye could make out."""
MOST_HIDDEN = 0.5
"""Share of the ground's light that the product takes out of it at most: what the ground really mirrors is not known."""
MARGIN = 128
"""Pixels around the mirror image into which its blur reaches."""
LEVELS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Blurs between which is interpolated, pixels."""


@dataclass(frozen=True)
class Surface:
    """How a ground mirrors."""

    reflectance: float = 0.04
    """Of light that falls straight on it: 0.04 stone, lacquer, water or glass; 0.5 and more metal."""
    roughness: float = 1.0
    """0 a mirror, 1 matt."""


def reflected(
    scene: Array,
    product: Array,
    matte: Floats,
    surface: Surface,
    *,
    elevation: float,
    strength: float = 1.0,
    opacity: Floats | None = None,
) -> Array:
    """The scene with the product mirrored in its ground.

    Args:
        scene: (H, W, 3) uint8, without the product.
        product: (H, W, 3) uint8, the product's colours at its place.
        matte: (H, W) in 0..1.
        surface: Of the ground.
        elevation: Radians by which the camera looks down at the foot.
        strength: 0 none, 1 as computed, up to 2.
        opacity: (H, W) in 0..1, `matte` without what shows through glass; `matte` if None.

    Returns:
        (H, W, 3) uint8; where nothing is mirrored the bytes are copied.
    """
    box = bounding_box(np.asarray(matte >= 0.5))
    weight = strength * fresnel(surface.reflectance, elevation) * (1 - surface.roughness / MATT)
    if box is None or weight <= 0.002 or surface.roughness >= MATT:
        return scene
    contact = _contact(matte, box.bottom, box.height)
    rows = slice(max(0, int(contact.min()) - MARGIN), box.bottom + box.height + MARGIN)
    columns = slice(max(0, box.left - MARGIN), box.right + MARGIN)  # farther away nothing is mirrored
    at = np.arange(matte.shape[0])[rows, None]
    mirror = np.rint(2 * contact[None, columns] - 1 - at).astype(int)  # the row mirrored into each row
    below = (at >= contact[None, columns]) & (mirror >= 0)
    source = (np.clip(mirror, 0, matte.shape[0] - 1), np.arange(matte.shape[1])[None, columns])
    cover = np.where(below, (matte if opacity is None else opacity)[source], 0)[..., None]
    distance = np.where(below, at - contact[None, columns], 0)
    mirrored, there = (
        _blurred((cover * to_linear(layer[source])).astype(np.float32), distance, surface.roughness)
        for layer in (product, scene)
    )
    ground = to_linear(scene[rows, columns])
    hidden = weight * there
    most = (hidden / np.maximum(MOST_HIDDEN * ground, 1e-4)).max(axis=-1, keepdims=True)
    added = weight * mirrored - hidden / np.maximum(most, 1)  # one factor for all channels: the ground keeps its hue
    lit = to_srgb8(np.clip(ground + added, 0, 1).astype(np.float32))
    changed = scene.copy()
    changed[rows, columns] = np.where((np.abs(added) > 1e-4) & below[..., None], lit, scene[rows, columns])
    return changed


def fresnel(reflectance: float, elevation: float) -> float:
    """Share of light that is mirrored by a ground seen at `elevation` radians above it (Schlick)."""
    return reflectance + (1 - reflectance) * (1 - math.sin(elevation)) ** 5


def _contact(matte: Floats, bottom: int, height: int) -> Floats:
    """Row just below each column's contact with the ground, (W,); the foot's where a column hangs."""
    solid = matte >= 0.5
    lowest = matte.shape[0] - np.argmax(solid[::-1], axis=0)
    touches = solid.any(axis=0) & (bottom - lowest <= TOUCHES * height)
    rows = np.where(touches, lowest, bottom).astype(np.float32)
    return np.asarray(ndimage.median_filter(rows, size=5, mode="nearest"), dtype=np.float32)


def _blurred(change: Floats, distance: Floats, roughness: float) -> Floats:
    """`change` blurred by a width that grows with the distance from the contact."""
    wanted = np.clip(0.6 + 0.5 * roughness * distance, LEVELS[1] * 0.6, LEVELS[-1])
    out = np.zeros_like(change)
    previous = change
    for low, high in pairwise(LEVELS):
        following = ndimage.gaussian_filter(change, (high, high * 0.7, 0))
        share = np.clip((wanted - low) / (high - low), 0, 1)[..., None]
        here = ((wanted >= low) & (wanted <= high))[..., None]
        out = np.where(here, (1 - share) * previous + share * following, out)
        previous = following
        if wanted.max() <= high:
            break
    return out
