"""Cut a product out of a photo: matte and true edge colours. Called by the recipe `finetune.prepare`.

Sources in this order: a given mask, the photo's alpha channel, a plain ground. Edge pixels are mixtures
C = a F + (1 - a) B in linear light; with the ground B known, alpha and F are solved for. Never writes a file.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image
from scipy import ndimage

from finetune.core.errors import CutoutError, ImageError
from finetune.core.pictures.images import Array, Floats, to_linear
from finetune.core.pictures.masks import Box, Mask, bounding_box, dilate
from finetune.matting.ground import HINT, estimate_ground, separate
from finetune.matting.outline import enlarged, refine_outline
from finetune.matting.unmixing import FAINT, REACH, solve_alpha, unmix_colours

WORKING_SIDE = 680
"""Pictures are looked at in whole multiples of this: one twice as large is halved first."""
MARGIN = 12
"""Pixels of ground kept around the product while solving."""


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
    glass: Image.Image | None = None
    """RGBA at `rgba`'s size where parts are transparent (`finetune.core.compositing.glass`); None for an opaque product."""
    shadow: Image.Image | None = None
    """L over the whole photo, perhaps reduced: the soft shadow on its ground, 255 where the light is undimmed, as
    linear light times 255; None where the source of the matte knows of none."""

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
    pixels, matte = np.asarray(_over_white(picture))[where].copy(), (alpha[where] * 255 + 0.5).astype(np.uint8)
    behind = _spread(to_linear(pixels), ~dilate(matte > 0, REACH))
    unmix_colours(pixels, matte, enlarged(behind, 1))
    return _finish(pixels, matte, "mask", box, picture.size)


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
    """What is where is decided on a picture of moderate size; outline and edge colours are solved at full size."""
    factor = max(1, max(picture.size) // WORKING_SIDE)
    small = to_linear(np.asarray(picture.reduce(factor) if factor > 1 else picture))
    parts = separate(small, estimate_ground(small))
    inner = bounding_box(parts.product)
    assert inner is not None  # `separate` raises when it finds nothing
    inner = inner.grown(MARGIN, (small.shape[1], small.shape[0]))
    where = np.s_[inner.top : inner.bottom, inner.left : inner.right]
    product, blur = parts.product[where], parts.blur
    behind = _spread(small[where], ~dilate(product, REACH) | parts.contact[where])
    box = Box(*(edge * factor for edge in inner))
    box = box._replace(right=min(box.right, picture.width), bottom=min(box.bottom, picture.height))
    pixels = np.array(picture.crop(box))
    ground_at = enlarged(behind, factor)
    if factor > 1:
        product, blur = refine_outline(pixels, ground_at, small[where], product, factor)
    alpha = solve_alpha(pixels, ground_at, product, blur)
    unmix_colours(pixels, alpha, ground_at)
    shadow = Image.fromarray((parts.shadow * 255 + 0.5).astype(np.uint8))
    return replace(_finish(pixels, alpha, "plain ground", box, picture.size), shadow=shadow)


def _spread(linear: Floats, known: Mask) -> Floats:
    """Colours of `known` pixels carried everywhere: local Gaussian mean, nearest pixel where none is near."""
    if not known.any():
        return np.ones_like(linear)
    weight = ndimage.gaussian_filter(known.astype(np.float32), 1.5, truncate=3)
    rows, columns = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    nearest = linear[rows, columns]
    total = ndimage.gaussian_filter(np.where(known[..., None], linear, 0), (1.5, 1.5, 0), truncate=3)
    mean = total / np.maximum(weight, 1e-6)[..., None]
    return np.where(known[..., None], linear, np.where((weight > 0.02)[..., None], mean, nearest))


def _finish(pixels: Array, alpha: Array, source: str, box: Box, size: tuple[int, int]) -> Cutout:
    """Crop to the product; `box` is where `pixels` and `alpha` stand in the photo of `size`."""
    tight = bounding_box(alpha > 0)
    if tight is None:
        raise CutoutError("no product was found", HINT)
    crop = np.s_[tight.top : tight.bottom, tight.left : tight.right]
    rgba = np.dstack([pixels[crop], alpha[crop]])
    rgba[rgba[..., 3] == 0] = 0
    moved = Box(box.left + tight.left, box.top + tight.top, box.left + tight.right, box.top + tight.bottom)
    return Cutout(Image.fromarray(rgba), source, moved, size)
