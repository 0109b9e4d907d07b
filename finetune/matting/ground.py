"""The plain ground of a packshot: its colour everywhere, and which pixels are product, shadow and ground.

Everything is measured as transmittance T = C / B in linear light, per channel, with B the estimated ground: ground has
T = 1, a soft shadow lowers all channels alike and smoothly, a product does neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy import ndimage

from finetune.core.errors import CutoutError
from finetune.core.pictures.images import Floats
from finetune.core.pictures.masks import Mask, bounding_box
from finetune.matting.contact_line import without_contact_shadow
from finetune.matting.outline import edge_blur
from finetune.matting.soft_shadow import opened, soft_shadow

Decimals = TypeVar("Decimals", NDArray[np.float32], NDArray[np.float64])
RING_SHARE = 0.015
"""Width of the border ring that must be plain, as a share of the shorter side."""
PLAIN_SHARE = 0.75
"""Share of the border ring that must fit one smooth surface."""
PLAIN_TOLERANCE = 0.06
"""Distance in T from that surface up to which a pixel of the ring fits it."""
FADE_LIMIT = 0.45
"""Least ratio between the darkest and the brightest level of a plain ground's border."""
STRONG_RATIO = 0.25
"""Share of a nearby edge's contrast from which a pixel beside it differs from the ground."""
JPEG_RINGING_RATIO = 0.09
"""The same for the median around the pixel, which JPEG's flickering ringing hardly raises."""
HOLE_LEVEL = 0.02
"""Largest median deviation in T of a hole from the ground."""
SPECK_SHARE = 2e-5
"""Share of the picture under which a part of the product is dust."""
SLIT = 3
"""Distance (px) within which a slit's two walls lie."""
SLIT_WALL = 0.6
"""Least deviation in T of these walls from the ground."""
SLIT_LIGHT = 0.12
"""Largest deviation in T of the ground seen in a slit."""
SLIVER_RATIO = 0.4
"""Share of the deviation of the product nearby under which a thin part is a sliver."""
SLIVER_REACH = 3
"""Distance (px) up to which the product is nearby."""
BURR_RATIO = 0.7
"""Share of the deviation of the product nearby under which a burr lies on average."""
BURR_RADIUS = 4
"""Opening radius (px) that removes burrs: they are at most twice as thick."""
BURR_AREA = 0.0005
"""Largest area of a burr, as a share of the product's."""
HINT = "photograph the product on a plain ground, or add a mask in masks/ (same stem, white is product)"


@dataclass(frozen=True)
class Ground:
    """An estimated plain ground."""

    colour: Floats
    """(H, W, 3) linear light: the ground as it would be without product and shadow."""
    noise: float
    """Robust standard deviation of T over the ground."""


@dataclass(frozen=True)
class Separation:
    """Product, shadow and ground of a packshot."""

    product: Mask
    """(H, W): every pixel the product touches, without holes and shadow."""
    shadow: Floats
    """(H, W) in 0..1: factor on the ground's brightness outside the product."""
    contact: Mask
    """(H, W): the contact shadow at the product's foot."""
    blur: float
    """Blur of the product's outline, standard deviation of a Gaussian in pixels."""


def estimate_ground(linear: Floats) -> Ground:
    """Estimate a plain, possibly smoothly uneven ground from the border inwards.

    A quadratic surface is fitted to the border ring by Tukey's biweight, then refitted (cubic) on every pixel that
    agrees with it and is connected with the border.

    Args:
        linear: (H, W, 3) linear light.

    Raises:
        CutoutError: the border is not plain.
    """
    height, width = linear.shape[:2]
    ring = _border_ring(height, width)
    rows, columns = _some(ring)
    surface = _fit(rows / height, columns / width, linear[rows, columns], degree=2)
    ring_ground = _evaluate(surface, rows / height, columns / width)
    _check_plain(linear[rows, columns], ring_ground)
    colour = _evaluate_grid(surface, height, width)
    for degree in (2, 3):
        agrees = _deviation(linear / colour) < 2 * PLAIN_TOLERANCE
        agrees = _connected_with(agrees, ring)
        rows, columns = _some(agrees)
        surface = _fit(rows / height, columns / width, linear[rows, columns], degree)
        colour = _evaluate_grid(surface, height, width)
    residual = linear[rows, columns] / colour[rows, columns] - 1
    noise = float(1.4826 * np.median(np.abs(residual)))
    return Ground(colour, noise)


def _some(mask: Mask, limit: int = 8_000) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of at most `limit` True pixels, evenly spread."""
    rows, columns = np.nonzero(mask)
    chosen = np.linspace(0, len(rows) - 1, min(len(rows), limit)).astype(np.intp)
    return rows[chosen], columns[chosen]


def _border_ring(height: int, width: int) -> Mask:
    thick = max(2, round(RING_SHARE * min(height, width)))
    ring = np.ones((height, width), dtype=bool)
    ring[thick:-thick, thick:-thick] = False
    return ring


def _terms(degree: int) -> list[tuple[int, int]]:
    return [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]


def _fit(y: NDArray[np.float64], x: NDArray[np.float64], values: Floats, degree: int) -> NDArray[np.float64]:
    """Fit a polynomial by iteratively reweighted least squares.

    Args:
        y: (N,) rows, 0..1.
        x: (N,) columns, 0..1.
        values: (N, 3).
        degree: of the polynomial.

    Returns:
        Coefficients (degree + 1, degree + 1, 3).
    """
    terms = _terms(degree)
    design = np.stack([(2 * y - 1) ** i * (2 * x - 1) ** j for i, j in terms], axis=1)
    target = values.astype(np.float64)
    centre = np.median(target, axis=0)
    weight = _tukey(_largest(np.abs(target / np.maximum(centre, 1e-3) - 1)))
    solved = np.zeros((len(terms), target.shape[1]))
    for _ in range(12):
        weighted = design * weight[:, None]
        solved[:] = np.linalg.solve(weighted.T @ design + 1e-9 * np.eye(len(terms)), weighted.T @ target)
        fitted = np.maximum(design @ solved, 1e-3)
        weight = _tukey(_largest(np.abs(target / fitted - 1)))
    table = np.zeros((degree + 1, degree + 1, target.shape[1]))
    for (i, j), row in zip(terms, solved, strict=True):
        table[i, j] = row
    return table


def _tukey(residual: NDArray[np.float64]) -> NDArray[np.float64]:
    scale = max(4.685 * 1.4826 * float(np.median(residual)), 0.02)
    return np.asarray(np.where(residual < scale, (1 - (residual / scale) ** 2) ** 2, 0.0) + 1e-9)


def _evaluate(table: NDArray[np.float64], y: NDArray[np.float64], x: NDArray[np.float64]) -> Floats:
    powers = range(len(table))
    down = np.stack([(2 * y - 1) ** i for i in powers], axis=1)
    across = np.stack([(2 * x - 1) ** j for j in powers], axis=1)
    values = np.einsum("ni,nj,ijc->nc", down, across, table)
    return np.asarray(np.maximum(values, 1e-3), dtype=np.float32)


def _evaluate_grid(table: NDArray[np.float64], height: int, width: int) -> Floats:
    powers = range(len(table))
    down = np.stack([(2 * np.arange(height) / height - 1) ** i for i in powers], axis=1).astype(np.float32)
    across = np.stack([(2 * np.arange(width) / width - 1) ** j for j in powers], axis=1)
    colour = np.empty((height, width, table.shape[2]), dtype=np.float32)
    for c in range(table.shape[2]):
        colour[..., c] = down @ (table[..., c] @ across.T).astype(np.float32)
    return np.clip(colour, 1e-3, 1.0, out=colour)


def _deviation(transmittance: Floats) -> Floats:
    return _largest(np.abs(transmittance - 1))


def _largest(values: Decimals) -> Decimals:
    """Maximum over three channels; several times faster than numpy's reduction of a short axis."""
    return np.maximum(np.maximum(values[..., 0], values[..., 1]), values[..., 2])


def _mean(values: Floats) -> Floats:
    return np.asarray(values @ np.full(3, 1 / 3, dtype=np.float32))


def _connected_with(mask: Mask, seed: Mask) -> Mask:
    labels, count = ndimage.label(mask)
    wanted = np.zeros(count + 1, dtype=bool)
    wanted[labels[seed & mask]] = True
    wanted[0] = False
    return np.asarray(wanted[labels])


def _joined_to(mask: Mask, seed: Mask) -> Mask:
    """The parts of a mask that contain a seed; diagonal neighbours connect, so that thin parts stay with their body."""
    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    wanted = np.zeros(count + 1, dtype=bool)
    wanted[labels[seed]] = True
    wanted[0] = False
    return np.asarray(wanted[labels])


def _check_plain(values: Floats, fitted: Floats) -> None:
    agrees = _deviation(values / fitted) < PLAIN_TOLERANCE
    level = fitted[agrees].mean(axis=1) if agrees.any() else np.zeros(1, np.float32)
    if agrees.mean() < PLAIN_SHARE or level.min() < FADE_LIMIT * level.max():
        raise CutoutError(
            f"the ground is not plain: only {agrees.mean():.0%} of the picture's border has one colour", HINT
        )


def separate(linear: Floats, ground: Ground) -> Separation:
    """Separate product, shadow and ground.

    Whatever deviates from the ground by hysteresis is product or shadow. The shadow is what can be reached from the
    ground without crossing a sharp edge; along it the product's outline is found by a watershed on edge sharpness.
    Enclosed regions are filled unless they look exactly like ground: a handle's hole does, a white label does not.

    Args:
        linear: (H, W, 3) linear light.
        ground: of the same picture.

    Raises:
        CutoutError: nothing deviates from the ground.
    """
    height, width = linear.shape[:2]
    transmittance = linear / ground.colour
    deviation = _deviation(transmittance)
    low, high = max(0.014, 4 * ground.noise), max(0.05, 8 * ground.noise)
    unlike = _unlike(deviation, low)
    box = bounding_box(_joined_to(unlike, ndimage.binary_opening(unlike) & (deviation > high)))
    if box is None:
        raise CutoutError("no product stands out from the ground", HINT)
    box = box.grown(round(0.1 * max(height, width)), (width, height))
    where = np.s_[box.top : box.bottom, box.left : box.right]
    unlike, deviation = unlike[where], deviation[where]
    outside = _connected_with(~unlike, _border_ring(*unlike.shape))
    outside = _into_slits(outside, deviation)
    outside |= _true_holes(~unlike & ~outside, deviation, ground.noise)
    shadow = soft_shadow(unlike, outside, transmittance[where])
    part = unlike & ~shadow
    part = _connected_with(part, part & (deviation > high))
    part = _without_specks(_filled(part, outside | shadow))
    if not part.any():
        raise CutoutError("no product stands out from the ground", HINT)
    blur = edge_blur(part, lambda rows, columns: deviation[rows, columns])
    freed = _without_slivers(without_contact_shadow(part, transmittance[where], blur), deviation)
    freed = _without_specks(freed)
    product, contact = np.zeros((height, width), dtype=bool), np.zeros((height, width), dtype=bool)
    product[where], contact[where] = freed, part & ~freed
    level = np.clip(_mean(transmittance), 0, 1)
    return Separation(product, np.where(product, 1, level).astype(np.float32), contact, blur)


def _unlike(deviation: Floats, low: float) -> Mask:
    """Pixels that differ from the ground, except for JPEG's ringing within 8 px of an edge.

    Ringing is weak compared with its edge and flickers from pixel to pixel, so its local median is weaker still.
    """
    edge = ndimage.maximum_filter(deviation, size=17)
    coarse = Image.fromarray(np.round(np.clip(deviation * 1000, 0, 255)).astype(np.uint8))
    calm = np.asarray(coarse.filter(ImageFilter.MedianFilter(5)), dtype=np.float32) / 1000
    return np.asarray((deviation > low) & ((deviation > STRONG_RATIO * edge) | (calm > JPEG_RINGING_RATIO * edge)))


def _true_holes(enclosed: Mask, deviation: Floats, noise: float) -> Mask:
    """Enclosed regions where the ground is seen through the product: as bright and even as it, and not tiny."""
    labels, count = ndimage.label(enclosed)
    if not count:
        return enclosed
    inner = np.where(ndimage.binary_erosion(enclosed, iterations=2), labels, 0)
    size = np.bincount(inner.ravel(), minlength=count + 1)
    level = np.full(count + 1, np.inf)
    some = np.flatnonzero(size[1:]) + 1
    if len(some):
        level[some] = ndimage.median(deviation, inner, some)
    safe = np.maximum(size, 1)
    mean = np.bincount(inner.ravel(), deviation.ravel(), count + 1) / safe
    square = np.bincount(inner.ravel(), deviation.ravel() ** 2, count + 1) / safe
    spread = np.sqrt(np.maximum(square - mean**2, 0))
    flat = (level <= max(HOLE_LEVEL, 2 * noise)) & (spread <= max(0.02, 3 * noise))
    is_hole = flat & (size >= max(12.0, SPECK_SHARE * enclosed.size))
    is_hole[0] = False
    return np.asarray(is_hole[labels])


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
    return _joined_to(outside | (candidates & (deviation < SLIT_LIGHT)), outside)


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


def _without_specks(product: Mask) -> Mask:
    labels, count = ndimage.label(product, structure=np.ones((3, 3)))
    if not count:
        return product
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    keep = areas >= max(SPECK_SHARE * product.size, 0.002 * areas.max())
    return np.asarray(keep[labels])
