"""Grounds to show a cutout on: a plain or gradient sweep; a surface before a wall, bokeh or a blurred photograph.

A product can stand on every ground: one that floats before a gradient would teach floating. A backdrop describes in
words what it really shows, for the caption. All randomness comes from the generator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter, ImageOps
from scipy import ndimage

from finetune.core.pictures.images import Array, Floats, open_picture, to_linear, to_srgb8
from finetune.examples.captions import COLOURS
from finetune.examples.textures import TEXTURES, cloud

KINDS = ("plain", "gradient", "surface", "bokeh")
SHARES = (0.2, 0.15, 0.5, 0.15)
SWEEP_HORIZON = (0.55, 0.75)
"""Range of the height at which the floor of a seamless sweep begins, as a share from the top: a product whose foot is
higher up seems to float."""
PHOTOGRAPH_SHARE = 0.3
"""Share of backdrops made of photographs, if some are given."""
LIGHTS: dict[str, tuple[float, float, float]] = {
    "soft daylight": (1.0, 1.0, 1.0),
    "soft light": (1.0, 0.99, 0.97),
    "cool studio light": (0.96, 0.99, 1.04),
    "warm light": (1.05, 0.99, 0.9),
}


@dataclass(frozen=True)
class Backdrop:
    """A ground and the words for it."""

    picture: Array
    """(H, W, 3) uint8 sRGB; square when it is made."""
    words: str
    """What it shows, to follow the subject: `on white marble in front of a grey wall`."""
    light: str
    """Words for the light: `soft daylight`."""
    horizon: float
    """Where the surface to stand on begins, as a share of the height from the top."""


@dataclass
class Photographs:
    """Pictures that may serve as blurred grounds; each is read once and kept no larger than blurring needs."""

    paths: Sequence[Path] = ()
    size: int = 256
    """Side of the grounds in pixels."""
    _read: dict[Path, Image.Image] = field(default_factory=dict)

    def picture(self, number: int) -> Image.Image:
        """One of them, RGB, its shorter side at most 1.7 `size`.

        Args:
            number: its index in `paths`.

        Raises:
            ImageError: it cannot be read.
        """
        path = self.paths[number]
        if path not in self._read:
            picture = open_picture(path).convert("RGB")
            scale = 1.7 * self.size / min(picture.size)
            if scale < 1:
                small = (round(picture.width * scale), round(picture.height * scale))
                picture = picture.resize(small, Image.Resampling.BOX, reducing_gap=2.0)
            self._read[path] = picture
        return self._read[path]


def make_backdrop(size: int, rng: np.random.Generator, photographs: Photographs | None = None) -> Backdrop:
    """A random ground of `size` x `size` pixels.

    Args:
        size: side in pixels.
        rng: the only source of randomness.
        photographs: pictures that may serve as blurred grounds.

    Raises:
        ImageError: a photograph cannot be read.
    """
    if photographs and photographs.paths and rng.random() < PHOTOGRAPH_SHARE:
        return photograph(size, rng, photographs.picture(int(rng.integers(len(photographs.paths)))))
    kind = KINDS[int(rng.choice(len(KINDS), p=SHARES))]
    return {"plain": plain, "gradient": gradient, "surface": surface, "bokeh": bokeh}[kind](size, rng)


def framed(backdrop: Backdrop, width: int, height: int) -> Backdrop:
    """Crop a square ground along one side, with the horizon at the same share of the height.

    Args:
        backdrop: a square one.
        width: of the piece in pixels.
        height: of the piece in pixels; the larger of the two is the ground's side.
    """
    side = backdrop.picture.shape[0]
    left, top = (side - width) // 2, round(backdrop.horizon * (side - height))
    return replace(backdrop, picture=backdrop.picture[top : top + height, left : left + width])


def plain(size: int, rng: np.random.Generator) -> Backdrop:
    """One colour on floor and wall with a soft fall-off of light: a studio sweep."""
    name, colour = _colour(rng)
    light, tint = _light(rng)
    flat = np.broadcast_to(colour, (size, size, 3)).astype(np.float32)
    words = f"on a {_plainly(name)} surface" if rng.random() < 0.5 else f"on a seamless {name} backdrop"
    return Backdrop(_lit(flat, tint, rng), words, light, float(rng.uniform(*SWEEP_HORIZON)))


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
    lit = _lit(colour * (1 - share) + other * share, tint, rng, 0.1)
    return Backdrop(lit, words, light, float(rng.uniform(*SWEEP_HORIZON)))


def surface(size: int, rng: np.random.Generator) -> Backdrop:
    """A surface seen in perspective before a wall of one colour."""
    name, wall = _colour(rng)
    behind = wall * (1 + 0.06 * (cloud(rng, size, (6, 6), 5)[..., None] - 0.5))
    return _before(behind, f"in front of a {_plainly(name)} wall", rng, (0.004, 0.02))


def bokeh(size: int, rng: np.random.Generator) -> Backdrop:
    """A surface before out-of-focus discs of light on a dark or coloured ground."""
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
    return _before(picture.astype(np.float32), f"in front of blurred {name} bokeh lights", rng, (0.02, 0.05))


def photograph(size: int, rng: np.random.Generator, picture: Image.Image) -> Backdrop:
    """A surface before a square piece of a photograph (RGB), thrown out of focus."""
    side = round(min(picture.size) * rng.uniform(0.6, 1.0))
    left, top = (int(rng.integers(0, extent - side + 1)) for extent in picture.size)
    piece = picture.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.LANCZOS)
    if rng.random() < 0.5:
        piece = ImageOps.mirror(piece)
    blurred = piece.filter(ImageFilter.GaussianBlur(size * rng.uniform(0.02, 0.05)))
    return _before(to_linear(np.asarray(blurred)), "in front of a blurred background", rng, (0.02, 0.05))


def _before(behind: Floats, words: str, rng: np.random.Generator, edge: tuple[float, float]) -> Backdrop:
    """A surface in perspective before something else: marble, wood, concrete, sand, linen, or painted plain.

    Args:
        behind: what is behind the surface, (size, size, 3) linear light.
        words: for what is behind it.
        rng: the only source of randomness.
        edge: range of the softness of the surface's far edge, as shares of the size: out of focus it begins softly.
    """
    size = behind.shape[0]
    horizon = float(rng.uniform(0.42, 0.68))
    light, tint = _light(rng)
    names = [*TEXTURES, "plain"]
    name = names[int(rng.integers(len(names)))]
    if name == "plain":
        floor_name, floor_colour = _colour(rng)
        floor = floor_colour * (1 + 0.05 * (cloud(rng, size, (4, 4))[..., None] - 0.5))
        standing = f"on a {_plainly(floor_name)} surface"
    else:
        tile = TEXTURES[name](rng, max(128, size))
        floor = to_linear(np.clip(_in_perspective(tile, size, horizon, rng), 0, 1).astype(np.float32))
        standing = f"on {name}"
    line = horizon * size
    below = np.clip((np.arange(size)[:, None, None] - line) / max(1.5, rng.uniform(*edge) * size) + 0.5, 0, 1)
    pale = np.exp(-np.maximum(np.arange(size) - line, 0) / (0.08 * size))[:, None, None]
    floor = floor * (1 - 0.25 * pale)  # light rarely reaches into the corner of floor and wall
    picture = behind * (1 - below) + floor * below
    return Backdrop(_lit(picture.astype(np.float32), tint, rng), f"{standing} {words}", light, horizon)


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
    """Light a (size, size, 3) linear picture: tint, a bright spot falling off by up to `depth`, faint noise."""
    size = linear.shape[0]
    y, x = np.mgrid[0:size, 0:size] / size
    spot = (y - rng.uniform(0.1, 0.6)) ** 2 + (x - rng.uniform(0.1, 0.9)) ** 2
    fall = 1 - rng.uniform(0.3, 1) * depth * np.clip(spot, 0, 1)[..., None]
    grain = rng.normal(0, 0.006, linear.shape[:2])[..., None]
    return to_srgb8((linear * tint * fall * (1 + grain)).astype(np.float32))


def _in_perspective(tile: Floats, size: int, horizon: float, rng: np.random.Generator) -> Floats:
    """Lay a tile on the floor: rows further below the horizon show it nearer and larger; rows above it are filler."""
    row = np.maximum((np.arange(size) / size - horizon) / (1 - horizon), 0) + 0.35
    depth = (1.35 / row)[:, None]
    across = (np.arange(size)[None, :] / size - 0.5) * depth
    side = tile.shape[0]
    scale = rng.uniform(0.45, 0.75) * side
    v = np.broadcast_to(depth * 1.6 * scale + rng.uniform(0, side), (size, size))
    u = across * scale + rng.uniform(0, side)
    planes = [ndimage.map_coordinates(tile[..., c], (v, u), order=1, mode="grid-wrap") for c in range(3)]
    return np.stack(planes, axis=-1).astype(np.float32)
