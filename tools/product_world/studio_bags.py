# SPDX-License-Identifier: GPL-3.0-or-later
"""Bags and a belt, with straps through which the ground is seen."""

from __future__ import annotations

import math

import numpy as np

from . import artwork
from .blender import shapes
from .design import Label
from .materials import printed
from .solids import Material, Thing
from .studio_materials import cloth, leather, metal
from .studio_shapes import Points, band, circle, moved, oval, plate, smooth, wires


def wall_point(half: tuple[float, float], height: float, angle: float, share: float) -> tuple[float, float, float]:
    """A point of a soft bag's wall: fuller below than above, a little wavy."""
    flat = 1 - 0.72 * share**1.5
    foot = 0.82 + 0.18 * math.sin(min(share / 0.12, 1.0) * math.pi / 2)
    x = half[0] * foot * math.copysign(abs(math.cos(angle)) ** 0.4, math.cos(angle))
    y = half[1] * foot * flat * math.copysign(abs(math.sin(angle)) ** 0.75, math.sin(angle))
    sway = 0.035 * half[0] * math.sin(3.1 * angle + 4.0 * share) * math.sin(math.pi * share)
    return x * (1 + 0.03 * share), y + sway * math.sin(angle), share * height


def sack(name: str, half: tuple[float, float], height: float, material: Material, *, open_top: bool = True) -> Thing:
    """Soft upright bag of (half width, half depth)."""
    rows, columns = 40, 96
    vertices = []
    for row in range(rows + 1):
        for column in range(columns):
            angle = 2 * math.pi * column / columns
            x, y, z = wall_point(half, height, angle, row / rows)
            sag = 0.03 * z * math.cos(2 * angle) if open_top else 0.0
            vertices.append((x, y, z + sag))
    faces = [*shapes.walls(rows + 1, columns), tuple(reversed(range(columns)))]
    if not open_top:
        faces.append(tuple(range(rows * columns, (rows + 1) * columns)))
    thing = shapes.add_mesh(name, vertices, faces, [material], sharp_degrees=60)
    if open_top:
        thick = thing.modifiers.new("cloth", "SOLIDIFY")
        thick.thickness, thick.offset = 0.025, -1.0
    return thing


def loop(x: float, low: float, top: float, y: float) -> Points:
    """A strap's arch: up, over and down, in front or behind."""
    rise = top - low
    points = [
        (-x, y, low),
        (-x, y, low + 0.3 * rise),
        (-0.86 * x, y, low + 0.7 * rise),
        (-0.45 * x, y, top - 0.03 * rise),
    ]
    points += [(0.0, y, top)] + [(-a, b, c) for a, b, c in reversed(points)]
    return smooth(points, 10)


def tote_bag() -> list[Thing]:
    """Cream canvas with print and two straps."""
    canvas, strap = cloth("e9dfc8"), cloth("2a2c38")
    half, height = (0.85, 0.34), 1.7
    things = [sack("bag", half, height, canvas)]
    things.append(band("front strap", loop(0.42, 1.35, 2.75, -0.15), (0.035, 0.13), (0, 1, 0), strap))
    things.append(band("back strap", moved_path(loop(0.42, 1.35, 2.68, 0.15), 0.05), (0.035, 0.13), (0, 1, 0), strap))

    def front(u: float, v: float) -> tuple[float, float, float]:
        share = 0.2 + 0.47 * v
        place = 1.06 * (u - 0.5) / (1 + 0.03 * share)
        angle = -math.acos(math.copysign(abs(place / half[0]) ** 2.5, place))
        x, y, z = wall_point(half, height, angle, share)
        return x, y - 0.012, z

    label = Label("print", "Marlow", "market bag", "cream", "navy", "red", "mark above", "sun", "none", "slab", "sans")
    ink = shapes.sheet("print", front, (40, 30), printed(artwork.draw_print(label, 1.06, 0.8), 0.9, bare=True))
    ink.visible_shadow = False
    return [*things, ink]


def moved_path(path: Points, across: float) -> Points:
    """A path a little to the side."""
    return np.asarray(path + np.array((across, 0.0, 0.0)))


def shoulder_bag() -> list[Thing]:
    """Brown leather bag with a flap, a long strap and a brass buckle."""
    brown, dark, brass = leather("7a4a28"), leather("5a3319"), metal("c89a3e", 0.25)
    things = [sack("bag", (0.86, 0.26), 1.15, brown, open_top=False)]
    line = [
        (0.0, 0.06, 1.2),
        (0.0, -0.04, 1.22),
        (0.0, -0.14, 1.18),
        (0.0, -0.27, 1.0),
        (0.0, -0.31, 0.7),
        (0.0, -0.315, 0.45),
    ]
    things.append(band("flap", smooth(line, 8), (1.66, 0.035), (1, 0, 0), dark))
    for side in (-1, 1):
        tab = smooth([(0.86 * side, 0, 0.75), (0.9 * side, 0, 1.0), (0.9 * side, 0, 1.2)], 6)
        things.append(band("tab", tab, (0.13, 0.04), (0, 1, 0), dark))
        ring = circle(0.09, 40)
        upright = np.stack([np.full(40, 0.9 * side), ring[:, 0], ring[:, 1] + 1.26], -1)
        things.append(wires("ring", [upright], 0.02, brass, closed=True))
    arch = smooth(
        [(-0.9, 0, 1.3), (-0.84, 0, 1.7), (-0.55, 0, 2.2), (0, 0, 2.42), (0.55, 0, 2.2), (0.84, 0, 1.7), (0.9, 0, 1.3)],
        10,
    )
    things.append(band("strap", arch, (0.13, 0.035), (0, 1, 0), brown))
    tongue = smooth([(0, -0.335, 0.75), (0, -0.35, 0.55), (0, -0.345, 0.3)], 6)
    things.append(band("tongue", tongue, (0.16, 0.03), (1, 0, 0), brown))
    frame = plate(
        "buckle", [oval((0, 0), (0.14, 0.11), 48, power=4), oval((0, 0), (0.1, 0.07), 48, power=4)], 0.03, 0.01, brass
    )
    return [*things, moved(frame, (0, -0.37, 0.46), (90, 0, 0))]


def belt() -> list[Thing]:
    """Black belt rolled up on its edge, the buckle at its outer end."""
    black, steel = leather("1b1a1c"), metal("c4c7cb", 0.18)
    angles = np.linspace(0.0, 2.6 * 2 * math.pi, 260)
    radius = 0.42 + 0.052 * angles / (2 * math.pi) * 1.7
    coil = np.stack([radius * np.cos(angles), radius * np.sin(angles), np.full(260, 0.19)], -1)
    ahead = coil[-1] - coil[-2]
    ahead /= np.linalg.norm(ahead)
    out = np.array((ahead[1], -ahead[0], 0.0))
    tail = [coil[-1] + ahead * reach + out * reach**2 * 0.5 for reach in (0.1, 0.25, 0.4)]
    things = [band("strap", np.concatenate([coil, tail]), (0.36, 0.035), (0, 0, 1), black)]
    turn = math.degrees(math.atan2(float(ahead[1] + 0.5 * out[1]), float(ahead[0] + 0.5 * out[0])))
    outer, hole = oval((0, 0), (0.17, 0.2), 64, power=5), oval((0, 0), (0.125, 0.155), 64, power=5)
    buckle = moved(plate("buckle", [outer, hole], 0.04, 0.015, steel), turn=(90, 0, 0))
    things.append(moved(buckle, tail[-1] + 0.17 * ahead + 0.06 * out, (0, 0, turn)))
    pin = wires("pin", [smooth([(-0.17, -0.02, 0), (0.0, -0.04, 0), (0.16, -0.03, 0)], 6)], 0.014, steel)
    things.append(moved(pin, tail[-1] + 0.17 * ahead + 0.06 * out, (0, 0, turn)))
    keeper = oval((0, 0), (0.06, 0.2), 48, power=6)
    collar = np.array([(0.0, 0.9 * x, z) for x, z in keeper])
    things.append(moved(band("keeper", collar, (0.08, 0.02), (1, 0, 0), black, closed=True), tail[0], (0, 0, turn - 8)))
    return things
