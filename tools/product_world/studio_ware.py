# SPDX-License-Identifier: GPL-3.0-or-later
"""Vessels with handles and spouts, a sieve and a spray bottle."""

from __future__ import annotations

import math
from collections.abc import Callable

from . import profiles
from .blender import shapes
from .solids import Material, Section, Thing, body, turned
from .studio_materials import metal, plastic
from .studio_shapes import circle, flat_curve, moved, plate, smooth, wires

Surface = Callable[[float, float], tuple[float, float, float]]


def bowl(foot: float, rim: float, height: float, wall: float, belly: float = 0.1) -> list[profiles.Corner]:
    """The profile of a cup, outside and inside."""
    outer: list[profiles.Corner] = [(0.0, 0.015), (foot - 0.05, 0.015), (foot - 0.04, 0.0), (foot, 0.0, 0.02)]
    outer += [(foot + 0.6 * (rim - foot), 0.12 * height, belly), (rim, height, 0.5 * wall)]
    inner: list[profiles.Corner] = [(rim - wall / 2, height + 0.3 * wall, 0.3 * wall), (rim - wall, height, 0.3 * wall)]
    return [*outer, *inner, (foot + 0.6 * (rim - foot) - wall, 0.12 * height + wall, belly), (0.0, 0.015 + wall)]


def ear(x: float, low: float, high: float, reach: float) -> list[tuple[float, float, float]]:
    """A handle's curve to the right of a wall at `x`."""
    middle, half = (low + high) / 2, (high - low) / 2
    points = [(x - 0.02, 0.0, low)]
    points += [(x + reach * math.cos(a), 0.0, middle + half * math.sin(a)) for a in (-1.1, -0.5, 0.1, 0.65, 1.15)]
    return [*points, (x - 0.02, 0.0, high)]


def mug() -> list[Thing]:
    """Deep red glaze, white inside."""
    red = plastic("7d1620", 0.3, 0.7)
    handle = wires("handle", [smooth(ear(0.41, 0.2, 0.76, 0.27), 10)], 0.05, red, sides=20)
    lining: list[profiles.Corner] = [(0.376, 0.955), (0.37, 0.2, 0.1), (0.3, 0.075, 0.05), (0.0, 0.075)]
    return [
        turned("cup", bowl(0.36, 0.42, 0.96, 0.04), red),
        handle,
        turned("lining", lining, plastic("f0ece4", 0.2, 0.6)),
    ]


def coffee_set() -> list[Thing]:
    """Two white cups with gold rims on saucers."""
    white, gold = plastic("f1efe9", 0.25, 0.8), metal("d9a94a", 0.2)
    things = []
    for x, y, turn in ((-0.52, 0.0, 150.0), (0.5, 0.06, -20.0)):
        dish: list[profiles.Corner] = [(0.0, 0.015), (0.22, 0.015), (0.24, 0.0), (0.27, 0.0, 0.02), (0.48, 0.09, 0.01)]
        dish += [(0.48, 0.105, 0.008), (0.28, 0.03, 0.05), (0.0, 0.03)]
        cup = turned("cup", bowl(0.17, 0.32, 0.44, 0.025, 0.14), white)
        handle = wires("handle", [smooth(ear(0.29, 0.13, 0.38, 0.2), 10)], 0.028, white, sides=16)
        rim = wires("rim", [circle(0.308, 72, level=0.446)], 0.011, gold, closed=True)
        coffee = body("coffee", Section("round", 0.283), [(0.27, 0.33), (0.283, 0.34)], plastic("2b1509", 0.08))
        for thing in (cup, handle, rim, coffee):
            moved(thing, (0, 0, 0.03))
        edge = wires("edge", [circle(0.478, 72, level=0.098)], 0.01, gold, closed=True)
        whole = (cup, handle, rim, coffee, edge, turned("saucer", dish, white))
        things += [moved(thing, (x, y, 0.0), (0, 0, turn)) for thing in whole]
    return things


def watering_can() -> list[Thing]:
    """Green enamel: open can, spout with a rose, handle above and behind."""
    green = plastic("2f6b3c", 0.3, 0.6)
    wall: list[profiles.Corner] = [(0.0, 0.02), (0.42, 0.02), (0.43, 0.0), (0.47, 0.0, 0.02), (0.47, 0.04, 0.02)]
    wall += [
        (0.45, 0.08, 0.03),
        (0.4, 0.86, 0.03),
        (0.41, 0.9, 0.012),
        (0.39, 0.9, 0.01),
        (0.38, 0.84),
        (0.43, 0.06),
        (0.0, 0.06),
    ]
    spout = smooth([(0.38, 0, 0.2), (0.55, 0, 0.3), (0.78, 0, 0.62), (0.98, 0, 0.98), (1.04, 0, 1.06)], 10)
    rose: list[profiles.Corner] = [(0.05, 0.0), (0.06, 0.02, 0.02), (0.15, 0.16, 0.01), (0.14, 0.18, 0.01), (0.0, 0.2)]
    handle = smooth(
        [
            (0.3, 0, 0.86),
            (0.24, 0, 1.2),
            (-0.05, 0, 1.36),
            (-0.5, 0, 1.2),
            (-0.72, 0, 0.8),
            (-0.62, 0, 0.42),
            (-0.42, 0, 0.28),
        ],
        10,
    )
    brace = smooth([(0.4, 0, 0.78), (0.6, 0, 0.8), (0.87, 0, 0.79)], 6)
    return [
        turned("can", wall, green),
        wires("spout", [spout], lambda t: 0.11 - 0.06 * t, green, sides=24),
        moved(turned("rose", rose, metal("d4a24c", 0.25)), (1.02, 0, 1.04), (0, 38, 0)),
        wires("handle", [handle], 0.035, green, sides=16),
        wires("brace", [brace], 0.016, green),
    ]


def teapot() -> list[Thing]:
    """Pastel green belly, lid with a knob, spout, handle."""
    glaze = plastic("b5d3b4", 0.25, 0.8)
    belly: list[profiles.Corner] = [
        (0.0, 0.02),
        (0.25, 0.02),
        (0.27, 0.0),
        (0.31, 0.0, 0.02),
        (0.3, 0.05, 0.03),
        (0.56, 0.38, 0.3),
        (0.4, 0.78, 0.2),
    ]
    top: list[profiles.Corner] = [
        (0.3, 0.8),
        (0.3, 0.83, 0.01),
        (0.2, 0.92, 0.06),
        (0.05, 0.95, 0.02),
        (0.04, 0.99, 0.02),
        (0.08, 1.06, 0.04),
        (0.0, 1.1),
    ]
    spout = smooth([(0.25, 0, 0.34), (0.56, 0, 0.36), (0.72, 0, 0.52), (0.8, 0, 0.74), (0.9, 0, 0.84)], 10)
    bow = smooth(
        [(-0.4, 0, 0.7), (-0.62, 0, 0.8), (-0.84, 0, 0.7), (-0.86, 0, 0.46), (-0.7, 0, 0.28), (-0.46, 0, 0.24)], 10
    )
    return [
        turned("pot", [*belly, (0.28, 0.8, 0.02), (0.0, 0.8)], glaze),
        turned("lid", top, glaze),
        wires("spout", [spout], lambda t: 0.14 - 0.09 * t**0.8, glaze, sides=24),
        wires("handle", [bow], 0.045, glaze, sides=20),
    ]


def spray_bottle() -> list[Thing]:
    """Pink bottle with a white trigger head; the nozzle stands beside the body."""
    pink, white = plastic("e79ab4", 0.3, 0.3), plastic("f2f1ee", 0.3, 0.2)
    section = Section("block", 0.4, 0.26, 0.16)
    wall: list[profiles.Corner] = [(0.36, 0.0), (0.4, 0.0, 0.05), (0.4, 0.8, 0.3), (0.24, 1.2, 0.1), (0.24, 1.28)]
    things = [body("bottle", section, wall, pink)]
    collar: list[profiles.Corner] = [(0.12, 1.22), (0.18, 1.22, 0.02), (0.17, 1.4, 0.02), (0.1, 1.42)]
    things.append(body("collar", Section("round", 0.18), collar, white))
    head = [
        (0.22, 1.4),
        (0.22, 1.72),
        (0.1, 1.78),
        (-0.35, 1.76),
        (-0.5, 1.7),
        (-0.5, 1.56),
        (-0.12, 1.54),
        (-0.11, 1.4),
    ]
    outline = flat_curve([(x, y - 1.4) for x, y in head], 5)
    things.append(moved(plate("head", [outline], 0.22, 0.05, white), (0, 0, 1.4), (90, 0, 0)))
    lever = [(-0.2, 0.16), (-0.3, 0.16), (-0.36, -0.05), (-0.48, -0.24), (-0.45, -0.28), (-0.34, -0.18), (-0.25, -0.02)]
    things.append(moved(plate("lever", [flat_curve(lever, 5)], 0.13, 0.03, pink), (0, 0, 1.42), (90, 0, 0)))
    tip: list[profiles.Corner] = [(0.0, 0.0), (0.085, 0.0, 0.02), (0.07, 0.12, 0.02), (0.0, 0.12)]
    things.append(moved(turned("nozzle", tip, pink), (-0.47, 0, 1.635), (0, -90, 0)))
    return things


def sieve(
    name: str, surface: Surface, cells: tuple[int, int], hole: Callable[[int], float], material: Material
) -> Thing:
    """A closed ring of cells with a round hole in each, as wide as `hole` says of its row (0: none)."""
    edge = [(0, 0), (0.5, 0), (1, 0), (1, 0.5), (1, 1), (0.5, 1), (0, 1), (0, 0.5)]
    columns, rows = cells
    vertices: list[tuple[float, float, float]] = []
    faces: list[tuple[int, ...]] = []
    for row in range(rows):
        radius = hole(row) / 2
        for column in range(columns):
            start = len(vertices)
            vertices += [surface((column + x) / columns, (row + y) / rows) for x, y in edge]
            if not radius:
                faces.append(tuple(range(start, start + 8)))
                continue
            for k in range(8):
                a = math.pi * (-0.75 + 0.25 * k)
                x, y = 0.5 + radius * math.cos(a), 0.5 + radius * math.sin(a)
                vertices.append(surface((column + x) / columns, (row + y) / rows))
            faces += [(start + k, start + (k + 1) % 8, start + 8 + (k + 1) % 8, start + 8 + k) for k in range(8)]
    return shapes.add_mesh(name, vertices, faces, [material], sharp_degrees=60)


def colander() -> list[Thing]:
    """Cream enamel bowl with holes all around, two handles, a foot."""
    cream = plastic("efe3c6", 0.25, 0.6)

    def wall(u: float, v: float) -> tuple[float, float, float]:
        a, rise = 2 * math.pi * u, 0.12 + 0.38 * v * math.pi
        reach = 0.8 * math.sin(rise) ** 0.9
        return reach * math.cos(a), reach * math.sin(a), 0.14 + 0.75 * (1 - math.cos(rise))

    shell = sieve("bowl", wall, (40, 11), lambda row: 0.0 if row in (0, 1, 10) else 0.5, cream)
    thick = shell.modifiers.new("enamel", "SOLIDIFY")
    thick.thickness, thick.offset = 0.022, 0.0
    reach, _, top = wall(0.0, 1.0)
    base, _, low = wall(0.0, 0.0)
    rim = wires("rim", [circle(reach, 96, level=top)], 0.026, plastic("1c1c1f", 0.3, 0.5), closed=True)
    floor = turned(
        "floor", [(0.0, low - 0.011), (base + 0.03, low - 0.011, 0.01), (base, low + 0.012), (0.0, low + 0.012)], cream
    )
    foot = turned("foot", [(0.3, 0.0), (0.32, 0.0, 0.01), (0.27, 0.22), (0.25, 0.22), (0.3, 0.0)], cream)
    things = [shell, rim, floor, foot]
    for side in (-1, 1):
        bow = [(0.99, -0.24), (1.16, -0.2), (1.22, 0.0), (1.16, 0.2), (0.99, 0.24)]
        path = smooth([(side * x * reach, y, top - 0.02) for x, y in bow], 8)
        things.append(wires("handle", [path], 0.03, cream))
    return things
