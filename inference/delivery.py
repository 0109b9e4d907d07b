"""Scene to delivery size, product over it, and the proof that the product is still itself.

The scene comes out of the autoencoder at the base's size and is brought to the delivery size; the product's own
pixels go over it by true alpha, outward only: no painted pixel gets inside the core. Writes nothing.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from finetune.core.compositing.glass import composite_glass
from finetune.core.compositing.placement import Placed
from finetune.core.pictures.images import Array, Floats
from finetune.core.pictures.masks import Mask, dilate

STREAK = 0.2
"""Blur of what is carried up to the product's edge, over the distance it is carried: it would show streaks."""


@dataclass(frozen=True)
class CoreCheck:
    """What became of the product's core in a finished picture."""

    pixels: int
    max_difference: int
    """Largest difference of any channel, 0..255; anything but 0 is a defect."""
    sha256: str
    """Over the core's RGB bytes, row by row."""


def bring_to_size(scene: Image.Image, size: int) -> Image.Image:
    """Resample the square scene to `size` pixels (Lanczos)."""
    if scene.size == (size, size):
        return scene
    return scene.resize((size, size), Image.Resampling.LANCZOS)


def clear_fringe(scene: Array, matte: Floats, reach: float) -> Array:
    """Replace what was painted within `reach` pixels of the product by what was painted beyond.

    The base paints the product's edge too, softened by its autoencoder: upscaled, it would stand around the sharp
    cutout as a seam of the product's own colours. The nearest clean pixel is carried up to the edge
    instead, so that lines of the ground run on; farther than `reach` from the product no byte changes.

    Args:
        scene: (H, W, 3) uint8. matte: (H, W) in 0..1. reach: pixels of the scene; 0 changes nothing.
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
    """Film grain: the same normal noise on all three channels, `sigma` in 8-bit steps, weaker in black and white.

    Breaks up the banding of an upscaled scene and its contrast to the product's own grain.
    """
    if sigma <= 0:
        return scene
    noise = rng.standard_normal(scene.shape[:2]) * sigma
    tone = scene.mean(axis=2) / 255.0
    weight = 0.35 + 0.65 * 4.0 * tone * (1.0 - tone)
    return np.asarray(np.clip(scene + (noise * weight)[..., None] + 0.5, 0, 255), dtype=np.uint8)


def put_product_over(product: Array, matte: Floats, scene: Array, glass: Array | None = None) -> Array:
    """out = alpha * product + (1 - alpha) * scene in linear light; where alpha is 1 the product's bytes are copied.

    Glass, where there is some, shows the scene through itself (`finetune.core.compositing.glass`).

    Args:
        product: (H, W, 3) uint8. matte: (H, W) in 0..1. scene: (H, W, 3) uint8.
        glass: (H, W, 4) uint8, or None.
    """
    return composite_glass(product, matte, scene, glass)


def core_sha256(picture: Array, core: Mask) -> str:
    """SHA-256 of the RGB bytes of the core's pixels, row by row."""
    return hashlib.sha256(np.ascontiguousarray(picture[core]).tobytes()).hexdigest()


def check_core(picture: Array, product: Array, core: Mask) -> CoreCheck:
    """Compare a finished picture with the resampled packshot where its alpha is 255.

    Args:
        picture: (H, W, 3) uint8, read back from the file. product: the same shape. core: (H, W) bool.
    """
    difference = np.abs(picture[core].astype(np.int16) - product[core].astype(np.int16))
    return CoreCheck(
        pixels=int(core.sum()),
        max_difference=int(difference.max()) if difference.size else 0,
        sha256=core_sha256(picture, core),
    )


def core_difference(scene: Image.Image, placed: Placed, size: int) -> int:
    """Largest change of the product's core in a preserve picture of this scene, through blending and PNG.

    Uses the very functions `place` delivers with. 0 is the only value that passes anywhere.
    """
    under = np.asarray(bring_to_size(scene, size))
    picture = put_product_over(placed.rgb, placed.matte, under)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="PNG")
    with Image.open(file) as opened:
        delivered = np.asarray(opened.convert("RGB"))
    return check_core(delivered, placed.rgb, placed.core).max_difference
