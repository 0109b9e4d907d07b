"""Cutting a product out of a photo: its matte and true edge colours.

Sources in this order: a given mask, the photo's alpha channel, a plain ground. Edge pixels are mixtures
C = a F + (1 - a) B in linear light; with the ground B known, alpha and F are solved for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image
from scipy import ndimage

from finetune.core.errors import CutoutError, ImageError
from finetune.core.pictures.images import Array, Floats, over, to_float, to_linear
from finetune.core.pictures.masks import Box, Mask, bounding_box, dilate
from finetune.matting.ground import HINT, estimate_ground
from finetune.matting.hints import Hint
from finetune.matting.outline import enlarged, outline_blur, refine_outline
from finetune.matting.rim import without_traces
from finetune.matting.separation import separate
from finetune.matting.smoothing import smoothed
from finetune.matting.unmixing import FAINT, REACH, solve_alpha, unmix_colours

WORKING_SIDE = 680
"""Side in pixels at which a picture is analysed, about: it is reduced by the whole factor that comes nearest."""
MARGIN = 12
"""Pixels of ground kept around the product while solving."""


@dataclass(frozen=True)
class Cutout:
    """A product with its matte."""

    rgba: Image.Image
    """RGBA at the photo's own resolution, cropped to `box`; straight alpha, edge colours unmixed."""
    source: str
    """Where the matte came from: `mask`, `alpha`, `plain ground` or `learned model <name>`."""
    box: Box
    """Position of the crop in the photo."""
    photo_size: tuple[int, int]
    """(width, height) of the photo."""
    glass: Image.Image | None = None
    """RGBA of `rgba`'s size if parts are transparent (see `finetune.core.compositing.glass`); None if it is opaque."""
    shadow: Image.Image | None = None
    """L over the whole photo, may be reduced: the soft shadow on its ground as linear light times 255, 255 where there
    is none; None unless the ground is plain."""

    @property
    def touches_border(self) -> bool:
        """Whether the product reaches the picture's border, so that it may be cut off."""
        width, height = self.photo_size
        return self.box.left == 0 or self.box.top == 0 or self.box.right == width or self.box.bottom == height

    @property
    def parts(self) -> int:
        """Number of separate pieces of the silhouette, without specks; more than one if parts are missing."""
        labels, count = ndimage.label(np.asarray(self.rgba.getchannel("A")) > 127)
        areas = np.bincount(labels.ravel())[1:]
        return int((areas > 0.002 * areas.sum()).sum()) if count else 0

    @property
    def share(self) -> float:
        """Share of the photo that the product covers, 0..1."""
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


def reduction(size: tuple[int, int]) -> int:
    """Factor by which a picture of `size` (width, height) is reduced for analysis."""
    return max(1, round(max(size) / WORKING_SIDE))


def cut_out(
    picture: Image.Image, mask: Image.Image | None = None, *, vessel: bool = False, hint: Hint | None = None
) -> Cutout:
    """Cut the product out.

    Args:
        picture: RGB or RGBA, upright sRGB.
        mask: L, 255 = product, of the picture's size; takes precedence over all else.
        vessel: the product may be clear: what is seen through its body is not taken for an opening.
        hint: what is known of the pixels, for a plain ground.

    Raises:
        ImageError: the mask's size is not the picture's.
        CutoutError: the mask or the alpha channel is empty, or the ground is not plain.
    """
    if mask is not None:
        return _from_mask(picture, mask)
    if picture.mode == "RGBA" and _has_silhouette(picture):
        whole = Box(0, 0, *picture.size)
        return _finish(
            np.asarray(picture.convert("RGB")), np.asarray(picture.getchannel("A")), "alpha", whole, picture.size
        )
    return _from_plain_ground(over(picture, "white"), vessel, hint)


def _from_mask(picture: Image.Image, mask: Image.Image) -> Cutout:
    if mask.size != picture.size:
        raise ImageError(
            f"the mask is {mask.width}x{mask.height} pixels but its photo is {picture.width}x{picture.height}",
            "make the mask from this photo, without scaling or cropping",
        )
    matte = np.asarray(mask.convert("L"))
    if matte.max() < 128:
        raise CutoutError("the mask is empty", "paint the product white and the ground black")
    if matte.min() > 127:
        raise CutoutError("the mask covers the whole picture", "paint the product white and the ground black")
    alpha = _softened(matte >= 128) if set(np.unique(matte)) <= {0, 255} else (matte / 255).astype(np.float32)
    alpha = np.where(alpha < FAINT, 0, alpha).astype(np.float32)
    box = bounding_box(alpha > 0)
    assert box is not None
    box = box.grown(MARGIN, picture.size)
    where = np.s_[box.top : box.bottom, box.left : box.right]
    pixels, matte = np.asarray(over(picture, "white"))[where], (alpha[where] * 255 + 0.5).astype(np.uint8)
    behind = _spread(to_linear(pixels), ~dilate(matte > 0, REACH))
    unmixed = unmix_colours(pixels, matte, enlarged(behind, 1))
    return _finish(unmixed, matte, "mask", box, picture.size)


def _softened(mask: Mask) -> Floats:
    """A matte from a hard silhouette: antialiased along the outline, unchanged inside and outside."""
    soft = ndimage.gaussian_filter(mask.astype(np.float32), 0.7)
    return np.where(dilate(mask, -1.5), 1, np.where(dilate(mask, 1), soft, 0)).astype(np.float32)


def _has_silhouette(picture: Image.Image) -> bool:
    """Whether the alpha channel is a silhouette, rather than a stray corner or opaque throughout."""
    alpha = np.asarray(picture.getchannel("A"))
    if alpha.max() < 128:
        raise CutoutError("the photo is fully transparent", "export it again with the product in it")
    return float((alpha < 128).mean()) > 0.01


def _from_plain_ground(picture: Image.Image, vessel: bool, hint: Hint | None) -> Cutout:
    """Separate product, shadow and ground on a reduced picture; solve outline and edge colours at full size."""
    factor = reduction(picture.size)
    encoded = to_float(np.asarray(picture.reduce(factor) if factor > 1 else picture))
    calm = smoothed(encoded, estimate_ground(encoded).noise)
    parts = separate(calm, estimate_ground(calm), vessel=vessel)
    if hint is not None:
        small_hint = hint.reduced(factor)
        known = small_hint.applied(parts.product)
        if not known.any():
            raise CutoutError("the hint leaves no product", "mark less of the photo as ground (0)")
        parts = replace(parts, product=known, shadow=np.where(known, np.float32(1), parts.shadow))
    small = to_linear(encoded)
    inner = bounding_box(parts.product)
    assert inner is not None  # `separate` raises when it finds nothing
    inner = inner.grown(MARGIN, (small.shape[1], small.shape[0]))
    where = np.s_[inner.top : inner.bottom, inner.left : inner.right]
    product = parts.product[where]
    behind = _spread(small[where], ~dilate(product, REACH) | parts.contact[where])
    box = Box(*(edge * factor for edge in inner))
    box = box._replace(right=min(box.right, picture.width), bottom=min(box.bottom, picture.height))
    pixels = np.asarray(picture.crop(box))
    ground_at = enlarged(behind, factor)
    if factor > 1:
        product = refine_outline(pixels, ground_at, small[where], product, factor)
    product = without_traces(pixels, ground_at, product, factor)
    if hint is not None:
        product = hint.cropped(box).applied(product)
    alpha = solve_alpha(pixels, ground_at, product, outline_blur(pixels, ground_at, product))
    if hint is not None:
        alpha = hint.cropped(box).forced(alpha)
    unmixed = unmix_colours(pixels, alpha, ground_at)
    shadow = Image.fromarray((parts.shadow * 255 + 0.5).astype(np.uint8))
    return replace(_finish(unmixed, alpha, "plain ground", box, picture.size), shadow=shadow)


def _spread(linear: Floats, known: Mask) -> Floats:
    """Fill in the colours of all pixels from the `known` ones: a local Gaussian mean, far away the nearest pixel's.

    Args:
        linear: (H, W, 3) linear light.
        known: (H, W).
    """
    if not known.any():
        return np.ones_like(linear)
    weight = ndimage.gaussian_filter(known.astype(np.float32), 1.5, truncate=3)
    rows, columns = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    nearest = linear[rows, columns]
    total = ndimage.gaussian_filter(np.where(known[..., None], linear, 0), (1.5, 1.5, 0), truncate=3)
    mean = total / np.maximum(weight, 1e-6)[..., None]
    return np.where(known[..., None], linear, np.where((weight > 0.02)[..., None], mean, nearest))


def _finish(pixels: Array, alpha: Array, source: str, box: Box, size: tuple[int, int]) -> Cutout:
    """Crop to the product.

    Args:
        pixels: (H, W, 3) uint8.
        alpha: (H, W) uint8.
        source: where the matte came from.
        box: position of `pixels` and `alpha` in the photo.
        size: (width, height) of the photo.
    """
    tight = bounding_box(alpha > 0)
    if tight is None:
        raise CutoutError("no product was found in the photo", HINT)
    crop = np.s_[tight.top : tight.bottom, tight.left : tight.right]
    rgba = np.dstack([pixels[crop], alpha[crop]])
    rgba[rgba[..., 3] == 0] = 0
    moved = Box(box.left + tight.left, box.top + tight.top, box.left + tight.right, box.top + tight.bottom)
    return Cutout(Image.fromarray(rgba), source, moved, size)
