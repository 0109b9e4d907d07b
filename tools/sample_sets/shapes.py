# SPDX-License-Identifier: GPL-3.0-or-later
"""Geometry of the sample products: meshes from rings, lathes, sweeps and sheets.

One Blender unit is 100 mm; z is up; a product stands on z = 0 and its front looks towards -y.
This module imports ``bpy`` and is therefore licensed GPL-compatible.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import bpy
from mathutils import Vector

Point2 = tuple[float, float]
Point3 = tuple[float, float, float]

SUPPORT = 0.004  # distance of the extra loop that keeps flat faces flat beside a rounded edge


def add_mesh(
    name: str,
    vertices: Sequence[Point3],
    faces: Sequence[Sequence[int]],
    materials: Sequence[bpy.types.Material],
    *,
    sharp_degrees: float = 35.0,
    uv: Sequence[Point2] | None = None,
    smooth: bool = True,
) -> bpy.types.Object:
    """Make an object of a vertex and face list; ``uv`` holds one coordinate per vertex."""
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(list(vertices), [], [tuple(face) for face in faces])
    for material in materials:
        mesh.materials.append(material)
    if uv is not None:
        layer = mesh.uv_layers.new()
        for loop in mesh.loops:
            layer.data[loop.index].uv = uv[loop.vertex_index]
    if smooth:
        mesh.shade_smooth()
        mesh.set_sharp_from_angle(angle=math.radians(sharp_degrees))
    mesh.update()
    thing = bpy.data.objects.new(name, mesh)
    bpy.context.scene.collection.objects.link(thing)
    return thing


def rounded_rectangle(half_width: float, half_depth: float, radius: float, steps: int = 10) -> list[Point2]:
    """Outline of a rounded rectangle, counter-clockwise, with support points beside each corner."""
    radius = max(min(radius, half_width * 0.98, half_depth * 0.98), 1e-4)
    support = min(SUPPORT, 0.4 * (half_width - radius), 0.4 * (half_depth - radius))
    outline: list[Point2] = []
    for quarter, (sx, sy) in enumerate(((1, -1), (1, 1), (-1, 1), (-1, -1))):
        centre = (sx * (half_width - radius), sy * (half_depth - radius))
        start = -math.pi / 2 + quarter * math.pi / 2
        arc = [
            (
                centre[0] + radius * math.cos(start + step * math.pi / 2 / steps),
                centre[1] + radius * math.sin(start + step * math.pi / 2 / steps),
            )
            for step in range(steps + 1)
        ]
        before = (math.cos(start - math.pi / 2), math.sin(start - math.pi / 2))
        after = (math.cos(start + math.pi), math.sin(start + math.pi))
        outline.append((arc[0][0] + before[0] * support, arc[0][1] + before[1] * support))
        outline.extend(arc)
        outline.append((arc[-1][0] + after[0] * support, arc[-1][1] + after[1] * support))
    return outline


def circle(radius: float, steps: int = 128, flutes: int = 0, depth: float = 0.0) -> list[Point2]:
    """Outline of a circle; ``flutes`` grooves of ``depth`` (a share of the radius) run around it."""
    outline = []
    for step in range(steps):
        angle = 2 * math.pi * step / steps
        groove = depth * (0.5 - 0.5 * abs(math.cos(0.5 * flutes * angle))) * 2 if flutes else 0.0
        outline.append((radius * (1 - groove) * math.cos(angle), radius * (1 - groove) * math.sin(angle)))
    return outline


def edge_profile(low: float, high: float, low_round: float, high_round: float, steps: int = 8) -> list[Point2]:
    """(inset, z) pairs of a wall from ``low`` to ``high`` with rounded lower and upper edges."""
    profile: list[Point2] = [(low_round + SUPPORT, low)]
    for step in range(steps + 1):
        angle = math.pi / 2 * step / steps
        profile.append((low_round * (1 - math.sin(angle)), low + low_round * (1 - math.cos(angle))))
    profile.append((0.0, low + low_round + SUPPORT))
    profile.append((0.0, high - high_round - SUPPORT))
    for step in range(steps + 1):
        angle = math.pi / 2 * step / steps
        profile.append((high_round * (1 - math.cos(angle)), high - high_round * (1 - math.sin(angle))))
    profile.append((high_round + SUPPORT, high))
    return profile


def walls(rings: int, count: int) -> list[tuple[int, ...]]:
    """Faces between consecutive closed rings of ``count`` vertices each."""
    faces: list[tuple[int, ...]] = []
    for row in range(rings - 1):
        low, high = row * count, (row + 1) * count
        for column in range(count):
            following = (column + 1) % count
            faces.append((low + column, low + following, high + following, high + column))
    return faces


def loft(
    name: str,
    outline: Callable[[float], Sequence[Point2]],
    profile: Sequence[Point2],
    material: bpy.types.Material,
    *,
    sharp_degrees: float = 35.0,
) -> bpy.types.Object:
    """Closed body: ``outline(inset)`` gives the ring at each (inset, z) of ``profile``."""
    vertices: list[Point3] = []
    count = 0
    for inset, z in profile:
        ring = outline(inset)
        count = len(ring)
        vertices.extend((x, y, z) for x, y in ring)
    faces = walls(len(profile), count)
    faces.append(tuple(reversed(range(count))))
    faces.append(tuple(range((len(profile) - 1) * count, len(profile) * count)))
    return add_mesh(name, vertices, faces, [material], sharp_degrees=sharp_degrees)


def rounded_block(
    name: str,
    size: Point3,
    corner: float,
    edges: Point2,
    material: bpy.types.Material,
    *,
    base: float = 0.0,
) -> bpy.types.Object:
    """Upright block of (width, depth, height) with rounded corners; ``edges`` = lower, upper rounding."""
    half_width, half_depth, height = size[0] / 2, size[1] / 2, size[2]

    def outline(inset: float) -> list[Point2]:
        return rounded_rectangle(half_width - inset, half_depth - inset, corner - 0.6 * inset)

    return loft(name, outline, edge_profile(base, base + height, *edges), material)


def cylinder(
    name: str,
    radius: float,
    span: Point2,
    edges: Point2,
    material: bpy.types.Material,
    *,
    flutes: int = 0,
    depth: float = 0.0,
    steps: int = 128,
) -> bpy.types.Object:
    """Upright cylinder from z = span[0] to span[1] with rounded edges, optionally fluted."""

    def outline(inset: float) -> list[Point2]:
        return circle(radius - inset, steps, flutes, depth)

    return loft(name, outline, edge_profile(span[0], span[1], *edges), material, sharp_degrees=50)


def lathe(name: str, profile: Sequence[Point2], material: bpy.types.Material, *, steps: int = 160) -> bpy.types.Object:
    """Turn an open (radius, z) profile around z; points on the axis close the body."""
    vertices: list[Point3] = []
    for radius, z in profile:
        vertices.extend((x, y, z) for x, y in circle(max(radius, 1e-4), steps))
    faces = walls(len(profile), steps)
    return add_mesh(name, vertices, faces, [material])


def smooth_curve(points: Sequence[Point3], steps: int = 12) -> list[Vector]:
    """Catmull-Rom curve through ``points``."""
    padded = [Vector(points[0])] + [Vector(p) for p in points] + [Vector(points[-1])]
    curve: list[Vector] = []
    for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        for step in range(steps):
            t = step / steps
            curve.append(
                0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
            )
    curve.append(Vector(points[-1]))
    return curve


def sweep(
    name: str,
    path: Sequence[Vector],
    radii: Callable[[float], Point2],
    material: bpy.types.Material,
    *,
    side: Vector | None = None,
    steps: int = 32,
) -> bpy.types.Object:
    """Closed tube along ``path``; ``radii(t)`` gives the half axes (across ``side``, along it)."""
    side = side or Vector((0, 1, 0))
    vertices: list[Point3] = []
    last = len(path) - 1
    for index, point in enumerate(path):
        tangent = (path[min(index + 1, last)] - path[max(index - 1, 0)]).normalized()
        across = side.cross(tangent).normalized()
        along = tangent.cross(across)
        first, second = radii(index / last)
        for step in range(steps):
            angle = 2 * math.pi * step / steps
            vertices.append(tuple(point + across * first * math.cos(angle) + along * second * math.sin(angle)))
    faces = walls(last + 1, steps)
    faces.append(tuple(reversed(range(steps))))
    faces.append(tuple(range(last * steps, (last + 1) * steps)))
    return add_mesh(name, vertices, faces, [material])


def sheet(
    name: str,
    surface: Callable[[float, float], Point3],
    cells: tuple[int, int],
    material: bpy.types.Material,
) -> bpy.types.Object:
    """Grid of a surface over the unit square, with the square as its texture coordinates."""
    columns, rows = cells
    vertices, uv = [], []
    for row in range(rows + 1):
        for column in range(columns + 1):
            u, v = column / columns, row / rows
            vertices.append(surface(u, v))
            uv.append((u, v))
    width = columns + 1
    faces = [
        (row * width + col, row * width + col + 1, (row + 1) * width + col + 1, (row + 1) * width + col)
        for row in range(rows)
        for col in range(columns)
    ]
    return add_mesh(name, vertices, faces, [material], uv=uv, sharp_degrees=60)


def ball(name: str, radius: float, centre: Point3, material: bpy.types.Material) -> bpy.types.Object:
    """Sphere around ``centre``."""
    profile = [(radius * math.sin(math.pi * step / 64), -radius * math.cos(math.pi * step / 64)) for step in range(65)]
    thing = lathe(name, profile, material, steps=128)
    thing.location = centre
    return thing
