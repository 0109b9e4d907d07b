# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds each plate's scene: ground, what is far behind, the light. Metres; the spot is the origin, y is away."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from . import lights
from . import plate_grounds as grounds
from . import plate_things as things
from .blender import Vector, bpy, studio, surfaces
from .draws import Draws
from .plate_grounds import Colour, painted

SUN: Colour = (1.0, 0.93, 0.82)
LOW_SUN: Colour = (1.0, 0.72, 0.46)
KEY = "key"
"""Name of the main light in Blender's scene."""


def way(azimuth: float, height: float) -> Any:
    """Unit vector towards a light; degrees, azimuth 0 is the camera's side, 90 the right."""
    turn, rise = math.radians(azimuth), math.radians(height)
    return Vector((math.sin(turn) * math.cos(rise), -math.cos(turn) * math.cos(rise), math.sin(rise)))


def sun(azimuth: float, height: float, strength: float, size: float, colour: Colour) -> Any:
    """The sun as main light; returns the way to it."""
    towards = lights.shine(math.radians(azimuth), math.radians(height), strength, math.radians(size), colour)
    bpy.data.objects["sun"].name = KEY
    return towards


def lamp(
    azimuth: float, height: float, distance: float, size: float, strength: float, colour: Colour, name: str = KEY
) -> Any:
    """A window or softbox of `size` metres, towards the spot; the main light unless it has another name."""
    place = way(azimuth, height) * distance
    return studio.lamp(name, tuple(place), (0.0, 0.0, 0.0), (size, size), 3 * strength, colour)


def around(panorama: str, strength: float, turn: float = 0.0, tint: Colour = (1.0, 1.0, 1.0)) -> None:
    """A panorama as the rest of the light and as what mirrors show; `turn` in degrees."""
    if panorama == "interior":  # a room with much yellow and brown in it
        tint = (0.9 * tint[0], 0.98 * tint[1], 1.14 * tint[2])
    lights.surround(bpy.context.scene, panorama, 0.65 * strength, math.radians(turn), tint)


def marble_vanity(draws: Draws) -> None:
    around("interior", 0.5, 40)
    lamp(285, 38, 1.9, 1.1, 11.0, (1.0, 0.96, 0.9))
    top = things.block((3.0, 1.05, 0.04), (0.0, 0.1, -0.04), grounds.marble(draws), 0.003)
    top.name = "top"
    tiles = grounds.masonry(
        draws, ("dcdcd6", "e6e5df", "b9b6ae"), (0.2, 0.1, 0.003), roughness=0.22, depth=0.0025, upright=True
    )
    things.wall(tiles, 1.15)
    things.floor(painted("floor", (0.4, 0.38, 0.35), 0.6), level=-0.85)
    ceramic = painted("ceramic", (0.72, 0.68, 0.62), 0.3, Coat_Weight=0.5)
    things.vase("round", (0.42, 0.5, 0.0), 0.24, ceramic)
    things.plant(draws, (0.42, 0.5, 0.2), 0.34, things.leaf_material("40572f", "7d9150"), 22)
    things.vase("tumbler", (-0.38, 0.52, 0.0), 0.11, painted("brass", (0.75, 0.55, 0.28), 0.25, Metallic=1.0))
    for k, colour in enumerate(((0.66, 0.6, 0.53), (0.78, 0.76, 0.72), (0.6, 0.64, 0.6))):
        towel = painted("towel", colour, 0.95, Sheen_Weight=0.6)
        things.block((0.24, 0.17, 0.042), (-0.16, 0.55, 0.043 * k), towel, 0.02, 0.1 * k)


def walnut_desk(draws: Draws) -> None:
    around("interior", 0.32, 200)
    lamp(245, 32, 1.8, 1.2, 14.0, (1.0, 0.95, 0.87))
    walnut = grounds.wood(draws, ("2a170d", "5a3820", "8a5f3b"), 0.4)
    things.block((2.6, 1.0, 0.03), (0.0, 0.12, -0.03), walnut, 0.004)
    things.wall(grounds.plaster(draws, (0.42, 0.45, 0.42)), 1.7)
    things.floor(painted("floor", (0.12, 0.09, 0.07), 0.5), level=-0.75)
    things.window((-0.72, 1.68, 0.05), (0.62, 1.3), 3.2)
    things.books(draws, (0.3, 0.5, 0.0), ("7c2f24", "d7cbb2", "2f4a52", "8b8f7a", "c08a3e", "33302d"))
    things.vase("pot", (-0.45, 0.52, 0.0), 0.13, painted("pot", (0.55, 0.3, 0.2), 0.7))
    things.plant(draws, (-0.45, 0.52, 0.11), 0.3, things.leaf_material("22401f", "4f7a38"), 30)


def cobblestones(draws: Draws) -> None:
    around("sunset", 0.5, 43, (1.12, 1.0, 0.86))
    sun(112, 30, 5.0, 0.8, SUN)
    things.paving(draws, grounds.setts(draws), 3.2, 2.5)
    things.floor(grounds.stone(draws, "4d4a47", "847e76", 0.6), 2.4, 60.0, level=-0.008)


def slate_rim_light(draws: Draws) -> None:
    around("studio", 0.1, 30)
    lamp(152, 38, 1.5, 0.5, 7.0, (1.0, 0.95, 0.88))
    lamp(300, 35, 1.8, 0.8, 0.7, (0.82, 0.9, 1.0), "fill")
    things.block(
        (1.6, 1.0, 0.03), (0.0, 0.12, -0.03), grounds.stone(draws, "15181b", "34383c", 0.42, layers=1.6), 0.004
    )
    things.floor(painted("floor", (0.015, 0.016, 0.018), 0.6), level=-0.1)
    things.wall(grounds.plaster(draws, (0.03, 0.034, 0.04), 2.0), 1.6)
    stone = grounds.stone(draws, "101214", "2c2f33", 0.6)
    for x, y, size in ((-0.34, 0.42, 0.16), (0.4, 0.5, 0.22), (0.24, 0.46, 0.1)):
        rock = studio.shapes.ball("rock", 0.5 * size, (x, y, 0.24 * size), stone)
        rock.scale, rock.rotation_euler = (1.2, 0.9, 0.55), (0.1, 0.1, 9 * x)


def linen_table(draws: Draws) -> None:
    around("interior", 0.5, 120)
    lamp(292, 30, 1.9, 0.9, 15.0, SUN)
    things.cloth(draws, grounds.linen(draws, "9c9282", "efe9dc"), 2.6, 1.1, 0.006)
    things.floor(painted("floor", (0.3, 0.25, 0.2), 0.6), level=-0.75)
    things.wall(grounds.plaster(draws, (0.66, 0.62, 0.56)), 1.9)
    things.window((0.85, 1.88, 0.3), (0.66, 1.3), 2.4)
    glaze = painted("glaze", (0.24, 0.32, 0.36), 0.25, Coat_Weight=0.6)
    things.vase("bottle", (-0.4, 0.55, 0.0), 0.3, glaze)
    things.vase("bowl", (0.34, 0.58, 0.0), 0.1, painted("bowl", (0.75, 0.7, 0.63), 0.35))
    for k in range(5):
        peel = painted("fruit", ((0.75, 0.36, 0.04), (0.7, 0.42, 0.05))[k % 2], 0.4)
        studio.shapes.ball(
            "fruit", 0.036, (0.34 + 0.045 * math.cos(1.3 * k), 0.58 + 0.045 * math.sin(1.3 * k), 0.1), peel
        )


def beach_sand(draws: Draws) -> None:
    around("sunset", 0.6, -140, (1.0, 0.95, 0.95))
    sun(205, 17, 4.2, 1.2, LOW_SUN)
    things.dunes(draws, grounds.sand(draws), 3.0, 2.4)
    things.floor(grounds.sand(draws), 2.3, 7.0, level=-0.01)
    graph = surfaces.Graph("sea")
    waves = graph.node("Mapping", Vector=graph.node("NewGeometry").outputs["Position"], Scale=(0.6, 3.0, 1.0))
    normal = graph.bump(graph.noise(waves, 1.4, 6.0, 0.6), 0.12)
    sea = graph.finish(graph.node("BsdfPrincipled", Base_Color=(0.02, 0.07, 0.09), Roughness=0.12, Normal=normal))
    things.floor(sea, 6.9, 900.0, 600.0, -0.012)


def brick_shelf(draws: Draws) -> None:
    around("interior", 0.3, 300)
    lamp(305, 42, 1.7, 0.5, 14.0, (1.0, 0.93, 0.84))
    oak = grounds.wood(draws, ("5e3d20", "94693c", "bb9058"), 0.5)
    things.block((2.6, 0.36, 0.035), (0.0, 0.02, -0.035), oak, 0.003)
    bricks = ("6a3a2c", "8e5a47", "8b8378")
    things.wall(grounds.masonry(draws, bricks, (0.215, 0.072, 0.006), roughness=0.9, depth=0.009, upright=True), 0.2)
    things.vase("round", (0.36, 0.06, 0.0), 0.2, painted("clay", (0.7, 0.66, 0.6), 0.6))
    things.books(draws, (-0.5, 0.09, 0.0), ("2d4038", "c9b99a", "6d2a22", "3c4a5c", "d8d2c4"))


def night_bar(draws: Draws) -> None:
    around("night", 0.05, 0)
    lamp(52, 48, 1.3, 0.35, 13.0, (1.0, 0.78, 0.55))
    lamp(215, 25, 1.6, 0.5, 2.6, (0.35, 0.5, 1.0), "rim")
    wood = grounds.wood(draws, ("0d0704", "2a160c", "4a2a18"), 0.24)
    things.block((3.0, 0.9, 0.05), (0.0, 0.05, -0.05), wood, 0.008)
    things.wall(painted("dark", (0.012, 0.011, 0.014), 0.7), 3.4)
    things.floor(painted("floor", (0.02, 0.015, 0.012), 0.4), level=-1.1)
    source = draws.source("lights")
    colours = (
        (1.0, 0.5, 0.14),
        (1.0, 0.34, 0.08),
        (1.0, 0.62, 0.3),
        (0.12, 0.34, 1.0),
        (1.0, 0.08, 0.3),
        (0.1, 0.8, 0.7),
    )
    for k in range(46):
        place = (source.uniform(-1.5, 1.5), source.uniform(2.3, 3.3), source.uniform(-0.25, 1.0))
        things.disc(place, source.uniform(0.035, 0.085), colours[k % 6], source.uniform(0.15, 1.3))
    amber = painted("amber", (0.28, 0.1, 0.02), 0.1, Transmission_Weight=0.5)
    for x, height, kind in (
        (-0.5, 0.3, "bottle"),
        (-0.36, 0.26, "bottle"),
        (0.46, 0.31, "bottle"),
        (0.58, 0.12, "tumbler"),
    ):
        things.vase(kind, (x, 0.75 + 0.2 * abs(x), -0.02), height, amber)


def pastel_cyclorama(draws: Draws) -> None:
    around("studio", 0.6, 0)
    lamp(308, 48, 2.0, 0.8, 15.0, (1.0, 0.97, 0.93))
    bend, back = 0.5, 1.15
    line = [(-3.0, 0.0), (back - bend, 0.0)]
    line += [
        (back - bend + bend * math.sin(a), bend - bend * math.cos(a)) for a in (k * math.pi / 64 for k in range(1, 33))
    ]
    line += [(back, 4.0)]
    g = grounds.Sheet("paper", draws)
    fibre, cloud = g.noise(g.place, 700.0, 3.0, 0.7), g.noise(g.place, 2.0, 3.0)
    colour = g.ramp(
        g.math("MULTIPLY_ADD", fibre, 0.3, g.math("MULTIPLY", cloud, 0.7)),
        [(0.3, (0.76, 0.44, 0.38)), (0.7, (0.83, 0.51, 0.45))],
    )
    paper = g.done(colour, 0.85, fibre, 0.0003)
    last = len(line) - 1
    studio.shapes.sheet("sweep", lambda u, v: ((2 * u - 1) * 4, *line[round(v * last)]), (1, last), paper)
    things.vase("round", (0.3, 0.5, 0.0), 0.24, painted("matte", (0.8, 0.72, 0.62), 0.8))
    ball = painted("ball", (0.72, 0.34, 0.3), 0.7)
    studio.shapes.ball("ball", 0.06, (-0.27, 0.42, 0.06), ball)
    things.block((0.2, 0.2, 0.3), (-0.36, 0.66, 0.0), painted("cube", (0.78, 0.55, 0.48), 0.8), 0.004, 0.5)


def concrete_plinth(draws: Draws) -> None:
    around("city", 0.5, 200)
    towards = sun(302, 40, 5.2, 2.4, SUN)
    things.block((0.46, 0.46, 1.0), (0.0, 0.02, -1.0), grounds.concrete(draws), 0.004, 0.0)
    things.wall(grounds.plaster(draws, (0.55, 0.5, 0.44), 2.0), 1.1, -2.0)
    things.floor(grounds.concrete(draws, tone=0.8), level=-1.0)
    things.foliage_shadow(
        draws, towards + Vector((0.0, 0.7, 0.2)), things.leaf_material("30451f", "5f7f3a"), (0.62, 0.42), 45
    )


def pine_kitchen(draws: Draws) -> None:
    around("interior", 0.5, 90)
    lamp(278, 36, 1.9, 1.0, 13.0, (1.0, 0.97, 0.92))
    pine = grounds.wood(draws, ("b5824a", "d9ae74", "ecd0a0"), 0.55, board=0.11)
    things.block((2.8, 0.8, 0.03), (0.0, 0.05, -0.03), pine, 0.004)
    tiles = grounds.masonry(
        draws, ("d7dcd8", "e4e6e0", "a8a8a2"), (0.1, 0.1, 0.0025), roughness=0.2, depth=0.002, upright=True
    )
    things.wall(tiles, 1.5)
    things.floor(painted("floor", (0.3, 0.28, 0.25), 0.5), level=-0.9)
    things.block((4.0, 0.6, 0.9), (0.0, 1.2, -0.9), painted("counter", (0.6, 0.6, 0.57), 0.35))
    steel = painted("steel", (0.6, 0.6, 0.6), 0.25, Metallic=1.0)
    things.vase("pot", (0.55, 1.1, 0.0), 0.22, steel)
    things.vase("bottle", (-0.52, 1.05, 0.0), 0.3, painted("oil", (0.2, 0.24, 0.05), 0.12, Transmission_Weight=0.4))
    things.vase("bottle", (-0.40, 1.12, 0.0), 0.26, painted("vinegar", (0.3, 0.1, 0.03), 0.12, Transmission_Weight=0.3))
    things.vase("pot", (-0.05, 1.15, 0.0), 0.12, painted("pot", (0.7, 0.68, 0.62), 0.5))
    things.plant(draws, (-0.05, 1.15, 0.11), 0.24, things.leaf_material("2f5a20", "6f9a44"), 36)


def terrazzo(draws: Draws) -> None:
    around("interior", 0.45, 240)
    towards = sun(52, 40, 5.0, 1.2, SUN)
    things.block((2.4, 1.0, 0.04), (0.0, 0.0, -0.04), grounds.terrazzo(draws), 0.003)
    things.wall(grounds.plaster(draws, (0.62, 0.6, 0.52)), 0.62)
    things.vase("pot", (-0.34, 0.42, 0.0), 0.13, painted("pot", (0.72, 0.5, 0.4), 0.7))
    things.plant(draws, (-0.34, 0.42, 0.11), 0.32, things.leaf_material("35552c", "7b9a55"), 24)
    things.foliage_shadow(
        draws, towards + Vector((0.0, 0.4, 0.2)), things.leaf_material("30451f", "5f7f3a"), (0.5, 0.42), 30
    )


def forest_floor(draws: Draws) -> None:
    around("forest", 0.7, -36)
    sun(222, 42, 5.0, 2.0, (1.0, 0.92, 0.74))
    slab = studio.shapes.cylinder(
        "slab", 0.27, (-0.06, 0.0), (0.02, 0.012), grounds.stone(draws, "4a4a44", "8a887c", 0.75, grain=2.0)
    )
    slab.scale = (1.15, 0.8, 1.0)
    x, y = things.grid(4.0, 3.2, 700)
    moss = 0.02 * things.cloud(draws, "moss", 700, 1.7) + 0.03 * things.cloud(draws, "mounds", 700, 2.4)
    height = (moss + 0.02) * things.calm(x, y, 0.2, 0.7) - 0.03
    g = grounds.Sheet("moss", draws)
    tufts = g.noise(g.place, 150.0, 6.0, 0.75)
    colour = g.ramp(
        g.math("MULTIPLY_ADD", tufts, 0.6, g.math("MULTIPLY", g.noise(g.place, 9.0, 4.0), 0.4)),
        [(0.35, (0.012, 0.022, 0.006)), (0.5, (0.06, 0.11, 0.02)), (0.68, (0.22, 0.27, 0.05))],
    )
    things.relief("moss", 4.0, 3.2, height, g.done(colour, 0.9, tufts, 0.02))
    things.moss_blades(draws, x, y, height, things.leaf_material("3a5a16", "93a83c"))
    things.floor(painted("far", (0.05, 0.07, 0.02), 0.9), 3.1, 60.0, level=-0.03)
    litter = things.leaf_material("5a3216", "a8703a")
    source = draws.source("litter")
    for _ in range(70):
        across, back = source.uniform(-0.9, 0.9), source.uniform(-0.5, 1.6)
        if math.hypot(across / 1.2, back) > 0.3:
            dead = things.leaf(
                source.uniform(0.04, 0.08), source.uniform(0.01, 0.02), source.uniform(-0.4, 0.5), litter
            )
            dead.location = (across, back, source.uniform(-0.01, 0.02))
            dead.rotation_euler = (source.uniform(-0.4, 0.4), source.uniform(-0.3, 0.3), source.uniform(0, 6.28))
    bark = grounds.stone(draws, "1a1613", "3f372e", 0.9, grain=2.0)
    for across, back, radius in ((-0.75, 2.3, 0.14), (0.85, 2.9, 0.2), (0.3, 4.5, 0.16), (-1.8, 4.0, 0.2)):
        trunk = studio.shapes.cylinder("trunk", radius, (-0.2, 5.0), (0.01, 0.01), bark)
        trunk.location = (across, back, 0.0)


def black_acrylic(draws: Draws) -> None:
    around("studio", 0.06, 0)
    lamp(140, 40, 1.5, 0.5, 4.0, (0.95, 0.97, 1.0))
    lamp(275, 30, 1.6, 0.6, 1.2, (1.0, 0.9, 0.8), "fill")
    g = grounds.Sheet("acrylic", draws)
    smear = g.noise(g.place, 16.0, 5.0, 0.6)
    things.floor(g.done((0.006, 0.006, 0.007), g.between(smear, 0.4, 0.7, 0.025, 0.07)), -3.0, 1.4)
    graph = surfaces.Graph("halo")
    place = graph.node(
        "VectorMath", {"operation": "SUBTRACT"}, _0=graph.node("TexCoord").outputs["UV"], _1=(0.5, 0.4, 0.0)
    )
    wide = graph.node("VectorMath", {"operation": "MULTIPLY"}, _0=place, _1=(1.5, 1.1, 1.0))
    reach = graph.node("VectorMath", {"operation": "LENGTH"}, _0=wide).outputs[1]
    fall = graph.node("MapRange", {"interpolation_type": "SMOOTHERSTEP"}, _0=reach, _1=0.0, _2=0.6, _3=0.22, _4=0.004)
    lit = graph.finish(graph.node("Emission", Color=(0.62, 0.74, 1.0), Strength=fall))
    lit.cycles.emission_sampling = "NONE"
    studio.shapes.sheet("halo", lambda u, v: ((2 * u - 1) * 2.0, 1.4, 2.6 * v), (1, 1), lit)


def terracotta_window(draws: Draws) -> None:
    around("city", 0.4, 10)
    towards = sun(302, 38, 5.4, 0.55, SUN)
    tiles = grounds.masonry(
        draws, ("a9583a", "c47a52", "a08f7c"), (0.2, 0.2, 0.004), roughness=0.65, depth=0.003, turn=0.5
    )
    things.floor(tiles, -3.0, 0.75)
    things.wall(grounds.plaster(draws, (0.74, 0.66, 0.55), 2.0), 0.75)
    things.mullions(towards, (2, 3), (0.34, 0.3), 0.035, (0.19, 0.0))


def white_from_above(draws: Draws) -> None:
    around("studio", 0.7, 0, (1.0, 0.97, 0.92))
    lamp(310, 42, 1.9, 0.4, 26.0, (1.0, 0.98, 0.95))
    g = grounds.Sheet("board", draws)
    fine, cloud = g.noise(g.place, 520.0, 4.0, 0.7), g.noise(g.place, 6.0, 6.0, 0.6)
    colour = g.ramp(
        g.math("MULTIPLY_ADD", fine, 0.3, g.math("MULTIPLY", cloud, 0.7)),
        [(0.3, (0.76, 0.76, 0.755)), (0.7, (0.86, 0.86, 0.85))],
    )
    things.floor(
        g.done(colour, g.between(cloud, 0.3, 0.7, 0.42, 0.6), g.math("MULTIPLY_ADD", fine, 0.3, cloud), 0.0012)
    )
    things.plant(draws, (-0.27, 0.28, 0.03), 0.26, things.leaf_material("3f5e35", "88a468"), 26)


def linen_from_above(draws: Draws) -> None:
    around("interior", 0.45, 30)
    lamp(298, 30, 1.8, 0.6, 16.0, SUN)
    things.cloth(draws, grounds.linen(draws, "7d7468", "d8cdb9"), 1.6, 0.8, 0.009)
    things.vase("bowl", (0.27, 0.27, 0.0), 0.07, painted("bowl", (0.33, 0.3, 0.27), 0.5))
    things.plant(draws, (-0.3, 0.28, 0.01), 0.22, things.leaf_material("56633f", "9aa57c"), 16)


LOOKS: dict[str, Callable[[Draws], None]] = {
    "marble-vanity": marble_vanity,
    "walnut-desk": walnut_desk,
    "cobblestones": cobblestones,
    "slate-rim-light": slate_rim_light,
    "linen-table": linen_table,
    "beach-sand": beach_sand,
    "brick-shelf": brick_shelf,
    "night-bar": night_bar,
    "pastel-cyclorama": pastel_cyclorama,
    "concrete-plinth": concrete_plinth,
    "pine-kitchen": pine_kitchen,
    "terrazzo": terrazzo,
    "forest-floor": forest_floor,
    "black-acrylic": black_acrylic,
    "terracotta-window": terracotta_window,
    "white-from-above": white_from_above,
    "linen-from-above": linen_from_above,
}
