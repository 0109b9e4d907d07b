# SPDX-License-Identifier: GPL-3.0-or-later
"""Style pictures of the invented brand "Noire": dark stone, deep green velvet, gold, amber light.

They show a look, not a product: no text, no label.
This module imports ``bpy`` and is therefore licensed GPL-compatible.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

import bpy
import products
import shapes
import studio
import surfaces
from mathutils import Vector
from PIL import Image

WARM: surfaces.Colour = (1.0, 0.74, 0.42)
COOL: surfaces.Colour = (0.72, 0.92, 1.0)
PALE: surfaces.Colour = (1.0, 0.93, 0.82)


def gold() -> bpy.types.Material:
    """Polished gold."""
    return surfaces.plain("gold", surfaces.from_hex("e0b362"), 0.16, Metallic=1.0)


def stone(scale: float = 1.3) -> bpy.types.Material:
    """Black marble with gold veins."""
    return surfaces.marble("black marble", (0.022, 0.026, 0.025), (0.50, 0.36, 0.17), scale, 0.14)


def floor_stone() -> bpy.types.Material:
    """Dark green stone with faint veins."""
    return surfaces.marble("floor stone", (0.010, 0.016, 0.014), (0.10, 0.085, 0.05), 0.32, 0.16)


def green_velvet(sheen: float = 1.0) -> bpy.types.Material:
    """The brand's velvet; ``sheen`` dims its glow at grazing angles."""
    return surfaces.velvet("velvet", (0.008, 0.050, 0.032), (0.25 * sheen, 0.75 * sheen, 0.52 * sheen))


def curtain(distance: float, folds: float = 19.0, depth: float = 0.11) -> bpy.types.Object:
    """Draped backdrop; the folds open towards the floor."""

    def surface(u: float, v: float) -> shapes.Point3:
        sway = 0.5 * math.sin(2 * math.pi * 1.7 * u + 0.8) + 0.35 * math.sin(2.2 * v + 5 * u)
        fold = math.sin(2 * math.pi * folds * u + 1.6 * sway)
        crease = 0.32 * math.sin(2 * math.pi * folds * 2.3 * u + 2.1 * v + sway)
        return (u - 0.5) * 9, distance + depth * (1.25 - 0.4 * v) * (fold + crease), v * 5.0 - 0.6

    return shapes.sheet("curtain", surface, (900, 60), green_velvet())


def table(material: bpy.types.Material, level: float = 0.0) -> bpy.types.Object:
    """Large table top or floor."""
    return shapes.sheet("table", lambda u, v: ((u - 0.5) * 16, (v - 0.5) * 12, level), (1, 1), material)


def cloth(material: bpy.types.Material) -> bpy.types.Object:
    """Velvet thrown over a table: soft ridges that run to one side."""

    def surface(u: float, v: float) -> shapes.Point3:
        x, y = (u - 0.5) * 8, (v - 0.4) * 6
        calm = 1 - math.exp(-((x / 0.95) ** 2) - ((y / 0.75) ** 2))
        run = x * 0.8 + 0.55 * y + 0.35 * math.sin(1.3 * y + 0.5 * x)
        ridge = 0.5 + 0.5 * math.sin(3.1 * run + 0.9 * math.sin(0.9 * x - 1.1 * y))
        small = 0.5 + 0.5 * math.sin(6.7 * run - 1.2 * y + 1.0)
        return x, y, calm * (0.24 * ridge**2.2 + 0.06 * small**2)

    return shapes.sheet("cloth", surface, (360, 280), material)


def ring(radius: float, thickness: float, centre: shapes.Point3) -> bpy.types.Object:
    """Upright gold ring facing the camera."""
    path = [
        Vector((radius * math.cos(2 * math.pi * k / 128), 0, radius * math.sin(2 * math.pi * k / 128)))
        for k in range(129)
    ]
    thing = shapes.sweep("ring", path, lambda _t: (thickness, thickness), gold())
    thing.location = centre
    return thing


def disc(radius: float, centre: shapes.Point3) -> bpy.types.Object:
    """Upright gold disc."""
    metal = surfaces.brushed_metal("disc", surfaces.from_hex("d9a94a"), 0.34)
    thing = shapes.cylinder("disc", radius, (-0.02, 0.02), (0.008, 0.008), metal)
    thing.rotation_euler = (math.pi / 2, 0, 0)
    thing.location = centre
    return thing


def block(size: shapes.Point3, place: shapes.Point3, turn: float = 0.0) -> bpy.types.Object:
    """Marble block."""
    thing = shapes.rounded_block("block", size, 0.012, (0.008, 0.008), stone())
    thing.location, thing.rotation_euler = place, (0, 0, math.radians(turn))
    return thing


def pear(place: shapes.Point3, size: float, lean: float, colour: surfaces.Colour) -> None:
    """A pear with its stem."""
    outline = [
        (0.0, 0.02), (0.07, 0.0), (0.18, 0.035), (0.265, 0.13), (0.285, 0.24), (0.255, 0.36),
        (0.19, 0.48), (0.14, 0.58), (0.115, 0.67), (0.08, 0.73), (0.03, 0.745), (0.0, 0.735),
    ]  # fmt: skip
    smooth = [(point.x, point.z) for point in shapes.smooth_curve([(r, 0, z) for r, z in outline], 8)]
    skin = surfaces.glaze("pear", colour, tuple(0.45 * c for c in colour), 0.3)
    body = shapes.lathe("pear", smooth, skin, steps=96)
    stalk = shapes.smooth_curve([(0, 0, 0.72), (0.015, 0, 0.82), (0.06, 0, 0.93)])
    wood = surfaces.plain("stalk", (0.05, 0.028, 0.014), 0.7)
    for thing in (body, shapes.sweep("stalk", stalk, lambda t: (0.014 + 0.012 * t, 0.014 + 0.012 * t), wood)):
        thing.location, thing.scale = place, (size, size, size)
        thing.rotation_euler = (0, math.radians(lean), 0)


def candle(place: shapes.Point3, radius: float, height: float) -> None:
    """Black candle with a flame that lights its surroundings."""
    x, y, z = place
    wax = surfaces.plain("wax", (0.018, 0.016, 0.014), 0.42, Subsurface_Weight=0.2)
    body = shapes.cylinder("candle", radius, (0.0, height), (0.01, 0.02), wax)
    soot = surfaces.plain("soot", (0.01, 0.01, 0.01), 0.9)
    wick = shapes.cylinder("wick", 0.008, (height, height + 0.06), (0.001, 0.003), soot, steps=16)
    drop = [(0.034 * math.sin(math.pi * (k / 24) ** 0.62), 0.20 * k / 24) for k in range(25)]
    glow = shapes.lathe("flame", drop, surfaces.flame("flame", (1.0, 0.55, 0.16), 34.0), steps=32)
    glow.location = (x, y, z + height + 0.03)
    for thing in (body, wick):
        thing.location = place


def bottle(place: shapes.Point3, turn: float) -> None:
    """The house's flacon without a label."""
    look = products.PERFUMES["perfume01"]
    things = [*products.flacon(look.tint, look.liquid), *products.closure(surfaces.from_hex("d8ad5c"))]
    products.turned(things, turn)
    things[0].parent.location = place


def look_at(place: Sequence[float], target: Sequence[float], lens: float, stop: float) -> None:
    """Place the camera, focused on ``target``."""
    camera = bpy.context.scene.camera
    camera.location = place
    camera.rotation_euler = (Vector(place) - Vector(target)).to_track_quat("Z", "Y").to_euler()
    camera.data.lens, camera.data.clip_end = lens, 100.0
    camera.data.dof.use_dof = True
    camera.data.dof.focus_distance = (Vector(place) - Vector(target)).length
    camera.data.dof.aperture_fstop = stop


def rim_and_key(key: float, rim: float, target: shapes.Point3 = (0.0, 0.0, 0.5)) -> None:
    """Soft key from the left, warm rim light from behind on the right."""
    studio.panel("key", (-3.0, -2.2, 2.8), target, (1.6, 2.2), key, 0.6, PALE)
    studio.panel("rim", (2.3, 0.9, 1.9), target, (0.5, 2.0), rim, 0.3, WARM)
    studio.panel("front", (1.2, -5.6, 3.0), target, (3.2, 1.4), key * 0.22, 0.7, PALE)
    studio.panel("curtain light", (-2.6, -0.4, 3.6), (0.6, 1.9, 0.9), (0.9, 0.9), key * 1.3, 0.4, PALE)
    studio.panel("hair", (-1.6, 0.7, 3.2), target, (1.2, 0.5), rim * 0.5, 0.3, WARM)


def plinth() -> None:
    """Empty round plinth with a gold trim before the curtain."""
    curtain(1.75)
    table(floor_stone())
    marble = stone()
    shapes.cylinder("plinth", 0.78, (0.0, 0.34), (0.01, 0.015), marble, steps=256)
    shapes.cylinder("trim", 0.786, (0.035, 0.06), (0.004, 0.004), gold(), steps=256)
    shapes.cylinder("step", 0.5, (0.34, 0.48), (0.008, 0.012), marble, steps=256)
    shapes.ball("gold ball", 0.17, (0.98, -0.32, 0.17), gold())
    shapes.ball("small ball", 0.085, (-0.62, -0.62, 0.085), gold())
    rim_and_key(7.0, 26.0)
    look_at((0.0, -5.2, 1.35), (0.0, 0.0, 0.55), 75, 4.0)


def sun() -> None:
    """Gold disc behind stepped marble blocks."""
    curtain(1.5, 15.0, 0.10)
    table(floor_stone())
    disc(0.72, (0.12, 0.55, 0.86))
    block((0.9, 0.6, 0.42), (-0.28, 0.05, 0.0), 8)
    block((0.62, 0.5, 0.22), (0.55, -0.12, 0.0), -12)
    block((0.36, 0.32, 0.16), (-0.38, 0.02, 0.42), 21)
    shapes.ball("gold ball", 0.11, (0.6, -0.16, 0.33), gold())
    shapes.ball("black ball", 0.15, (-0.78, -0.5, 0.15), surfaces.plain("lacquer", (0.006, 0.007, 0.007), 0.08))
    rim_and_key(8.0, 22.0)
    look_at((0.25, -5.0, 1.15), (0.02, 0.0, 0.62), 78, 4.0)


def flacon_on_velvet() -> None:
    """Unlabelled flacon on thrown velvet with gold beads."""
    curtain(2.6, 17.0)
    cloth(green_velvet(0.22))
    bottle((0.0, 0.0, 0.002), -24)
    for x, y, radius in ((0.55, -0.35, 0.085), (0.72, -0.2, 0.055), (-0.6, -0.4, 0.065), (-0.5, -0.56, 0.04)):
        shapes.ball("bead", radius, (x, y, radius + 0.015), gold())
    glow = studio.panel("back", (0.1, 1.6, 0.35), (0.0, 0.0, 0.5), (1.7, 1.7), 1.6, 0.95, WARM)
    glow.visible_transmission, glow.visible_glossy = True, False
    rim_and_key(4.5, 20.0)
    look_at((0.15, -4.6, 1.25), (0.02, 0.0, 0.5), 82, 3.5)


def ring_and_glass() -> None:
    """Gold ring, amber and emerald glass on glossy black stone."""
    curtain(1.9, 21.0, 0.10)
    table(surfaces.plain("black gloss", (0.004, 0.004, 0.005), 0.06))
    ring(0.62, 0.026, (0.1, 0.25, 0.645))
    amber = surfaces.glass("amber", products.GLASS, (0.90, 0.45, 0.12), 0.5)
    emerald = surfaces.glass("emerald", products.GLASS, (0.10, 0.62, 0.42), 0.5)
    shapes.ball("amber", 0.27, (-0.2, -0.12, 0.27), amber)
    shapes.ball("emerald", 0.17, (0.36, -0.36, 0.17), emerald)
    shapes.ball("gold", 0.09, (0.02, -0.62, 0.09), gold())
    glow = studio.panel("back", (0.0, 1.5, 0.5), (0.0, 0.0, 0.4), (3.0, 3.0), 1.1, 0.95, PALE)
    glow.visible_transmission, glow.visible_glossy = True, False
    rim_and_key(6.0, 22.0)
    look_at((0.0, -4.6, 0.95), (0.05, 0.0, 0.46), 80, 4.0)


def candlelight() -> None:
    """Black candles and pears on a marble slab."""
    curtain(1.6)
    table(floor_stone())
    block((2.3, 0.95, 0.16), (0.0, 0.0, 0.0), 3)
    candle((-0.42, 0.16, 0.16), 0.105, 0.82)
    candle((-0.14, 0.3, 0.16), 0.085, 0.52)
    pear((0.32, -0.02, 0.16), 0.72, 6, (0.34, 0.20, 0.035))
    pear((0.68, -0.16, 0.17), 0.60, -16, (0.22, 0.15, 0.03))
    shapes.ball("gold", 0.065, (0.06, -0.3, 0.225), gold())
    rim_and_key(4.5, 18.0)
    look_at((-0.1, -4.9, 1.05), (0.08, 0.0, 0.55), 82, 4.0)


def stem(number: int, straw: bpy.types.Material) -> None:
    """One dry stem of the vase with its ear of seeds."""
    lean, reach = -0.42 + 0.14 * number, 1.0 + 0.11 * ((number * 5) % 4)
    tip = (-0.35 + lean, 0.1 + 0.05 * (number % 3), 0.62 + reach)
    path = shapes.smooth_curve([(-0.35, 0.1, 0.6), (-0.35 + lean * 0.35, 0.1, 1.0), tip])
    shapes.sweep("stem", path, lambda t: (0.008 * (1.2 - t), 0.008 * (1.2 - t)), straw, steps=12)
    for bead in range(9):
        t = bead / 8
        across, along = 0.022 * math.cos(2.4 * bead), 0.022 * math.sin(2.4 * bead)
        place = (tip[0] + across - lean * 0.24 * t, tip[1] + along, tip[2] - 0.27 * t)
        shapes.ball("seed", 0.026 - 0.008 * abs(t - 0.5), place, straw)


def stems() -> None:
    """Gold vase with dry stems in a shaft of light on a dark green wall."""
    wall = surfaces.plain("wall", (0.030, 0.095, 0.068), 0.85)
    shapes.sheet("wall", lambda u, v: ((u - 0.5) * 12, 1.0, v * 7 - 0.5), (1, 1), wall)
    table(floor_stone())
    profile = [(0.0, 0.0), (0.12, 0.0), (0.2, 0.06), (0.27, 0.2), (0.26, 0.34), (0.16, 0.5)]
    profile += [(0.085, 0.6), (0.085, 0.7), (0.115, 0.75)]
    smooth = [(max(p.x, 0.0), max(p.z, 0.0)) for p in shapes.smooth_curve([(r, 0, z) for r, z in profile], 10)]
    vase = shapes.lathe("vase", smooth, surfaces.brushed_metal("vase", surfaces.from_hex("c9984a"), 0.25))
    vase.location = (-0.35, 0.1, 0.0)
    straw = surfaces.plain("straw", (0.30, 0.20, 0.09), 0.7)
    for number in range(7):
        stem(number, straw)
    block((0.7, 0.46, 0.2), (0.52, -0.05, 0.0), -14)
    shapes.ball("gold ball", 0.12, (0.5, -0.06, 0.32), gold())
    studio.panel("shaft", (-4.2, -3.2, 4.2), (0.0, 0.6, 0.7), (0.45, 0.45), 1100.0, 0.0, WARM)
    for k in range(4):  # bars that break the shaft of light
        bar = shapes.sheet("bar", lambda u, v: ((u - 0.5) * 3.4, (v - 0.5) * 0.26, 0.0), (1, 1), straw)
        bar.location = (-2.0, -1.35, 1.62 + 0.46 * k)
        bar.rotation_euler = (math.radians(70), 0, math.radians(-50))
        bar.visible_camera = False
    studio.panel("fill", (2.5, -3.5, 2.0), (0.0, 0.0, 0.5), (1.5, 1.5), 2.5, 0.5, COOL)
    look_at((0.05, -5.2, 1.2), (0.05, 0.0, 0.78), 72, 5.0)


SCENES = {
    "01-plinth": plinth,
    "02-sun": sun,
    "03-velvet": flacon_on_velvet,
    "04-glass": ring_and_glass,
    "05-candles": candlelight,
    "06-stems": stems,
}


def photograph(name: str, size: int, samples: int) -> Image.Image:
    """One style picture."""
    scene = studio.reset(samples)
    scene.render.film_transparent = False
    cycles = scene.cycles
    cycles.sample_clamp_indirect, cycles.adaptive_threshold = 3.0, 0.06
    cycles.max_bounces, cycles.transmission_bounces, cycles.diffuse_bounces, cycles.glossy_bounces = 10, 9, 1, 3
    scene.world = bpy.data.worlds.new("dark")
    scene.world.use_nodes = True
    scene.world.node_tree.nodes["Background"].inputs[0].default_value = (0.012, 0.016, 0.016, 1.0)
    SCENES[name]()
    scene.view_settings.view_transform = "AgX"
    scene.view_settings.look = "AgX - Medium High Contrast"
    scene.view_settings.exposure = 1.0
    scene.render.resolution_x = scene.render.resolution_y = size
    scene.render.image_settings.file_format = "PNG"
    with tempfile.TemporaryDirectory() as folder:
        scene.render.filepath = str(Path(folder) / "picture.png")
        bpy.ops.render.render(write_still=True)
        return Image.open(scene.render.filepath).convert("RGB")
