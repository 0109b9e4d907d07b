"""Separating the soft shadow that a product casts on its ground from the product.

A shadow is the ground's own colour, darker, and passes into the ground without a sharp edge. A grey product has the
same colours, but an edge all around, even if that has gaps: soft regions are therefore taken apart at their narrow
places, and each is shadow if most of its boundary with the ground, or with shadow found before, is open.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from finetune.core.pictures.images import Floats, to_linear, to_srgb
from finetune.core.pictures.masks import Mask
from finetune.matting.ground import GLOW, YCC, Ground

SHADOW_FLOOR = 0.25
"""Darkest share of the ground's light in a soft shadow."""
DEEP_FLOOR = 0.08
"""Darkest share in a deeper shadow that a soft one passes into gently."""
GENTLE = 0.06
"""Slope of the logarithm of that share per pixel up to which this is gentle: a dark product falls off more steeply."""
STEEPEST = 0.12
"""The same in any soft shadow: the rim of a dark product out of focus falls off more steeply."""
OFF_COLOUR = 0.008
"""Largest distance of a shadow's colour from that of the darkened ground (`ground.YCC`); noise is added."""
SHARP, BLUNT = 1.0, 3.0
"""Scales (px) at which the slope is compared: a product's edge is steep only at the first."""
BEGINS = 5
"""Distance (px) over which the darkness is looked up that begins at an edge."""
SOFT_SHARE = 0.04
"""Sharpness of a soft edge, as a share of that darkness: a step of one pixel's blur has 0.13."""
SOFT_LIMITS = (0.002, 0.006)
"""Least and largest sharpness of a soft edge: beside a dark product the darkness that begins is not the shadow's."""
NOISES = 6
"""Times the slope on even ground that noise alone may reach."""
WALL, WALL_RATIO = 3, 1.5
"""Distance (px) from a border within which a sharp edge walls it off, and how much sharper than soft that edge is."""
NEAR_SHORE = 10.0
"""Distance (px) up to which boundary pixels decide whether a soft region is open to the ground."""
LIGHT_SHADOW, OPEN_TO_WALLED = 0.55, (1.5, 5.0)
"""Mean share of light over which a shadow is light, and how much longer than its walled boundary the open one must be,
for light shadows and for dark ones."""
OPENING_RADII = (8, 4, 2, 1)
"""Opening radii (px) that separate shadow regions, applied widest first."""
CRUMB_SHARPNESS, CRUMB_AREA, CRUMB_RIM = 2.0, 0.002, 0.3
"""A leftover of a shadow: how much sharper than soft it may be inside, its largest area as a share of the picture, and
the least share of its rim that lies at the shadow or the ground."""
COLOURED = 0.03
"""Distance from grey over which a ground is coloured, as `finetune.matting.ground.YCC` has it."""
LEAST_OPENING, RIM = 20, 3
"""Pixels of an opening, at least, and distance (px) from any edge at which the ground beside it is read."""
SHADED, IN_SHADE, AS_LIGHT = 0.93, 0.08, 0.012
"""Share of light under which the ground beside it is in shadow, and how far an opening's may be from it, then and
otherwise."""
ASCENT = 6
"""Distance (px) that a shadow may climb up the product's outline."""


def soft_shadow(unlike: Mask, outside: Mask, encoded: Floats, ground: Ground, vessel: bool) -> Mask:
    """Find which of the pixels unlike the ground are its soft shadow.

    Args:
        unlike: (H, W), what differs from the ground.
        outside: (H, W), what is certainly ground, holes included.
        encoded: (H, W, 3), the picture, sRGB.
        ground: of the same picture.
        vessel: the product may be clear: then only a coloured ground is known again inside it.

    Returns:
        (H, W), the shadow.
    """
    level, of_ground = _share_of_light(encoded, ground)
    darkness = np.log(np.clip(level, 1e-3, None))
    near, far = (ndimage.gaussian_gradient_magnitude(darkness, sigma) for sigma in (SHARP, BLUNT))
    sharpness = np.maximum(near - 1.2 * far, 0)  # zero on a ramp wider than BLUNT, a third of the slope on a step
    floor = _softness(darkness, near, outside)
    possible = unlike & of_ground & (level > SHADOW_FLOOR) & (level < 1.02)
    soft = possible & (sharpness < floor) & (far < STEEPEST)
    walled = ndimage.maximum_filter(sharpness, size=2 * WALL + 1) > WALL_RATIO * floor
    shadow = np.zeros(soft.shape, dtype=bool)
    for radius in OPENING_RADII:
        shadow |= _open_regions(opened(soft & ~shadow, radius), outside | shadow, walled, level)
    if shadow.any():
        shadow |= _crumbs(possible & ~shadow & (sharpness < CRUMB_SHARPNESS * floor), outside | shadow)
    coloured = _is_coloured(ground)
    if coloured or not vessel:
        shadow |= _shaded_openings(opened(soft & ~shadow, 1), outside | shadow, level, coloured)
    if not shadow.any():
        return np.asarray(shadow)
    deep = unlike & (sharpness < floor) & of_ground & (level <= SHADOW_FLOOR) & (level > DEEP_FLOOR)
    labels, _ = ndimage.label(shadow | (deep & (far < GENTLE)))
    shadow = np.isin(labels, np.unique(labels[shadow]))
    for _ in range(ASCENT):  # up the shadow's side of the outline, to its crest
        step = _grown(shadow, 1) & unlike & ~shadow
        shadow |= step & (sharpness > ndimage.maximum_filter(np.where(shadow, sharpness, 0), size=3))
    return np.asarray(ndimage.binary_opening(shadow, iterations=1))


def _share_of_light(encoded: Floats, ground: Ground) -> tuple[Floats, Mask]:
    """Each pixel's share of the ground's light, (H, W), and whether it has the ground's colour."""
    level = (to_linear(encoded).mean(axis=-1) + GLOW) / (ground.colour.mean(axis=-1) + GLOW)
    expected = to_srgb(np.clip(level, 0, 2)[..., None] * ground.colour)
    off = np.hypot(*np.moveaxis((encoded - expected) @ YCC[1:].T, -1, 0))
    return np.asarray(level, dtype=np.float32), np.asarray(off < OFF_COLOUR + ground.noise)


def _softness(darkness: Floats, near: Floats, outside: Mask) -> Floats:
    """Largest sharpness of a soft edge at each pixel, (H, W): in proportion to the darkness that begins there."""
    depth = ndimage.maximum_filter(-darkness, size=2 * BEGINS + 1)
    noise = NOISES * float(np.median(near[outside][::17])) if outside.any() else 0.0
    return np.asarray(np.maximum(np.clip(SOFT_SHARE * depth, *SOFT_LIMITS), noise), dtype=np.float32)


def _open_regions(soft: Mask, land: Mask, sharp: Mask, level: Floats) -> Mask:
    """The regions of `soft` that pass into the land openly: most of their boundary with it has no sharp edge.

    Dark regions must pass more openly: the polished foot of a product looks like its shadow, but is seldom as light.
    """
    labels, count = ndimage.label(soft)
    if not count:
        return soft
    shore = land & _grown(soft, round(NEAR_SHORE))
    distance, (rows, columns) = ndimage.distance_transform_edt(~soft, return_indices=True)
    near = shore & ~_shrunk(land) & (distance <= NEAR_SHORE)
    owner = labels[rows[near], columns[near]]
    total = np.bincount(owner, minlength=count + 1)
    behind_wall = np.bincount(owner[sharp[near]], minlength=count + 1)
    light = np.bincount(labels.ravel(), level.ravel(), count + 1) / np.maximum(np.bincount(labels.ravel()), 1)
    asked = np.where(light > LIGHT_SHADOW, *OPEN_TO_WALLED)
    passes = total - behind_wall > np.maximum(3, asked * behind_wall)
    passes[0] = False
    return np.asarray(passes[labels])


def _crumbs(left: Mask, land: Mask) -> Mask:
    """The small leftovers of a shadow between what was found of it and the ground: a good part of their rim is land."""
    labels, count = ndimage.label(left)
    if not count:
        return left
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    rim = np.bincount(labels[left & ~_shrunk(left)], minlength=count + 1)
    open_rim = np.bincount(labels[left & _grown(land, 1)], minlength=count + 1)
    crumb = (areas < CRUMB_AREA * left.size) & (open_rim > CRUMB_RIM * np.maximum(rim, 1))
    crumb[0] = False
    return np.asarray(crumb[labels])


def _is_coloured(ground: Ground) -> bool:
    """Whether the ground has a colour that is rare in products, rather than white, grey or black."""
    colour = np.median(ground.encoded.reshape(-1, 3)[::97], axis=0) @ YCC[1:].T
    return bool(np.hypot(*colour) > COLOURED)


def _shaded_openings(soft: Mask, land: Mask, level: Floats, coloured: bool) -> Mask:
    """The enclosed regions through which the ground is seen in the product's own shade.

    On a coloured ground its darkened colour is proof enough. On white or grey, a grey label looks the same: the region
    must be as dark as the ground on the other side of the product.
    """
    labels, count = ndimage.label(soft & ~_grown(land, 2))
    solid = ndimage.minimum_filter(land.astype(np.uint8), size=2 * RIM + 1) > 0
    if not count or not solid.any():
        return np.zeros_like(soft)
    rows, columns = ndimage.distance_transform_edt(~solid, return_distances=False, return_indices=True)
    found = np.zeros(count + 1, dtype=bool)
    for number, where in enumerate(ndimage.find_objects(labels), 1):
        here = labels[where] == number
        if here.sum() < LEAST_OPENING:
            continue
        shade = float(np.median(level[rows[where][here], columns[where][here]]))
        off = abs(float(np.median(level[where][here])) - shade)
        found[number] = coloured or (shade > LIGHT_SHADOW and off < (IN_SHADE if shade < SHADED else AS_LIGHT))
    return np.asarray(found[labels])


def _shrunk(mask: Mask) -> Mask:
    return np.asarray(ndimage.minimum_filter(mask.astype(np.uint8), size=3) > 0)


def opened(mask: Mask, radius: int) -> Mask:
    """Morphological opening of a mask by a square: parts narrower than 2 radius + 1 pixels vanish."""
    shrunk = ndimage.minimum_filter(mask.astype(np.uint8), size=2 * radius + 1, mode="nearest")
    return np.asarray(ndimage.maximum_filter(shrunk, size=2 * radius + 1) > 0)


def _grown(mask: Mask, radius: int) -> Mask:
    return np.asarray(ndimage.maximum_filter(mask.astype(np.uint8), size=2 * radius + 1) > 0)
