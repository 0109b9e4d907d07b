# SPDX-License-Identifier: GPL-3.0-or-later
"""Larger things with gaps between slats and wires."""

from __future__ import annotations

import math

import numpy as np

from . import profiles
from .solids import Thing, turned
from .studio_materials import metal, plastic, timber
from .studio_shapes import block, circle, flat_curve, moved, plate, smooth, wires


def stool() -> list[Thing]:
    """Wooden stool with a slatted seat, splayed legs and rungs."""
    oak = timber("8a5a30", "c8975c")
    places = [-0.45 + 0.18 * number for number in range(6)]
    things = [moved(block("slat", (1.15, 0.14, 0.06), 0.015, oak), (0, y, 1.23)) for y in places]
    things += [moved(block("rail", (0.09, 1.0, 0.1), 0.015, oak), (x, 0, 1.16)) for x in (-0.42, 0.42)]
    feet = [(sx, sy) for sx in (-1, 1) for sy in (-1, 1)]
    legs = [smooth([(0.54 * sx, 0.52 * sy, 0.0), (0.42 * sx, 0.4 * sy, 1.18)], 4) for sx, sy in feet]
    things.append(wires("legs", legs, lambda t: 0.04 + 0.012 * t, oak, sides=20))
    bars = [smooth([(0.49 * s, -0.47, 0.45), (0.49 * s, 0.47, 0.45)], 2) for s in (-1, 1)]
    bars += [smooth([(-0.475, 0.455 * s, 0.6), (0.475, 0.455 * s, 0.6)], 2) for s in (-1, 1)]
    return [*things, wires("rungs", bars, 0.027, oak, sides=16)]


def grill(steel: object, depth: float, bulge: float) -> list[Thing]:
    """Half of a fan's cage: rings and spokes that bulge to one side."""
    spokes, rings = [], []
    radii = np.linspace(0.12, 0.78, 9)

    def out(radius: float) -> float:
        return depth + bulge * (1 - (radius / 0.8) ** 2)

    for number in range(48):
        a = 2 * math.pi * number / 48
        spokes.append(np.array([(r * math.cos(a), out(r), r * math.sin(a)) for r in np.linspace(0.12, 0.79, 8)]))
    for radius in (radii[0], radii[4], radii[8]):
        ring = circle(float(radius), 72)
        rings.append(np.stack([ring[:, 0], np.full(72, out(float(radius))), ring[:, 1]], -1))
    return [wires("spokes", spokes, 0.006, steel, sides=6), wires("rings", rings, 0.01, steel, closed=True, sides=8)]


def desk_fan() -> list[Thing]:
    """Mint fan: cage of wires, three blades, stem, round foot."""
    mint, wire = plastic("9fd0bd", 0.3, 0.4), metal("d0d2d6", 0.2)
    things = [*grill(wire, -0.2, -0.1), *grill(wire, 0.08, 0.08)]
    hub: list[profiles.Corner] = [(0.0, -0.16), (0.1, -0.16, 0.05), (0.13, 0.0, 0.03), (0.13, 0.12), (0.0, 0.12)]
    things.append(moved(turned("hub", hub, mint), turn=(-90, 0, 0)))
    blade = flat_curve(
        [(0.08, -0.06), (0.3, -0.22), (0.58, -0.24), (0.7, 0.0), (0.5, 0.22), (0.2, 0.14), (0.08, 0.06)], 6
    )
    for number in range(3):
        wing = moved(plate("blade", [blade], 0.02, 0.006, mint), turn=(20, 0, 0))
        things.append(moved(moved(wing, turn=(90, 0, 0)), (0, -0.02, 0), (0, 120.0 * number + 17, 0)))
    rim = circle(0.79, 96)
    things.append(wires("rim", [np.stack([rim[:, 0], np.full(96, -0.06), rim[:, 1]], -1)], 0.03, mint, closed=True))
    motor: list[profiles.Corner] = [(0.0, 0.1), (0.16, 0.1, 0.03), (0.16, 0.38, 0.08), (0.0, 0.42)]
    things.append(moved(turned("motor", motor, mint), turn=(-90, 0, 0)))
    for thing in things:
        moved(thing, (0, 0, 1.32))
    foot: list[profiles.Corner] = [(0.0, 0.0), (0.4, 0.0, 0.02), (0.4, 0.05, 0.03), (0.1, 0.12, 0.05), (0.0, 0.13)]
    stem = smooth([(0, 0.24, 0.1), (0, 0.25, 0.6), (0, 0.25, 1.25)], 6)
    return [*things, moved(turned("foot", foot, mint), (0, 0.2, 0)), wires("stem", [stem], 0.045, mint, sides=20)]
