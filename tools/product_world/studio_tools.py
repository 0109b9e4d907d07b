# SPDX-License-Identifier: GPL-3.0-or-later
"""Scissors, pliers, padlock and keys."""

from __future__ import annotations

import math

import numpy as np

from . import profiles
from .solids import Thing, turned
from .studio_materials import leather, metal, plastic
from .studio_shapes import block, flat_curve, moved, oval, plate, smooth, wires

STEEL = "b9bdc2"


def scissor_half(side: int) -> list[Thing]:
    """One blade with its ring; `side` 1 has its ring to the right, its blade to the left."""
    steel, grip = metal(STEEL, 0.2), plastic("1b1c20", 0.4)
    blade = [(0.0, 1.55), (0.055, 1.1), (0.1, 0.4), (0.12, 0.05), (0.09, -0.22), (-0.02, -0.28), (-0.09, -0.05)]
    blade += [(-0.075, 0.15), (-0.035, 0.45)]
    half = [plate("blade", [flat_curve(blade, 6)], 0.035, 0.01, steel)]
    shank = [(-0.06, -0.15), (0.06, -0.13), (0.17, -0.45), (0.31, -0.62), (0.36, -0.9), (0.3, -1.2), (0.15, -1.28)]
    shank += [(0.02, -1.12), (-0.02, -0.8), (0.0, -0.5)]
    hole = flat_curve(
        [(0.1, -0.66), (0.22, -0.76), (0.26, -0.92), (0.22, -1.1), (0.14, -1.16), (0.07, -1.05), (0.05, -0.82)], 6
    )
    half.append(plate("grip", [flat_curve(shank, 6), hole], 0.12, 0.045, grip))
    for thing in half:
        moved(thing, (0, 0, 0.03 * side), (0, 0, 0))
        if side < 0:
            mirror(thing)
        moved(thing, (0, 0, 0.1), (0, 0, 11.0 * side))
    return half


def mirror(thing: Thing) -> None:
    """Left becomes right."""
    moved(thing, scale=(-1.0, 1.0, 1.0))
    thing.data.flip_normals()


def scissors() -> list[Thing]:
    """Black grips, steel blades a little open."""
    things = [*scissor_half(1), *scissor_half(-1)]
    screw = turned("screw", [(0.0, 0.17), (0.05, 0.17, 0.01), (0.06, 0.14, 0.01), (0.06, 0.05)], metal("8c9096", 0.3))
    return [*things, screw]


def padlock() -> list[Thing]:
    """Brass body, steel shackle, keyhole in front."""
    brass, steel = metal("c9a04a", 0.28), metal("c4c7cb", 0.14)
    bow = [
        (-0.27, 0, 0.7),
        (-0.27, 0, 1.0),
        (-0.2, 0, 1.22),
        (0, 0, 1.31),
        (0.2, 0, 1.22),
        (0.27, 0, 1.0),
        (0.27, 0, 0.7),
    ]
    plug = moved(
        turned("plug", [(0.0, 0.0), (0.11, 0.0), (0.11, 0.015, 0.006), (0.0, 0.016)], steel),
        (0, -0.168, 0.36),
        (90, 0, 0),
    )
    slot = moved(
        plate("slot", [oval((0, 0), (0.018, 0.06))], 0.012, 0.003, plastic("0e0e10", 0.6)),
        (0, -0.186, 0.36),
        (90, 0, 0),
    )
    things = [moved(block("body", (0.84, 0.34, 0.76), 0.06, brass), (0, 0, 0.38))]
    things.append(moved(block("band", (0.845, 0.345, 0.05), 0.01, metal("a88238", 0.4)), (0, 0, 0.62)))
    return [*things, wires("shackle", [smooth(bow, 10)], 0.07, steel, sides=24), plug, slot]


def key(code: str, bits: int) -> Thing:
    """A flat key with teeth; the hole in its head is at the origin."""
    angles = [math.radians(-65 + 310 * step / 36) for step in range(37)]
    outline = [(0.19 * math.cos(a), -0.1 + 0.2 * math.sin(a)) for a in angles]
    outline += [(-0.08, -0.34), (-0.075, -0.98), (0.0, -1.05), (0.06, -0.98)]
    for number in range(6):
        y, depth = -0.9 + 0.08 * number, 0.03 + 0.013 * ((number * bits) % 4)
        outline += [(0.07 - depth, y), (0.07, y + 0.04)]
    outline.append((0.08, -0.34))
    return plate("key", [outline, oval((0, 0.0), (0.06, 0.05), 24)], 0.03, 0.008, metal(code, 0.22))


def key_ring() -> list[Thing]:
    """Three keys and a red leather tag on a steel ring."""
    steel = metal(STEEL, 0.18)
    turns = np.linspace(0, 4 * math.pi, 120)
    ring = np.stack([0.34 * np.cos(turns), 0.34 * np.sin(turns), 0.06 + 0.008 * turns / math.pi], -1)
    things = [wires("ring", [ring], 0.018, steel, sides=12)]
    for number, (angle, code) in enumerate(((-140, "c4c7cb"), (-95, "c9a04a"), (-48, "b3a58f"))):
        x, y = 0.34 * math.cos(math.radians(angle)), 0.34 * math.sin(math.radians(angle))
        things.append(moved(key(code, number + 1), (x, y, 0.03 + 0.035 * number), (3, 4, angle + 90)))
    tag = [
        (-0.1, 0.0),
        (-0.16, 0.3),
        (-0.18, 0.75),
        (-0.1, 0.9),
        (0.1, 0.9),
        (0.18, 0.75),
        (0.16, 0.3),
        (0.1, 0.0),
        (0.0, -0.08),
    ]
    fob = plate("tag", [flat_curve(tag, 6), oval((0, 0.04), (0.05, 0.05), 24)], 0.05, 0.015, leather("a3222b"))
    return [*things, moved(fob, (0.09, 0.31, 0.05), (4, 0, -12))]


def pliers_half(side: int) -> list[Thing]:
    """One jaw with its handle: the jaw to the left has its handle to the right."""
    steel, grip = metal("9ea3a9", 0.3), plastic("1d2d63", 0.4)
    jaw = [(0.005, 1.0), (0.07, 0.99), (0.15, 0.6), (0.2, 0.2), (0.17, 0.0), (0.05, -0.22), (-0.1, -0.42), (-0.2, -0.4)]
    jaw += [(-0.16, -0.15), (-0.1, 0.1), (-0.02, 0.28), (0.004, 0.35)]
    half = [plate("jaw", [flat_curve(jaw, 5)], 0.09, 0.02, steel)]
    line = [(-0.1, -0.3, 0), (-0.2, -0.5, 0), (-0.32, -0.8, 0), (-0.36, -1.2, 0), (-0.3, -1.6, 0), (-0.27, -1.75, 0)]
    half.append(wires("grip", [smooth(line, 8)], lambda t: 0.075 + 0.02 * math.sin(math.pi * t), grip, sides=20))
    for thing in half:
        if side < 0:
            mirror(thing)
        moved(thing, (0, 0, 0.1 + 0.012 * side), (0, 0, -4.0 * side))
    return half


def pliers() -> list[Thing]:
    """Steel jaws a little open, navy grips."""
    rivet: list[profiles.Corner] = [(0.0, 0.18), (0.08, 0.18, 0.01), (0.09, 0.15, 0.01), (0.09, 0.05)]
    return [*pliers_half(1), *pliers_half(-1), moved(turned("rivet", rivet, metal("7d8288", 0.35)), (0, -0.02, 0))]
