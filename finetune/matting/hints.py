"""Hints: what the user knows of a photo's pixels where the plain ground does not tell: product, ground, or open."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from finetune.core.errors import ImageError
from finetune.core.pictures.images import Array, Reading, read_mask
from finetune.core.pictures.masks import Box, Mask

GROUND, OPEN, PRODUCT = 0, 128, 255
"""The values of a hint."""


@dataclass(frozen=True)
class Hint:
    """Known pixels of a picture, or of a part of it."""

    product: Mask
    """(H, W)."""
    ground: Mask
    """(H, W)."""

    def reduced(self, factor: int) -> Hint:
        """For a picture reduced by a whole factor as `Image.reduce` does it: product where any pixel is, and ground
        where every one is."""
        if factor == 1:
            return self
        height, width = self.product.shape
        rows, columns = -height % factor, -width % factor

        def blocks(mask: Mask) -> Mask:
            padded = np.pad(mask, ((0, rows), (0, columns)), mode="edge")
            return padded.reshape(padded.shape[0] // factor, factor, padded.shape[1] // factor, factor)

        product, ground = blocks(self.product).any(axis=(1, 3)), blocks(self.ground).all(axis=(1, 3))
        return Hint(np.asarray(product), np.asarray(ground))

    def cropped(self, box: Box) -> Hint:
        """For a part of the picture."""
        where = np.s_[box.top : box.bottom, box.left : box.right]
        return Hint(self.product[where], self.ground[where])

    def applied(self, product: Mask) -> Mask:
        """A product mask, (H, W), with the known product in it and the known ground out of it."""
        return (product & ~self.ground) | self.product

    def forced(self, alpha: Array) -> Array:
        """An alpha channel, (H, W) uint8, that is 255 on the known product and 0 on the known ground."""
        return np.where(self.product, 255, np.where(self.ground, 0, alpha)).astype(np.uint8)


def read_hint(path: Path, photo: Reading) -> Hint:
    """Read a photo's hint.

    Args:
        path: of the hint.
        photo: as it was read, upright.

    Raises:
        ImageError: the hint cannot be read, has another size than the photo, or other values than 0, 128 and 255.
    """
    found = read_mask(path)
    if found.original_size != photo.original_size:
        (width, height), (wide, high) = found.original_size, photo.original_size
        turned = "; EXIF data turns the photo" if photo.orientation > 4 and (width, height) == (high, wide) else ""
        raise ImageError(
            f"the hint is {width}x{height} pixels but its photo is {wide}x{high}{turned}",
            "draw the hint on the upright photo, without scaling or cropping",
        )
    strange = sorted(set(np.unique(np.asarray(found.picture)).tolist()) - {GROUND, OPEN, PRODUCT})
    if strange:
        raise ImageError(
            f"the hint has pixels of the value {strange[0]}",
            "use 0 (not product), 255 (product) and 128 (to be decided) only: a hard brush, saved as PNG",
        )
    values = np.asarray(found.picture.resize(photo.picture.size, Image.Resampling.NEAREST))
    return Hint(np.asarray(values == PRODUCT), np.asarray(values == GROUND))
