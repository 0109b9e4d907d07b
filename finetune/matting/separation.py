"""Which pixels of a packshot are product, shadow and ground, on a reduced picture.

A pixel's deviation is its distance from the ground in sRGB values, colour at half weight. What deviates is product or
shadow; `soft_shadow` tells which, `openings` where the ground is seen through the product.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter
from scipy import ndimage

from finetune.core.errors import CutoutError
from finetune.core.pictures.images import Floats, to_linear
from finetune.core.pictures.masks import Mask, bounding_box
from finetune.matting.contact_line import without_contact_shadow
from finetune.matting.ground import GLOW, HINT, Ground, border_ring, connected_with, deviation_of, largest
from finetune.matting.openings import ground_seen_through
from finetune.matting.outline import edge_blur
from finetune.matting.soft_shadow import opened, soft_shadow

STRONG_RATIO = 0.12
"""Share of a nearby edge's contrast from which a pixel beside it differs from the ground."""
STRONG_EDGE, ENOUGH = 0.25, 200
"""Deviation of an edge beside which ringing is measured, and pixels needed for that."""
RINGINGS, RINGING_LIMITS = 4.0, (0.012, 0.045)
"""Times the usual ringing from which a local median is none, and the limits of that as a share of the contrast."""
LEAST, CLEAR = 0.0065, 0.022
"""Deviation from which a pixel differs from the ground at all, and differs clearly; noise raises both."""
SPECK_SHARE = 2e-5
"""Share of the picture under which a part of the product is dust."""
ISLAND_RATIO, LARGE_ISLAND = 0.5, 0.25
"""Share of the body's deviation from which an island belongs to the product, and of its area from which any does."""
SLIVER_RATIO = 0.3
"""Share of the deviation of the product nearby under which a thin part is a sliver."""
SLIVER_REACH = 3
"""Distance (px) up to which the product is nearby."""
BURR_RATIO = 0.6
"""Share of the deviation of the product nearby under which a burr lies on average."""
BURR_RADIUS = 4
"""Opening radius (px) that removes burrs: they are at most twice as thick."""
BURR_AREA = 0.0005
"""Largest area of a burr, as a share of the product's."""


@dataclass(frozen=True)
class Separation:
    """Product, shadow and ground of a packshot."""

    product: Mask
    """(H, W): every pixel the product touches, without holes and shadow."""
    shadow: Floats
    """(H, W) in 0..1: factor on the ground's brightness outside the product."""
    contact: Mask
    """(H, W): the contact shadow at the product's foot."""


def separate(encoded: Floats, ground: Ground, *, vessel: bool = False) -> Separation:
    """Separate product, shadow and ground.

    Whatever deviates from the ground by hysteresis is product or shadow. The soft shadow, the contact shadow at the
    foot, slivers, specks and faint islands are taken off. Enclosed regions are filled unless they show the ground: a
    handle's hole does, a white label does not.

    Args:
        encoded: (H, W, 3) sRGB 0..1.
        ground: of the same picture.
        vessel: the product may be clear.

    Raises:
        CutoutError: nothing deviates from the ground.
    """
    height, width = encoded.shape[:2]
    difference = encoded - ground.encoded
    deviation = deviation_of(difference)
    low, high = max(LEAST, 4 * ground.noise), max(CLEAR, 8 * ground.noise)
    unlike = _unlike(deviation, low)
    box = bounding_box(_joined_to(unlike, ndimage.binary_opening(unlike) & (deviation > high)))
    if box is None:
        raise CutoutError("no product stands out from the ground", HINT)
    box = box.grown(round(0.1 * max(height, width)), (width, height))
    where = np.s_[box.top : box.bottom, box.left : box.right]
    unlike, deviation = unlike[where], deviation[where]
    transmittance = (to_linear(encoded[where]) + GLOW) / (ground.colour[where] + GLOW)
    outside, pockets = ground_seen_through(unlike, difference[where], border_ring(*unlike.shape), ground.noise, vessel)
    shadow = soft_shadow(unlike, outside, encoded[where], ground.inside(box), vessel)
    part = (unlike | pockets) & ~shadow
    part = connected_with(part, part & (deviation > high))
    part = _without_specks(_filled(part, outside | shadow))
    if not part.any():
        raise CutoutError("no product stands out from the ground", HINT)
    missing = largest(np.abs(transmittance - 1))  # light, not file values: a blur mixes light
    blur = edge_blur(part, lambda rows, columns: missing[rows, columns])
    freed = _without_slivers(without_contact_shadow(part, transmittance, blur), deviation)
    freed = _without_faint_islands(_without_specks(freed), deviation)
    product, contact = np.zeros((height, width), dtype=bool), np.zeros((height, width), dtype=bool)
    product[where], contact[where] = freed, part & ~freed
    level = np.ones((height, width), dtype=np.float32)
    level[where] = np.clip(transmittance @ np.full(3, 1 / 3, dtype=np.float32), 0, 1)
    return Separation(product, np.where(product, 1, level).astype(np.float32), contact)


def _joined_to(mask: Mask, seed: Mask) -> Mask:
    """The parts of a mask that contain a seed; diagonal neighbours connect, so that thin parts stay with their body."""
    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    wanted = np.zeros(count + 1, dtype=bool)
    wanted[labels[seed]] = True
    wanted[0] = False
    return np.asarray(wanted[labels])


def _unlike(deviation: Floats, low: float) -> Mask:
    """Pixels that differ from the ground, except for JPEG's ringing within 8 px of an edge.

    Ringing is weak compared with its edge and flickers from pixel to pixel, so its local median is weaker still. How
    weak depends on the file: it is measured where it is most often seen, beside this picture's own strong edges.
    """
    edge = ndimage.maximum_filter(deviation, size=17)
    coarse = Image.fromarray(np.round(np.clip(deviation * 2000, 0, 255)).astype(np.uint8))
    calm = np.asarray(coarse.filter(ImageFilter.MedianFilter(5)), dtype=np.float32) / 2000
    beside = (edge > STRONG_EDGE) & (ndimage.maximum_filter(deviation, size=5) < STRONG_RATIO * edge)
    ringing = RINGING_LIMITS[1]
    if beside.sum() >= ENOUGH:
        ringing = float(np.clip(RINGINGS * np.median(calm[beside] / edge[beside]), *RINGING_LIMITS))
    return np.asarray((deviation > low) & ((deviation > STRONG_RATIO * edge) | (calm > ringing * edge)))


def _without_slivers(product: Mask, deviation: Floats) -> Mask:
    """The product without thin things at its outline that are much lighter than the product nearby.

    Ringing of lens and file leaves such slivers, a contact shadow under a white sole such burrs. A real thin part, such
    as a chain, deviates as much as the product nearby.
    """
    near = ndimage.maximum_filter(np.where(product, deviation, 0), size=2 * SLIVER_REACH + 1)
    sliver = product & (deviation < SLIVER_RATIO * near) & ~opened(product, 2)
    body = opened(product, BURR_RADIUS)
    labels, count = ndimage.label(product & ~body, structure=np.ones((3, 3)))
    areas = np.maximum(np.bincount(labels.ravel(), minlength=count + 1), 1)
    light = np.bincount(labels.ravel(), (deviation / np.maximum(near, 1e-3)).ravel(), count + 1) / areas < BURR_RATIO
    stands_off = np.bincount(labels[product & ~ndimage.binary_dilation(body, iterations=2)], minlength=count + 1) > 0
    burr = light & stands_off & (areas < BURR_AREA * product.sum())
    burr[0] = False
    return np.asarray(product & ~(sliver | burr[labels]))


def _filled(product: Mask, ground: Mask) -> Mask:
    """Fill what the product encloses, except regions that contain known ground."""
    enclosed = ndimage.binary_fill_holes(product) & ~product
    labels, count = ndimage.label(enclosed)
    is_open = np.zeros(count + 1, dtype=bool)
    is_open[labels[ground]] = True
    is_open[0] = False
    return np.asarray(product | (enclosed & ~is_open[labels]))


def _without_faint_islands(product: Mask, deviation: Floats) -> Mask:
    """The product without islands that differ from the ground far less than its body: crumbs of shadow, dirt, noise."""
    labels, count = ndimage.label(product, structure=np.ones((3, 3)))
    if count < 2:
        return product
    number = np.arange(1, count + 1)
    areas = ndimage.sum_labels(product, labels, number)
    strength = np.array([np.percentile(deviation[labels == n], 90) for n in number])
    body = strength[np.argmax(areas)]
    keep = np.append(False, (strength >= ISLAND_RATIO * body) | (areas > LARGE_ISLAND * areas.max()))
    return np.asarray(keep[labels])


def _without_specks(product: Mask) -> Mask:
    labels, count = ndimage.label(product, structure=np.ones((3, 3)))
    if not count:
        return product
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    keep = areas >= max(SPECK_SHARE * product.size, 0.002 * areas.max())
    return np.asarray(keep[labels])
