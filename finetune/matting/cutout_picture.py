"""A cutout as a picture of its own for people: transparent, or on one colour, in a frame of a given size.

On a colour it is composited in linear light, glass included. A transparent picture is made for ordinary viewers, which
blend sRGB values: over white it shows what the picture on white shows, and glass keeps as much of its tint as one alpha
channel can hold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from finetune.core.compositing.cast_shadow import darken
from finetune.core.compositing.glass import composite_glass
from finetune.core.pictures.images import Array, Floats, resize_rgba, to_linear, to_srgb
from finetune.core.pictures.masks import Box, bounding_box, dilate

Colour = tuple[int, int, int]
FAINTEST = 2
"""Steps of 255 by which a shadow has to darken a pixel to count for the size of a picture that holds it."""

SEAM = 4
"""Pixels of the shadow's picture beside the product whose light is the product's in part: light is carried in there."""
PATCH = 6
"""Pixels from the product within which the shadow's picture may call ground product, and so have no darkness there."""


@dataclass(frozen=True)
class Look:
    """How people want their cutouts."""

    ground: Colour | None = None
    """Colour of the ground, sRGB; None: transparent."""
    fill: float | None = None
    """Share of the frame that the product fills along its longer side, 0..1; None: as `ground` has it by default."""
    size: tuple[int, int] | None = None
    """(width, height) of the picture; None: as large as it gets without resampling the product."""
    shadow: bool = False
    """Whether the packshot's own shadow stays."""


@dataclass(frozen=True)
class Layers:
    """What a picture is made of."""

    rgba: Image.Image
    """The cutout."""
    glass: Image.Image | None = None
    """Its glass layer, RGBA of the same size; None for an opaque product."""
    box: Box | None = None
    """Its place in the photo; needed for the shadow alone."""
    shadow: Image.Image | None = None
    """Light on the photo's ground, L, may be reduced; None for no shadow."""
    photo_size: tuple[int, int] = (0, 0)
    """(width, height) of the photo; needed for the shadow alone."""


@dataclass(frozen=True)
class Frame:
    """A picture's size, and where the product is in it."""

    size: tuple[int, int]
    """(width, height)."""
    product: Box
    scale: float
    """Side of the product in the picture over its own; above 1 the photo had too few pixels."""


def frame_of(layers: Layers, look: Look) -> Frame:
    """Where the product stands: centred in its frame; cropped to product and shadow where no frame is asked for.

    Args:
        layers: of the cutout.
        look: with `fill` for every picture that needs a frame.
    """
    width, height = layers.rgba.size
    if look.size is None and look.fill is None:
        return _cropped(layers)
    fill = look.fill or 1.0
    if look.size is None:
        side = math.ceil(max(width, height) / fill)
        size, scale = (side, side), 1.0
    else:
        size, scale = look.size, fill * min(look.size[0] / width, look.size[1] / height)
    wide, high = max(1, round(scale * width)), max(1, round(scale * height))
    left, top = (size[0] - wide) // 2, (size[1] - high) // 2
    return Frame(size, Box(left, top, left + wide, top + high), scale)


def _cropped(layers: Layers) -> Frame:
    """The frame without margins: product and shadow, cut at the photo's border."""
    width, height = layers.rgba.size
    alone = Frame((width, height), Box(0, 0, width, height), 1.0)
    if layers.shadow is None or layers.box is None:
        return alone
    dark = np.asarray(layers.shadow.resize(layers.photo_size, Image.Resampling.BILINEAR)) < 255 - FAINTEST
    seen = bounding_box(dark)
    if seen is None:
        return alone
    box = layers.box
    left, top = min(box.left, seen.left), min(box.top, seen.top)
    right, bottom = max(box.right, seen.right), max(box.bottom, seen.bottom)
    return Frame((right - left, bottom - top), Box(*(np.array(box) - [left, top, left, top]).tolist()), 1.0)


def cutout_picture(layers: Layers, look: Look) -> tuple[Image.Image, Frame]:
    """Make the picture.

    Args:
        layers: of the cutout.
        look: what is asked for.

    Returns:
        RGBA without a ground, else RGB; and where the product is in it.
    """
    frame = frame_of(layers, look)
    light = _light(layers, frame)
    if look.ground is None:
        glass = None if layers.glass is None else np.asarray(_laid(layers.glass, frame))
        return Image.fromarray(_transparent(np.asarray(_laid(layers.rgba, frame)), glass, light)), frame
    pixels = np.full((frame.size[1], frame.size[0], 3), look.ground, dtype=np.uint8)
    if light is not None:
        pixels = darken(pixels, light)
    box = frame.product
    where, size = np.s_[box.top : box.bottom, box.left : box.right], (box.width, box.height)
    rgba = np.asarray(resize_rgba(layers.rgba, size))
    glass = None if layers.glass is None else np.asarray(resize_rgba(layers.glass, size))
    alpha = (rgba[..., 3] / 255.0).astype(np.float32)
    pixels[where] = composite_glass(np.ascontiguousarray(rgba[..., :3]), alpha, pixels[where].copy(), glass)
    return Image.fromarray(pixels), frame


def _laid(layer: Image.Image, frame: Frame) -> Image.Image:
    """A layer at the product's place in an empty frame."""
    canvas = Image.new("RGBA", frame.size, (0, 0, 0, 0))
    canvas.paste(
        resize_rgba(layer, (frame.product.width, frame.product.height)), (frame.product.left, frame.product.top)
    )
    return canvas


def _light(layers: Layers, frame: Frame) -> Floats | None:
    """Linear light that the shadow leaves on the frame's ground, (H, W) in 0..1; None for no shadow."""
    if layers.shadow is None or layers.box is None:
        return None
    dark = _darkness(layers.shadow, layers.rgba.getchannel("A"), layers.box, layers.photo_size)
    across, down = dark.width / layers.photo_size[0], dark.height / layers.photo_size[1]
    step_x = layers.box.width / frame.product.width * across
    step_y = layers.box.height / frame.product.height * down
    left = layers.box.left * across - frame.product.left * step_x
    top = layers.box.top * down - frame.product.top * step_y
    moved = dark.transform(
        frame.size, Image.Transform.AFFINE, (step_x, 0, left, 0, step_y, top), Image.Resampling.BILINEAR
    )
    return np.asarray(1 - np.asarray(moved) / 255.0, dtype=np.float32)


def _darkness(shadow: Image.Image, alpha: Image.Image, box: Box, photo_size: tuple[int, int]) -> Image.Image:
    """255 less the shadow's light, continued under the product: no light seam may show between the two.

    It is darkness, so that what lies outside of the photo is left alone when the picture is moved.
    """
    whole = Image.new("L", photo_size, 0)
    whole.paste(alpha, (box.left, box.top))
    covered = np.asarray(whole.resize(shadow.size, Image.Resampling.BOX)) > 0
    dark = 255 - np.asarray(shadow)
    near = dilate(covered, SEAM) | dilate((dark == 0) & dilate(covered, PATCH), 2)
    if near.all() or not near.any():
        return Image.fromarray(dark)
    rows, columns = ndimage.distance_transform_edt(near, return_distances=False, return_indices=True)
    return Image.fromarray(dark[rows, columns])


def _transparent(rgba: Array, glass: Array | None, light: Floats | None) -> Array:
    """The product with one alpha channel for viewers that blend sRGB values, (H, W, 4) uint8.

    Glass that shows K on black and V on white gets the alpha 1 - t with t the least of V - K over the channels, and the
    colour that makes it V on white. The shadow lies under the product as black of the alpha that darkens white alike.
    """
    colour, alpha = rgba[..., :3] / 255.0, rgba[..., 3] / 255.0
    if glass is not None and glass[..., 3].any():
        share = glass[..., 3:] / np.float32(255)
        own = ((1 - share) * to_linear(rgba[..., :3])).astype(np.float32)
        on_black, on_white = to_srgb(own), to_srgb((own + share * to_linear(glass[..., :3])).astype(np.float32))
        through = np.where(glass[..., 3] > 0, (on_white - on_black).min(axis=-1), 0).clip(0, 1)
        solid = np.maximum(1 - through, 1e-3)[..., None]
        colour = np.where(share > 0, (on_white - through[..., None]) / solid, colour).clip(0, 1)
        alpha = alpha * (1 - through)
    if light is not None:
        shadow = (1 - to_srgb(light)) * (1 - alpha)
        colour = colour * (alpha / np.maximum(alpha + shadow, 1e-6))[..., None]
        alpha = alpha + shadow
    opacity = (alpha * 255 + 0.5).astype(np.uint8)
    pixels = np.dstack([(colour * 255 + 0.5).astype(np.uint8), opacity])
    pixels[opacity == 0] = 0
    return pixels
