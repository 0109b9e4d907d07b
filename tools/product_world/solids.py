# SPDX-License-Identifier: GPL-3.0-or-later
"""Bodies of products: a cross-section carried along a profile, and the sheets that carry print."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from . import profiles
from .blender import shapes

Thing = Any  # bpy.types.Object
Material = Any  # bpy.types.Material


@dataclass(frozen=True)
class Section:
    """A horizontal outline: "round", "block" (rounded rectangle) or "hexagon"; half sizes in decimetres."""

    form: str
    half: float
    depth: float = 0.0  # of a block; 0 means as deep as wide
    corner: float = 0.03

    def ring(self, inset: float) -> list[profiles.Point]:
        """The outline, smaller by `inset` all around."""
        reach = max(self.half - inset, 0.004)
        if self.form == "round":
            return list(shapes.circle(reach, 72))
        corner = max(self.corner - 0.6 * inset, 0.003)
        if self.form == "hexagon":
            return profiles.polygon(6, reach, corner)
        depth = max((self.depth or self.half) - inset, 0.004)
        return list(shapes.rounded_rectangle(reach, depth, corner, 5))


def body(name: str, section: Section, corners: Sequence[profiles.Corner], material: Material) -> Thing:
    """Closed body; `corners` are (half width, height[, rounding]) from the bottom to the top."""
    profile = [(section.half - reach, z) for reach, z in profiles.rounded(corners)]
    return shapes.loft(name, section.ring, profile, material, sharp_degrees=40)


def turned(name: str, corners: Sequence[profiles.Corner], material: Material) -> Thing:
    """Open turned body: the profile's ends stay open unless they lie on the axis."""
    return shapes.lathe(name, profiles.rounded(corners), material, steps=72)


def lid(section: Section, reach: float, low: float, high: float, edge: float) -> tuple[Section, list[profiles.Corner]]:
    """Section and profile of a plain lid or cap with a soft upper edge."""
    depth = section.depth + reach - section.half if section.depth else 0.0
    own = Section(section.form, reach, depth, section.corner)
    foot, rim = min(0.03, 0.3 * reach), min(0.08, 0.4 * reach)
    return own, [(reach - foot, low), (reach, low, 0.012), (reach, high, edge), (reach - rim, high)]


def flat_print(size: tuple[float, float], front: float, low: float, material: Material) -> Thing:
    """Upright sheet of (width, height) that faces the front at y = -front."""
    width, height = size
    return shapes.sheet("label", lambda u, v: ((u - 0.5) * width, -front, low + v * height), (1, 1), material)


def curved_print(reach: Callable[[float], float], width: float, low: float, high: float, material: Material) -> Thing:
    """Sheet around a round body, centred on its front; `reach` is the radius at heights from 0 to 1."""
    span = min(width / reach(0.5), 2 * math.pi)

    def wrap(u: float, v: float) -> tuple[float, float, float]:
        angle = (u - 0.5) * span
        return reach(v) * math.sin(angle), -reach(v) * math.cos(angle), low + v * (high - low)

    return shapes.sheet("label", wrap, (72, 4), material)


def tube(points: Sequence[tuple[float, float, float]], radii: tuple[float, float], material: Material) -> Thing:
    """Smooth bent rod through the points."""
    return shapes.sweep("tube", shapes.smooth_curve(points, 6), lambda _t: radii, material, steps=16)
