"""Grounds to show a cutout on: plain, gradient, a surface before a wall, bokeh, blurred photographs.

Called by `finetune.examples`. A backdrop says in words what it really shows, for the caption. All randomness comes from
the generator; nothing is read but the photographs given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter, ImageOps
from scipy import ndimage

from finetune.captions import COLOURS
from finetune.core.images import Array, Floats, open_picture, to_linear, to_srgb8
from finetune.textures import TEXTURES, cloud

KINDS = ("plain", "gradient", "surface", "bokeh")
SHARES = (0.2, 0.15, 0.5, 0.15)
PHOTOGRAPH_SHARE = 0.3
"""Share of backdrops made of photographs where some are given."""
LIGHTS: dict[str, tuple[float, float, float]] = {
    "soft daylight": (1.0, 1.0, 1.0),
    "soft light": (1.0, 0.99, 0.97),
    "cool studio light": (0.96, 0.99, 1.04),
    "warm light": (1.05, 0.99, 0.9),
}


@dataclass(frozen=True)
class Backdrop:
    """A ground and its words."""

    picture: Array
    """(size, size, 3) uint8 sRGB."""
    words: str
    """What it shows, to follow the subject: `on white marble in front of a grey wall`."""
    light: str
    """Words for the light: `soft daylight`."""
    horizon: float | None
    """Where a surface to stand on begins, as a share of the height from the top; None when there is none."""


def make_backdrop(size: int, rng: np.random.Generator, photographs: Sequence[Path] = ()) -> Backdrop:
    """A random ground of `size` x `size` pixels.

    Args:
        size: side in pixels.
        rng: the only source of randomness.
        photographs: pictures that may serve as blurred grounds.

    Raises:
        ImageError: a photograph cannot be read.
    """
    if photographs and rng.random() < PHOTOGRAPH_SHARE:
        return photograph(size, rng, photographs[int(rng.integers(len(photographs)))])
    kind = KINDS[int(rng.choice(len(KINDS), p=SHARES))]
    return {"plain": plain, "gradient": gradient, "surface": surface, "bokeh": bokeh}[kind](size, rng)


def plain(size: int, rng: np.random.Generator) -> Backdrop:
    """One colour on floor and wall with a soft fall-off of light: a studio sweep."""
    name, colour = _colour(rng)
    light, tint = _light(rng)
    flat = np.broadcast_to(colour, (size, size, 3)).astype(np.float32)
    words = f"on a {_plainly(name)} surface" if rng.random() < 0.5 else f"on a seamless {name} backdrop"
    return Backdrop(_lit(flat, tint, rng), words, light, float(rng.uniform(0.5, 0.7)))


def gradient(size: int, rng: np.random.Generator) -> Backdrop:
    """A smooth gradient of one colour from light to dark, or between two colours, in a random direction."""
    name, colour = _colour(rng)
    light, tint = _light(rng)
    if rng.random() < 0.5:
        other, words = colour * np.float32(rng.uniform(0.25, 0.5)), f"in front of a soft {name} gradient background"
    else:
        second, other = _colour(rng)
        both = f"{name} and {second}" if second != name else name
        words = f"in front of a soft {both} gradient background"
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:size, 0:size] / size - 0.5
    along = np.clip((np.cos(angle) * x + np.sin(angle) * y) / 1.2 + 0.5, 0, 1)
    share = (along * along * (3 - 2 * along))[..., None].astype(np.float32)
    return Backdrop(_lit(colour * (1 - share) + other * share, tint, rng, 0.1), words, light, None)


def surface(size: int, rng: np.random.Generator) -> Backdrop:
    """A surface seen in perspective before a wall: marble, wood, concrete, sand, linen, or painted plain."""
    horizon = float(rng.uniform(0.42, 0.68))
    light, tint = _light(rng)
    wall_name, wall = _colour(rng)
    names = [*TEXTURES, "plain"]
    name = names[int(rng.integers(len(names)))]
    if name == "plain":
        floor_name, floor_colour = _colour(rng)
        floor = np.broadcast_to(floor_colour, (size, size, 3)) * (
            1 + 0.05 * (cloud(rng, size, (4, 4))[..., None] - 0.5)
        )
        words = f"on a {_plainly(floor_name)} surface"
    else:
        tile = TEXTURES[name](rng, max(128, size))
        floor = to_linear(np.clip(_in_perspective(tile, size, horizon, rng), 0, 1).astype(np.float32))
        words = f"on {name}"
    behind = wall * (1 + 0.06 * (cloud(rng, size, (6, 6), 5)[..., None] - 0.5))
    edge = horizon * size
    below = np.clip((np.arange(size)[:, None, None] - edge) / max(1.5, rng.uniform(0.004, 0.02) * size) + 0.5, 0, 1)
    pale = np.exp(-np.maximum(np.arange(size) - edge, 0) / (0.08 * size))[:, None, None]
    floor = floor * (1 - 0.25 * pale)  # light rarely reaches into the corner of floor and wall
    picture = behind * (1 - below) + floor * below
    return Backdrop(
        _lit(picture.astype(np.float32), tint, rng), f"{words} in front of a {_plainly(wall_name)} wall", light, horizon
    )


def bokeh(size: int, rng: np.random.Generator) -> Backdrop:
    """Out-of-focus discs of light on a dark or coloured ground."""
    name, colour = _colour(rng)
    tone = colour * np.float32(rng.uniform(0.08, 0.4))
    picture = np.broadcast_to(tone, (size, size, 3)) * (0.6 + 0.8 * cloud(rng, size, (3, 3), 3)[..., None])
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    for _ in range(int(rng.integers(10, 28))):
        radius = rng.uniform(0.02, 0.09) * size
        distance = np.hypot(y - rng.uniform(0, size), x - rng.uniform(0, size))
        disc = np.clip((radius - distance) / (0.12 * radius) + 0.5, 0, 1) * rng.uniform(0.1, 0.6)
        glow = colour * rng.uniform(0.6, 1.2) + rng.uniform(0, 0.25, 3)
        picture = picture + disc[..., None] * glow
    picture = ndimage.gaussian_filter(np.clip(picture, 0, 1), (0.004 * size, 0.004 * size, 0))
    return Backdrop(
        to_srgb8(picture.astype(np.float32)), f"in front of blurred {name} bokeh lights", "soft light", None
    )


def photograph(size: int, rng: np.random.Generator, path: Path) -> Backdrop:
    """A square piece of a photograph, thrown out of focus."""
    picture = open_picture(path).convert("RGB")
    side = round(min(picture.size) * rng.uniform(0.6, 1.0))
    left, top = (int(rng.integers(0, extent - side + 1)) for extent in picture.size)
    piece = picture.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.LANCZOS)
    if rng.random() < 0.5:
        piece = ImageOps.mirror(piece)
    blurred = piece.filter(ImageFilter.GaussianBlur(size * rng.uniform(0.02, 0.05)))
    return Backdrop(np.asarray(blurred), "in front of a blurred background", "soft light", None)


def _colour(rng: np.random.Generator) -> tuple[str, Floats]:
    """A named colour and a shade of it, linear light."""
    name = list(COLOURS)[int(rng.integers(len(COLOURS)))]
    shade = np.array(COLOURS[name], np.float32) / 255 * np.float32(rng.uniform(0.93, 1.04))
    return name, to_linear(np.clip(shade, 0, 1).astype(np.float32))


def _light(rng: np.random.Generator) -> tuple[str, Floats]:
    name = list(LIGHTS)[int(rng.integers(len(LIGHTS)))]
    return name, np.array(LIGHTS[name], np.float32)


def _plainly(name: str) -> str:
    return f"plain {name}"


def _lit(linear: Floats, tint: Floats, rng: np.random.Generator, depth: float = 0.3) -> Array:
    """Apply a light: its tint, a soft bright spot falling off by up to `depth`, and faint sensor noise."""
    size = linear.shape[0]
    y, x = np.mgrid[0:size, 0:size] / size
    spot = (y - rng.uniform(0.1, 0.6)) ** 2 + (x - rng.uniform(0.1, 0.9)) ** 2
    fall = 1 - rng.uniform(0.3, 1) * depth * np.clip(spot, 0, 1)[..., None]
    grain = rng.normal(0, 0.006, linear.shape[:2])[..., None]
    return to_srgb8((linear * tint * fall * (1 + grain)).astype(np.float32))


def _in_perspective(tile: Floats, size: int, horizon: float, rng: np.random.Generator) -> Floats:
    """A tile laid on the floor: rows below the horizon see it nearer and larger; rows above are filler."""
    row = np.maximum((np.arange(size) / size - horizon) / (1 - horizon), 0) + 0.35
    depth = (1.35 / row)[:, None]
    across = (np.arange(size)[None, :] / size - 0.5) * depth
    side = tile.shape[0]
    scale = rng.uniform(0.45, 0.75) * side
    v = np.broadcast_to(depth * 1.6 * scale + rng.uniform(0, side), (size, size))
    u = across * scale + rng.uniform(0, side)
    planes = [ndimage.map_coordinates(tile[..., c], (v, u), order=1, mode="grid-wrap") for c in range(3)]
    return np.stack(planes, axis=-1).astype(np.float32)
