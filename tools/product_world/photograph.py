# SPDX-License-Identifier: GPL-3.0-or-later
"""Renders a planned frame: builds the product and its surroundings, frames them, makes picture and mask."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from . import build_bottles, build_packs, lights, setting, tone
from .blender import products, shapes, studio, surfaces
from .design import Design
from .draws import Draws
from .records import Measured, Plan
from .scenes import Scene
from .solids import Thing

Size = tuple[float, float, float]
MASK_SAMPLES = 16
LEAST_AREA, MOST_AREA = 0.012, 0.8
DARKEST = 4.0  # mean level of a picture that shows nothing

BUILDERS: dict[str, Callable[[Design], list[Thing]]] = {
    "perfume": build_bottles.perfume,
    "pump": build_bottles.pump,
    "bottle": build_bottles.poured,
    "sports": build_bottles.sports,
    "spray": build_bottles.spray,
    "jar": build_packs.jar,
    "can": build_packs.can,
    "mug": build_packs.mug,
    "box": build_packs.box,
    "candle": build_packs.candle,
    "lipstick": build_packs.lipstick,
    "tin": build_packs.tin,
}


@dataclass(frozen=True)
class Photograph:
    """Picture (size, size, 3), mask (size, size), both uint8, and what was measured."""

    picture: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.uint8]
    measured: Measured


def stage(samples: int, seed: int, threads: int) -> Any:
    """An empty Blender scene with settings for small pictures and few rays."""
    scene = studio.reset(samples, seed)
    cycles = scene.cycles
    cycles.adaptive_threshold, cycles.adaptive_min_samples = 0.04, 8
    cycles.max_bounces, cycles.transmission_bounces, cycles.transparent_max_bounces = 9, 8, 8
    cycles.diffuse_bounces, cycles.glossy_bounces = 2, 3
    cycles.caustics_reflective = cycles.caustics_refractive = False
    cycles.sample_clamp_indirect, cycles.blur_glossy, cycles.use_light_tree = 4.0, 0.5, False
    scene.render.film_transparent = False
    if threads:
        scene.render.threads_mode, scene.render.threads = "FIXED", threads
    return scene


def stand_product(design: Design, turn: float) -> tuple[list[Thing], Size, float]:
    """The product, scaled so that small and large things stay comparable; its size and its real height in dm."""
    things = BUILDERS[design.family](design)
    corners = studio.outline(things)
    low, high = corners.min(axis=0), corners.max(axis=0)
    real_height = float(high[2])
    scale = 1.25 * real_height**0.35 / real_height
    products.turned(things, turn)
    pivot = things[0].parent
    middle, angle = scale * float(low[0] + high[0]) / 2, math.radians(turn)
    pivot.scale = (scale, scale, scale)
    pivot.location = (-middle * math.cos(angle), -middle * math.sin(angle), 0.001 - scale * float(low[2]))
    width, depth, height = (float(side) * scale for side in high - low)
    return things, (width, depth, height), real_height


def stand_in(draws: Draws) -> tuple[list[Thing], Size]:
    """What the camera looks at where nothing stands; it is never rendered."""
    size = (draws.number("width", 0.5, 0.9), 0.5, draws.number("height", 0.9, 1.6))
    block = shapes.rounded_block("nothing", size, 0.02, (0.01, 0.01), surfaces.plain("nothing", (0.5, 0.5, 0.5), 0.5))
    block.hide_render = True
    return [block], size


def aim(stage_scene: Any, scene: Scene, things: Sequence[Thing], size: Size) -> None:
    """Frames the product, moves it off the middle, sets the depth of field."""
    shot = scene.shot
    view = studio.View("frame", 0.0, shot.elevation, shot.fill, shot.lens, shot.azimuth)
    studio.aim(stage_scene, things, view, size[2])
    camera = stage_scene.camera
    camera.data.clip_end = 500.0
    room = max(0.0, 0.5 - 0.46 * shot.fill)  # what keeps most of the product in the picture
    camera.data.shift_x -= max(-room, min(room, shot.right))
    camera.data.shift_y -= max(-0.08, min(0.08, shot.up)) - 0.02
    distance = camera.location.length
    aperture = distance * shot.blur * (2.2 if scene.is_open else 1.0)
    camera.data.dof.use_dof = True
    camera.data.dof.focus_distance = math.dist(camera.location, (0.0, 0.0, size[2] / 2)) - 0.3 * size[1]
    camera.data.dof.aperture_fstop = max(0.01, shot.lens / 1000 / (2 * aperture))


def product_mask(stage_scene: Any, size: int, surroundings: Sequence[Thing]) -> npt.NDArray[np.float32]:
    """Where the product is seen: what stands before it cuts it out."""
    for thing in surroundings:
        thing.is_holdout = True
    stage_scene.render.film_transparent = True
    alpha = studio.silhouette_alpha(stage_scene, size, [], MASK_SAMPLES)
    stage_scene.render.film_transparent = False
    return np.asarray(alpha, np.float32)


def measure(mask: npt.NDArray[np.uint8]) -> tuple[tuple[int, int, int, int] | None, float]:
    """Box and share of what the mask covers by more than half."""
    rows, columns = np.nonzero(mask > 127)
    if not len(rows):
        return None, 0.0
    box = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
    return box, len(rows) / mask.size


def fault(picture: npt.NDArray[np.uint8], measured: Measured, *, product: bool) -> str:
    """Why a frame is not to be kept; "" where it is good."""
    if picture.mean() < DARKEST:
        return "black frame"
    if product and not LEAST_AREA < measured.area < MOST_AREA:
        return f"product covers {measured.area:.3f} of the frame"
    return ""


def photograph(plan: Plan, size: int, samples: int, threads: int = 0) -> Photograph:
    """Builds and renders a frame of `size` pixels a side."""
    started = time.monotonic()
    draws, scene = plan.draws, plan.scene
    stage_scene = stage(samples, draws.source("noise").getrandbits(30), threads)
    real_height = 0.0
    if plan.design is None:
        things, dimensions = stand_in(draws.part("nothing"))
    else:
        things, dimensions, real_height = stand_product(plan.design, scene.turn)
    aim(stage_scene, scene, things, dimensions)
    room = setting.measure_room(scene, dimensions, draws)
    around = setting.build_floor(scene, room, draws, product=plan.design is not None)
    around += setting.build_backdrop(scene, room, draws)
    around += lights.light_up(stage_scene, scene, room, draws.part("light"))
    linear = np.asarray(studio.render(stage_scene, size)[..., :3], np.float32).clip(0, 50)
    stops = tone.exposure(linear, lights.target_brightness(scene) * draws.number("exposure", 0.9, 1.12))
    picture = np.asarray(np.round(studio.encode(tone.tone_map(linear, stops)) * 255), np.uint8)
    mask = np.zeros(picture.shape[:2], np.uint8)
    if plan.design is not None:
        mask = np.asarray(np.round(product_mask(stage_scene, size, around) * 255), np.uint8)
    box, area = measure(mask)
    seconds = time.monotonic() - started
    return Photograph(picture, mask, Measured(box, area, stops, dimensions, real_height, seconds))
