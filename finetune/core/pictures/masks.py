"""Masks: boxes, dilation, and the one function that makes latent masks, for training and placing alike.

A mask is (H, W) bool. In an *inpainting mask* True is what the model paints; in a *product mask* True is the product.
A matte is (H, W) float32 in 0..1.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]


class Box(NamedTuple):
    """A rectangle in pixels: left and top are inside it, right and bottom outside."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """Width in pixels."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Height in pixels."""
        return self.bottom - self.top

    def grown(self, pixels: int, size: tuple[int, int]) -> Box:
        """The box grown by `pixels` on every side, clipped to a picture of `size` (width, height)."""
        return Box(
            max(0, self.left - pixels),
            max(0, self.top - pixels),
            min(size[0], self.right + pixels),
            min(size[1], self.bottom + pixels),
        )


def bounding_box(mask: Mask) -> Box | None:
    """The smallest box that holds every True pixel of a (H, W) mask; None if there is none."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return Box(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def box_mask(box: Box, size: tuple[int, int]) -> Mask:
    """A (H, W) mask of `size` (width, height) that is True inside the box."""
    mask = np.zeros((size[1], size[0]), dtype=bool)
    mask[box.top : box.bottom, box.left : box.right] = True
    return mask


def dilate(mask: Mask, pixels: float) -> Mask:
    """Grow a mask by `pixels` (Euclidean); a negative number shrinks it."""
    if pixels == 0 or not mask.any():
        return mask.copy()
    if pixels > 0:
        return np.asarray(ndimage.distance_transform_edt(~mask) <= pixels)
    return np.asarray(ndimage.distance_transform_edt(mask) > -pixels)


def ring(mask: Mask, pixels: float) -> Mask:
    """The band of `pixels` just outside a mask."""
    return dilate(mask, pixels) & ~mask


def latent_mask(mask: Mask, *, factor: int = 8, grow: int = 0) -> Mask:
    """Inpainting mask on the latent grid: a latent is painted when ANY of its pixels is (max-pool), then `grow` cells.

    Nearest-neighbour sampling, which diffusers uses, looks at one pixel of each `factor` x `factor` block and so
    keeps latents that hold ground to be painted; max-pooling keeps none.

    Args:
        mask: (H, W) with H and W multiples of `factor`.
        factor: pixels a latent covers along each axis (8 for SDXL's autoencoder).
        grow: latent cells to grow by, into what is kept (8-connected).

    Returns:
        (H / factor, W / factor) bool.
    """
    height, width = mask.shape
    if height % factor or width % factor:
        raise ValueError(f"mask of {width}x{height} is no multiple of {factor}")
    pooled = mask.reshape(height // factor, factor, width // factor, factor).any(axis=(1, 3))
    if grow:
        pooled = ndimage.binary_dilation(pooled, structure=np.ones((3, 3)), iterations=grow)
    return np.asarray(pooled)


def to_pixels(latent: Mask, *, factor: int = 8) -> Mask:
    """The pixels a latent mask covers: each cell repeated `factor` times. Any sampling of it gives the cells back."""
    return latent.repeat(factor, axis=0).repeat(factor, axis=1)


def coverage(mask: Mask) -> float:
    """Share of the picture the mask covers, 0..1."""
    return float(mask.mean())
