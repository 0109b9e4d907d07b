# SPDX-License-Identifier: GPL-3.0-or-later
"""The five lights: surroundings, sun and lamps, and how bright the picture is to become.

The surroundings are the panoramas that Blender ships for its own previews.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import names
from .blender import Vector, bpy, studio
from .draws import Draws
from .scenes import Scene
from .setting import Room, window
from .solids import Thing

Range = tuple[float, float]
Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Light:
    """One kind of light. Angles are degrees; strengths are what the renderer wants."""

    panoramas: tuple[str, ...]
    strength: Range  # of the surroundings, as their mean light from above
    tint: Colour
    target: float  # mean brightness of the picture, linear
    sun_height: Range | None = None
    sun_strength: Range = (0.0, 0.0)
    sun_size: Range = (0.6, 0.6)
    sun_colour: Colour = (1.0, 1.0, 1.0)
    window_colour: Colour = (1.0, 0.96, 0.9)


LIGHTS = {
    names.DAYLIGHT: Light(
        ("city", "courtyard", "interior", "forest"),
        (0.75, 1.2),
        (1.0, 1.0, 1.03),
        0.32,
        window_colour=(1.0, 0.93, 0.84),
    ),
    names.SUNSET: Light(
        ("sunset", "sunrise"),
        (0.3, 0.6),
        (1.0, 0.93, 0.86),
        0.25,
        (13.0, 28.0),
        (3.2, 5.0),
        (1.0, 4.0),
        (1.0, 0.66, 0.40),
        window_colour=(1.0, 0.66, 0.40),
    ),
    names.NOON: Light(
        ("courtyard", "city"),
        (0.5, 0.8),
        (0.92, 0.97, 1.06),
        0.34,
        (48.0, 66.0),
        (3.6, 5.0),
        (0.6, 0.6),
        (1.0, 0.965, 0.9),
    ),
    names.STUDIO_LIGHT: Light(("studio",), (0.35, 0.7), (0.93, 0.98, 1.06), 0.32),
    names.DARK: Light(("studio",), (0.05, 0.1), (1.0, 1.0, 1.0), 0.13),
}
DISTANT_PANORAMA = {"garden bokeh": "forest", "night bokeh": "night", "sunset sky": "sunset"}
BRIGHT = ("snow", "white marble")
DEEP = ("black marble", "glossy black acrylic", "wet stone", "dark walnut wood")


@functools.cache
def panorama_file(name: str) -> Path:
    """A panorama of Blender's own data files."""
    roots = [Path(bpy.utils.system_resource("DATAFILES")), Path(bpy.__file__).parent]
    for root in roots:
        for path in sorted(root.rglob(f"world/{name}.exr")):
            return path
    raise SystemExit(f"no panorama '{name}' beside Blender's module")


@functools.cache
def mean_light(name: str) -> float:
    """What a level plane receives from a panorama, relative to an even white one."""
    image = bpy.data.images.load(str(panorama_file(name)))
    width, height = image.size
    pixels = np.empty(width * height * 4, np.float32)
    image.pixels.foreach_get(pixels)
    bpy.data.images.remove(image)
    rows = np.minimum(pixels.reshape(height, width, 4)[..., :3] @ np.array((0.2126, 0.7152, 0.0722)), 40).mean(axis=1)
    angle = (np.arange(height) + 0.5) / height * math.pi - math.pi / 2
    weight = np.clip(np.sin(angle), 0, 1) * np.cos(angle)
    return max(1e-3, float((rows * weight).sum() / weight.sum()))


def surround(scene: Any, name: str, strength: float, turn: float, tint: Colour) -> None:
    """Puts a panorama around everything; `strength` is the light it gives a level plane."""
    mean = mean_light(name)
    world = bpy.data.worlds.new("surroundings")
    scene.world = world
    world.use_nodes = True
    tree = world.node_tree
    tree.nodes.clear()
    made = {k: tree.nodes.new(f"ShaderNode{k}") for k in ("TexCoord", "Mapping", "TexEnvironment", "Mix", "Background")}
    output = tree.nodes.new("ShaderNodeOutputWorld")
    made["TexEnvironment"].image = bpy.data.images.load(str(panorama_file(name)))
    made["Mapping"].inputs["Rotation"].default_value = (0.0, 0.0, turn)
    made["Mix"].data_type, made["Mix"].blend_type = "RGBA", "MULTIPLY"
    made["Mix"].inputs[0].default_value, made["Mix"].inputs[7].default_value = 1.0, (*tint, 1.0)
    made["Background"].inputs[1].default_value = strength / mean
    for start, end in (
        (made["TexCoord"].outputs["Generated"], made["Mapping"].inputs[0]),
        (made["Mapping"].outputs[0], made["TexEnvironment"].inputs[0]),
        (made["TexEnvironment"].outputs[0], made["Mix"].inputs[6]),
        (made["Mix"].outputs[2], made["Background"].inputs[0]),
        (made["Background"].outputs[0], output.inputs[0]),
    ):
        tree.links.new(start, end)
    world.cycles.sampling_method, world.cycles.sample_map_resolution = "MANUAL", 256


def shine(azimuth: float, height: float, strength: float, size: float, colour: Colour) -> Vector:
    """A sun; azimuth 0 is behind the camera, positive is to the right. Returns the way towards it."""
    level = math.cos(height)
    way = Vector((math.sin(azimuth) * level, -math.cos(azimuth) * level, math.sin(height)))
    data = bpy.data.lights.new("sun", "SUN")
    data.energy, data.angle, data.color = strength, size, colour
    sun = bpy.data.objects.new("sun", data)
    bpy.context.scene.collection.objects.link(sun)
    sun.rotation_euler = way.to_track_quat("Z", "Y").to_euler()
    return way


def stand_lamp(
    azimuth: float, distance: float, height: float, aim: float, watts: float, size: tuple[float, float], colour: Colour
) -> Thing:
    """An area lamp on a stand; azimuth as for the sun."""
    place = (math.sin(azimuth) * distance, -math.cos(azimuth) * distance, height)
    strength = watts / (0.6 * math.pi * size[0] * size[1])
    return studio.lamp("lamp", place, (0.0, 0.0, aim), size, strength, colour)


def place_lamps(scene: Scene, room: Room, draws: Draws, side: float, dim: float) -> None:
    """The lamps of daylight (the bright part of the sky), of the studio and of the dark."""
    aim = 0.5 * room.size[2]
    if scene.light == names.DAYLIGHT:
        size = draws.number("size", 2.0, 3.5)
        azimuth, height = side * draws.number("key", 0.6, 1.3), draws.number("high", 3.0, 5.0)
        stand_lamp(azimuth, 4.0, height, aim, dim * draws.number("watts", 110, 230), (size, size), (1.0, 0.985, 0.96))
    elif scene.light == names.STUDIO_LIGHT:
        cool = (0.90, 0.95, 1.0)
        azimuth, height = side * draws.number("key", 0.7, 1.2), draws.number("high", 2.0, 3.6)
        stand_lamp(azimuth, 3.2, height, aim, draws.number("watts", 130, 220), (1.4, 2.4), cool)
        azimuth, height = -side * draws.number("fill", 0.8, 1.6), draws.number("fill high", 1.4, 3.0)
        stand_lamp(azimuth, 3.4, height, aim, draws.number("fill watts", 50, 110), (0.7, 2.6), cool)
    elif scene.light == names.DARK:
        azimuth, height = side * draws.number("key", 0.9, 1.6), draws.number("high", 1.8, 3.2)
        stand_lamp(azimuth, 3.0, height, aim, draws.number("watts", 130, 200), (0.9, 1.6), (1.0, 0.94, 0.86))
        behind = 1.6 if scene.is_open else min(1.4, room.wall - 0.2)
        place = (-side * 2.2, behind, draws.number("rim high", 1.0, 2.0))
        strength = draws.number("rim watts", 40, 90) / (0.6 * math.pi * 0.8)
        studio.lamp("rim", place, (0.0, 0.0, aim), (0.4, 2.0), strength, (1.0, 0.97, 0.93))


def light_up(stage: Any, scene: Scene, room: Room, draws: Draws) -> list[Thing]:
    """Lights the stage (Blender's scene); returns what hangs in the light's way."""
    kind, side = LIGHTS[scene.light], draws.one_of("side", (-1.0, 1.0))
    name, turn = draws.one_of("panorama", kind.panoramas), draws.number("panorama turn", 0.0, 6.28)
    if scene.is_open and not (scene.backdrop == "sunset sky" and scene.light == names.DAYLIGHT):
        name = DISTANT_PANORAMA[scene.backdrop]
    through_window = scene.backdrop == "window light"
    surround(stage, name, draws.number("strength", *kind.strength) * (0.55 if through_window else 1.0), turn, kind.tint)
    place_lamps(scene, room, draws, side, 0.22 if through_window else 1.0)
    if through_window:
        azimuth, height = side * draws.number("window", 0.55, 1.1), math.radians(draws.number("window high", 24, 42))
        size = math.radians(draws.number("sun size", 0.7, 2.2))
        return [window(shine(azimuth, height, 5.5, size, kind.window_colour), room, draws)]
    if kind.sun_height:
        widest = 2.2 if scene.is_open else 1.2
        azimuth, height = (
            side * draws.number("sun", 0.4, widest),
            math.radians(draws.number("sun high", *kind.sun_height)),
        )
        size = math.radians(draws.number("sun size", *kind.sun_size))
        shine(azimuth, height, draws.number("sun strength", *kind.sun_strength), size, kind.sun_colour)
    return []


def target_brightness(scene: Scene) -> float:
    """How bright the picture should be in the mean: dark things are to look dark, snow white."""
    target = 0.27 if scene.backdrop == "window light" else LIGHTS[scene.light].target
    if scene.backdrop == "night bokeh":
        target = min(target, 0.12)
    if scene.surface in BRIGHT:
        target *= 1.45
    if scene.backdrop == "studio":
        target *= 0.75 + 0.9 * names.brightness(scene.colour) if scene.is_seamless else 1.0
    if scene.surface in DEEP and scene.light != names.DARK:
        target *= 0.82
    if scene.backdrop in ("plain wall", "window light"):
        target *= 0.72 + 0.42 * names.brightness(scene.colour)
    return target
