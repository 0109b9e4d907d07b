"""The soft shadow a product throws on its ground, told apart from the product. Called by `finetune.matting.ground`.

A soft shadow darkens all channels alike and has no sharp edge towards the ground; a product has one, all around.
Reads arrays, writes nothing.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from finetune.core.pictures.images import Floats
from finetune.core.pictures.masks import Mask

SHADOW_FLOOR, DEEP_FLOOR = 0.25, 0.08
"""Darkest T a soft shadow may have; where it passes gently into deeper shadow."""
GENTLE = 0.06
"""Slope of log T (a pixel) up to which it passes gently: a dark product out of focus falls off more steeply."""
SHADOW_CHROMA = 0.08
"""Largest difference between the channels' T in a shadow."""
SHARP, BLUNT = 1.0, 3.0
"""Scales (px) at which the slope of log T is compared: a product's edge is steep at the first only."""
WALL = 3
"""Pixels within which the ground's shore must meet no sharp edge to be open."""
NEAR_SHORE = 10.0
"""Shore this near (px) to a soft region says whether it is open to the ground."""
NECKS = (2, 1)
"""Bridges no wider than twice this (px) don't join soft regions; what is left then gets a second chance."""
ASCENT = 6
"""Steps (px) a shadow may climb up the product's outline."""


def soft_shadow(unlike: Mask, outside: Mask, transmittance: Floats) -> Mask:
    """Which of the pixels unlike the ground are its soft shadow.

    A region without sharp edges is shadow when it passes into the ground openly; the smooth inside of a white or clear
    product is walled off from the ground by an outline, even if that has gaps.

    Args:
        unlike: (H, W), what differs from the ground. outside: (H, W), what certainly is ground, holes too.
        transmittance: (H, W, 3) linear light over the ground's.
    """
    level = transmittance @ np.full(3, 1 / 3, dtype=np.float32)
    darkness = np.log(np.clip(level, 1e-3, None))
    near, far = (ndimage.gaussian_gradient_magnitude(darkness, sigma) for sigma in (SHARP, BLUNT))
    sharpness = np.maximum(near - 1.2 * far, 0)  # of a ramp wider than BLUNT nothing remains, of a step a third
    floor = max(0.006, 6 * float(np.median(near[outside][::17]))) if outside.any() else 0.006
    red, green, blue = transmittance[..., 0], transmittance[..., 1], transmittance[..., 2]
    chroma = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    soft = unlike & (sharpness < floor) & (chroma < SHADOW_CHROMA) & (level > SHADOW_FLOOR) & (level < 1.02)
    shore = _grown(unlike, 1) & outside
    walled = shore & (ndimage.maximum_filter(sharpness, size=2 * WALL + 1) > 1.5 * floor)
    shadow = np.zeros(soft.shape, dtype=bool)
    for neck in NECKS:
        shadow |= _open_regions(opened(soft & ~shadow, neck), shore, walled)
    if not shadow.any():
        return np.asarray(shadow)
    deep = unlike & (sharpness < floor) & (chroma < SHADOW_CHROMA) & (level <= SHADOW_FLOOR) & (level > DEEP_FLOOR)
    labels, _ = ndimage.label(shadow | (deep & (far < GENTLE)))
    shadow = np.isin(labels, np.unique(labels[shadow]))
    for _ in range(ASCENT):  # up the shadow's side of the outline, to its crest
        step = _grown(shadow, 1) & unlike & ~shadow
        shadow |= step & (sharpness > ndimage.maximum_filter(np.where(shadow, sharpness, 0), size=3))
    return np.asarray(ndimage.binary_opening(shadow, iterations=1))


def _open_regions(soft: Mask, shore: Mask, walled: Mask) -> Mask:
    """Those regions of `soft` which pass into the ground openly: most of the shore nearest to them has no wall."""
    labels, count = ndimage.label(soft)
    if not count:
        return soft
    distance, (rows, columns) = ndimage.distance_transform_edt(~soft, return_indices=True)
    near = shore & (distance <= NEAR_SHORE)
    owner = labels[rows[near], columns[near]]
    total = np.bincount(owner, minlength=count + 1)
    behind_wall = np.bincount(owner[walled[near]], minlength=count + 1)
    passes = total - behind_wall > np.maximum(3, 1.5 * behind_wall)
    passes[0] = False
    return np.asarray(passes[labels])


def opened(mask: Mask, radius: int) -> Mask:
    """Morphological opening by a square: passages narrower than 2 radius + 1 close."""
    shrunk = ndimage.minimum_filter(mask.astype(np.uint8), size=2 * radius + 1, mode="nearest")
    return np.asarray(ndimage.maximum_filter(shrunk, size=2 * radius + 1) > 0)


def _grown(mask: Mask, radius: int) -> Mask:
    return np.asarray(ndimage.maximum_filter(mask.astype(np.uint8), size=2 * radius + 1) > 0)
