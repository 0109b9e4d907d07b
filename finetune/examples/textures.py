"""Procedural surfaces: marble, wood, concrete, sand and linen as square tiles.

Every function takes a generator and a side and returns (side, side, 3) float32 sRGB in 0..1 that wraps around at its
edges, so that a surface can repeat. Deterministic from the generator.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from finetune.core.pictures.images import Floats

Texture = Callable[[np.random.Generator, int], Floats]


def cloud(rng: np.random.Generator, side: int, cells: tuple[int, int], octaves: int = 4) -> Floats:
    """Fractal value noise that wraps, (side, side) in about 0..1.

    Args:
        rng: the only source of randomness.
        side: in pixels.
        cells: rows and columns of its coarsest grid.
        octaves: grids added, each twice as fine and half as strong.
    """
    total = np.zeros((side, side), dtype=np.float32)
    weight = 0.0
    for octave in range(octaves):
        rows, columns = min(side, cells[0] << octave), min(side, cells[1] << octave)
        grid = rng.random((rows, columns), dtype=np.float32)
        total += _spread(_spread(grid, side).T, side).T / np.float32(1 << octave)
        weight += 1 / (1 << octave)
    return np.asarray(total / np.float32(weight), dtype=np.float32)


def _spread(grid: Floats, side: int) -> Floats:
    """(cells, n) -> (side, n): neighbouring cells blended smoothly, the last with the first.

    Not by a matrix product: its sums may depend on the number of threads, and examples are the same on any machine.
    """
    cells = grid.shape[0]
    place = np.arange(side) * cells / side
    cell = place.astype(np.intp)
    share = (place - cell).astype(np.float32)
    share = (share * share * (3 - 2 * share))[:, None]
    return np.asarray(grid[cell] * (1 - share) + grid[(cell + 1) % cells] * share, dtype=np.float32)


def _mix(value: Floats, dark: tuple[float, float, float], light: tuple[float, float, float]) -> Floats:
    low, high = np.array(dark, np.float32), np.array(light, np.float32)
    return np.asarray(low + np.clip(value, 0, 1)[..., None] * (high - low), dtype=np.float32)


def _veins(rng: np.random.Generator, side: int) -> Floats:
    """Thin winding lines: 1 on a vein, 0 away from it."""
    field = cloud(rng, side, (3, 2), 5)
    fine = cloud(rng, side, (5, 4), 5)
    strength = np.clip(cloud(rng, side, (3, 3), 2) * 2.4 - 0.7, 0, 1)
    broad = np.exp(-np.abs(field - np.median(field)) * 38)
    thin = np.exp(-np.abs(fine - np.median(fine)) * 90) * 0.6
    return np.asarray(np.clip((broad + thin) * strength, 0, 1), dtype=np.float32)


def white_marble(rng: np.random.Generator, side: int) -> Floats:
    """White marble with grey veins."""
    body = 0.92 + 0.10 * (cloud(rng, side, (2, 2)) - 0.5)
    return _mix(body - 0.42 * _veins(rng, side), (0.02, 0.02, 0.03), (0.99, 0.985, 0.97))


def black_marble(rng: np.random.Generator, side: int) -> Floats:
    """Black marble with white veins."""
    body = 0.06 + 0.08 * cloud(rng, side, (3, 3))
    return _mix(body + 0.75 * _veins(rng, side), (0.03, 0.03, 0.035), (0.95, 0.94, 0.92))


def _wood(
    rng: np.random.Generator, side: int, dark: tuple[float, float, float], light: tuple[float, float, float]
) -> Floats:
    grain = cloud(rng, side, (1, 24), 4)
    warp = cloud(rng, side, (1, 3), 3)
    rings = 0.5 + 0.5 * np.sin((warp * 5 + grain * 0.8) * 2 * np.pi)
    pores = cloud(rng, side, (5, 110), 2)
    value = 0.3 * rings + 0.7 * grain - 0.25 * (pores > 0.68)
    planks = 4
    tone = rng.normal(0, 0.09, planks).astype(np.float32)
    column = np.arange(side) * planks // side
    shifts = rng.integers(0, side, planks)
    value = np.stack([np.roll(value[:, i], shifts[p]) + tone[p] for i, p in enumerate(column)], axis=1)
    seam = np.arange(side) * planks % side < planks * max(1, side // 256)
    return _mix(np.where(seam[None, :], value - 0.6, value * 0.8 + 0.1).astype(np.float32), dark, light)


def light_oak(rng: np.random.Generator, side: int) -> Floats:
    """Light oak planks."""
    return _wood(rng, side, (0.60, 0.44, 0.28), (0.88, 0.74, 0.55))


def dark_walnut(rng: np.random.Generator, side: int) -> Floats:
    """Dark walnut planks."""
    return _wood(rng, side, (0.13, 0.075, 0.045), (0.42, 0.27, 0.17))


def concrete(rng: np.random.Generator, side: int) -> Floats:
    """Smooth grey concrete with stains and pores."""
    value = 0.5 + 0.55 * (cloud(rng, side, (3, 3), 6) - 0.5) + rng.normal(0, 0.025, (side, side)).astype(np.float32)
    pores = ndimage.gaussian_filter((rng.random((side, side)) > 0.9985).astype(np.float32), 1.0, mode="wrap")
    return _mix(value - 2.5 * pores, (0.36, 0.36, 0.355), (0.76, 0.755, 0.74))


def sand(rng: np.random.Generator, side: int) -> Floats:
    """Pale sand: grains and shallow drifts."""
    grains = ndimage.gaussian_filter(rng.normal(0, 1, (side, side)), 0.7, mode="wrap")
    drifts = cloud(rng, side, (7, 5), 4) - 0.5
    value = 0.6 + 0.22 * grains + 0.9 * drifts
    return _mix(value.astype(np.float32), (0.60, 0.49, 0.34), (0.95, 0.86, 0.70))


def linen(rng: np.random.Generator, side: int) -> Floats:
    """Woven linen of natural colour."""
    threads = max(8, side // 5)
    phase = np.arange(side) * threads / side * 2 * np.pi
    warp = np.sin(phase)[None, :] * (0.6 + 0.8 * cloud(rng, side, (4, threads // 2), 1))
    weft = np.sin(phase)[:, None] * (0.6 + 0.8 * cloud(rng, side, (threads // 2, 4), 1))
    folds = cloud(rng, side, (2, 2), 2) - 0.5
    value = 0.55 + 0.16 * warp + 0.16 * weft + 0.5 * folds
    return _mix(value.astype(np.float32), (0.58, 0.52, 0.43), (0.93, 0.89, 0.81))


TEXTURES: dict[str, Texture] = {
    "white marble": white_marble,
    "black marble": black_marble,
    "light oak wood": light_oak,
    "dark walnut wood": dark_walnut,
    "concrete": concrete,
    "sand": sand,
    "linen fabric": linen,
}
