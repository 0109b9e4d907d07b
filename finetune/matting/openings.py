"""Where the ground is seen: around the product, in the slits that lead into it, and through its openings.

The ground is entered from the picture's border by a disc that does not fit through the gaps which noise and JPEG leave
in a faint outline. What the disc cannot reach is a pocket, and a pocket is ground only if it looks like the ground.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from finetune.core.pictures.images import Floats
from finetune.core.pictures.masks import Mask
from finetune.matting.ground import connected_with, largest

DISC = 2.5
"""Radius (px) of the disc that enters from the border."""
SAME = 0.009
"""Largest mean difference from the ground, sRGB, of a pocket that is ground."""
EVEN = 0.009
"""Largest standard deviation of the difference inside such a pocket."""
LEAST_POCKET = 12
"""Pixels inside its rim from which a pocket can be judged by itself."""
SLIT = 3
"""Distance (px) within which a slit's two walls lie."""
SLIT_WALL = 0.35
"""Least deviation of these walls from the ground."""
SLIT_LIGHT = 0.06
"""Largest deviation of the ground seen in a slit."""


def ground_seen_through(unlike: Mask, difference: Floats, border: Mask, noise: float) -> Mask:
    """Find the pixels that show the ground.

    Args:
        unlike: (H, W), pixels that differ from the ground.
        difference: (H, W, 3), the picture less its ground, sRGB.
        border: (H, W), the ring from which the ground is entered.
        noise: of the ground, sRGB.

    Returns:
        (H, W).
    """
    free = ~unlike
    wide = connected_with(ndimage.distance_transform_edt(np.pad(free, 3, mode="edge"))[3:-3, 3:-3] > DISC, border)
    outside = free & (ndimage.distance_transform_edt(~wide) <= DISC + 1)
    outside = connected_with(outside, wide)
    outside |= _pockets(free & ~outside, difference, noise)
    return _into_slits(outside, largest(np.abs(difference)))


def _pockets(enclosed: Mask, difference: Floats, noise: float) -> Mask:
    """The pockets that look like the ground: as bright and as even as it, and not tiny."""
    labels, count = ndimage.label(enclosed)
    if not count:
        return enclosed
    inner = np.where(ndimage.binary_erosion(enclosed, iterations=2), labels, 0)
    size = np.bincount(inner.ravel(), minlength=count + 1)
    safe = np.maximum(size, 1)
    off, spread = np.zeros(count + 1), np.zeros(count + 1)
    for channel in range(3):
        values = difference[..., channel].ravel()
        mean = np.bincount(inner.ravel(), values, count + 1) / safe
        square = np.bincount(inner.ravel(), values**2, count + 1) / safe
        off = np.maximum(off, np.abs(mean))
        spread = np.maximum(spread, np.sqrt(np.maximum(square - mean**2, 0)))
    is_open = (off <= max(SAME, 2 * noise)) & (spread <= max(EVEN, 3 * noise)) & (size >= LEAST_POCKET)
    is_open[0] = False
    return np.asarray(is_open[labels])


def _into_slits(outside: Mask, deviation: Floats) -> Mask:
    """The outside, with the narrow slits that open into it: too narrow to contain an unmixed pixel of ground."""
    wall = deviation > SLIT_WALL
    candidates = np.zeros_like(outside)
    for axis in (0, 1):
        reach = [1, 1]
        reach[axis] = SLIT
        origin = [0, 0]
        sides = []
        for shift in (-1, 1):  # windows of SLIT pixels to one side, the pixel itself left out by its low deviation
            origin[axis] = shift * (SLIT // 2)
            sides.append(ndimage.maximum_filter(wall.astype(np.uint8), size=tuple(reach), origin=tuple(origin)) > 0)
        candidates |= sides[0] & sides[1]
    joined, _ = ndimage.label(outside | (candidates & (deviation < SLIT_LIGHT)), structure=np.ones((3, 3)))
    return np.asarray(np.isin(joined, np.unique(joined[outside])) & (joined > 0))
