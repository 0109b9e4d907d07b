# SPDX-License-Identifier: GPL-3.0-or-later
"""Photographs a product on plain paper: pictures, true masks, what clear parts transmit, which parts are clear."""

from __future__ import annotations

import importlib
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from . import studio_list
from .blender import bpy, products, shapes, studio, surfaces
from .draws import Draws
from .solids import Thing
from .studio_list import Product, View
from .studio_materials import CLEAR_MARK

Layer = npt.NDArray[np.uint8]
LARGEST = 1.5  # side in decimetres to which products are scaled, so that the light suits all
FILL, LENS = 0.76, 85.0
MASK_SAMPLES, MAP_SAMPLES, PART_SAMPLES = 16, 10, 8
MARGIN = 0.03  # around the product, as a share of the frame
OPAQUE, CLEAR = 1, 2
SEEN = 0.4  # share of the light from opaque parts above which a pixel counts as opaque


def reset(samples: int, threads: int, *, has_glass: bool) -> Any:
    """An empty scene for few rays; data stays in memory between the views.

    The denoiser's guides are noise themselves behind glass; where there is some, they are denoised with care.
    """
    scene = studio.reset(samples)
    cycles = scene.cycles
    cycles.use_adaptive_sampling, cycles.use_light_tree = False, False
    cycles.max_bounces, cycles.transmission_bounces, cycles.transparent_max_bounces = 12, 12, 10
    cycles.diffuse_bounces, cycles.glossy_bounces = 1, 4
    cycles.caustics_reflective = cycles.caustics_refractive = False
    cycles.denoising_prefilter = "ACCURATE" if has_glass else "FAST"
    scene.render.use_persistent_data = True
    scene.render.film_transparent = False
    if threads:
        scene.render.threads_mode, scene.render.threads = "FIXED", threads
    return scene


def stand(product: Product) -> list[Thing]:
    """Builds the product, scaled to a common size, on the ground and around the middle."""
    module = importlib.import_module(f".{product.module}", __package__)
    things: list[Thing] = getattr(module, product.builder)()
    corners = studio.outline(things)
    low, high = corners.min(axis=0), corners.max(axis=0)
    scale = LARGEST / float((high - low).max())
    products.turned(things, 0.0)
    pivot = things[0].parent
    pivot.scale = (scale, scale, scale)
    x, y, z = ((low + high) / 2 * (1, 1, 0) + low * (0, 0, 1)) * scale
    pivot.location = (-x, -y, 0.001 - z)
    bpy.context.view_layer.update()
    return things


def ground(draws: Draws) -> Thing:
    """Seamless white paper: a floor that bends up into a wall."""
    bend, back = 2.2, 4.6
    line = [(-16.0, 0.0), (back - bend, 0.0)]
    angles = [k * math.pi / 32 for k in range(1, 17)]
    line += [(back - bend + bend * math.sin(a), bend - bend * math.cos(a)) for a in angles]
    line += [(back, 9.0)]
    last = len(line) - 1
    tone = draws.number("paper", 0.82, 0.9)
    warm = draws.number("warmth", -0.012, 0.012)
    graph = surfaces.Graph("paper")  # plain scattering: most rays end here, so it has to be cheap
    paper = graph.finish(graph.node("BsdfDiffuse", Color=(tone + warm, tone, tone - warm)))
    return shapes.sheet(
        "ground", lambda u, v: ((2 * u - 1) * 40, line[round(v * last)][0], line[round(v * last)][1]), (1, last), paper
    )


def light(scene: Any, draws: Draws) -> None:
    """A softbox from the side and above, a weaker one on the other side, a room that is darker in front."""
    side = -1 if draws.chance("left", 0.5) else 1
    target, size = (0.0, 0.0, 0.5), draws.number("softbox", 1.6, 2.8)
    strength = draws.number("key", 5.0, 8.0)
    studio.lamp("key", (3.0 * side, -1.8, 3.4), target, (size, size), strength)
    studio.lamp("fill", (-3.4 * side, -2.4, 2.2), target, (1.0, 3.0), 0.35 * strength)
    world = bpy.data.worlds.new("room")
    scene.world = world
    world.use_nodes = True
    tree = world.node_tree
    tree.nodes.clear()
    place, split, ramp = (tree.nodes.new("ShaderNode" + kind) for kind in ("TexCoord", "SeparateXYZ", "ValToRGB"))
    shine, output = tree.nodes.new("ShaderNodeBackground"), tree.nodes.new("ShaderNodeOutputWorld")
    scale = tree.nodes.new("ShaderNodeMapRange")
    scale.inputs[1].default_value, scale.inputs[2].default_value = -1.0, 1.0
    low, high = ramp.color_ramp.elements
    low.position, low.color = 0.38, (0.16, 0.16, 0.17, 1)
    high.position, high.color = 0.78, (1.0, 1.0, 1.0, 1)
    tree.links.new(place.outputs["Generated"], split.inputs[0])
    tree.links.new(split.outputs["Z"], scale.inputs[0])
    tree.links.new(scale.outputs[0], ramp.inputs[0])
    tree.links.new(ramp.outputs[0], shine.inputs[0])
    tree.links.new(shine.outputs[0], output.inputs[0])
    shine.inputs[1].default_value = 1.1


def aim(scene: Any, things: Sequence[Thing], view: View) -> None:
    """Frames the product from a view."""
    height = float(studio.outline(things)[:, 2].max())
    studio.aim(scene, things, studio.View("view", 0.0, view.elevation, FILL, LENS, view.azimuth), height)


def look_only_at(scene: Any, things: Sequence[Thing]) -> None:
    """Leaves out what is beside the product: masks and maps are known there."""
    camera = scene.camera
    bpy.context.view_layer.update()
    matrix = np.array(camera.matrix_world, np.float64)
    seen = (studio.outline(things) - matrix[:3, 3]) @ matrix[:3, :3]
    flat = seen[:, :2] / -seen[:, 2:] * LENS / 36 - (camera.data.shift_x, camera.data.shift_y) + 0.5
    low, high = flat.min(axis=0) - MARGIN, flat.max(axis=0) + MARGIN
    render = scene.render
    render.use_border = True
    render.border_min_x, render.border_min_y = (float(side) for side in low.clip(0, 1))
    render.border_max_x, render.border_max_y = (float(side) for side in high.clip(0, 1))


def colours(linear: npt.NDArray[np.float32], level: float) -> Layer:
    """Display levels; exposed so that the paper along the picture's edges reaches `level` (linear)."""
    edge = np.concatenate([linear[:12].reshape(-1, 3), linear[:, :12].reshape(-1, 3), linear[:, -12:].reshape(-1, 3)])
    return to_bytes(studio.encode(linear * (level / max(float(np.median(edge)), 1e-4))))


def to_bytes(shares: npt.NDArray[Any]) -> Layer:
    """0 to 1 as 0 to 255."""
    return np.asarray(np.round(shares.clip(0, 1) * 255), np.uint8)


def shine_by_itself(thing: Thing, level: float) -> None:
    """Makes the paper a light of one level that only straight and refracted rays see."""
    glow = surfaces.flame("glow", (1.0, 1.0, 1.0), level)
    glow.cycles.emission_sampling = "NONE"
    thing.data.materials.clear()
    thing.data.materials.append(glow)
    thing.visible_diffuse = thing.visible_glossy = thing.visible_shadow = False


def darken(scene: Any) -> None:
    """Puts out all lights and the room, and leaves out what only scatters light."""
    for thing in list(bpy.data.objects):
        if thing.type == "LIGHT":
            bpy.data.objects.remove(thing)
    scene.world = bpy.data.worlds.new("dark")
    scene.world.use_nodes = True
    scene.world.node_tree.nodes.clear()
    scene.cycles.diffuse_bounces, scene.cycles.blur_glossy = 0, 0.0
    scene.cycles.sample_clamp_indirect, scene.cycles.use_adaptive_sampling = 0.0, False
    scene.cycles.samples = MAP_SAMPLES
    scene.cycles.denoising_input_passes = "RGB"  # the other passes are noise themselves behind glass


def flatten(things: Sequence[Thing], level: float) -> None:
    """Lets opaque parts shine at one level and do nothing else: 0 swallows all light."""
    for material in {slot.material for thing in things for slot in thing.material_slots}:
        if material.get(CLEAR_MARK):
            continue
        tree = material.node_tree
        output = next(node for node in tree.nodes if node.bl_idname == "ShaderNodeOutputMaterial")
        shine = tree.nodes.new("ShaderNodeEmission")
        shine.inputs["Strength"].default_value = level
        tree.links.new(shine.outputs[0], output.inputs["Surface"])
        material.cycles.emission_sampling = "NONE"


def take_tint(things: Sequence[Thing]) -> None:
    """Clear parts keep their refraction and lose their tint."""
    for material in {slot.material for thing in things for slot in thing.material_slots}:
        for node in material.node_tree.nodes if material.get(CLEAR_MARK) else ():
            if node.bl_idname in ("ShaderNodeBsdfGlass", "ShaderNodeBsdfTransparent"):
                node.inputs["Color"].default_value = (1.0, 1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Options:
    """Pixels a side, rays a pixel of the pictures, threads (0: all)."""

    size: int
    samples: int
    threads: int


class Session:
    """One product on the table; layers must be made in the order of `studio_list.layers`."""

    def __init__(self, product: Product, folder: Path, options: Options) -> None:
        self.product, self.folder, self.size = product, folder, options.size
        self.draws = Draws(f"packshot:{product.sku}")
        self.scene = reset(options.samples, options.threads, has_glass=bool(product.glass))
        self.things = stand(product)
        self.paper = ground(self.draws)
        light(self.scene, self.draws)
        self.state = ""

    def layer(self, what: str, number: int) -> Layer:
        """A picture, a mask, a map of what is transmitted, or a map of the parts."""
        aim(self.scene, self.things, studio_list.views(self.product)[number])
        if what == "":
            linear = np.asarray(studio.render(self.scene, self.size)[..., :3], np.float32)
            return colours(linear, self.draws.number(f"level {number}", 0.84, 0.93))
        look_only_at(self.scene, self.things)
        if what == "mask":
            return self.mask()
        return self.transmittance(number) if what == "transmittance" else self.parts(number)

    def mask(self) -> Layer:
        """Share of each pixel that the product covers, clear parts included."""
        self.scene.render.film_transparent = True
        alpha = studio.silhouette_alpha(self.scene, self.size, [self.paper], MASK_SAMPLES)
        self.scene.render.film_transparent = False
        return to_bytes(alpha)

    def saved_mask(self, number: int) -> Layer:
        """The mask of a view as it lies on disk."""
        with Image.open(self.folder / studio_list.file_name(number, "mask")) as image:
            return np.asarray(image, np.uint8)

    def transmittance(self, number: int) -> Layer:
        """The paper's light that reaches the camera where the paper alone shines, at level 1.

        Light adds up: over papers of levels W and B the pictures differ by (W - B) times this, whatever
        else shines. So one picture without other lights gives what two with them would. Paper that is seen
        in a reflection does not count as seen through the product.
        """
        if self.state != "transmittance":
            darken(self.scene)
            shine_by_itself(self.paper, 1.0)
            flatten(self.things, 0.0)
            self.state = "transmittance"
        seen = studio.render(self.scene, self.size)[..., :3]
        return to_bytes(np.where(self.saved_mask(number)[..., None] > 0, seen, 1.0))

    def parts(self, number: int) -> Layer:
        """0 ground, 1 opaque, 2 clear: what one sees through clear parts counts as what it is."""
        mask = self.saved_mask(number) > 127
        if not self.product.glass:
            return np.where(mask, OPAQUE, 0).astype(np.uint8)
        if self.state != "parts":
            darken(self.scene)
            shine_by_itself(self.paper, 0.0)
            flatten(self.things, 1.0)
            take_tint(self.things)
            self.scene.cycles.use_denoising, self.scene.cycles.samples = False, PART_SAMPLES
            self.state = "parts"
        seen = studio.render(self.scene, self.size)[..., 0] > SEEN
        return np.where(mask, np.where(seen, OPAQUE, CLEAR), 0).astype(np.uint8)


def to_image(what: str, layer: Layer) -> Image.Image:
    """The layer as a picture; the parts' numbers get colours."""
    image = Image.fromarray(layer)
    if what == "parts":
        image = Image.fromarray(layer, "P")
        image.putpalette([255, 255, 255, 200, 80, 40, 60, 130, 220])
    return image


def shoot(product: Product, folder: Path, numbers: Sequence[int], options: Options) -> tuple[int, float]:
    """Makes what is missing of a product's views; returns the number of files made and the seconds taken."""
    started = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    wanted = studio_list.missing(folder, product, numbers)
    if wanted:
        session = Session(product, folder, options)
        for what, number in wanted:
            path = folder / studio_list.file_name(number, what)
            part = path.with_suffix(".part.png")
            to_image(what, session.layer(what, number)).save(part, optimize=True)
            part.replace(path)
    (folder / "meta.json").write_text(studio_list.description(product, options.size), encoding="utf-8")
    return len(wanted), time.monotonic() - started
