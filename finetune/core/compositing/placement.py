"""Where the product stands, and what the base is given to paint around it.

The cutout is resampled once, to its size in the delivered picture, and stands on whole pixels: these very pixels are
composited back at the end. What the base sees is derived from that canvas. Writes nothing, loads no model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from finetune.core.compositing.frame import Size, as_size, covering, onto_cover, painted_at
from finetune.core.compositing.glass import composite_glass, opaque_core
from finetune.core.errors import ConfigError
from finetune.core.pictures.images import Array, Floats, resize_rgba
from finetune.core.pictures.masks import Box, Mask, coverage, dilate, latent_mask, to_pixels

ANCHOR = 0.5
"""Default centre of the product along the width, share of the frame."""
GROUND = 0.8
"""Default ground line, share of the frame from its top."""
BOX_MARGIN = 0.08
"""Default margin of the box in which a product is drawn, share of the frame."""
DEFAULT_HEIGHT = 0.55
"""Default height of the product, share of the frame."""
WIDEST = 0.8
"""Width, as a share of the frame, that a default height does not exceed."""
LATENT = 8
"""Side of a latent cell, pixels of the base."""
SOLID = 250
"""Alpha from which the base is shown a pixel of the product: 2 % of doubt in a matte is no hole."""
PREFILL_MEAN, PREFILL_SPREAD = 128.0, 28.0
"""Mean and standard deviation of the pre-filled ground, 8-bit steps."""


@dataclass(frozen=True)
class Placed:
    """The cutout on the delivered picture's canvas."""

    canvas: Image.Image
    """RGBA: the resampled cutout at `box`, transparent elsewhere."""
    box: Box
    glass: Array | None
    """(H, W, 4) uint8, the glass layer on the same canvas; None for an opaque product."""
    upscaled: float
    """Delivered height over the cutout's own: above 1 the packshot had too few pixels."""

    @property
    def size(self) -> Size:
        """Width and height of the canvas in pixels."""
        return self.canvas.size

    @property
    def rgb(self) -> Array:
        """(H, W, 3) uint8."""
        return np.asarray(self.canvas)[..., :3]

    @property
    def matte(self) -> Floats:
        """(H, W) float32 in 0..1."""
        return (np.asarray(self.canvas)[..., 3] / 255.0).astype(np.float32)

    @property
    def solid(self) -> Floats:
        """(H, W) float32 in 0..1: the matte without what the scene shows through."""
        if self.glass is None:
            return self.matte
        return (self.matte * (1 - self.glass[..., 3] / 255)).astype(np.float32)

    @property
    def core(self) -> Mask:
        """(H, W) bool: pixels whose alpha is 255 and which are opaque; they reach the delivered picture unchanged."""
        return opaque_core(np.asarray(self.canvas), self.glass)


@dataclass(frozen=True)
class PaintJob:
    """What goes into the base: a picture and the mask of what to paint, both at the base's size."""

    picture: Image.Image
    mask: Mask
    grow: int
    """Latent cells the mask reaches into the product: as requested, fewer for a slender product."""

    @property
    def coverage(self) -> float:
        """Share of the picture that is painted, 0..1."""
        return coverage(self.mask)


def default_scale(cutout: tuple[int, int], frame: int | Size = 1) -> float:
    """Height of a product of `cutout` (width, height) as a share of the frame's height, unless one is requested.

    Args:
        cutout: (width, height), pixels.
        frame: Size of the picture; square if left out.
    """
    across, down = as_size(frame)
    return min(DEFAULT_HEIGHT, WIDEST * across / down * cutout[1] / cutout[0])


def default_grow(size: int) -> int:
    """Latent cells painted into the product's edge on a base of `size` px, unless a number is requested."""
    return size // 1024


def placement_box(
    cutout: tuple[int, int],
    size: int | Size,
    *,
    anchor: float = ANCHOR,
    scale: float | None = None,
    ground: float = GROUND,
) -> Box:
    """The product's box in a picture, on whole pixels.

    Args:
        cutout: (width, height) of the cutout in its own pixels; its proportions are kept.
        size: Width and height of the picture in pixels, or the side of a square one.
        anchor: Centre of the box along the width, 0..1.
        scale: Height of the box as a share of the picture's, 0..1; `default_scale` if None.
        ground: Lower edge of the box, 0 (top of the picture) to 1.

    Raises:
        ConfigError: The product would leave the picture, or would be under one latent cell wide or high.
    """
    across, down = as_size(size)
    height = round((default_scale(cutout, size) if scale is None else scale) * down)
    width = round(height * cutout[0] / cutout[1])
    if height < LATENT or width < LATENT:
        raise ConfigError(
            f"the product would be only {width}x{height} pixels in a picture of {across}x{down}",
            "use a larger --scale or --size",
        )
    left, top = round(anchor * across - width / 2), round(ground * down) - height
    box = Box(left, top, left + width, top + height)
    if left >= 0 and top >= 0 and box.right <= across and box.bottom <= down:
        return box
    sides = [
        name
        for name, out in (
            ("left", left < 0),
            ("top", top < 0),
            ("right", box.right > across),
            ("bottom", box.bottom > down),
        )
        if out
    ]
    largest = _largest_scale(cutout, anchor, ground, across / down)
    raise ConfigError(
        f"the product would leave the frame at the {' and '.join(sides)}",
        f"with this anchor and ground line, --scale can be at most {largest:.2f}",
    )


def _largest_scale(cutout: tuple[int, int], anchor: float, ground: float, ratio: float) -> float:
    """Largest scale that fits into a frame of a ratio, rounded down to hundredths, one of them to spare."""
    by_width = 2 * min(anchor, 1 - anchor) * ratio * cutout[1] / cutout[0]
    return max(0.0, math.floor(min(by_width, ground) * 100 - 0.5) / 100)


def put_on_canvas(cutout: Image.Image, box: Box, size: int | Size, glass: Image.Image | None = None) -> Placed:
    """Resample the cutout to its box and put it on an empty canvas. It is resampled nowhere else.

    Args:
        cutout: RGBA.
        box: The product's box in the picture.
        size: Side of a square picture in pixels, or (width, height).
        glass: The cutout's glass layer, RGBA of the cutout's size; it is resampled alike.
    """
    layers = []
    for layer in (cutout, glass):
        canvas = Image.new("RGBA", as_size(size), (0, 0, 0, 0))
        if layer is not None:
            canvas.paste(resize_rgba(layer, (box.width, box.height)), (box.left, box.top))
        layers.append(canvas)
    return Placed(layers[0], box, None if glass is None else np.asarray(layers[1]), box.height / cutout.height)


def prefill(size: int | Size, rng: np.random.Generator) -> Array:
    """A ground to paint over: smooth mid-tone noise, (height, width, 3) uint8.

    A packshot's white ground would shine through: samplers keep a trace of what they start from, and a white start
    makes white scenes (cog-sdxl#21, Fooocus#945). Mid-tones with low frequencies bias it least.
    """
    planes = []
    across, down = as_size(size)
    side = (across * down) ** 0.5
    for sigma, share in ((side / 8, 0.8), (side / 32, 0.4)):
        noise = ndimage.gaussian_filter(rng.standard_normal((down, across, 3)), (sigma, sigma, 0), mode="wrap")
        planes.append(noise / noise.std() * share)
    values = PREFILL_MEAN + PREFILL_SPREAD * sum(planes)
    return np.asarray(np.clip(values + 0.5, 0, 255), dtype=np.uint8)


def around_product(placed: Placed, size: int, *, grow: int, rng: np.random.Generator) -> PaintJob:
    """Preserve mode: the product on a pre-filled ground, and everything but its inside to be painted.

    The mask is made of whole latent cells and every cell with a trace of ground is painted, so that the pipeline's
    nearest-neighbour sampling gives exactly these cells and keeps no pre-fill. `grow` cells more are painted into
    the product's edge; for a slender product fewer, as long as something of it is left to see.

    Args:
        placed: The product on the delivered picture's canvas.
        size: Side of the square pictures the base is trained on, pixels.
        grow: Latent cells painted into the product's edge, 0 or more.
        rng: Draws the pre-filled ground.
    """
    how = painted_at(placed.size, size)
    small = np.asarray(resize_rgba(onto_cover(placed.canvas, how), how.size))
    alpha = small[..., 3]
    glass = None
    if placed.glass is not None:
        glass = np.asarray(resize_rgba(onto_cover(Image.fromarray(placed.glass), how), how.size))
    ground = np.asarray(alpha < SOLID)
    if glass is not None:  # what shows through glass is painted, or the pre-fill would stay behind it
        ground |= glass[..., 3] > 255 - SOLID
    cells = latent_mask(ground, factor=LATENT, grow=grow)
    while grow and cells.all():
        grow -= 1
        cells = latent_mask(ground, factor=LATENT, grow=grow)
    mixed = composite_glass(small[..., :3], (alpha / 255.0).astype(np.float32), prefill(how.size, rng), glass)
    return PaintJob(Image.fromarray(mixed), to_pixels(cells, factor=LATENT), grow)


def whole_frame(size: int | Size, rng: np.random.Generator) -> PaintJob:
    """Nothing given, everything to be painted: a pre-filled ground of `size` px under a full mask."""
    across, down = as_size(size)
    return PaintJob(Image.fromarray(prefill(size, rng)), np.ones((down, across), dtype=bool), 0)


def box_around(scene: Image.Image, box: Box, size: int | Size, *, margin: float) -> PaintJob:
    """Insert mode: the painted scene, and a box around the placement in which to draw the product.

    Args:
        scene: The empty scene, at the size at which the base paints the frame.
        box: The product's box in the delivered picture.
        size: Width and height of that picture, or the side of a square one.
        margin: Share of the scene's shorter side by which the painted box is larger on every side.
    """
    side = min(scene.size)
    how = covering(scene.size, size)
    beside, above = how.offset(as_size(size))
    inside = np.zeros((scene.height, scene.width), dtype=bool)
    left, right = ((edge + beside) * scene.width / how.cover[0] for edge in (box.left, box.right))
    top, bottom = ((edge + above) * scene.height / how.cover[1] for edge in (box.top, box.bottom))
    inside[int(top) : int(np.ceil(bottom)), int(left) : int(np.ceil(right))] = True
    cells = latent_mask(dilate(inside, margin * side), factor=LATENT)
    return PaintJob(scene, to_pixels(cells, factor=LATENT), 0)
