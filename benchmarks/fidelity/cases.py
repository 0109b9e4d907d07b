"""Pictures that an adapter might draw: healthy ones, injured ones, and such as hold no product at all.

A case turns a product's views into one picture for a given empty scene; `number` tells the pictures of a set apart.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter, ImageOps
from scipy import ndimage
from skimage.color import lab2rgb, rgb2lab

from finetune.core.compositing.placement import Placed, put_on_canvas
from finetune.core.pictures.images import Array, composite
from finetune.core.pictures.masks import Box


@dataclass(frozen=True)
class Stage:
    """Where a product is shown."""

    views: tuple[Image.Image, ...]
    other: Image.Image
    """Another product's view."""
    empty: Image.Image
    box: Box
    number: int


Case = Callable[[Stage], Image.Image]


def paste(stage: Stage, cutout: Image.Image, box: Box | None = None) -> Image.Image:
    """A cutout in its own proportions standing in the box, over the empty scene."""
    box = box or stage.box
    scale = min(box.width / cutout.width, box.height / cutout.height)
    width, height = max(1, round(cutout.width * scale)), max(1, round(cutout.height * scale))
    left = box.left + (box.width - width) // 2
    placed: Placed = put_on_canvas(cutout, Box(left, box.bottom - height, left + width, box.bottom), stage.empty.width)
    return Image.fromarray(composite(placed.rgb, placed.matte, np.asarray(stage.empty.convert("RGB"))))


def _view(stage: Stage) -> Image.Image:
    return stage.views[stage.number % len(stage.views)]


def _with_colours(cutout: Image.Image, change: Callable[[Array], Array]) -> Image.Image:
    pixels = np.asarray(cutout)
    return Image.fromarray(np.dstack([change(pixels[..., :3]), pixels[..., 3]]))


def _in_lab(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Array], Array]:
    return lambda rgb: np.round(np.clip(lab2rgb(change(rgb2lab(rgb))), 0, 1) * 255).astype(np.uint8)


def _jpeg(picture: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def _lit(stage: Stage) -> Image.Image:
    gains = np.array([(1.25, 1.1, 0.95), (0.75, 0.75, 0.8), (0.9, 0.8, 0.7), (1.1, 1.15, 1.25)][stage.number % 4])
    lit = _with_colours(_view(stage), lambda rgb: np.clip(rgb * gains, 0, 255).astype(np.uint8))
    return paste(stage, lit)


def _moved(share: float) -> Case:
    def made(stage: Stage) -> Image.Image:
        by = round(share * stage.box.height)
        box = stage.box
        return paste(stage, stage.views[0], Box(box.left + by, box.top, box.right + by, box.bottom))

    return made


def _scaled(factor: float) -> Case:
    def made(stage: Stage) -> Image.Image:
        box = stage.box
        width, height = round(box.width * factor), round(box.height * factor)
        left = (box.left + box.right - width) // 2
        return paste(stage, stage.views[0], Box(left, box.bottom - height, left + width, box.bottom))

    return made


def _shifted_hue(distance: float) -> Case:
    """Every colour `distance` CIELAB units further along a*."""
    moved = _in_lab(lambda lab: lab + np.array([0, distance, 0]))
    return lambda stage: paste(stage, _with_colours(stage.views[0], moved))


def _blurred(share: float) -> Case:
    def made(stage: Stage) -> Image.Image:
        return paste(stage, stage.views[0]).filter(ImageFilter.GaussianBlur(share * stage.empty.width))

    return made


def _without_marks(cutout: Image.Image) -> Image.Image:
    """The same silhouette and broad colours, without print, seams or parts."""
    sigma = 0.12 * max(cutout.size)
    alpha = np.asarray(cutout)[..., 3].astype(np.float32) / 255
    cover = np.maximum(ndimage.gaussian_filter(alpha, sigma), 1e-3)

    def smooth(rgb: Array) -> Array:
        planes = [ndimage.gaussian_filter(rgb[..., c] * alpha, sigma) / cover for c in range(3)]
        return np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8)

    return _with_colours(cutout, smooth)


def _part_missing(stage: Stage) -> Image.Image:
    pixels = np.asarray(stage.views[0]).copy()
    pixels[: pixels.shape[0] // 4, :, 3] = 0
    return paste(stage, Image.fromarray(pixels))


def _two(stage: Stage) -> Image.Image:
    picture = paste(stage, stage.views[0])
    box, free = stage.box, stage.empty.width - stage.box.right
    width = max(8, min(free - 2, box.width))
    height = round(width * box.height / box.width)
    second = Box(box.right + 1, box.bottom - height, box.right + 1 + width, box.bottom)
    return paste(Stage(stage.views, stage.other, picture, second, stage.number), stage.views[0])


def _mean(stage: Stage) -> tuple[int, int, int]:
    pixels = np.asarray(stage.views[0])
    red, green, blue = pixels[pixels[..., 3] > 200][:, :3].mean(0).round()
    return int(red), int(green), int(blue)


def _field(colour: tuple[int, int, int] | None) -> Case:
    return lambda stage: Image.new("RGB", stage.empty.size, colour or _mean(stage))


def _flat_box(stage: Stage) -> Image.Image:
    picture = stage.empty.convert("RGB")
    picture.paste(_mean(stage), tuple(stage.box))
    return picture


def _flat_silhouette(stage: Stage) -> Image.Image:
    colour = np.array(_mean(stage), np.uint8)
    return paste(stage, _with_colours(stage.views[0], lambda rgb: np.broadcast_to(colour, rgb.shape).copy()))


def _palette(stage: Stage, count: int) -> Array:
    pixels = np.asarray(stage.views[0])
    inside = pixels[pixels[..., 3] > 200][:, :3]
    return inside[np.random.default_rng(stage.number).integers(0, len(inside), count)]


def _stripes(stage: Stage) -> Image.Image:
    box, picture = stage.box, np.asarray(stage.empty.convert("RGB")).copy()
    colours = _palette(stage, 12)
    rows = (np.arange(box.height) * 12 // box.height).clip(0, 11)
    picture[box.top : box.bottom, box.left : box.right] = colours[rows][:, None]
    return Image.fromarray(picture)


def _noise(sigma: float) -> Case:
    def made(stage: Stage) -> Image.Image:
        box, picture = stage.box, np.asarray(stage.empty.convert("RGB")).copy()
        noise = _palette(stage, box.height * box.width).reshape(box.height, box.width, 3)
        drawn = Image.fromarray(noise)
        if sigma:
            drawn = ImageOps.autocontrast(drawn.filter(ImageFilter.GaussianBlur(sigma * box.height)))
        picture[box.top : box.bottom, box.left : box.right] = np.asarray(drawn)
        return Image.fromarray(picture)

    return made


HEALTHY: dict[str, Case] = {
    "itself": lambda stage: paste(stage, stage.views[0]),
    "other views": lambda stage: paste(stage, _view(stage)),
    "other views, other light": _lit,
    "JPEG 75": lambda stage: _jpeg(paste(stage, _view(stage)), 75),
    "moved 2 %": _moved(0.02),
}
EMPTY: dict[str, Case] = {
    "grey field": _field((200, 200, 200)),
    "white field": _field((255, 255, 255)),
    "black field": _field((0, 0, 0)),
    "field of the product's colour": _field(None),
    "the empty scene": lambda stage: stage.empty.convert("RGB"),
    "flat box of its colour": _flat_box,
    "its palette as stripes": _stripes,
    "noise of its palette": _noise(0),
    "soft noise of its palette": _noise(0.05),
}
INJURED: dict[str, Case] = {
    "its silhouette, flat": _flat_silhouette,
    "blurred by 8 px of 1024": _blurred(8 / 1024),
    "blurred by 16 px of 1024": _blurred(16 / 1024),
    "mirrored": lambda stage: paste(stage, ImageOps.mirror(stage.views[0])),
    "print and parts removed": lambda stage: paste(stage, _without_marks(stage.views[0])),
    "another product": lambda stage: paste(stage, stage.other),
    "its top quarter missing": _part_missing,
    "two products": _two,
    "colour off by 8": _shifted_hue(8),
    "colour off by 20": _shifted_hue(20),
    "8 % larger": _scaled(1.08),
    "moved 5 %": _moved(0.05),
}
