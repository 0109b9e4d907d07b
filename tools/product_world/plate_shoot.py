# SPDX-License-Identifier: GPL-3.0-or-later
"""Renders a plate and measures its camera, ground and light in Blender's own scene."""

from __future__ import annotations

import json
import math
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from . import photograph, plate_looks, tone
from .blender import Vector, bpy, studio
from .draws import Draws
from .plate_list import Plate

Array = npt.NDArray[np.float32]
SENSOR = 36.0
PICTURE, FACTS = "plate.avif", "plate.json"
CROP, CROP_WIDTH, CROP_SAMPLES = 0.05, 480, 32
"""Half side of the measured piece of ground as a share of the width; the whole picture's width meanwhile."""


@dataclass(frozen=True)
class Options:
    """Pixels of the longer side, rays a pixel, threads (0: all), quality of the AVIF (0 to 100)."""

    size: int
    samples: int
    threads: int
    quality: int = 86


def place_camera(stage: Any, plate: Plate) -> None:
    """Sees the origin at the plate's spot and from its elevation; lines that stand upright are shifted across only."""
    width, height = plate.pixels(1536)
    zoom, elevation = plate.lens / SENSOR, math.radians(plate.elevation)
    dip = math.atan((plate.spot[1] - 0.5) * height / width / zoom)
    distance = plate.width_mm / 1000 * zoom / math.cos(dip)
    camera = stage.camera
    camera.location = Vector((0.0, -math.cos(elevation), math.sin(elevation))) * distance
    camera.rotation_euler = (math.pi / 2 - elevation + dip, 0.0, 0.0)
    data = camera.data
    data.lens, data.sensor_width, data.sensor_fit = plate.lens, SENSOR, "HORIZONTAL"
    data.shift_x, data.clip_start, data.clip_end = 0.5 - plate.spot[0], 0.02, 2000.0
    data.dof.use_dof = True
    data.dof.focus_distance = distance * math.cos(dip)
    data.dof.aperture_fstop = plate.lens / (plate.blur * plate.width_mm)
    data.dof.aperture_blades = 9


def render(stage: Any, width: int, height: int) -> Array:
    """Linear light (rows, columns, 3); of the border alone where one is set."""
    settings = stage.render.image_settings
    settings.file_format, settings.color_depth, settings.color_mode = "OPEN_EXR", "32", "RGB"
    stage.render.resolution_x, stage.render.resolution_y = width, height
    with tempfile.TemporaryDirectory() as folder:
        stage.render.filepath = str(Path(folder) / "picture.exr")
        bpy.ops.render.render(write_still=True)
        image = bpy.data.images.load(stage.render.filepath)
        columns, rows = image.size
        pixels = np.empty(columns * rows * 4, np.float32)
        image.pixels.foreach_get(pixels)
        bpy.data.images.remove(image)
    return np.nan_to_num(pixels.reshape(rows, columns, 4)[::-1, :, :3], nan=0.0, posinf=50.0).clip(0, 50)


def measure_shade(stage: Any, plate: Plate) -> list[float]:
    """Light of the ground at the spot without the main light as a share of that with it, per channel."""
    width, height = plate.pixels(CROP_WIDTH)
    high = CROP * width / height * max(math.sin(math.radians(plate.elevation)), 0.25)
    frame = stage.render
    frame.use_border = frame.use_crop_to_border = True
    frame.border_min_x, frame.border_max_x = plate.spot[0] - CROP, plate.spot[0] + CROP
    frame.border_min_y, frame.border_max_y = 1 - plate.spot[1] - high, 1 - plate.spot[1] + high
    samples, stage.cycles.samples = stage.cycles.samples, CROP_SAMPLES
    key = bpy.data.objects[plate_looks.KEY]
    levels = []
    for hidden in (True, False):
        key.hide_render = hidden
        levels.append(render(stage, width, height).astype(np.float64).mean(axis=(0, 1)))
    frame.use_border = frame.use_crop_to_border = False
    stage.cycles.samples = samples
    return [round(float(share), 4) for share in np.clip(levels[0] / np.maximum(levels[1], 1e-6), 0, 1)]


def describe_camera(stage: Any, plate: Plate) -> dict[str, Any]:
    """Where the spot and the horizon are seen, from where, and how large."""
    width, height = plate.pixels(1536)
    camera = stage.camera
    matrix = np.array(camera.matrix_world, np.float64)
    turn, place, data = matrix[:3, :3], matrix[:3, 3], camera.data
    zoom, ratio = data.lens / data.sensor_width, width / height

    def seen(direction: npt.NDArray[np.float64]) -> tuple[float, float]:
        x, y, z = turn.T @ direction
        return 0.5 + zoom * x / -z - data.shift_x, 0.5 - (zoom * y / -z - data.shift_y) * ratio

    spot = seen(-place)
    elevation = math.degrees(math.atan2(place[2], math.hypot(place[0], place[1])))
    level = -turn[:, 2] * (1.0, 1.0, 0.0)
    depth = float((turn.T @ -place)[2]) * -1
    return {
        "spot": {"x": round(spot[0], 5), "y": round(spot[1], 5)},
        "mm_per_width": round(1000 * depth / zoom, 2),
        "horizon": None if plate.pose == "lying" else round(seen(level)[1], 5),
        "elevation": round(elevation, 3),
    }


def describe_light(shade: list[float]) -> dict[str, Any]:
    """Where the main light is seen from the spot, how wide, its colour."""
    key = bpy.data.objects[plate_looks.KEY]
    towards = np.array(key.matrix_world, np.float64)[:3, 2 if key.data.type == "SUN" else 3]
    distance = float(np.linalg.norm(towards))
    towards = towards / distance
    if key.data.type == "SUN":
        wide = math.degrees(key.data.angle)
    else:
        wide = math.degrees(2 * math.atan(0.5 * math.sqrt(key.data.size * key.data.size_y) / distance))
    colour = np.array(key.data.color, np.float64)
    return {
        "azimuth": round(math.degrees(math.atan2(towards[0], -towards[1])) % 360, 2),
        "height": round(math.degrees(math.asin(towards[2])), 2),
        "softness": round(min(1.0, wide / 60), 4),
        "colour": [round(float(part), 4) for part in colour / colour.max()],
        "shade": shade,
    }


def spare_rays(cycles: Any) -> None:
    """One bounce of diffuse light and two mirrors are enough in scenes with few things in them."""
    cycles.use_adaptive_sampling = cycles.use_light_tree = False
    cycles.max_bounces, cycles.diffuse_bounces, cycles.glossy_bounces = 5, 1, 2
    cycles.denoising_prefilter, cycles.denoising_quality = "FAST", "BALANCED"


def shoot(plate: Plate, folder: Path, options: Options) -> float:
    """Writes picture and facts of a plate, the facts last; returns the seconds taken."""
    started = time.monotonic()
    draws = Draws(f"plate:{plate.name}")
    stage = photograph.stage(options.samples, draws.source("noise").getrandbits(30), options.threads)
    spare_rays(stage.cycles)
    stage.render.use_persistent_data = True
    place_camera(stage, plate)
    plate_looks.LOOKS[plate.name](draws)
    width, height = plate.pixels(options.size)
    shade = measure_shade(stage, plate)
    linear = render(stage, width, height)
    picture = studio.encode(tone.tone_map(linear, tone.exposure(linear, plate.light)))
    facts = {
        "format": 1,
        "name": plate.name,
        "title": plate.title,
        "licence": "CC0-1.0",
        "width": width,
        "height": height,
        "pose": plate.pose,
        **describe_camera(stage, plate),
        "light": describe_light(shade),
        "surface": {"name": plate.surface, "reflectance": plate.reflectance, "roughness": plate.roughness},
    }
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / "plate.part.avif"
    image = Image.fromarray(np.asarray(np.round(picture * 255), np.uint8))
    image.save(part, quality=options.quality, subsampling="4:4:4", speed=4)
    part.replace(folder / PICTURE)
    (folder / FACTS).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return time.monotonic() - started
