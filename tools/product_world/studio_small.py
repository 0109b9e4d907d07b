# SPDX-License-Identifier: GPL-3.0-or-later
"""What is worn: spectacles, sunglasses, a necklace, earrings."""

from __future__ import annotations

import math

import numpy as np

from .solids import Material, Thing
from .studio_materials import clear, metal, plastic
from .studio_shapes import Points, circle, flat_curve, moved, plate, smooth, wires

RIM = [(-0.34, 0.2), (0.0, 0.25), (0.33, 0.23), (0.37, 0.05), (0.27, -0.2), (0.0, -0.28), (-0.27, -0.22), (-0.38, 0.0)]


def eyewear(frame: Material, rim: float, bow: float) -> list[Thing]:
    """A frame with two openings and folded-out temples; the front looks towards -y."""
    things = []
    for side in (-1, 1):
        outline = flat_curve([(side * x * (1 + rim), y * (1 + 1.2 * rim)) for x, y in RIM], 8)
        hole = flat_curve([(side * x, y) for x, y in RIM], 8)
        front = plate("front", [outline, hole], 0.07, 0.02, frame)
        things.append(moved(front, (0.53 * side, 0.03, 0.5), (90, 0, 5.0 * side)))
        temple = [
            (0.84, 0.03, 0.6),
            (0.88, 0.12, 0.61),
            (0.87, 0.8, 0.6),
            (0.85, 1.2, 0.56),
            (0.82, 1.5, 0.36),
            (0.8, 1.62, 0.2),
        ]
        path = smooth([(side * (x + 0.08), y, z) for x, y, z in temple], 8)
        things.append(wires("temple", [path], lambda t: 0.045 - 0.012 * t, frame))
    bridge = smooth([(-0.13, -0.004, 0.57), (-0.06, -0.02, 0.6), (0.06, -0.02, 0.6), (0.13, -0.004, 0.57)], 8)
    return [*things, wires("bridge", [bridge], bow, frame)]


def sunglasses() -> list[Thing]:
    """Brown frame with dark lenses."""
    things = eyewear(plastic("4a2413", 0.2, 0.6), 0.16, 0.035)
    dark = clear((0.32, 0.26, 0.22), shadow=0.6)
    for side in (-1, 1):
        lens = plate("lens", [flat_curve([(side * x * 1.04, y * 1.04) for x, y in RIM], 8)], 0.02, 0.004, dark)
        things.append(moved(lens, (0.53 * side, 0.03, 0.5), (90, 0, 5.0 * side)))
    return things


def spectacles() -> list[Thing]:
    """Navy frame without lenses."""
    return eyewear(plastic("1c2a55", 0.25, 0.5), 0.1, 0.026)


def chain(path: Points, length: float, thickness: float, material: Material) -> Thing:
    """Oval links along a level path, every second one upright."""
    steps = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    count = int(steps[-1] / (0.72 * length))
    links = []
    angles = np.linspace(0, 2 * math.pi, 18, endpoint=False)
    for number in range(count):
        at = (number + 0.5) / count * steps[-1]
        middle = np.array([np.interp(at, steps, path[:, axis]) for axis in range(3)])
        near = np.array([np.interp(at + 0.01, steps, path[:, axis]) for axis in range(3)])
        ahead = (near - middle) / np.linalg.norm(near - middle)
        side = np.cross((0, 0, 1), ahead) * 0.8 + np.array((0, 0, 1)) * (0.6 if number % 2 else -0.6)
        links.append(
            middle + 0.5 * length * np.cos(angles)[:, None] * ahead + 0.3 * length * np.sin(angles)[:, None] * side
        )
    return wires("chain", links, thickness, material, closed=True, sides=8)


def necklace() -> list[Thing]:
    """Gold chain laid in a drop, a ring-shaped pendant with a stone."""
    gold = metal("dcae52", 0.16)
    half = [(0.0, 1.05), (0.3, 1.0), (0.52, 0.75), (0.55, 0.4), (0.42, 0.0), (0.2, -0.4), (0.02, -0.66)]
    line = [(-x, y, 0.02) for x, y in reversed(half[1:])] + [(x, y, 0.02) for x, y in half]
    things = [chain(smooth(line, 24), 0.07, 0.008, gold)]
    ring = circle(0.16, 64, level=0.02, middle=(0.0, -0.86))
    bail = circle(0.035, 32, level=0.03, middle=(0.0, -0.68))
    things.append(wires("pendant", [ring], 0.028, gold, closed=True))
    things.append(wires("bail", [bail], 0.012, gold, closed=True))
    clasp = circle(0.05, 32, level=0.02, middle=(0.03, 1.08))
    return [*things, wires("clasp", [clasp], 0.014, gold, closed=True)]


def hoop_earrings() -> list[Thing]:
    """Two silver hoops that lie beside each other, thicker below."""
    silver = metal("d2d4d8", 0.12)
    things = []
    for x, y, turn in ((-0.48, 0.05, 20.0), (0.5, -0.06, -35.0)):
        a = np.linspace(math.radians(100), math.radians(100 + 350), 120)
        hoop = np.stack([0.4 * np.cos(a), 0.4 * np.sin(a), np.full(120, 0.06)], -1)
        thing = wires("hoop", [hoop], lambda t: 0.02 + 0.04 * math.sin(math.pi * t), silver, sides=24)
        pin = smooth([(-0.07, 0.394, 0.06), (0.0, 0.42, 0.06), (0.09, 0.44, 0.06)], 6)
        things += [moved(part, (x, y, 0), (0, 0, turn)) for part in (thing, wires("pin", [pin], 0.01, silver))]
    return things
