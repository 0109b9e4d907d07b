"""The plain ground of a packshot: its colour everywhere, as if product and shadow were not there.

Everything is measured in the values a file stores (sRGB, 0..1), where the noise of cameras and of JPEG is about the
same on white, grey and black grounds; in linear light it would count many times more on white than on black.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finetune.core.errors import CutoutError
from finetune.core.pictures.images import Floats, to_linear
from finetune.core.pictures.masks import Box, Mask

Decimals = TypeVar("Decimals", NDArray[np.float32], NDArray[np.float64])
RING_SHARE = 0.015
"""Width of the border ring that must be plain, as a share of the shorter side."""
PLAIN_SHARE = 0.75
"""Share of the border ring that must fit one smooth surface."""
PLAIN_TOLERANCE = 0.03
"""Distance in sRGB from that surface up to which a pixel of the ring fits it."""
FADE_LIMIT = 0.45
"""Least ratio between the darkest and the brightest light of a plain ground's border."""
GLOW = 0.02
"""Linear light added to both sides of a ratio of lights: on black, ratios of the light alone mean nothing."""
YCC = np.array([[0.299, 0.587, 0.114], [-0.0845, -0.1655, 0.25], [0.25, -0.2095, -0.0405]], dtype=np.float32)
"""sRGB -> lightness and twice colour, of ITU-R BT.601 as JPEG uses it; colour at half its weight."""
HINT = "photograph the product on a plain ground, or add a mask in masks/ (same stem, white is product)"


@dataclass(frozen=True)
class Ground:
    """An estimated plain ground."""

    encoded: Floats
    """(H, W, 3) sRGB 0..1: the ground as it would be without product and shadow."""
    noise: float
    """Robust standard deviation of the ground's pixels around it, in sRGB 0..1."""

    @cached_property
    def colour(self) -> Floats:
        """(H, W, 3) linear light of `encoded`."""
        return to_linear(self.encoded)

    def inside(self, box: Box) -> Ground:
        """The ground of a part of the picture."""
        return Ground(self.encoded[box.top : box.bottom, box.left : box.right], self.noise)


def estimate_ground(encoded: Floats) -> Ground:
    """Estimate a plain, possibly smoothly uneven ground from the border inwards.

    A quadratic surface is fitted to the border ring by Tukey's biweight, then refitted (cubic) on every pixel that
    agrees with it and is connected with the border.

    Args:
        encoded: (H, W, 3) sRGB 0..1.

    Raises:
        CutoutError: the border is not plain.
    """
    height, width = encoded.shape[:2]
    ring = border_ring(height, width)
    rows, columns = _some(ring)
    surface = _fit(rows / height, columns / width, encoded[rows, columns], degree=2)
    _check_plain(encoded[rows, columns], _evaluate(surface, rows / height, columns / width))
    colour = _evaluate_grid(surface, height, width)
    for degree in (2, 3):
        agrees = connected_with(largest(np.abs(encoded - colour)) < 2 * PLAIN_TOLERANCE, ring)
        rows, columns = _some(agrees)
        surface = _fit(rows / height, columns / width, encoded[rows, columns], degree)
        colour = _evaluate_grid(surface, height, width)
    residual = encoded[rows, columns] - colour[rows, columns]
    return Ground(colour, float(1.4826 * np.median(np.abs(residual))))


def border_ring(height: int, width: int) -> Mask:
    """The ring along a picture's border that must be plain, (height, width)."""
    thick = max(2, round(RING_SHARE * min(height, width)))
    ring = np.ones((height, width), dtype=bool)
    ring[thick:-thick, thick:-thick] = False
    return ring


def deviation_of(difference: Floats) -> Floats:
    """Size of a difference of sRGB colours as files keep it, (H, W): lightness, and colour at half its weight.

    JPEG keeps colour at half the resolution and coarser; at full weight its bleeding counts for as much as an outline.

    Args:
        difference: (H, W, 3), sRGB.
    """
    parts = difference @ YCC.T
    return np.asarray(np.sqrt(np.einsum("...i,...i->...", parts, parts)))


def largest(values: Decimals) -> Decimals:
    """Maximum over three channels; several times faster than numpy's reduction of a short axis."""
    return np.maximum(np.maximum(values[..., 0], values[..., 1]), values[..., 2])


def connected_with(mask: Mask, seed: Mask) -> Mask:
    """The parts of a mask that contain a pixel of a seed; pixels connect by their sides."""
    labels, count = ndimage.label(mask)
    wanted = np.zeros(count + 1, dtype=bool)
    wanted[labels[seed & mask]] = True
    wanted[0] = False
    return np.asarray(wanted[labels])


def _some(mask: Mask, limit: int = 8_000) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of at most `limit` True pixels, evenly spread."""
    rows, columns = np.nonzero(mask)
    chosen = np.linspace(0, len(rows) - 1, min(len(rows), limit)).astype(np.intp)
    return rows[chosen], columns[chosen]


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
    weight = _tukey(largest(np.abs(target - np.median(target, axis=0))))
    solved = np.zeros((len(terms), target.shape[1]))
    for _ in range(12):
        weighted = design * weight[:, None]
        solved[:] = np.linalg.solve(weighted.T @ design + 1e-9 * np.eye(len(terms)), weighted.T @ target)
        weight = _tukey(largest(np.abs(target - design @ solved)))
    table = np.zeros((degree + 1, degree + 1, target.shape[1]))
    for (i, j), row in zip(terms, solved, strict=True):
        table[i, j] = row
    return table


def _tukey(residual: NDArray[np.float64]) -> NDArray[np.float64]:
    scale = max(4.685 * 1.4826 * float(np.median(residual)), 0.01)
    return np.asarray(np.where(residual < scale, (1 - (residual / scale) ** 2) ** 2, 0.0) + 1e-9)


def _evaluate(table: NDArray[np.float64], y: NDArray[np.float64], x: NDArray[np.float64]) -> Floats:
    powers = range(len(table))
    down = np.stack([(2 * y - 1) ** i for i in powers], axis=1)
    across = np.stack([(2 * x - 1) ** j for j in powers], axis=1)
    return np.asarray(np.clip(np.einsum("ni,nj,ijc->nc", down, across, table), 0, 1), dtype=np.float32)


def _evaluate_grid(table: NDArray[np.float64], height: int, width: int) -> Floats:
    powers = range(len(table))
    down = np.stack([(2 * np.arange(height) / height - 1) ** i for i in powers], axis=1).astype(np.float32)
    across = np.stack([(2 * np.arange(width) / width - 1) ** j for j in powers], axis=1)
    colour = np.empty((height, width, table.shape[2]), dtype=np.float32)
    for c in range(table.shape[2]):
        colour[..., c] = down @ (table[..., c] @ across.T).astype(np.float32)
    return np.clip(colour, 0.0, 1.0, out=colour)


def _check_plain(values: Floats, fitted: Floats) -> None:
    agrees = largest(np.abs(values - fitted)) < PLAIN_TOLERANCE
    level = to_linear(fitted[agrees]).mean(axis=1) + GLOW if agrees.any() else np.zeros(1, np.float32)
    if agrees.mean() < PLAIN_SHARE or level.min() < FADE_LIMIT * level.max():
        raise CutoutError(
            f"the ground is not plain: only {agrees.mean():.0%} of the picture's border has one colour", HINT
        )
