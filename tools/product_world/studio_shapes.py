# SPDX-License-Identifier: GPL-3.0-or-later
"""Shapes of the packshots' products: wires, bands, plates with holes, and moving them into place."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .blender import bpy, shapes
from .solids import Material, Thing

Points = npt.NDArray[np.float64]
Radius = float | Callable[[float], float]
Matrix = Any  # mathutils.Matrix


def as_points(path: Sequence[Sequence[float]] | Points) -> Points:
    """Points, one a row."""
    return np.asarray([tuple(point) for point in path], np.float64)


def smooth(points: Sequence[Sequence[float]], steps: int = 10) -> Points:
    """A curve through the points."""
    return as_points(shapes.smooth_curve([tuple(point) for point in points], steps))


def circle(radius: float, steps: int = 64, *, level: float = 0.0, middle: tuple[float, float] = (0.0, 0.0)) -> Points:
    """A level circle, its last point before its first."""
    angles = np.linspace(0, 2 * math.pi, steps, endpoint=False)
    x, y = middle[0] + radius * np.cos(angles), middle[1] + radius * np.sin(angles)
    return np.stack([x, y, np.full(steps, level)], -1)


def arc(centre: Sequence[float], radius: float, start: float, end: float, steps: int = 24) -> Points:
    """Part of an upright circle in the x-z plane; angles in degrees from +x towards +z."""
    angles = np.radians(np.linspace(start, end, steps))
    return np.asarray(centre) + radius * np.stack([np.cos(angles), np.zeros(steps), np.sin(angles)], -1)


def frames(path: Points, closed: bool) -> tuple[Points, Points, Points]:
    """Tangents, normals and their crosses along a path; the normals turn as little as they can."""
    if closed:
        tangents = np.roll(path, -1, 0) - np.roll(path, 1, 0)
    else:
        tangents = np.gradient(path, axis=0)
    tangents /= np.maximum(np.linalg.norm(tangents, axis=1, keepdims=True), 1e-12)
    normals = np.empty_like(path)
    normal = np.eye(3)[np.argmin(np.abs(tangents[0]))]
    for place, tangent in enumerate(tangents):
        normal = normal - tangent * (normal @ tangent)
        normal /= np.linalg.norm(normal)
        normals[place] = normal
    if closed:
        normals = untwisted(tangents, normals)
    return tangents, normals, np.cross(tangents, normals)


def untwisted(tangents: Points, normals: Points) -> Points:
    """Spreads over a closed path the angle by which its last frame misses the first."""
    last = normals[-1] - tangents[0] * (normals[-1] @ tangents[0])
    angle = math.atan2(float(np.cross(normals[0], last) @ tangents[0]), float(normals[0] @ last))
    turns = -angle * np.arange(len(normals))[:, None] / len(normals)
    return np.asarray(normals * np.cos(turns) + np.cross(tangents, normals) * np.sin(turns))


def skin(rings: Points, closed: bool, start: int) -> tuple[list[tuple[float, ...]], list[tuple[int, ...]]]:
    """Vertices and faces around rings of points (ring, point, 3); open ends get caps."""
    count, sides = rings.shape[:2]
    faces: list[tuple[int, ...]] = []
    for ring in range(count if closed else count - 1):
        low, high = start + ring * sides, start + (ring + 1) % count * sides
        faces += [(low + k, low + (k + 1) % sides, high + (k + 1) % sides, high + k) for k in range(sides)]
    if not closed:
        faces.append(tuple(start + k for k in reversed(range(sides))))
        faces.append(tuple(start + (count - 1) * sides + k for k in range(sides)))
    return [tuple(point) for point in rings.reshape(-1, 3).tolist()], faces


def wires(
    name: str,
    paths: Sequence[Points],
    radius: Radius,
    material: Material,
    *,
    closed: bool = False,
    sides: int = 12,
) -> Thing:
    """Round rods along many paths as one mesh; a radius may change along the path (0 to 1)."""
    vertices: list[tuple[float, ...]] = []
    faces: list[tuple[int, ...]] = []
    angles = np.linspace(0, 2 * math.pi, sides, endpoint=False)[None, :, None]
    for path in paths:
        _, normals, crosses = frames(path, closed)
        along = np.linspace(0, 1, len(path))
        thick = np.array([radius(t) if callable(radius) else radius for t in along])[:, None, None]
        rings = path[:, None] + thick * (normals[:, None] * np.cos(angles) + crosses[:, None] * np.sin(angles))
        more, around = skin(rings, closed, len(vertices))
        vertices += more
        faces += around
    return shapes.add_mesh(name, vertices, faces, [material], sharp_degrees=50)


def band(
    name: str,
    path: Points,
    size: tuple[float, float],
    side: Sequence[float],
    material: Material,
    *,
    closed: bool = False,
) -> Thing:
    """Strap of (width, thickness) along a path; its width lies along `side`."""
    tangents, _, _ = frames(path, closed)
    across = np.cross(np.asarray(side, np.float64), tangents)
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-12)
    wide = np.cross(tangents, across)
    half_width, half = size[0] / 2, size[1] / 2
    ring = np.asarray(shapes.rounded_rectangle(half_width, half, 0.8 * min(half_width, half), 4))
    rings = path[:, None] + wide[:, None] * ring[None, :, :1] + across[:, None] * ring[None, :, 1:]
    vertices, faces = skin(rings, closed, 0)
    return shapes.add_mesh(name, vertices, faces, [material], sharp_degrees=50)


def plate(
    name: str, outlines: Sequence[Sequence[tuple[float, float]]], thickness: float, edge: float, material: Material
) -> Thing:
    """Level plate around z = 0; outlines within the first are holes; `edge` rounds the rims."""
    curve = bpy.data.curves.new(name, "CURVE")
    curve.dimensions, curve.fill_mode = "2D", "BOTH"
    curve.extrude, curve.bevel_depth, curve.offset = thickness / 2 - edge, edge, -edge
    curve.bevel_resolution = 3
    for outline in outlines:
        spline = curve.splines.new("POLY")
        spline.points.add(len(outline) - 1)
        spline.points.foreach_set("co", [level for x, y in outline for level in (x, y, 0.0, 1.0)])
        spline.use_cyclic_u = True
    drawn = bpy.data.objects.new(name, curve)
    bpy.context.scene.collection.objects.link(drawn)
    bpy.context.view_layer.update()
    mesh = bpy.data.meshes.new_from_object(drawn.evaluated_get(bpy.context.evaluated_depsgraph_get()))
    bpy.data.objects.remove(drawn)
    mesh.materials.clear()
    mesh.materials.append(material)
    mesh.shade_smooth()
    mesh.set_sharp_from_angle(angle=math.radians(35))
    thing = bpy.data.objects.new(name, mesh)
    bpy.context.scene.collection.objects.link(thing)
    return thing


def oval(
    middle: tuple[float, float], half: tuple[float, float], steps: int = 48, turn: float = 0.0, power: float = 2.0
) -> list[tuple[float, float]]:
    """Ellipse, or with a higher power a rounded rectangle; `turn` in degrees."""
    points = []
    cosine, sine = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    for step in range(steps):
        a = 2 * math.pi * step / steps
        x = half[0] * math.copysign(abs(math.cos(a)) ** (2 / power), math.cos(a))
        y = half[1] * math.copysign(abs(math.sin(a)) ** (2 / power), math.sin(a))
        points.append((middle[0] + cosine * x - sine * y, middle[1] + sine * x + cosine * y))
    return points


def flat_curve(points: Sequence[tuple[float, float]], steps: int = 8) -> list[tuple[float, float]]:
    """A closed smooth outline through the points."""
    many = [*points, *points[:3]]
    line = smooth([(x, y, 0.0) for x, y in many], steps)[steps : (len(points) + 1) * steps]
    return [(float(x), float(y)) for x, y, _ in line]


def moved(
    thing: Thing,
    place: Sequence[float] = (0.0, 0.0, 0.0),
    turn: Sequence[float] = (0.0, 0.0, 0.0),
    scale: float | Sequence[float] = 1.0,
) -> Thing:
    """Scales, turns (degrees around x, then y, then z) and shifts the mesh itself; returns the thing."""
    import mathutils  # type: ignore[import-not-found]

    factors = (scale, scale, scale) if isinstance(scale, int | float) else tuple(scale)
    angles = mathutils.Euler([math.radians(angle) for angle in turn], "XYZ")
    thing.data.transform(mathutils.Matrix.LocRotScale(mathutils.Vector(place), angles, mathutils.Vector(factors)))
    thing.data.update()
    return thing


def copied(thing: Thing) -> Thing:
    """A second one with its own mesh."""
    twin = thing.copy()
    twin.data = thing.data.copy()
    bpy.context.scene.collection.objects.link(twin)
    return twin


def softened(thing: Thing, width: float, segments: int = 3) -> Thing:
    """Rounds all edges of a mesh, before it is placed."""
    modifier = thing.modifiers.new("edges", "BEVEL")
    modifier.width, modifier.segments, modifier.limit_method = width, segments, "ANGLE"
    bpy.context.view_layer.update()
    mesh = bpy.data.meshes.new_from_object(thing.evaluated_get(bpy.context.evaluated_depsgraph_get()))
    thing.modifiers.clear()
    thing.data = mesh
    mesh.shade_smooth()
    mesh.set_sharp_from_angle(angle=math.radians(40))
    return thing


def block(name: str, size: Sequence[float], edge: float, material: Material) -> Thing:
    """Box around the origin with rounded edges."""
    x, y, z = (side / 2 for side in size)
    corners = [(i * x, j * y, k * z) for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)]
    faces = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    return softened(shapes.add_mesh(name, corners, faces, [material]), edge)
