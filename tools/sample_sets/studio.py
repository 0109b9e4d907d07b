# SPDX-License-Identifier: GPL-3.0-or-later
"""The photo studio: a bright-field light set, a camera that frames the product, the renderer.

Bright field means: what lies behind the product is white, what lies beside it is dark. Glass then
shows white through its middle and dark lines along its outline, as in a real packshot.
This module imports ``bpy`` and is therefore licensed GPL-compatible.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np
import numpy.typing as npt
import shapes
import surfaces
from mathutils import Vector

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class View:
    """One picture of a product: how it is turned, where the camera stands, how much it fills."""

    name: str
    turn: float  # degrees; positive turns the product's front to the picture's right
    elevation: float  # degrees above the horizon
    fill: float  # share of the frame's height (or width, whichever is larger)
    lens: float = 100.0  # mm on a 36 mm sensor
    azimuth: float = 0.0  # degrees; positive moves the camera towards +x


def reset(samples: int, seed: int = 7) -> bpy.types.Scene:
    """Empty scene with the renderer's settings."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    cycles = scene.cycles
    cycles.device, cycles.samples, cycles.seed = "CPU", samples, seed
    cycles.use_adaptive_sampling, cycles.adaptive_threshold, cycles.adaptive_min_samples = True, 0.025, 12
    cycles.use_denoising, cycles.denoiser = True, "OPENIMAGEDENOISE"
    cycles.denoising_input_passes, cycles.denoising_prefilter = "RGB_ALBEDO_NORMAL", "ACCURATE"
    cycles.max_bounces, cycles.transmission_bounces, cycles.transparent_max_bounces = 18, 16, 12
    cycles.diffuse_bounces, cycles.glossy_bounces, cycles.volume_bounces = 3, 8, 0
    cycles.sample_clamp_indirect, cycles.blur_glossy = 8.0, 0.3
    scene.render.film_transparent = True
    cycles.film_transparent_glass = False
    scene.render.resolution_x = scene.render.resolution_y = 1024  # square before the camera is aimed
    scene.render.resolution_percentage = 100
    scene.view_settings.view_transform = "Standard"
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    scene.collection.objects.link(camera)
    scene.camera = camera
    return scene


def bright_field(scene: bpy.types.Scene, forward: Vector, side: float, front: float) -> None:
    """World that is white around the viewing direction ``forward`` and ``side``/``front`` elsewhere."""
    world = bpy.data.worlds.new("studio")
    scene.world = world
    world.use_nodes = True
    tree = world.node_tree
    tree.nodes.clear()

    def node(kind: str) -> bpy.types.Node:
        return tree.nodes.new("ShaderNode" + kind)

    place, dot, ramp = node("TexCoord"), node("VectorMath"), node("ValToRGB")
    scale, ground, output = node("MapRange"), node("Background"), node("OutputWorld")
    dot.operation = "DOT_PRODUCT"
    dot.inputs[1].default_value = forward
    scale.inputs[1].default_value, scale.inputs[2].default_value = -1.0, 1.0
    stops = ((0.0, front), (0.42, front), (0.56, side), (0.79, side), (0.88, 0.8), (1.0, 0.8))
    while len(ramp.color_ramp.elements) < len(stops):
        ramp.color_ramp.elements.new(0.5)
    for element, (position, level) in zip(ramp.color_ramp.elements, stops, strict=True):
        element.position, element.color = position, (level, level, level, 1.0)
    tree.links.new(place.outputs["Generated"], dot.inputs[0])
    tree.links.new(dot.outputs["Value"], scale.inputs[0])
    tree.links.new(scale.outputs[0], ramp.inputs[0])
    tree.links.new(ramp.outputs[0], ground.inputs[0])
    tree.links.new(ground.outputs[0], output.inputs[0])


def panel(
    name: str,
    place: Sequence[float],
    target: Sequence[float],
    size: tuple[float, float],
    strength: float,
    falloff: float = 0.6,
    colour: surfaces.Colour = (1.0, 1.0, 1.0),
) -> bpy.types.Object:
    """Softbox that lights and reflects but is not seen by the camera."""
    width, height = size
    material = surfaces.softbox(name, strength, falloff, colour)
    thing = shapes.sheet(name, lambda u, v: ((u - 0.5) * width, (v - 0.5) * height, 0.0), (1, 1), material)
    thing.location = place
    thing.rotation_euler = (Vector(place) - Vector(target)).to_track_quat("Z", "Y").to_euler()
    thing.visible_camera = False
    thing.visible_transmission = False
    return thing


def lamp(
    name: str,
    place: Sequence[float],
    target: Sequence[float],
    size: tuple[float, float],
    strength: float,
    colour: surfaces.Colour = (1.0, 1.0, 1.0),
) -> bpy.types.Object:
    """Like ``panel``, but a lamp: what only takes shadows sees lamps alone, not glowing meshes."""
    light = bpy.data.lights.new(name, "AREA")
    light.shape, light.size, light.size_y = "RECTANGLE", *size
    light.energy = 0.6 * math.pi * strength * size[0] * size[1]
    light.color = colour
    thing = bpy.data.objects.new(name, light)
    bpy.context.scene.collection.objects.link(thing)
    thing.location = place
    thing.rotation_euler = (Vector(place) - Vector(target)).to_track_quat("Z", "Y").to_euler()
    thing.visible_camera = False
    return thing


def softboxes(height: float, key: float, strip: float, top: float, *, lamps: bool = False) -> None:
    """Key panel on the left, narrow strip on the right, overhead panel, front fill."""
    place = lamp if lamps else panel
    middle = (0.0, 0.0, height * 0.5)
    place("key", (-3.1, -2.1, 1.9), middle, (1.5, 3.4), key)
    place("strip", (3.2, -1.3, 1.3), middle, (0.55, 3.2), strip)
    place("top", (0.0, 0.3, 4.0), middle, (2.6, 2.0), top)
    place("fill", (1.0, -4.4, 2.9), middle, (2.8, 2.0), key * 0.85)


def backlight(forward: Vector, height: float, strength: float) -> None:
    """Graded panel behind the product that only shows through glass."""
    middle = Vector((0.0, 0.0, height * 0.5))
    place = middle + forward * 2.0 + Vector((0.12, 0.0, 0.1))
    lit = panel("back", place, middle, (3.4, 3.4), strength, 0.55)
    lit.visible_transmission = True
    lit.visible_diffuse = lit.visible_glossy = lit.visible_shadow = False


def outline(things: Iterable[bpy.types.Object]) -> Array:
    """World positions of all vertices of the things, one a row."""
    bpy.context.view_layer.update()
    parts = []
    for thing in things:
        local = np.empty(len(thing.data.vertices) * 3, np.float32)
        thing.data.vertices.foreach_get("co", local)
        matrix = np.array(thing.matrix_world, np.float32)
        parts.append(local.reshape(-1, 3) @ matrix[:3, :3].T + matrix[:3, 3])
    return np.concatenate(parts)


def aim(scene: bpy.types.Scene, things: Sequence[bpy.types.Object], view: View, height: float) -> Vector:
    """Place the camera for ``view``: the product fills its share and stands in the middle."""
    camera = scene.camera
    camera.data.lens, camera.data.clip_end = view.lens, 200.0
    elevation, azimuth = math.radians(view.elevation), math.radians(view.azimuth)
    level = math.cos(elevation)
    back = Vector((math.sin(azimuth) * level, -math.cos(azimuth) * level, math.sin(elevation)))
    turn = back.to_track_quat("Z", "Y")
    camera.rotation_euler = turn.to_euler()
    centre = Vector((0.0, 0.0, height / 2))
    seen = (outline(things) - np.array(centre, np.float32)) @ np.array(turn.to_matrix(), np.float32)
    zoom, distance = view.lens / 36, height / view.fill * view.lens / 36
    for _ in range(8):
        flat = seen[:, :2] / (distance - seen[:, 2:3]) * zoom
        low, high = flat.min(axis=0), flat.max(axis=0)
        distance *= float((high - low).max()) / view.fill
    camera.location = centre + back * distance
    camera.data.shift_x, camera.data.shift_y = (float(v) for v in (low + high) / 2)
    return -back


def render(scene: bpy.types.Scene, size: int) -> Array:
    """Render to linear, premultiplied RGBA, top row first."""
    settings = scene.render.image_settings
    settings.file_format, settings.color_depth, settings.color_mode = "OPEN_EXR", "32", "RGBA"
    scene.render.resolution_x = scene.render.resolution_y = size
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "picture.exr")
        scene.render.filepath = path
        bpy.ops.render.render(write_still=True)
        image = bpy.data.images.load(path)
        pixels = np.empty(size * size * 4, np.float32)
        image.pixels.foreach_get(pixels)
        bpy.data.images.remove(image)
    return np.nan_to_num(pixels.reshape(size, size, 4)[::-1], nan=0.0, posinf=50.0)


def silhouette_alpha(scene: bpy.types.Scene, size: int, hidden: Sequence[bpy.types.Object], samples: int = 64) -> Array:
    """Alpha of everything but ``hidden``: the product's true mask, with no light computed."""
    cycles, layer = scene.cycles, scene.view_layers[0]
    layer.material_override = surfaces.flame("silhouette", (1.0, 1.0, 1.0), 1.0)
    kept = (cycles.samples, cycles.max_bounces, cycles.use_denoising, cycles.use_adaptive_sampling)
    cycles.samples, cycles.max_bounces, cycles.use_denoising, cycles.use_adaptive_sampling = samples, 0, False, False
    for thing in hidden:
        thing.hide_render = True
    alpha = render(scene, size)[..., 3]
    for thing in hidden:
        thing.hide_render = False
    cycles.samples, cycles.max_bounces, cycles.use_denoising, cycles.use_adaptive_sampling = kept
    layer.material_override = None
    return alpha.clip(0, 1)


def encode(linear: Array) -> Array:
    """sRGB transfer curve."""
    light = linear.clip(0, 1)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055).astype(np.float32)


def over_white(rgba: Array, *, haze: float = 0.0) -> npt.NDArray[np.uint8]:
    """Composite over pure white; of a ground shadow, what is weaker than ``haze`` is left out."""
    alpha = ((rgba[..., 3:4] - haze) / (1 - haze)).clip(0, 1)
    picture = rgba[..., :3] + (1 - alpha)
    return np.asarray(np.round(encode(picture) * 255), np.uint8)
