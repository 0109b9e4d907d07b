# SPDX-License-Identifier: GPL-3.0-or-later
"""Products with soft edges: hair and wool as thousands of thin threads."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from . import profiles
from .blender import shapes
from .solids import Material, Thing, turned
from .studio_materials import fibre, metal, plastic
from .studio_shapes import block, flat_curve, moved, oval, plate, smooth, wires

Numbers = npt.NDArray[np.float64]


def threads(name: str, lines: Numbers, radius: float, material: Material) -> Thing:
    """Three-sided threads along lines (thread, point, 3) that end in a tip."""
    count, steps = lines.shape[:2]
    along = np.gradient(lines, axis=1)
    along /= np.maximum(np.linalg.norm(along, axis=2, keepdims=True), 1e-9)
    first = np.cross(along, (0.31, 0.52, 0.79))
    first /= np.maximum(np.linalg.norm(first, axis=2, keepdims=True), 1e-9)
    second = np.cross(along, first)
    thick = radius * np.linspace(1.0, 0.25, steps)[None, :, None]
    corners = [math.cos(a) * first + math.sin(a) * second for a in (0.0, 2 * math.pi / 3, 4 * math.pi / 3)]
    points = np.stack([lines + thick * corner for corner in corners], 2).reshape(-1, 3)
    faces = []
    for thread in range(count):
        for step in range(steps - 1):
            low = 3 * (thread * steps + step)
            faces += [(low + k, low + (k + 1) % 3, low + 3 + (k + 1) % 3, low + 3 + k) for k in range(3)]
    return shapes.add_mesh(name, points.tolist(), faces, [material], smooth=True, sharp_degrees=180)


def tuft(count: int, foot: float, head: float, low: float, high: float, seed: int) -> Numbers:
    """Hairs that stand in a bundle and spread to a dome; they start at `low`."""
    numbers = np.random.default_rng(seed)
    share, angle = np.sqrt(numbers.random(count)), 2 * math.pi * numbers.random(count)
    dome = 1 - 0.35 * share**2
    length = (high - low) * dome * numbers.normal(1.0, 0.03, count)
    t = np.linspace(0, 1, 7)[None, :]
    spread = foot + (head - foot) * np.sin(0.5 * math.pi * t) ** 0.9
    reach = share[:, None] * spread * (1 + 0.04 * numbers.normal(size=count)[:, None] * t)
    turn = angle[:, None] + 0.12 * numbers.normal(size=count)[:, None] * t
    return np.stack([reach * np.cos(turn), reach * np.sin(turn), low + length[:, None] * t], -1)


def shaving_brush() -> list[Thing]:
    """Turned black handle, steel ring, a knot of pale hair."""
    handle: list[profiles.Corner] = [
        (0.0, 0.0),
        (0.26, 0.0, 0.04),
        (0.28, 0.1, 0.06),
        (0.17, 0.3, 0.1),
        (0.25, 0.52, 0.1),
        (0.17, 0.68, 0.03),
        (0.0, 0.69),
    ]
    ring: list[profiles.Corner] = [(0.16, 0.66), (0.19, 0.66, 0.01), (0.19, 0.74, 0.01), (0.15, 0.75)]
    hair = tuft(9000, 0.15, 0.36, 0.66, 1.42, 3)
    return [
        turned("handle", handle, plastic("141416", 0.15, 0.8)),
        turned("ring", ring, metal("c4c7cb", 0.15)),
        threads("hair", hair, 0.0035, fibre("b8a58a", "efe6d4")),
    ]


def pom_pom() -> list[Thing]:
    """Ball of pink wool with a cord."""
    numbers = np.random.default_rng(11)
    count = 15000
    ways = numbers.normal(size=(count, 3))
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    length = 0.6 * (1 - 0.06 * numbers.random(count) ** 2) * (1 + 0.03 * np.sin(5 * ways[:, 0] + 3 * ways[:, 2]))
    t = np.linspace(0.45, 1.0, 5)[None, :, None]
    sway = 0.05 * numbers.normal(size=(count, 1, 3)) * (t - 0.45) ** 2 / 0.3
    middle = -float((ways[:, 2] * length).min())
    lines = ways[:, None] * length[:, None, None] * t + sway + np.array((0.0, 0.0, middle))
    cord = [(0.0, 0.0, middle + 0.4), (0.06, 0.0, middle + 0.75), (0.16, 0.0, middle + 1.0), (0.02, 0.0, middle + 1.15)]
    cord += [(-0.12, 0.0, middle + 1.0), (-0.06, 0.0, middle + 0.75), (0.0, 0.02, middle + 0.4)]
    pink = fibre("c9567f", "f2a6bf")
    core = shapes.ball("core", 0.4, (0.0, 0.0, 0.0), fibre("b04a70", "c9567f"))
    core.location = (0.0, 0.0, middle)
    return [
        threads("wool", lines, 0.0075, pink),
        core,
        wires("cord", [smooth(cord, 10)], 0.016, fibre("d9d3c8", "f4f0e8")),
    ]


def paint_brush() -> list[Thing]:
    """Flat brush, laid down: red handle with a hole, steel ferrule, dark bristles."""
    red, steel = plastic("b01f27", 0.2, 0.8), metal("c4c7cb", 0.2)
    side = [
        (0.3, 0.1),
        (0.3, -0.02),
        (0.2, -0.2),
        (0.11, -0.4),
        (0.12, -0.75),
        (0.17, -1.05),
        (0.12, -1.22),
        (0.0, -1.27),
    ]
    outline = flat_curve([*side, *[(-x, y) for x, y in reversed(side[:-1])]], 6)
    handle = plate("handle", [outline, oval((0, -1.08), (0.055, 0.06), 32)], 0.13, 0.05, red)
    ferrule = [moved(block("ferrule", (0.68, 0.34, 0.16), 0.05, steel), (0, 0.2, 0))]
    ferrule += [moved(block("bead", (0.7, 0.03, 0.18), 0.012, steel), (0, y, 0)) for y in (0.09, 0.31)]
    numbers = np.random.default_rng(5)
    count = 7000
    x, z = numbers.uniform(-0.31, 0.31, count), numbers.uniform(-0.06, 0.06, count)
    t = np.linspace(0, 1, 6)[None, :]
    high = (0.72 - 0.1 * (x / 0.31) ** 2) * (1 - 0.1 * (z / 0.06) ** 2) * numbers.normal(1.0, 0.035, count)
    across = x[:, None] * (1 + 0.1 * t) + 0.015 * numbers.normal(size=count)[:, None] * t**2
    deep = z[:, None] * (1 - 0.35 * t) + 0.012 * numbers.normal(size=count)[:, None] * t**2
    hair = threads(
        "bristles", np.stack([across, 0.34 + high[:, None] * t, deep], -1), 0.0042, fibre("2a1d15", "6b5037")
    )
    return [moved(thing, (0, 0, 0.09)) for thing in (handle, *ferrule, hair)]
