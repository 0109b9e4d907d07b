"""Whether a mask fits its photo, and turning one that was drawn on the stored pixels of a photo with an EXIF rotation.

Cameras store what the sensor saw and note in EXIF how it is to be turned; some programs open the stored pixels, and
what is drawn there lies on its side. A mask fits where its outline runs along edges of the photo.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage.feature import canny

from finetune.core.errors import ImageError
from finetune.core.pictures.decoded import ORIENTATIONS, Remark
from finetune.core.pictures.images import Reading, over, read_mask
from finetune.core.pictures.masks import Mask, dilate

SIDE = 680
"""Longer side in pixels at which mask and photo are compared."""
NEAR = 3.0
"""Distance in pixels of that size within which an outline runs along an edge."""
BLUR, LOW, HIGH = 2.0, 0.006, 0.015
"""Of Canny's edge detector, for grey values in 0..1: an edge of a tenth of the range, and not a camera's noise."""
CERTAIN = 0.6
"""Least share of the outline near an edge of the photo with which a turned mask is certain."""
BETTER = 0.25
"""By how much that share has to exceed the unturned mask's, and what an outline drawn anywhere would have."""

TURNED = Remark(
    "the mask was turned as the photo's EXIF data says",
    "it was drawn on the pixels as the file stores them; turned, its outline runs along edges of the photo",
    "draw masks on the upright photo, or save the photo upright without EXIF rotation",
    serious=False,
)


def fitted_mask(path: Path, photo: Reading, max_pixels: int | None) -> tuple[Image.Image, tuple[Remark, ...]]:
    """Read a photo's mask, and turn it where it was certainly drawn on the photo's stored pixels.

    Args:
        path: of the mask.
        photo: as it was read, upright.
        max_pixels: with which it was read.

    Returns:
        The mask, L, and a remark if it was turned.

    Raises:
        ImageError: the mask cannot be read, or its size is not the photo's.
    """
    mask = read_mask(path, max_pixels=max_pixels)
    turn = ORIENTATIONS.get(photo.orientation) if mask.orientation == 1 else None
    fits_as_it_is = mask.original_size == photo.original_size
    if turn is None:
        if not fits_as_it_is:
            raise _wrong_size(mask, photo)
        return mask.picture, ()
    turned = mask.picture.transpose(turn)
    if turned.size != photo.picture.size:
        if not fits_as_it_is:
            raise _wrong_size(mask, photo)
        return mask.picture, ()
    edges = _edges(photo.picture)
    share = _fit(turned, edges)
    other = _fit(mask.picture, edges) if fits_as_it_is else 0.0
    if share >= CERTAIN and share >= max(other, float(edges.mean())) + BETTER:
        return turned, (TURNED,)
    if fits_as_it_is:
        return mask.picture, ()
    raise _turned_by_exif(mask, photo)


def _wrong_size(mask: Reading, photo: Reading) -> ImageError:
    (width, height), (wide, high) = mask.original_size, photo.original_size
    return ImageError(
        f"the mask is {width}x{height} pixels but its photo is {wide}x{high}",
        "make the mask from this photo, without scaling or cropping",
    )


def _turned_by_exif(mask: Reading, photo: Reading) -> ImageError:
    (width, height), (wide, high) = mask.original_size, photo.original_size
    return ImageError(
        f"the mask is {width}x{height} pixels but its photo is {wide}x{high}: EXIF data turns the photo and not the "
        "mask, and too little of the turned mask's outline lies at an edge of the photo",
        "draw the mask on the upright photo, or save the photo upright without EXIF rotation",
    )


def _edges(picture: Image.Image) -> Mask:
    """(H, W) at the size of comparison: the pixels near an edge of the photo."""
    grey = over(picture, "white").convert("L")
    grey.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    values = np.asarray(grey, dtype=np.float32) / 255
    return dilate(np.asarray(canny(values, sigma=BLUR, low_threshold=LOW, high_threshold=HIGH)), NEAR)


def _fit(mask: Image.Image, edges: Mask) -> float:
    """Share of a mask's outline that lies near an edge of the photo, 0..1; 0 for a mask without outline."""
    small = np.asarray(mask.resize((edges.shape[1], edges.shape[0]), Image.Resampling.BOX)) >= 128
    outline = small & ~ndimage.binary_erosion(small, border_value=1)
    return float(edges[outline].mean()) if outline.any() else 0.0
