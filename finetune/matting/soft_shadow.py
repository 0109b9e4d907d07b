"""Separating the soft shadow that a product casts on its ground from the product.

A soft shadow darkens all channels alike and has no sharp edge towards the ground; a product has one all around.
T is transmittance: linear light divided by the ground's.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from finetune.core.pictures.images import Floats
from finetune.core.pictures.masks import Mask

SHADOW_FLOOR = 0.25
"""Darkest T of a soft shadow."""
DEEP_FLOOR = 0.08
"""Darkest T of a deeper shadow that a soft one passes into gently."""
GENTLE = 0.06
"""Slope of log T per pixel up to which this is gentle: a dark product out of focus falls off more steeply."""
SHADOW_CHROMA = 0.08
"""Largest difference between the T of a shadow's channels."""
SHARP, BLUNT = 1.0, 3.0
"""Scales (px) at which the slope of log T is compared: a product's edge is steep only at the first."""
BEGINS = 5
"""Distance (px) over which the darkness is looked up that begins at an edge."""
SOFT_SHARE = 0.04
"""Sharpness of a soft edge, as a share of that darkness: a step of one pixel's blur has 0.13."""
SOFT_LIMITS = (0.002, 0.006)
"""Least and largest sharpness of a soft edge: beside a dark product the darkness that begins is not the shadow's."""
NOISES = 6
"""Times the slope on even ground that noise alone may reach."""
WALL = 3
"""Distance (px) from the boundary between shadow and ground within which a sharp edge walls it off."""
NEAR_SHORE = 10.0
"""Distance (px) up to which boundary pixels decide whether a soft region is open to the ground."""
OPENING_RADII = (2, 1)
"""Opening radii (px) that separate shadow regions, applied widest first."""
ASCENT = 6
"""Distance (px) that a shadow may climb up the product's outline."""


def soft_shadow(unlike: Mask, outside: Mask, transmittance: Floats) -> Mask:
    """Find which of the pixels unlike the ground are its soft shadow.

    A region without sharp edges is shadow if it passes into the ground openly; the smooth inside of a white or clear
    product is walled off from the ground by an outline, even if that has gaps.

    Args:
        unlike: (H, W), what differs from the ground.
        outside: (H, W), what is certainly ground, holes included.
        transmittance: (H, W, 3) linear light over the ground's.

    Returns:
        (H, W), the shadow.
    """
    level = transmittance @ np.full(3, 1 / 3, dtype=np.float32)
    darkness = np.log(np.clip(level, 1e-3, None))
    near, far = (ndimage.gaussian_gradient_magnitude(darkness, sigma) for sigma in (SHARP, BLUNT))
    sharpness = np.maximum(near - 1.2 * far, 0)  # zero on a ramp wider than BLUNT, a third of the slope on a step
    floor = _softness(darkness, near, outside)
    red, green, blue = transmittance[..., 0], transmittance[..., 1], transmittance[..., 2]
    chroma = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    soft = unlike & (sharpness < floor) & (chroma < SHADOW_CHROMA) & (level > SHADOW_FLOOR) & (level < 1.02)
    shore = _grown(unlike, 1) & outside
    walled = shore & (ndimage.maximum_filter(sharpness, size=2 * WALL + 1) > 1.5 * floor)
    shadow = np.zeros(soft.shape, dtype=bool)
    for radius in OPENING_RADII:
        shadow |= _open_regions(opened(soft & ~shadow, radius), shore, walled)
    if not shadow.any():
        return np.asarray(shadow)
    deep = unlike & (sharpness < floor) & (chroma < SHADOW_CHROMA) & (level <= SHADOW_FLOOR) & (level > DEEP_FLOOR)
    labels, _ = ndimage.label(shadow | (deep & (far < GENTLE)))
    shadow = np.isin(labels, np.unique(labels[shadow]))
    for _ in range(ASCENT):  # up the shadow's side of the outline, to its crest
        step = _grown(shadow, 1) & unlike & ~shadow
        shadow |= step & (sharpness > ndimage.maximum_filter(np.where(shadow, sharpness, 0), size=3))
    return np.asarray(ndimage.binary_opening(shadow, iterations=1))


def _softness(darkness: Floats, near: Floats, outside: Mask) -> Floats:
    """Largest sharpness of a soft edge at each pixel, (H, W): in proportion to the darkness that begins there."""
    depth = ndimage.maximum_filter(-darkness, size=2 * BEGINS + 1)
    noise = NOISES * float(np.median(near[outside][::17])) if outside.any() else 0.0
    return np.asarray(np.maximum(np.clip(SOFT_SHARE * depth, *SOFT_LIMITS), noise), dtype=np.float32)


def _open_regions(soft: Mask, shore: Mask, walled: Mask) -> Mask:
    """The regions of `soft` that pass into the ground openly: most of their boundary has no sharp edge."""
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
    """Morphological opening of a mask by a square: parts narrower than 2 radius + 1 pixels vanish."""
    shrunk = ndimage.minimum_filter(mask.astype(np.uint8), size=2 * radius + 1, mode="nearest")
    return np.asarray(ndimage.maximum_filter(shrunk, size=2 * radius + 1) > 0)


def _grown(mask: Mask, radius: int) -> Mask:
    return np.asarray(ndimage.maximum_filter(mask.astype(np.uint8), size=2 * radius + 1) > 0)
