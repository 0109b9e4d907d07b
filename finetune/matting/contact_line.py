"""The thin dark line where a product meets its ground: a shadow, though as sharp as an outline.

A soft shadow differs from the product by its lack of edges (`finetune.matting.soft_shadow`). The contact shadow under a
foot is a few pixels wide and ends at the product, so it has an edge on both sides. Its outer flank gives it away: going
up from the ground it darkens, all channels alike, over more pixels than an outline of this picture's sharpness takes.
Packshots are upright, so only the lower contour is examined. T is transmittance: linear light over the ground's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finetune.core.pictures.images import Floats
from finetune.core.pictures.masks import Mask, bounding_box

FOOT = 0.3
"""Share of the product's height above its foot within which a column's lowest pixel may touch the ground."""
REACH_SHARE, LEAST_REACH = 0.02, 12
"""Pixels examined above the lower contour: share of the product's height, and the least number."""
NEUTRAL = (0.015, 0.06)
"""Lower and upper limit of the spread of the channels' T up to which a pixel may be shadow."""
SLACK = 3.0
"""Between these limits: this many times the spread just outside the product."""
DARKEST = 0.12
"""Darkest T into which a contact shadow is followed."""
FLANK, FLANK_OF_BLUR = 0.75, 0.5
"""Width (px) of the outer flank from which it is no outline: a constant, plus this much per pixel of blur."""
COLOURED = 1.5
"""Multiple of a shadow's largest spread from which a pixel clearly belongs to the product."""
PLATEAU = 0.65
"""Mean darkness of the flank over that of its end from which it is not a flank but an even part behind a step."""
VALLEY_SHARE, LEAST_VALLEY = 0.006, 3
"""Height of the flank's dark end above its steepest step: share of the product's height at most, and least pixels."""
AGREEING_SHARE, LEAST_AGREEING = 0.01, 4
"""Neighbouring columns to each side that have to agree: share of the product's width, and the least number."""
STEEPEST = 1.5
"""Slope (rows per column) of the lower contour up to which a column crosses it steeply enough."""


def without_contact_shadow(product: Mask, transmittance: Floats, blur: float) -> Mask:
    """The product without the contact shadow at its foot.

    Args:
        product: (H, W), without its soft shadow.
        transmittance: (H, W, 3) linear light over the ground's.
        blur: of the picture's outlines, standard deviation in pixels.

    Returns:
        (H, W).
    """
    box = bounding_box(product)
    if box is None:
        return product
    height, columns = product.shape[0], np.arange(box.left, box.right)
    bottom = height - 1 - np.argmax(product[::-1, box.left : box.right], axis=0)
    standing = product[:, box.left : box.right].any(axis=0) & (box.bottom - bottom <= FOOT * box.height)
    reach = max(LEAST_REACH, round(REACH_SHARE * box.height))
    rows = np.clip(bottom[None, :] + 2 - np.arange(reach + 2)[:, None], 0, height - 1)  # from the ground upwards
    profile = transmittance[rows, columns[None, :]]
    tolerance = _neutral_within(profile, standing)
    depth, flank = _flanks(profile, tolerance, max(LEAST_VALLEY, round(VALLEY_SHARE * box.height)))
    slope = np.abs(np.gradient(ndimage.median_filter(bottom.astype(np.float64), 5))) if len(columns) > 1 else 0.0
    fit = standing & (slope <= STEEPEST)
    neighbours = max(LEAST_AGREEING, round(AGREEING_SHARE * box.width))
    peeled = _agreed(depth, flank / np.sqrt(1 + np.square(slope)), fit, FLANK + FLANK_OF_BLUR * blur, neighbours)
    return _peeled(product, bottom, columns, peeled - 2)


def _neutral_within(profile: Floats, standing: Mask) -> float:
    """Spread of the channels' T up to which a pixel may be shadow: a multiple of that just outside the product."""
    outside = profile[:2, standing]
    spread = outside.max(axis=-1) - outside.min(axis=-1)
    return float(np.clip(SLACK * np.percentile(spread, 90), *NEUTRAL)) if spread.size else NEUTRAL[1]


def _flanks(profile: Floats, tolerance: float, valley_reach: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Per column the number of pixels of its profile that are ground or shadow, and the width of the flank.

    The product begins where the profile stops getting darker, if that is near the steepest step, or where it is
    coloured; otherwise at that step. The flank's width is the light missing outside over that missing at its end.

    Args:
        profile: (rows, columns, 3) T, from the ground upwards.
        tolerance: largest spread of a shadow's channels.
        valley_reach: largest distance in pixels of the dark end from the steepest step.
    """
    level = profile.mean(axis=-1)
    spread = profile.max(axis=-1) - profile.min(axis=-1)
    neutral = spread < tolerance
    follows = neutral & (level > DARKEST)
    follows[1:] &= level[1:] <= level[:-1] + 0.005
    follows[:3] = neutral[:3] & (level[:3] > DARKEST)  # the first two pixels are ground
    run = np.where(follows.all(axis=0), len(level), np.argmin(follows, axis=0))
    step = np.vstack([level[:-1] - level[1:], np.zeros((1, level.shape[1]))])
    count = np.arange(len(level))[:, None]
    crest = np.argmax(np.where(count < run, step, -1), axis=0) + 1
    ended = np.take_along_axis(level, np.minimum(run, len(level) - 1)[None], axis=0)[0]
    last = np.take_along_axis(level, np.maximum(run - 1, 0)[None], axis=0)[0]
    coloured = np.take_along_axis(spread, np.minimum(run, len(level) - 1)[None], axis=0)[0] > COLOURED * tolerance
    valley = (ended > last + 0.005) & (run - 1 - crest <= valley_reach)
    coloured &= run < len(level)
    depth = np.where(coloured, run, np.where(valley & (run < len(level)), np.maximum(run - 1, 0), crest))
    end = np.take_along_axis(level, np.minimum(depth, len(level) - 1)[None], axis=0)[0]
    taken = np.where(count < depth, 1 - level, 0).clip(0).sum(axis=0)
    flank = taken / np.maximum(1 - end, 0.05)
    dimmed = np.where(count < depth, level[0] - level, 0).clip(0)  # the soft shadow may have been taken off already
    pixels = (dimmed > 0.1 * (level[0] - end)).sum(axis=0)
    even = dimmed.sum(axis=0) > PLATEAU * pixels * np.maximum(level[0] - end, 1e-3)
    flank = np.where((pixels >= 3) & even & ~coloured, 0, flank)
    return depth, np.where(coloured, 2 * flank, flank)  # mixtures with a coloured product would be coloured themselves


def _agreed(
    depth: NDArray[np.int64], flank: NDArray[np.float64], fit: Mask, least: float, neighbours: int
) -> NDArray[np.int64]:
    """Pixels to remove per column: the median where neighbouring columns agree; 0 where the flank is an outline's."""
    size = 2 * neighbours + 1
    votes = ndimage.uniform_filter1d((fit & (flank > least)).astype(np.float64), size, mode="nearest")
    steady = ndimage.median_filter(np.where(fit, depth, 0), size, mode="nearest")
    return np.where(fit & (votes > 0.5), np.minimum(depth, steady + 1), 0)


def _peeled(product: Mask, bottom: NDArray[np.int64], columns: NDArray[np.int64], peel: NDArray[np.int64]) -> Mask:
    result = product.copy()
    for above in range(int(peel.max(initial=0))):
        chosen = peel > above
        result[bottom[chosen] - above, columns[chosen]] = False
    return result
