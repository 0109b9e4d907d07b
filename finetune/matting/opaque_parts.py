"""What of a product that may be glass is not: what is lighter than the ground, and print of a colour of its own."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from finetune.core.pictures.images import Floats
from finetune.core.pictures.masks import Mask
from finetune.matting.ground import GLOW, largest

LIGHTER = 1.06
"""Light over the ground's, in some channel, from which a part cannot be glass, for glass adds no light."""
PRINTED = 0.25
"""Difference of T from the glass's, in some channel, from which what it encloses is print of its own colour."""
DARK = 0.06
"""T below which nobody sees whether a part transmits."""


def lighter_than(light: Floats, ground: Floats) -> Mask:
    """Where the product is lighter than its ground in some channel, (H, W): no glass adds light, a label does.

    Args:
        light: (H, W, 3) linear light of the photo.
        ground: the same of its ground.
    """
    ratio = largest((light + GLOW) / (ground + GLOW))
    return np.asarray(ndimage.median_filter(ratio, size=5) > LIGHTER)


def small_holes(region: Mask, most: float) -> Mask:
    """The small holes that a region encloses: print on the glass, drops, reflections.

    Args:
        region: (H, W).
        most: area of a small hole at most, pixels.
    """
    labels, _ = ndimage.label(ndimage.binary_fill_holes(region) & ~region)
    small = np.bincount(labels.ravel()) <= most
    small[0] = False
    return np.asarray(small[labels])


def of_own_colour(printed: Mask, transmittance: Floats, glass: Mask) -> Mask:
    """The print that is neither as dark that it looks the same either way nor a shade of the glass: opaque colour.

    Args:
        printed: (H, W), what the glass encloses.
        transmittance: (H, W, 3) in 0..1.
        glass: (H, W), proven parts.
    """
    off = np.abs(transmittance - np.median(transmittance[glass], axis=0)).max(axis=-1)
    return np.asarray(printed & (off > PRINTED) & (transmittance.max(axis=-1) > DARK))
