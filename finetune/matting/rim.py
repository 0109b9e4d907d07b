"""The rim of a product: which of its outermost pixels are ground after all.

Lens, sharpening and JPEG leave traces of an edge in the ground beside it: ringing within a block of 8 pixels, colour
that bleeds by the 2 to 4 pixels of a subsampled cell, an overshoot brighter than the ground. They differ from the
ground, but little against the edge that caused them. A pixel of the rim is therefore judged against the product a few
pixels further in: its share of that contrast, in the values the file stores (sRGB), where such traces are of one size.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from finetune.core.pictures.images import Array, Floats, to_srgb
from finetune.core.pictures.masks import Mask
from finetune.matting.ground import YCC
from finetune.matting.unmixing import GroundAt, Rows, grown, offsets

DEPTH, AHEAD = 4, 3
"""Pixels up to which traces of an edge reach into the ground, and distance within which the product whose edge it is
lies ahead; twice the factor by which the outline was found on a reduced picture is added to both."""
CRUMB = 0.001
"""Share of the largest part's area under which another part is a crumb."""
TRACE = 0.12
"""Share of the edge's contrast below which a pixel is a trace."""


def without_traces(pixels: Array, ground_at: GroundAt, product: Mask, factor: int) -> Mask:
    """The product without the traces of its edge in the ground.

    Args:
        pixels: (H, W, 3) uint8.
        ground_at: the ground's colour at given rows and columns.
        product: (H, W), its outline true to `factor` pixels.
        factor: by which the picture was reduced when the outline was found.

    Returns:
        (H, W).
    """
    depth = DEPTH + 2 * factor
    band = product & (ndimage.distance_transform_edt(product) <= depth)
    rows, columns = np.nonzero(band)
    if not len(rows):
        return product
    trace = band.copy()
    trace[rows, columns] = shares(pixels, ground_at, product, rows, columns, AHEAD + 2 * factor) < TRACE
    reached = ~product
    for _ in range(depth):
        reached = grown(reached, 1) & (trace | ~product)
    return _without_crumbs(product & ~reached)


def _without_crumbs(product: Mask) -> Mask:
    """The product without the crumbs that peeling leaves beside it."""
    labels, count = ndimage.label(product, structure=np.ones((3, 3)))
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    return np.asarray((areas >= CRUMB * areas.max())[labels]) if count else product


def shares(pixels: Array, ground_at: GroundAt, product: Mask, rows: Rows, columns: Rows, ahead: int) -> Floats:
    """Each pixel's share of the strongest contrast with the ground within `ahead` pixels in the product, (N,)."""
    behind = to_srgb(ground_at(rows, columns))
    own = (pixels[rows, columns] / np.float32(255) - behind) @ YCC.T
    height, width = product.shape
    best, front = np.zeros(len(rows), dtype=np.float32), np.zeros_like(own)
    for dy, dx, _ in offsets(ahead):
        row, column = np.clip(rows + dy, 0, height - 1), np.clip(columns + dx, 0, width - 1)
        there = (pixels[row, column] / np.float32(255) - behind) @ YCC.T
        size = np.einsum("ij,ij->i", there, there) * product[row, column]
        better = size > best
        best = np.where(better, size, best)
        front = np.where(better[:, None], there, front)
    own_size = np.einsum("ij,ij->i", own, own)
    better = own_size > best
    best, front = np.where(better, own_size, best), np.where(better[:, None], own, front)
    return np.asarray(np.einsum("ij,ij->i", own, front) / np.maximum(best, 1e-6))
