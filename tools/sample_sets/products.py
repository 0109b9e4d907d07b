# SPDX-License-Identifier: GPL-3.0-or-later
"""The sample products: two sibling perfumes, a mug, a tea carton.

Each builder returns the product's objects, all children of one empty that turns them.
This module imports ``bpy`` and is therefore licensed GPL-compatible.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import bpy
import labels
import shapes
import surfaces

GLASS, LIQUID, AIR, PLASTIC = 1.5, 1.36, 1.0, 1.49  # refractive indices
BODY = (0.66, 0.38, 0.80)  # perfume flacon: width, depth, height


@dataclass(frozen=True)
class Product:
    """A built product: its objects and its height."""

    things: list[bpy.types.Object]
    height: float


def turned(things: Sequence[bpy.types.Object], degrees: float) -> list[bpy.types.Object]:
    """Hang the things on one empty and turn it."""
    pivot = bpy.data.objects.new("pivot", None)
    bpy.context.scene.collection.objects.link(pivot)
    for thing in things:
        thing.parent = pivot
    pivot.rotation_euler = (0.0, 0.0, math.radians(degrees))
    return list(things)


def flacon(tint: surfaces.Colour, liquid: surfaces.Colour) -> list[bpy.types.Object]:
    """Tinted glass bottle with liquid, an air bubble above it and a dip tube.

    The bodies inside the glass carry the index *relative* to what is around them.
    """
    width, depth, _ = BODY
    wall, base, level = 0.045, 0.115, 0.665
    inner = (width - 2 * wall, depth - 2 * wall)
    body = shapes.rounded_block("glass", BODY, 0.085, (0.03, 0.10), surfaces.glass("glass", GLASS, tint, depth))
    fluid = shapes.rounded_block(
        "liquid",
        (*inner, level - base),
        0.055,
        (0.035, 0.0015),
        surfaces.glass("liquid", LIQUID / GLASS, liquid, inner[1]),
        base=base,
    )
    bubble = shapes.rounded_block(
        "bubble",
        (*inner, 0.755 - level - 0.001),
        0.055,
        (0.0015, 0.06),
        surfaces.glass("bubble", AIR / GLASS),
        base=level + 0.001,
    )
    plastic = surfaces.glass("plastic", PLASTIC / LIQUID)
    tube = shapes.cylinder("dip tube", 0.018, (base + 0.03, level - 0.004), (0.002, 0.002), plastic, steps=32)
    return [body, fluid, bubble, tube]


def closure(gold: surfaces.Colour) -> list[bpy.types.Object]:
    """Collar, gold ring and fluted black cap."""
    top = BODY[2]
    metal = surfaces.brushed_metal("gold", gold, 0.22)
    black = surfaces.plain("cap", (0.012, 0.012, 0.013), 0.24, Metallic=0.35, Coat_Weight=0.7, Coat_Roughness=0.12)
    return [
        shapes.cylinder("collar", 0.118, (top, top + 0.05), (0.004, 0.004), metal),
        shapes.cylinder("ring", 0.172, (top + 0.04, top + 0.072), (0.006, 0.006), metal),
        shapes.cylinder(
            "cap", 0.168, (top + 0.072, top + 0.36), (0.004, 0.01), black, flutes=36, depth=0.035, steps=576
        ),
        shapes.cylinder("cap disc", 0.150, (top + 0.36, top + 0.378), (0.004, 0.012), black),
    ]


@dataclass(frozen=True)
class PerfumeLook:
    """What distinguishes one perfume from its sibling."""

    tint: surfaces.Colour
    liquid: surfaces.Colour
    paper: labels.Ink
    ink: labels.Ink
    foil: labels.Ink
    number: str


PERFUMES = {
    "perfume01": PerfumeLook(
        (0.90, 0.71, 0.47), (0.91, 0.37, 0.075), (246, 240, 226), (24, 22, 20), (166, 124, 52), "No 5"
    ),
    "perfume02": PerfumeLook(
        (0.62, 0.86, 0.78), (0.045, 0.50, 0.36), (18, 26, 26), (240, 226, 188), (205, 164, 88), "No 8"
    ),
}


def perfume(name: str, turn: float) -> Product:
    """One of the two sibling perfumes."""
    look = PERFUMES[name]
    width, height, low = 0.44, 0.43, 0.165
    front = -BODY[1] / 2 - 0.0012
    drawing = labels.perfume_label((1320, 1290), look.paper, look.ink, look.foil, look.number)
    label = shapes.sheet(
        "label",
        lambda u, v: ((u - 0.5) * width, front, low + v * height),
        (1, 1),
        surfaces.printed("label", drawing, 0.5),
    )
    things = [*flacon(look.tint, look.liquid), *closure(surfaces.from_hex("d8ad5c")), label]
    return Product(turned(things, turn), 1.18)


def arc(centre: shapes.Point2, radius: float, start: float, end: float, steps: int = 10) -> list[shapes.Point2]:
    """Points of an arc in the (radius, z) plane, angles in degrees."""
    return [
        (
            centre[0] + radius * math.cos(math.radians(start + (end - start) * step / steps)),
            centre[1] + radius * math.sin(math.radians(start + (end - start) * step / steps)),
        )
        for step in range(steps + 1)
    ]


def handle(material: bpy.types.Material) -> bpy.types.Object:
    """Ear of the mug; its ends stay inside the wall."""
    path = shapes.smooth_curve(
        [
            (0.388, 0, 0.765),
            (0.47, 0, 0.772),
            (0.60, 0, 0.735),
            (0.675, 0, 0.62),
            (0.675, 0, 0.475),
            (0.61, 0, 0.335),
            (0.48, 0, 0.255),
            (0.388, 0, 0.235),
        ]
    )

    def radii(t: float) -> shapes.Point2:
        flare = 1 + 0.45 * math.exp(-((t / 0.06) ** 2)) + 0.45 * math.exp(-(((1 - t) / 0.06) ** 2))
        return 0.042 * flare, 0.066 * flare

    return shapes.sweep("handle", path, radii, material)


def mug(turn: float) -> Product:
    """Stoneware mug: rust glaze outside, cream inside, a printed logo, a handle with a real hole."""
    rust, cream = surfaces.from_hex("a8482a"), surfaces.from_hex("efe6d2")
    outside = surfaces.glaze("rust glaze", rust, surfaces.from_hex("4a1d10"))
    inside = surfaces.glaze("cream glaze", cream, surfaces.from_hex("b9a27c"))
    outer = [(0.0, 0.018), (0.30, 0.018), (0.306, 0.012), *arc((0.318, 0.008), 0.008, 180, 270, 4)]
    outer += [*arc((0.335, 0.075), 0.075, -90, 0, 12), (0.41, 0.08), (0.41, 0.5), (0.41, 0.915)]
    outer += arc((0.3925, 0.92), 0.0175, 0, 90, 8)
    inner = [*arc((0.3925, 0.92), 0.0175, 90, 180, 8), (0.375, 0.915), (0.375, 0.5), (0.375, 0.13)]
    inner += [*arc((0.295, 0.125), 0.08, 0, -90, 12), (0.29, 0.045), (0.0, 0.045)]
    radius, span, low, tall = 0.4112, math.radians(118), 0.25, 0.46
    drawing = labels.mug_print((1840, 1000), (244, 233, 210))

    def wrap(u: float, v: float) -> shapes.Point3:
        angle = (u - 0.5) * span
        return radius * math.sin(angle), -radius * math.cos(angle), low + v * tall

    things = [
        shapes.lathe("outside", outer, outside),
        shapes.lathe("inside", inner, inside),
        handle(outside),
        shapes.sheet("print", wrap, (64, 1), surfaces.printed("print", drawing, 0.3, coat=0.6, transparent=True)),
    ]
    return Product(turned(things, turn), 0.94)


def box(name: str, size: shapes.Point3, materials: Sequence[bpy.types.Material]) -> bpy.types.Object:
    """Carton with soft edges; materials: front, right side, top, rest. Prints run on over the edges."""
    width, depth, height = size
    thing = shapes.rounded_block(name, size, 0.009, (0.009, 0.009), materials[0])
    mesh = thing.data
    for material in materials[1:]:
        mesh.materials.append(material)
    layer = mesh.uv_layers.new()
    for face in mesh.polygons:
        x, y, z = face.normal
        largest = max(abs(x), abs(y), abs(z))
        side = 0 if -y == largest else 1 if x == largest else 2 if z == largest else 3
        face.material_index = side
        for loop in face.loop_indices:
            place = mesh.vertices[mesh.loops[loop].vertex_index].co
            across = (place.x / width, place.y / depth, place.x / width, 0.0)[side] + 0.5
            up = (place.z / height, place.z / height, place.y / depth + 0.5, 0.5)[side]
            layer.data[loop].uv = (across, up)
    return thing


def carton(turn: float) -> Product:
    """Tea carton with small print on two faces and its lid."""
    size = (0.86, 0.60, 1.36)
    ground, ink, accent, leaf = (243, 236, 214), (28, 62, 50), (232, 178, 58), (46, 104, 74)
    side_ground, dark = (46, 104, 74), (20, 46, 36)
    front = labels.carton_front((1290, 2040), ground, ink, accent, leaf)
    side = labels.carton_side((900, 2040), side_ground, (244, 238, 220), accent)
    lid = labels.carton_top((1290, 900), side_ground, (244, 238, 220), dark)
    board = [surfaces.printed(f"board {k}", art, 0.42, coat=0.15) for k, art in enumerate((front, side, lid))]
    rest = surfaces.plain("board", surfaces.from_hex("2e684a"), 0.42)
    return Product(turned([box("carton", size, [*board, rest])], turn), size[2])


def build(name: str, turn: float) -> Product:
    """The product of a sample set."""
    if name in PERFUMES:
        return perfume(name, turn)
    return {"mug01": mug, "carton01": carton}[name](turn)
