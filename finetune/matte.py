"""Cut a product out of a photo: matte and true edge colours. Called by the recipe `finetune.prepare`.

Sources in this order: a given mask, the photo's alpha channel, a plain ground. Edge pixels are mixtures
C = a F + (1 - a) B in linear light; with the ground B known, alpha and F are solved for. Never writes a file.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from finetune.core.errors import CutoutError, ImageError
from finetune.core.images import Array, Floats, to_linear, to_srgb8
from finetune.core.masks import Box, Mask, bounding_box, dilate
from finetune.ground import HINT, estimate_ground, separate

CORE_DEPTH = (1.5, 4.0)
"""Least and greatest depth (px) inside the rim from which on alpha is exactly 1; 2.2 times the edge's blur."""
REACH = 1.5
"""Pixels outside the rim up to which a mixture is looked for."""
CLEAR_CONTRAST = 0.08
"""Linear contrast between product and ground from which on a mixture can be solved; below it
the rim's shape decides."""
MARGIN = 12
"""Pixels of ground kept around the product while solving."""
FAINT = 0.04
"""Alpha below this is ground."""


@dataclass(frozen=True)
class Cutout:
    """A product with its matte."""

    rgba: Image.Image
    """RGBA at the photo's own resolution, cropped to `box`; straight alpha, edge colours unmixed."""
    source: str
    """Where the matte came from: `mask`, `alpha` or `plain ground`."""
    box: Box
    """Where the crop stands in the photo."""
    photo_size: tuple[int, int]
    """(width, height) of the photo."""

    @property
    def touches_border(self) -> bool:
        """Does the product reach the picture's border, so that it may be cut off?"""
        width, height = self.photo_size
        return self.box.left == 0 or self.box.top == 0 or self.box.right == width or self.box.bottom == height

    @property
    def parts(self) -> int:
        """Pieces of some size the silhouette falls into: more than one where glass or white parts went missing."""
        labels, count = ndimage.label(np.asarray(self.rgba.getchannel("A")) > 127)
        areas = np.bincount(labels.ravel())[1:]
        return int((areas > 0.002 * areas.sum()).sum()) if count else 0

    @property
    def share(self) -> float:
        """Share of the photo the product's silhouette covers, 0..1."""
        alpha = np.asarray(self.rgba.getchannel("A"))
        return float(alpha.sum() / 255.0 / (self.photo_size[0] * self.photo_size[1]))

    def full_alpha(self) -> Floats:
        """The matte over the whole photo, (H, W) in 0..1."""
        width, height = self.photo_size
        alpha = np.zeros((height, width), dtype=np.float32)
        alpha[self.box.top : self.box.bottom, self.box.left : self.box.right] = (
            np.asarray(self.rgba.getchannel("A").resize((self.box.width, self.box.height)), dtype=np.float32) / 255.0
        )
        return alpha


def cut_out(picture: Image.Image, mask: Image.Image | None = None) -> Cutout:
    """Cut the product out.

    Args:
        picture: RGB or RGBA, upright sRGB.
        mask: L, 255 = product, of the picture's size; wins over everything else.

    Raises:
        ImageError: the mask's size is not the picture's.
        CutoutError: the mask or the alpha channel is empty, or the ground is not plain.
    """
    if mask is not None:
        return _from_mask(picture, mask)
    if picture.mode == "RGBA" and _alpha_speaks(picture):
        whole = Box(0, 0, *picture.size)
        return _finish(
            np.asarray(picture.convert("RGB")), np.asarray(picture.getchannel("A")), "alpha", whole, picture.size
        )
    return _from_plain_ground(_over_white(picture))


def _from_mask(picture: Image.Image, mask: Image.Image) -> Cutout:
    if mask.size != picture.size:
        raise ImageError(
            f"the mask is {mask.width}x{mask.height} pixels, its photo {picture.width}x{picture.height}",
            "make the mask on the very photo, without scaling or cropping",
        )
    matte = np.asarray(mask.convert("L"))
    if matte.max() < 128:
        raise CutoutError("the mask is empty", "white is product, black is ground")
    if matte.min() > 127:
        raise CutoutError("the mask covers the whole picture", "white is product, black is ground")
    alpha = _softened(matte >= 128) if set(np.unique(matte)) <= {0, 255} else (matte / 255).astype(np.float32)
    alpha = np.where(alpha < FAINT, 0, alpha).astype(np.float32)
    box = bounding_box(alpha > 0)
    assert box is not None
    box = box.grown(MARGIN, picture.size)
    where = np.s_[box.top : box.bottom, box.left : box.right]
    pixels, alpha = np.asarray(_over_white(picture))[where], alpha[where]
    linear = to_linear(pixels)
    rim = dilate(alpha > 0, REACH)
    behind = _spread(linear, ~rim, rim) if not rim.all() else linear
    return _unmixed(pixels, linear, alpha, behind, "mask", box, picture.size)


def _softened(mask: Mask) -> Floats:
    """A matte from a hard silhouette: antialiased over the rim, core and outside as they were."""
    soft = ndimage.gaussian_filter(mask.astype(np.float32), 0.7)
    return np.where(dilate(mask, -1.5), 1, np.where(dilate(mask, 1), soft, 0)).astype(np.float32)


def _alpha_speaks(picture: Image.Image) -> bool:
    """Is the alpha channel a silhouette, rather than a stray corner or nothing?"""
    alpha = np.asarray(picture.getchannel("A"))
    if alpha.max() < 128:
        raise CutoutError("the photo is wholly transparent", "export it again with the product in it")
    return float((alpha < 128).mean()) > 0.01


def _over_white(picture: Image.Image) -> Image.Image:
    if picture.mode != "RGBA":
        return picture.convert("RGB")
    white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, picture).convert("RGB")


def _from_plain_ground(picture: Image.Image) -> Cutout:
    pixels = np.asarray(picture)
    linear = to_linear(pixels)
    parts = separate(linear, estimate_ground(linear))
    box = bounding_box(parts.product)
    assert box is not None  # `separate` raises when it finds nothing
    box = box.grown(MARGIN, picture.size)
    where = np.s_[box.top : box.bottom, box.left : box.right]
    pixels, linear, product = pixels[where], linear[where], parts.product[where]
    rim = dilate(product, REACH)
    behind = _spread(linear, ~rim, rim)
    depth = float(np.clip(2.2 * parts.blur, *CORE_DEPTH))
    alpha = _solve_alpha(linear, behind, product, depth)
    return _unmixed(pixels, linear, alpha, behind, "plain ground", box, picture.size)


def _solve_alpha(linear: Floats, ground: Floats, product: Mask, depth: float) -> Floats:
    """Alpha of every pixel: 1 in the core, 0 outside, solved from C = a F + (1 - a) B in the band between.

    F is the colour of the nearest core, or of the pixel farthest from the ground where a part is too thin to have
    one. Where F hardly differs from B the equation says nothing and the rim's shape, antialiased, stands in.
    """
    core = dilate(product, -depth)
    band = dilate(product, REACH) & ~core
    front = _foreground(linear, ground, product, core, depth)
    difference = front - ground
    contrast = np.sqrt((difference**2).sum(axis=-1))
    solved = ((linear - ground) * difference).sum(axis=-1) / np.maximum(contrast**2, 1e-6)
    shape = ndimage.gaussian_filter(dilate(product, -0.5).astype(np.float32), 0.7)
    trust = np.clip(contrast / CLEAR_CONTRAST - 0.5, 0, 1)
    mixed = trust * np.clip(solved, 0, 1) + (1 - trust) * shape
    mixed = np.where(mixed < FAINT, 0, np.where(mixed > 1 - FAINT, 1, mixed))
    return np.where(core, 1, np.where(band, mixed, 0)).astype(np.float32)


def _foreground(linear: Floats, ground: Floats, product: Mask, core: Mask, depth: float) -> Floats:
    """Pure product colour near the rim: the nearest core's, or the least mixed of the neighbourhood in thin parts."""
    band = dilate(product, REACH) & ~core
    thin = band & ~dilate(core, depth + REACH + 1)
    front = _spread(linear, core, band) if core.any() else linear.copy()
    if thin.any():
        difference = np.abs(linear - ground).max(axis=-1)
        front = np.where(thin[..., None], _least_mixed(linear, difference), front)
    return front


def _least_mixed(linear: Floats, difference: Floats, radius: int = 2) -> Floats:
    """For each pixel the colour of that neighbour within `radius` which differs most from the ground."""
    best, colour = difference.copy(), linear.copy()
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            moved = np.roll(difference, (dy, dx), axis=(0, 1))
            better = moved > best
            best = np.where(better, moved, best)
            colour = np.where(better[..., None], np.roll(linear, (dy, dx), axis=(0, 1)), colour)
    return colour


def _spread(linear: Floats, known: Mask, wanted: Mask) -> Floats:
    """Colours of `known` pixels carried into `wanted` ones: local Gaussian mean, nearest pixel where none is near."""
    if not known.any():
        return np.ones_like(linear)
    weight = ndimage.gaussian_filter(known.astype(np.float32), 1.5, truncate=3)
    result = linear.copy()
    _, (rows, columns) = ndimage.distance_transform_edt(~known, return_indices=True)
    nearest = linear[rows, columns]
    for channel in range(3):
        total = ndimage.gaussian_filter(np.where(known, linear[..., channel], 0), 1.5, truncate=3)
        mean = np.where(weight > 0.02, total / np.maximum(weight, 1e-6), nearest[..., channel])
        result[..., channel] = np.where(wanted & ~known, mean, linear[..., channel])
    return result


def _unmixed(
    pixels: Array, linear: Floats, alpha: Floats, ground: Floats, source: str, box: Box, size: tuple[int, int]
) -> Cutout:
    """Unmix the edge pixels, F = (C - (1 - a) B) / a, leaning on the core's colour where a is small."""
    core = alpha >= 1
    band = (alpha > 0) & ~core
    spread = _spread(linear, core, band) if core.any() else linear
    a = alpha[..., None]
    solved = np.clip((linear - (1 - a) * ground) / np.maximum(a, 0.05), 0, 1)
    trust = np.clip((a - 0.3) / 0.5, 0, 1)
    colour = to_srgb8(trust * solved + (1 - trust) * spread)
    colour = np.where(core[..., None], pixels, colour)
    return _finish(colour, (alpha * 255 + 0.5).astype(np.uint8), source, box, size)


def _finish(colour: Array, alpha: Array, source: str, box: Box, size: tuple[int, int]) -> Cutout:
    """Crop to the product; `box` is where `colour` and `alpha` stand in the photo of `size`."""
    tight = bounding_box(alpha > 0)
    if tight is None:
        raise CutoutError("no product was found", HINT)
    rgba = np.dstack([np.where(alpha[..., None] > 0, colour, 0), alpha]).astype(np.uint8)
    crop = rgba[tight.top : tight.bottom, tight.left : tight.right]
    moved = Box(box.left + tight.left, box.top + tight.top, box.left + tight.right, box.top + tight.bottom)
    return Cutout(Image.fromarray(crop), source, moved, size)
