"""Outlines of turned and lofted bodies: corner points, some of them rounded. Plain geometry, no Blender."""

from __future__ import annotations

import math
from collections.abc import Sequence

Point = tuple[float, float]
Corner = tuple[float, float] | tuple[float, float, float]  # the third number rounds the corner


def unit(start: Point, end: Point) -> tuple[Point, float]:
    """Direction and distance from one point to another."""
    across, up = end[0] - start[0], end[1] - start[1]
    length = math.hypot(across, up)
    return ((across / length, up / length) if length > 1e-9 else (0.0, 0.0)), length


def arc_at(before: Point, corner: Point, after: Point, radius: float, steps: int) -> list[Point]:
    """The corner as an arc, with a further point on either side so that straight parts shade flat."""
    (back, back_length), (on, on_length) = unit(corner, before), unit(corner, after)
    cosine = max(-1.0, min(1.0, back[0] * on[0] + back[1] * on[1]))
    angle = math.acos(cosine)
    if min(back_length, on_length) < 1e-6 or angle > math.pi - 0.02 or angle < 0.02:
        return [corner]
    cut = min(radius / math.tan(angle / 2), 0.47 * back_length, 0.47 * on_length)
    radius = cut * math.tan(angle / 2)
    first = (corner[0] + back[0] * cut, corner[1] + back[1] * cut)
    last = (corner[0] + on[0] * cut, corner[1] + on[1] * cut)
    middle, _ = unit((0.0, 0.0), (back[0] + on[0], back[1] + on[1]))
    away = radius / math.sin(angle / 2)
    centre = (corner[0] + middle[0] * away, corner[1] + middle[1] * away)
    start = math.atan2(first[1] - centre[1], first[0] - centre[0])
    sweep = math.atan2(last[1] - centre[1], last[0] - centre[0]) - start
    sweep = (sweep + math.pi) % (2 * math.pi) - math.pi
    angles = [start + sweep * step / steps for step in range(steps + 1)]
    arc = [(centre[0] + radius * math.cos(a), centre[1] + radius * math.sin(a)) for a in angles]
    lead, trail = min(0.15 * cut, 0.05 * back_length), min(0.15 * cut, 0.05 * on_length)
    return [
        (first[0] + back[0] * lead, first[1] + back[1] * lead),
        *arc,
        (last[0] + on[0] * trail, last[1] + on[1] * trail),
    ]


def rounded(corners: Sequence[Corner], *, closed: bool = False, steps: int = 5) -> list[Point]:
    """The line through the corners with the marked ones rounded; the ends of an open line stay."""
    points = [(float(corner[0]), float(corner[1])) for corner in corners]
    line: list[Point] = []
    for place, corner in enumerate(corners):
        at_end = not closed and place in (0, len(corners) - 1)
        if len(corner) < 3 or corner[2] <= 0 or at_end:
            line.append(points[place])
            continue
        after = points[(place + 1) % len(points)]
        line += arc_at(points[place - 1], points[place], after, corner[2], steps)
    return line


def dome(radius: float, low: float, steps: int = 16) -> list[Point]:
    """The profile of a ball that is cut off a little at its foot, from `low` upwards."""
    angles = [math.pi * step / steps for step in range(2, steps)]
    return [(radius * math.sin(a), low + radius - radius * math.cos(a)) for a in angles]


def polygon(sides: int, reach: float, corner: float) -> list[Point]:
    """Regular polygon with a side towards -y at distance `reach`, its corners rounded, counter-clockwise."""
    outer = reach / math.cos(math.pi / sides)
    start = -math.pi / 2 + math.pi / sides
    angles = [start + 2 * math.pi * k / sides for k in range(sides)]
    corners: list[Corner] = [(outer * math.cos(a), outer * math.sin(a), corner) for a in angles]
    return rounded(corners, closed=True, steps=4)
