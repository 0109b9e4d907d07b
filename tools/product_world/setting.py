# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds what is around the product: the floor it stands on and what is behind it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from . import grounds, names, paintings
from .blender import Vector, bpy, shapes, surfaces
from .draws import Draws
from .scenes import Scene
from .solids import Material, Thing

FOLDS = {"pink satin": (0.2, 3.0), "snow": (0.2, 1.1), "sand": (0.1, 0.8)}  # height and frequency
WALLS = ("brick wall", "white tiles", "wooden wall")
BLADES = 22000


@dataclass(frozen=True)
class Room:
    """The space the product leaves: its size (width, depth, height) in dm and where the wall stands."""

    size: tuple[float, float, float]
    wall: float  # distance behind the product's middle; the table's end where there is no wall

    @property
    def scale(self) -> float:
        """The larger side: rooms grow with what stands in them."""
        return max(self.size[0], self.size[2], 0.8)

    @property
    def foot(self) -> float:
        """Radius of the circle that has to stay flat."""
        return 0.5 * math.hypot(self.size[0], self.size[1])


def measure_room(scene: Scene, size: tuple[float, float, float], draws: Draws) -> Room:
    """A wall one and a half to three and a half product heights behind, or a table's end."""
    reach = max(size[0], size[2], 0.8)
    if scene.is_open:
        return Room(size, 60.0 if scene.surface in names.OUTDOOR else draws.number("table", 2.2, 4.5) * reach)
    return Room(size, draws.number("wall", 1.5, 3.6) * reach + size[1])


def rectangle(name: str, x: tuple[float, float], y: tuple[float, float], level: float, material: Material) -> Thing:
    """Level plane."""
    return shapes.sheet(
        name, lambda u, v: (x[0] + u * (x[1] - x[0]), y[0] + v * (y[1] - y[0]), level), (1, 1), material
    )


def upright(name: str, place: float, low: float, high: float, material: Material, half: float = 40.0) -> Thing:
    """Wall at y = `place`, facing the camera."""
    return shapes.sheet(name, lambda u, v: ((2 * u - 1) * half, place, low + v * (high - low)), (1, 1), material)


def folded_floor(surface: str, room: Room, draws: Draws, material: Material) -> Thing:
    """Cloth, snow or sand: uneven, but level where the product stands."""
    height, pitch = FOLDS[surface][0] * room.scale, FOLDS[surface][1] / room.scale
    source = draws.source("folds")
    waves = [
        (
            source.uniform(0, math.pi),
            source.uniform(0.6, 1.5) * pitch,
            source.uniform(0, 6.28),
            source.uniform(0.4, 1.0),
        )
        for _ in range(5)
    ]
    level = room.foot + 0.06

    def spread(share: float) -> float:
        side = 2 * share - 1
        return math.copysign(abs(side) ** 1.6, side) * 12

    def surface_at(u: float, v: float) -> shapes.Point3:
        x, y = spread(u), spread(v)
        bend = 0.35 * math.sin(1.1 * y)
        sway = sum(a * math.sin((x * math.cos(t) + y * math.sin(t) + bend) * f + p) for t, f, p, a in waves)
        share = max(0.0, min(1.0, (math.hypot(x, y) - level) / (1.2 * level + 0.3)))
        calm = share * share * (3 - 2 * share)
        return x, y, min(sway / 2.2 * height * calm, 0.3 * room.scale) - 0.15 * height * calm

    return shapes.sheet("floor", surface_at, (160, 160), material)


def sweep_wall(room: Room, material: Material) -> Thing:
    """The studio's paper: floor and background without an edge."""
    back, bend = 1.3 * room.wall, min(1.6 * room.scale, 1.2 * room.wall)
    line = [(-14.0, 0.0), (back - bend, 0.0)]
    line += [
        (back - bend + bend * math.sin(k * math.pi / 28), bend - bend * math.cos(k * math.pi / 28))
        for k in range(1, 15)
    ]
    line += [(back, 16.0)]
    last = len(line) - 1
    return shapes.sheet(
        "paper",
        lambda u, v: ((2 * u - 1) * 30, line[round(v * last)][0], line[round(v * last)][1]),
        (1, last),
        material,
    )


def grass(room: Room, draws: Draws, around: bool) -> Thing:
    """Bent blades in tufts, short and sparse where the product stands."""
    numbers = np.random.default_rng(draws.source("grass").getrandbits(32))
    radius, angle = 5.2 * np.sqrt(numbers.random(BLADES)), 2 * math.pi * numbers.random(BLADES)
    x, y = radius * np.cos(angle), radius * np.sin(angle) - 0.5
    tufts = np.sin(3.1 * x + 2.0 * np.sin(1.7 * y)) * np.sin(2.7 * y + 1.3 * np.sin(2.2 * x))
    clear = room.foot * 0.92 if around else 0.0
    kept = np.hypot(x, y) > clear
    x, y, tufts = x[kept], y[kept], tufts[kept]
    count = len(x)
    near = np.clip(np.hypot(x, y) / 1.2, 0.35, 1.0)
    height = numbers.uniform(0.12, 0.3, count) * near * (1 + 0.35 * tufts)
    turn, half = 2 * math.pi * numbers.random(count), numbers.uniform(0.008, 0.018, count)
    lean = numbers.normal(0.0, 0.32, (2, count)) * height
    side = np.stack([half * np.cos(turn), half * np.sin(turn), np.zeros(count)], -1)
    foot = np.stack([x, y, np.full(count, -0.01)], -1)
    middle = foot + np.stack([0.3 * lean[0], 0.3 * lean[1], 0.6 * height], -1)
    tip = foot + np.stack([lean[0], lean[1], height], -1)
    rows = np.stack([foot - side, foot + side, middle + 0.8 * side, middle - 0.8 * side, tip], 1).reshape(-1, 3)
    faces = [face for k in range(0, 5 * count, 5) for face in ((k, k + 1, k + 2, k + 3), (k + 3, k + 2, k + 4))]
    return shapes.add_mesh("grass", [tuple(row) for row in rows.tolist()], faces, [blade()], smooth=False)


def blade() -> Material:
    """Green that differs from tuft to tuft and is darker near the soil."""
    graph = surfaces.Graph("blade")
    place = graph.node("NewGeometry").outputs["Position"]
    green = graph.mix(graph.noise(place, 2.5, 3.0), surfaces.from_hex("35651b"), surfaces.from_hex("8fac45"))
    green = graph.mix(graph.noise(place, 30.0, 1.0), green, surfaces.from_hex("5d8a2c"))
    height = graph.node("MapRange", _0=graph.node("SeparateXYZ", _0=place).outputs[2], _1=0.0, _2=0.16)
    colour = graph.mix(height, graph.mix(1.0, green, (0.3, 0.35, 0.2), "MULTIPLY"), green)
    return graph.finish(graph.node("BsdfPrincipled", Base_Color=colour, Roughness=0.55))


def build_floor(scene: Scene, room: Room, draws: Draws, *, product: bool) -> list[Thing]:
    """The surface as far as the wall, the table's end or the horizon."""
    scale = draws.number("texture", 0.8, 1.35) * math.sqrt(1.35 / room.scale)
    material = grounds.material(
        scene.surface, draws.part("ground"), scale, colour=scene.colour if scene.is_seamless else ""
    )
    if scene.is_seamless:
        return [sweep_wall(room, material)]
    end = room.wall + (0.0 if scene.is_open else 0.02)
    things = []
    if scene.surface in FOLDS:
        things.append(folded_floor(scene.surface, room, draws, material))
        if scene.surface != "pink satin" or not scene.is_open:
            things.append(rectangle("far floor", (-60, 60), (-14, end), -0.3 * room.scale - 0.05, material))
        return things
    things.append(rectangle("floor", (-40, 40), (-16, end), 0.0, material))
    if scene.is_open and scene.surface not in names.OUTDOOR:
        things.append(upright("edge", end, -0.25, 0.0, material))
    if scene.surface == "green grass":
        things.append(grass(room, draws, product))
    return things


def hang_picture(
    picture: paintings.Picture, place: float, size: tuple[float, float], middle: float, glow: float
) -> Thing:
    """A painted distance that shines by itself; below its lower edge its last row goes on."""
    image = bpy.data.images.new("distance", picture.shape[1], picture.shape[0], float_buffer=True)
    pixels = np.ones((*picture.shape[:2], 4), np.float32)
    pixels[..., :3] = picture[::-1]
    image.pixels.foreach_set(pixels.ravel())
    image.update()
    graph = surfaces.Graph("distance")
    texture = graph.node("TexImage", {"extension": "EXTEND"})
    texture.image = image
    uv = graph.node("Mapping", Vector=graph.node("TexCoord").outputs["UV"], Scale=(1.0, 3.0, 1.0), Location=(0, -2, 0))
    graph.connect(uv, texture.inputs[0])
    material = graph.finish(graph.node("Emission", Color=texture.outputs[0], Strength=glow))
    width, height = size
    return upright("distance", place, middle - 2.5 * height, middle + 0.5 * height, material, 0.5 * width)


def build_backdrop(scene: Scene, room: Room, draws: Draws) -> list[Thing]:
    """Wall, paper or painted distance; half of the gardens are the surroundings' own picture."""
    scale = draws.number("wall texture", 0.8, 1.35) * math.sqrt(1.35 / room.scale)
    if scene.backdrop in names.COLOURED:
        if scene.is_seamless:
            return []
        name = "studio" if scene.backdrop == "studio" else "plaster"
        material = grounds.material(name, draws.part("backdrop"), scale, upright=True, colour=scene.colour)
        return [upright("wall", room.wall, -0.5, 15.0, material)]
    if scene.backdrop in WALLS:
        material = grounds.material(scene.backdrop, draws.part("backdrop"), scale, upright=True)
        return [upright("wall", room.wall, -0.5, 12.0, material)]
    if scene.backdrop == "sunset sky":
        return [hang_picture(paintings.sunset(draws), 30.0, (70.0, 26.0), 11.5, draws.number("glow", 0.8, 1.1))]
    if scene.backdrop == "night bokeh":
        return [hang_picture(paintings.night(draws), 14.0, (34.0, 22.0), 1.5, draws.number("glow", 0.9, 1.4))]
    if draws.chance("painted garden", 0.45):
        return [hang_picture(paintings.garden(draws), 14.0, (36.0, 24.0), 2.0, 1.0)]
    return []


def window(sun: Vector, room: Room, draws: Draws) -> Thing:
    """A window's frame in the sun's way; only its shadow is seen."""
    source, unit = draws.source("window"), room.scale
    kind = source.choice(("panes", "panes", "slats", "tall"))
    if kind == "panes":
        columns, rows, bar = source.choice((2, 3)), source.choice((2, 3)), 0.11 * unit
        pane = (source.uniform(0.7, 1.1) * unit, source.uniform(0.8, 1.2) * unit)
    elif kind == "slats":
        columns, rows, bar, pane = 1, 9, 0.14 * unit, (3.2 * unit, 0.26 * unit)
    else:
        columns, rows, bar, pane = 2, 1, 0.14 * unit, (unit, 2.2 * unit)
    half_x = (columns * (pane[0] + bar) - bar) / 2
    half_y = (rows * (pane[1] + bar) - bar) / 2
    far = 40.0
    bars = [(-far, -far, -half_x, far), (half_x, -far, far, far)]
    bars += [(-half_x, half_y, half_x, far), (-half_x, -far, half_x, -half_y)]
    bars += [(x, -half_y, x + bar, half_y) for x in (-half_x + k * (pane[0] + bar) - bar for k in range(1, columns))]
    bars += [(-half_x, y, half_x, y + bar) for y in (-half_y + k * (pane[1] + bar) - bar for k in range(1, rows))]
    across = Vector((0, 0, 1)).cross(sun).normalized()
    up = sun.cross(across)
    middle = Vector((0, 0.35 * room.wall, 0.45 * room.size[2])) + 9 * sun
    middle += across * source.uniform(-0.4, 0.4) + up * source.uniform(-0.2, 0.3)
    corners = [tuple(middle + across * x + up * y) for a, b, c, d in bars for x, y in ((a, b), (c, b), (c, d), (a, d))]
    faces = [tuple(range(k, k + 4)) for k in range(0, len(corners), 4)]
    frame = shapes.add_mesh("window", corners, faces, [surfaces.plain("frame", (0.01, 0.01, 0.01), 0.5)], smooth=False)
    frame.visible_camera = frame.visible_diffuse = frame.visible_glossy = frame.visible_transmission = False
    return frame
