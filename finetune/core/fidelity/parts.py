"""Are the product's parts there: print, caps, seams, handles, found again patch by patch.

Colour alone can be painted without a product, and SSIM praises a flat field where the packshot is smooth. Here only
what the packshot shows is asked for: each of its patches with something in it is looked for near its place in the
drawn picture, by normalised cross-correlation (Lewis, "Fast Normalized Cross-Correlation", 1995), which a flat field
answers with 0 whatever its colour. Looking around forgives another pose; the mirror image of print does not fit.

Pure functions on arrays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.feature import match_template

from finetune.core.pictures.masks import Mask

Lightness = NDArray[np.float64]

TILE = 0.19
"""Side of a patch as a share of the view's longer side: large enough to be found again, small enough to be one part."""
SEARCH = 0.06
"""How far around its place a patch is looked for, as a share of that side."""
COVERED = 0.9
"""Share of a patch that has to lie on the product."""
LEAST_CONTRAST = 1.0
"""Standard deviation of L* (0..100) from which a patch shows something."""
EDGE_SIGMA = 1.0
"""Blur before edges are weighed, pixels."""
FLAT = 0.35
"""Standard deviation of L* in the drawn picture under which a place shows nothing: correlation of the rounding of a
flat field means nothing."""


@dataclass(frozen=True)
class Patch:
    """A part of a view that is looked for."""

    top: int
    left: int
    lightness: Lightness
    """(t, t) L*, 0..100."""
    weight: float
    """How much it shows: the root of its edges' energy."""


def patches_of(lightness: Lightness, region: Mask) -> list[Patch]:
    """The patches of a view that show something.

    Args:
        lightness: (H, W) L* of the packshot.
        region: (H, W) where it is the product.

    Returns:
        Overlapping squares; none for a product without any marks.
    """
    longer = max(region.shape)
    tile = max(8, round(TILE * longer))
    edges = np.hypot(*np.gradient(ndimage.gaussian_filter(lightness, EDGE_SIGMA))) ** 2
    # The silhouette's own edge is the ground's contrast, not a part of the product.
    edges = edges * ndimage.binary_erosion(region, iterations=max(1, round(0.02 * longer)))
    found = []
    for top in range(0, max(1, region.shape[0] - tile + 1), tile // 2):
        for left in range(0, max(1, region.shape[1] - tile + 1), tile // 2):
            window = np.s_[top : top + tile, left : left + tile]
            part, weight = lightness[window], float(np.sqrt(edges[window].sum()))
            if region[window].mean() >= COVERED and part.std() >= LEAST_CONTRAST and weight > 0:
                found.append(Patch(top, left, part, weight))
    return found


def parts_found(drawn: Lightness, patches: list[Patch], *, reach: int) -> float | None:
    """How well the patches of a view are found again in a drawn picture.

    P = sum_i w_i max(0, max_d NCC(patch_i, drawn around its place shifted by d)) / sum_i w_i, |d| <= 6 % of the
    longer side.

    Args:
        drawn: (H + 2 reach, W + 2 reach) L* of the drawn box with its surroundings.
        patches: Of a view of (H, W).
        reach: Pixels of surroundings on each side.

    Returns:
        0..1: 1 for the packshot itself, 0 for any flat field, about .1 for noise of one pixel and .3 for soft noise.
        None if the view shows nothing that could be found.
    """
    if not patches:
        return None
    height, width = drawn.shape
    search = max(1, round(SEARCH * (max(height, width) - 2 * reach)))
    total = weight = 0.0
    for patch in patches:
        tile = patch.lightness.shape[0]
        top, left = patch.top + reach, patch.left + reach
        rows = slice(max(0, top - search), min(height, top + tile + search))
        columns = slice(max(0, left - search), min(width, left + tile + search))
        window = drawn[rows, columns]
        weight += patch.weight
        if min(window.shape) >= tile and window.std() > FLAT:
            total += patch.weight * max(0.0, float(match_template(window, patch.lightness).max()))
    return total / weight
