# SPDX-License-Identifier: GPL-3.0-or-later
"""Things made of wire, cord and bars: most of their outline is ground."""

from __future__ import annotations

import math

import numpy as np

from . import profiles
from .solids import Thing, turned
from .studio_materials import fibre, metal, plastic, timber
from .studio_shapes import Points, arc, circle, flat_curve, frames, moved, plate, smooth, wires

STEEL = "c4c7cb"


def whisk() -> list[Thing]:
    """Balloon whisk of steel, laid flat."""
    steel = metal(STEEL, 0.16)
    loops = []
    for number in range(7):
        turn, width = math.pi * number / 7, 0.34 - 0.012 * number
        half = [
            (0.03, 0.0),
            (0.06, 0.12),
            (0.2, 0.5),
            (width, 0.95),
            (0.8 * width, 1.25),
            (0.4 * width, 1.4),
            (0.0, 1.44),
        ]
        line = [(r, y) for r, y in half] + [(-r, y) for r, y in reversed(half[:-1])]
        points = [(r * math.cos(turn), y - 0.008 * number, r * math.sin(turn)) for r, y in line]
        loops.append(smooth(points, 8))
    handle: list[profiles.Corner] = [
        (0.0, -1.2),
        (0.05, -1.19, 0.03),
        (0.075, -1.1, 0.05),
        (0.06, -0.6, 0.2),
        (0.075, -0.05, 0.1),
        (0.05, 0.02, 0.02),
    ]
    grip = turned("grip", [*handle, (0.0, 0.03)], steel)
    moved(grip, turn=(-90, 0, 0))
    ring = wires("ring", [moved_circle(0.06, -1.25)], 0.012, steel, closed=True)
    things = [wires("loops", loops, 0.011, steel), grip, ring]
    return [moved(thing, turn=(3.0, 0, 0)) for thing in things]


def moved_circle(radius: float, y: float) -> Points:
    """A level ring along the handle's axis."""
    return circle(radius, 40, middle=(0.0, y))


def strands(path: Points, radius: float, pitch: float, closed: bool = False) -> list[Points]:
    """Three strands twisted around a path."""
    _, normals, crosses = frames(path, closed)
    steps = np.linalg.norm(np.diff(path, axis=0, prepend=path[:1]), axis=1)
    turns = 2 * math.pi * np.cumsum(steps) / pitch
    made = []
    for number in range(3):
        angle = (turns + 2 * math.pi * number / 3)[:, None]
        made.append(path + radius * (normals * np.cos(angle) + crosses * np.sin(angle)))
    return made


def rope_coil() -> list[Thing]:
    """Coil of three-strand rope with two ends that lie beside it."""
    hemp = fibre("a98c5c", "d8c196")
    angles = np.linspace(0.3, 6 * 2 * math.pi + 0.9, 760)
    turn = angles / (2 * math.pi)
    radius = 0.78 + 0.06 * np.sin(2.3 * turn) + 0.05 * ((turn.astype(int) * 7) % 3 - 1)
    level = 0.08 + 0.055 * turn + 0.02 * np.sin(3 * angles)
    coil = np.stack([radius * np.cos(angles), radius * np.sin(angles), level], -1)
    ends = [(12, ((0.12, -0.3, 0.0), (0.35, -0.5, 0.0), (0.3, -0.8, 0.0)))]
    ends.append((-12, ((-0.25, 0.12, -0.12), (-0.45, -0.2, -0.26), (-0.3, -0.55, -0.3))))
    tails = []
    for start, steps in ends:
        end = coil[0 if start > 0 else -1]
        tails.append(smooth([coil[start], end, *(end + np.array(step) for step in steps)], 16)[16:])
    paths = [strand for path in (coil, *tails) for strand in strands(path, 0.038, 0.34)]
    return [wires("rope", paths, 0.042, hemp, sides=10)]


def bird_cage() -> list[Thing]:
    """White cage with a dome, a ring to hang it by, a perch."""
    white = plastic("eeece6", 0.35, 0.3)
    bars = []
    for number in range(26):
        a = 2 * math.pi * number / 26
        line = [(0.52, 0.05), (0.52, 0.5), (0.52, 0.95), (0.46, 1.2), (0.3, 1.42), (0.12, 1.53), (0.03, 1.56)]
        bars.append(smooth([(r * math.cos(a), r * math.sin(a), z) for r, z in line], 5))
    hoops = [circle(0.52, 72, level=z) for z in (0.32, 0.64, 0.95)]
    hang = circle(0.09, 40)
    ring = np.stack([hang[:, 0], np.zeros(40), hang[:, 1] + 1.7], -1)
    tray: list[profiles.Corner] = [
        (0.0, 0.0),
        (0.5, 0.0),
        (0.56, 0.02, 0.02),
        (0.56, 0.11, 0.02),
        (0.5, 0.12),
        (0.48, 0.04),
        (0.0, 0.04),
    ]
    knob: list[profiles.Corner] = [(0.0, 1.5), (0.07, 1.53, 0.02), (0.05, 1.6, 0.02), (0.0, 1.62)]
    perch = smooth([(-0.52, 0.0, 0.5), (0.52, 0.0, 0.5)], 2)
    return [
        wires("bars", bars, 0.0095, white, sides=8),
        wires("hoops", hoops, 0.014, white, closed=True, sides=8),
        wires("ring", [ring], 0.018, metal("c89a3e", 0.2), closed=True),
        turned("tray", tray, plastic("7fa7a0", 0.4, 0.3)),
        turned("knob", knob, metal("c89a3e", 0.2)),
        wires("perch", [perch], 0.02, timber("8a5a30", "c8975c")),
    ]


def coat_hanger() -> list[Thing]:
    """Brown wooden shoulders, a bar, a steel hook."""
    wood, steel = timber("4e2d16", "7d4d28"), metal(STEEL, 0.16)
    upper = [
        (-1.05, -0.3),
        (-0.8, -0.12),
        (-0.4, 0.06),
        (-0.1, 0.16),
        (0.1, 0.16),
        (0.4, 0.06),
        (0.8, -0.12),
        (1.05, -0.3),
    ]
    lower = [(1.07, -0.4), (0.98, -0.38), (0.75, -0.26), (0.4, -0.1), (0.0, -0.01), (-0.4, -0.1), (-0.75, -0.26)]
    lower += [(-0.98, -0.38), (-1.07, -0.4)]
    shoulders = plate("shoulders", [flat_curve([*upper, *lower], 6)], 0.12, 0.045, wood)
    bar = smooth(
        [
            (-0.93, -0.34, 0),
            (-0.9, -0.5, 0),
            (-0.82, -0.56, 0),
            (0, -0.56, 0),
            (0.82, -0.56, 0),
            (0.9, -0.5, 0),
            (0.93, -0.34, 0),
        ],
        8,
    )
    hook = [
        (0, 0.1, 0),
        (0, 0.34, 0),
        (0.04, 0.44, 0),
        (0.17, 0.54, 0),
        (0.2, 0.7, 0),
        (0.1, 0.84, 0),
        (-0.06, 0.86, 0),
        (-0.18, 0.76, 0),
        (-0.2, 0.66, 0),
    ]
    things = [shoulders, wires("bar", [bar], 0.03, wood), wires("hook", [smooth(hook, 8)], 0.02, steel)]
    return [moved(thing, (0, 0, 0.06)) for thing in things]


def egg_basket() -> list[Thing]:
    """Basket of black wires that cross, with a rim and a bail."""
    black = plastic("1a1a1c", 0.35, 0.4)
    lines, count = [], 22

    def wall(share: float) -> tuple[float, float]:
        return 0.3 + 0.42 * math.sin(0.5 * math.pi * share) ** 0.8, 0.02 + 0.62 * share**1.3

    for way in (-1, 1):
        for number in range(count):
            shares = np.linspace(0, 1, 14)
            angles = 2 * math.pi * (number / count + way * 0.14 * shares)
            radii = np.array([wall(s)[0] - 0.006 * way for s in shares])
            levels = np.array([wall(s)[1] for s in shares])
            lines.append(np.stack([radii * np.cos(angles), radii * np.sin(angles), levels], -1))
    floor = [
        np.array([(-math.sqrt(0.09 - y * y), y, 0.02), (0.0, y, 0.02), (math.sqrt(0.09 - y * y), y, 0.02)])
        for y in np.linspace(-0.25, 0.25, 7)
    ]
    bail = arc((0.0, 0.0, 0.62), 0.73, 0, 180, 48)
    bail[:, 2] = 0.62 + (bail[:, 2] - 0.62) * 1.05
    rims = [circle(wall(1.0)[0], 96, level=0.645), circle(0.3, 64, level=0.02)]
    return [
        wires("wall", [*lines, *floor], 0.0105, black, sides=8),
        wires("rims", rims, 0.02, black, closed=True),
        wires("bail", [bail], 0.02, black),
        wires("grip", [bail[18:30]], 0.042, timber("8a5a30", "c8975c"), sides=20),
    ]


def racket() -> list[Thing]:
    """Navy tennis racket with its net, throat and wound grip."""
    navy, strings = plastic("1b2b5c", 0.22, 0.7), plastic("e8e4d4", 0.4)
    angles = np.linspace(0, 2 * math.pi, 120, endpoint=False)
    hoop = np.stack([0.5 * np.cos(angles), 0.66 * np.sin(angles), np.zeros(120)], -1)
    net = []
    for x in np.linspace(-0.42, 0.42, 15):
        reach = 0.66 * math.sqrt(1 - (x / 0.5) ** 2)
        net.append(np.array([(x, -reach, 0.004), (x, 0.0, 0.004), (x, reach, 0.004)]))
    for y in np.linspace(-0.56, 0.56, 18):
        reach = 0.5 * math.sqrt(1 - (y / 0.66) ** 2)
        net.append(np.array([(-reach, y, -0.004), (0.0, y, -0.004), (reach, y, -0.004)]))
    throat = [
        smooth([(s * 0.3, -0.53, 0), (s * 0.2, -0.72, 0), (s * 0.06, -0.98, 0), (s * 0.045, -1.15, 0)], 8)
        for s in (-1, 1)
    ]
    shaft = smooth([(0, -1.1, 0), (0, -1.3, 0)], 4)
    grip = smooth([(0, -1.28, 0), (0, -1.9, 0)], 20)
    turns = np.linspace(0, 1, 240)
    winding = np.stack([0.068 * np.cos(70 * turns), -1.3 - 0.58 * turns, 0.068 * np.sin(70 * turns)], -1)
    dark = plastic("23242a", 0.7)
    things = [
        wires("hoop", [hoop], 0.036, navy, closed=True, sides=20),
        wires("net", net, 0.0055, strings, sides=6),
        wires("throat", throat, 0.036, navy, sides=16),
        wires("shaft", [shaft], 0.065, navy, sides=20),
        wires("grip", [grip], 0.068, dark, sides=20),
        wires("winding", [winding], 0.008, dark, sides=6),
    ]
    return [moved(thing, (0, 0, 0.08)) for thing in things]
