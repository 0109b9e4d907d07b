"""Alpha and true edge colours of a product on a known ground.

An edge pixel is a mixture C = a F + (1 - a) B in linear light. With the ground B known and the product's colour F
taken from inside the outline, alpha is solved for, then F from alpha. Only the band along the outline is computed, as
lists of pixels: it is a few per cent of a picture.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from finetune.core.pictures.images import Array, Floats, to_linear, to_srgb8
from finetune.core.pictures.masks import Mask

CORE_DEPTH = (1.5, 8.0)
"""Limits of the depth (px) inside the outline at which alpha becomes exactly 1."""
BLUR_DEPTH = 2.2
"""That depth, between its limits, in units of the edge's blur."""
REACH = 1.5
"""Pixels outside the outline in which mixtures are expected."""
CLEAR_CONTRAST = 0.08
"""Linear contrast between product and ground from which a mixture is solved; below it the outline decides."""
FAINT = 0.04
"""Alpha below this counts as ground."""
THIN = 2
"""Radius (px) of the neighbourhood whose least mixed pixel gives the colour of a part too thin to have a core."""
SEARCH = 12
"""Distance (px) up to which the colour of a soft matte's edge is looked for."""
SHARP_STEP = 0.9
"""Standard deviation (px) of the Gaussian that antialiases an outline drawn by shape alone."""

Rows = NDArray[np.intp]
GroundAt = Callable[[Rows, Rows], Floats]
"""Rows and columns -> (N, 3) linear light of the ground there, shadow included."""


def solve_alpha(pixels: Array, ground_at: GroundAt, product: Mask, blur: float) -> Array:
    """Solve for the alpha of every pixel: 255 in the core, 0 outside, from C = a F + (1 - a) B in the band between.

    F is the colour of the nearest core pixel, or of the pixel farthest from the ground where a part is too thin to have
    a core. Where F hardly differs from B the equation is ill-conditioned and the antialiased outline is used instead.

    Args:
        pixels: (H, W, 3) uint8.
        ground_at: the ground's colour at given rows and columns.
        product: (H, W), every pixel the product touches.
        blur: of the outline, standard deviation in pixels.

    Returns:
        (H, W) uint8.
    """
    depth = float(np.clip(BLUR_DEPTH * blur, *CORE_DEPTH))
    core = ~grown(~product, depth)
    rows, columns = np.nonzero(grown(product, REACH) & ~core)
    mixed, behind = to_linear(pixels[rows, columns]), ground_at(rows, columns)
    front, found = colour_near(pixels, core, rows, columns, depth + REACH + 1)
    thin = ~found
    front[thin] = _least_mixed(pixels, ground_at, rows[thin], columns[thin])
    difference = front - behind
    contrast = np.sqrt((difference**2).sum(axis=-1))
    solved = ((mixed - behind) * difference).sum(axis=-1) / np.maximum(contrast**2, 1e-6)
    shape = _blurred_at(product, rows, columns)
    trust = np.clip(contrast / CLEAR_CONTRAST - 0.5, 0, 1)
    values = trust * np.clip(solved, 0, 1) + (1 - trust) * np.clip(2 * shape - 1, 0, 1)
    values = np.where(values < FAINT, 0, np.where(values > 1 - FAINT, 1, values))
    alpha = np.where(core, np.uint8(255), np.uint8(0))
    alpha[rows, columns] = np.rint(values * 255)
    return alpha


def unmix_colours(pixels: Array, alpha: Array, ground_at: GroundAt) -> Array:
    """Replace mixtures by the product's own colours: F = (C - (1 - a) B) / a, the core's colour where a is small.

    Args:
        pixels: (H, W, 3) uint8.
        alpha: (H, W) uint8.
        ground_at: the ground's colour at given rows and columns.

    Returns:
        (H, W, 3) uint8; where alpha is 0 or 255 the bytes are those of `pixels`.
    """
    core = alpha == 255
    rows, columns = np.nonzero((alpha > 0) & ~core)
    if not len(rows):
        return pixels
    a = (alpha[rows, columns].astype(np.float32) / np.float32(255))[:, None]
    mixed, behind = to_linear(pixels[rows, columns]), ground_at(rows, columns)
    near, found = colour_near(pixels, core, rows, columns, SEARCH)
    near[~found] = mixed[~found]
    solved = np.clip((mixed - (1 - a) * behind) / np.maximum(a, 0.05), 0, 1)
    trust = np.clip((a - 0.3) / 0.5, 0, 1)
    unmixed = pixels.copy()
    unmixed[rows, columns] = to_srgb8((trust * solved + (1 - trust) * near).astype(np.float32))
    return unmixed


def grown(mask: Mask, radius: float) -> Mask:
    """A (H, W) mask grown by `radius` pixels (Euclidean), quick for small radii; outside the array all is False."""
    result = mask.copy()
    height, width = mask.shape
    for dy, dx, _ in offsets(radius):
        to = np.s_[max(0, dy) : height + min(0, dy), max(0, dx) : width + min(0, dx)]
        result[to] |= mask[max(0, -dy) : height + min(0, -dy), max(0, -dx) : width + min(0, -dx)]
    return result


def offsets(radius: float) -> list[tuple[int, int, float]]:
    """(dy, dx, distance) of every pixel within `radius`, nearest first, without the centre."""
    reach = range(-int(radius), int(radius) + 1)
    pairs = ((dy, dx, float(np.hypot(dy, dx))) for dy in reach for dx in reach if dy or dx)
    return sorted((p for p in pairs if p[2] <= radius), key=lambda p: (p[2], p[0], p[1]))


def colour_near(pixels: Array, known: Mask, rows: Rows, columns: Rows, limit: float) -> tuple[Floats, Mask]:
    """The mean colour of the nearest known pixel and its known neighbours.

    Args:
        pixels: (H, W, 3) uint8.
        known: (H, W).
        rows: of the N pixels asked about.
        columns: of these.
        limit: greatest distance in pixels.

    Returns:
        (N, 3) linear light, and (N,) whether one was found within `limit` pixels.
    """
    height, width = known.shape
    at_row, at_column = rows.copy(), columns.copy()
    found = known[rows, columns]
    left = np.flatnonzero(~found)
    for dy, dx, _ in offsets(limit):
        if not len(left):
            break
        row, column = rows[left] + dy, columns[left] + dx
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        hit = np.zeros(len(left), dtype=bool)
        hit[inside] = known[row[inside], column[inside]]
        at_row[left[hit]], at_column[left[hit]] = row[hit], column[hit]
        found[left[hit]] = True
        left = left[~hit]
    total = np.zeros((len(rows), 3), dtype=np.float32)
    count = np.zeros((len(rows), 1), dtype=np.float32)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            row, column = np.clip(at_row + dy, 0, height - 1), np.clip(at_column + dx, 0, width - 1)
            weight = known[row, column][:, None].astype(np.float32)
            total += to_linear(pixels[row, column]) * weight
            count += weight
    return (total / np.maximum(count, 1)).astype(np.float32), found


def _blurred_at(mask: Mask, rows: Rows, columns: Rows) -> Floats:
    """A mask blurred by a Gaussian of SHARP_STEP px, at the given pixels: (N,) in 0..1."""
    height, width = mask.shape
    total, weights = np.zeros(len(rows), dtype=np.float32), 0.0
    for dy in (-2, -1, 0, 1, 2):
        for dx in (-2, -1, 0, 1, 2):
            weight = float(np.exp(-0.5 * (dy**2 + dx**2) / SHARP_STEP**2))
            weights += weight
            total += weight * mask[np.clip(rows + dy, 0, height - 1), np.clip(columns + dx, 0, width - 1)]
    return total / np.float32(weights)


def _least_mixed(pixels: Array, ground_at: GroundAt, rows: Rows, columns: Rows) -> Floats:
    """For each given pixel the colour of the neighbour that differs most from the ground, (N, 3) linear light."""
    height, width = pixels.shape[:2]
    behind = ground_at(rows, columns)
    colour = to_linear(pixels[rows, columns])
    best = np.abs(colour - behind).max(axis=-1) if len(rows) else np.zeros(0, dtype=np.float32)
    for dy in range(-THIN, THIN + 1):
        for dx in range(-THIN, THIN + 1):
            there = to_linear(pixels[np.clip(rows + dy, 0, height - 1), np.clip(columns + dx, 0, width - 1)])
            difference = np.abs(there - behind).max(axis=-1) if len(rows) else best
            better = difference > best
            best = np.where(better, difference, best)
            colour = np.where(better[:, None], there, colour)
    return np.asarray(colour, dtype=np.float32)
