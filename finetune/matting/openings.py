"""Where the ground is seen: around the product, in the slits that lead into it, and through its openings.

The ground is entered from the picture's border by a disc that does not fit through the gaps which noise and JPEG leave
in a faint outline. What the disc cannot reach is a pocket, and a pocket is ground only if it looks like the ground.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finetune.core.pictures.images import Floats
from finetune.core.pictures.masks import Mask
from finetune.matting.ground import connected_with, deviation_of

DISC = 2.5
"""Radius (px) of the disc that enters from the border."""
VESSEL_DISC = 6.0
"""The same for products that may be clear: their outline is a broken line of refraction."""
WALL_SHARE, NEAREST_PART = 0.08, 10
"""Thickness of a solid wall as a share of the product's size (square root of its area), and the percentile of a
pocket's rim, nearest the outside first, at which it is measured."""
MOUTH = 0.5
"""Width of a corner's mouth, as a share of the square root of its area."""
SAME = 0.009
"""Largest mean difference from the ground, sRGB, of a pocket that is ground."""
EVEN = 0.012
"""Largest standard deviation of the difference inside such a pocket."""
STEP, FURTHER = 3, 6
"""Distances (px) from a pocket at which the product has begun, and over which it is compared with."""
RINGING, RINGING_REACH = 0.12, 4
"""Share of the contrast, and distance (px), up to which the traces of an edge reach into a pocket."""
ABRUPT = 0.4
"""Share of the contrast further on that has been reached by then."""
ABRUPT_SHARE = 0.88
"""Share of a pocket's surroundings that must have reached it."""
LEAST_POCKET = 12
"""Pixels inside its rim from which a pocket can be judged by itself."""
SLIT = 3
"""Distance (px) within which a slit's two walls lie."""
SLIT_WALL = 0.35
"""Least deviation of these walls from the ground."""
SLIT_LIGHT = 0.06
"""Largest deviation of the ground seen in a slit."""


def ground_seen_through(
    unlike: Mask, difference: Floats, border: Mask, noise: float, vessel: bool
) -> tuple[Mask, Mask]:
    """Find the pixels that show the ground, and the pockets that look like it at a glance but do not show it.

    Args:
        unlike: (H, W), pixels that differ from the ground.
        difference: (H, W, 3), the picture less its ground, sRGB.
        border: (H, W), the ring from which the ground is entered.
        noise: of the ground, sRGB.
        vessel: the product may be clear, so that the ground is seen through its body as well.

    Returns:
        The ground, and those pockets of the product: both (H, W).
    """
    free = ~unlike
    disc = VESSEL_DISC if vessel else DISC
    room = ndimage.distance_transform_edt(np.pad(free, 9, mode="edge"))[9:-9, 9:-9]
    wide = connected_with(room > disc, border)
    outside = free & (ndimage.distance_transform_edt(~wide) <= disc + 1)
    outside = connected_with(outside, wide)
    outside |= _corners(free & ~outside, outside)
    pockets = free & ~outside
    possible = _behind_thick_walls(pockets, outside, unlike) if vessel else pockets
    opened, large = _judged(possible, difference, noise, unlike)
    kept = (large & ~opened) | (_judged(pockets & ~possible, difference, noise, unlike)[1] if vessel else False)
    outside |= opened
    outside = _into_slits(outside, deviation_of(difference))
    return outside, kept & ~outside


def _corners(pockets: Mask, outside: Mask) -> Mask:
    """The pockets whose mouth is wide for their size: corners of the outline that the disc does not reach into."""
    labels, count = ndimage.label(pockets)
    mouth = np.bincount(labels[pockets & ndimage.binary_dilation(outside)], minlength=count + 1)
    corner = mouth > MOUTH * np.sqrt(np.bincount(labels.ravel(), minlength=count + 1))
    corner[0] = False
    return np.asarray(corner[labels])


def _behind_thick_walls(pockets: Mask, outside: Mask, unlike: Mask) -> Mask:
    """The pockets that something solid parts from the outside: a handle does, the dark line of clear glass does not."""
    labels, count = ndimage.label(pockets)
    if not count:
        return pockets
    away = ndimage.distance_transform_edt(~outside)
    rim = pockets & ~ndimage.binary_erosion(pockets)
    least = WALL_SHARE * float(np.sqrt((unlike | pockets).sum()))
    thick = np.zeros(count + 1, dtype=bool)
    for number, where in enumerate(ndimage.find_objects(labels), 1):
        here = rim[where] & (labels[where] == number)
        thick[number] = bool(here.any()) and float(np.percentile(away[where][here], NEAREST_PART)) > least
    return np.asarray(thick[labels])


def _judged(enclosed: Mask, difference: Floats, noise: float, unlike: Mask) -> tuple[Mask, Mask]:
    """The pockets that look like the ground, as bright and as even as it, and those large enough to be judged."""
    labels, count = ndimage.label(enclosed)
    if not count:
        return enclosed, enclosed
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
    is_open &= _steep(labels, count, deviation_of(difference), unlike)
    is_open[0] = False
    large = size >= LEAST_POCKET
    large[0] = False
    return np.asarray(is_open[labels]), np.asarray(large[labels])


def _steep(labels: NDArray[np.int32], count: int, deviation: Floats, unlike: Mask) -> NDArray[np.bool_]:
    """Per pocket, whether the product begins abruptly around it; a highlight on metal fades into its surroundings."""
    contrast = ndimage.maximum_filter(deviation, size=2 * FURTHER + 1)
    ringing = (deviation < RINGING * contrast) & (labels == 0)
    for _ in range(RINGING_REACH):  # traces of the edge belong to the pocket's side of it
        labels = np.where(ringing, ndimage.maximum_filter(labels, size=3), labels)
    beyond = ndimage.maximum_filter(labels, size=2 * STEP + 1)
    ring = (beyond > 0) & (ndimage.maximum_filter(labels, size=2 * STEP - 1) == 0)
    abrupt = deviation > ABRUPT * contrast
    ring &= unlike  # not where the pocket opens into the ground outside
    total = np.bincount(beyond[ring], minlength=count + 1)
    sharp = np.bincount(beyond[ring & abrupt], minlength=count + 1)
    return np.asarray(sharp >= ABRUPT_SHARE * np.maximum(total, 1))


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
