"""Masks of every kind, so that one model places, inserts and paints from text alone.

A mask is 1 where the model is to paint. Kinds:
`place` all but the product, which the prompt does not name: what preserve mode asks for; `background` the same, grown
or eaten, of any prompt; `product` the grown product; `box` a box around it; `strokes` random strokes and boxes;
`full` everything.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

SHARES = {"place": 0.34, "background": 0.14, "full": 0.20, "product": 0.09, "box": 0.14, "strokes": 0.09}
ALIGNED = 0.5
"""How often a `place` mask covers whole latent cells, as Packshot's own masks do; else it follows the outline."""


def grow(mask: np.ndarray, radius: float) -> np.ndarray:
    """A boolean mask (h, w) grown by `radius` pixels."""
    if radius <= 0 or not mask.any():
        return mask
    reach = int(radius) + 1
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    window = (  # nothing beyond it can be near: a frame of 256 px takes a third of the time
        slice(max(0, int(rows[0]) - reach), int(rows[-1]) + reach + 1),
        slice(max(0, int(columns[0]) - reach), int(columns[-1]) + reach + 1),
    )
    grown = np.zeros_like(mask)
    grown[window] = ndimage.distance_transform_edt(~mask[window]) <= radius
    return grown


def place(rng: np.random.Generator, product: np.ndarray, cell: int) -> np.ndarray:
    """Everything but the product; of whole cells of `cell` pixels, or along the outline, at most 2 pixels beside it."""
    if rng.random() < ALIGNED:
        return np.kron(to_latent_mask(~product, cell), np.ones((cell, cell), bool))
    return ~grow(product, float(rng.choice([0, 0, 1, 2])))


def background(rng: np.random.Generator, product: np.ndarray) -> np.ndarray:
    """Everything but the product; the kept region is the product, sometimes a little grown or eaten."""
    if rng.random() < 0.15:
        return ~np.asarray(ndimage.binary_erosion(product, iterations=1))
    return ~grow(product, float(rng.choice([0, 1, 2, 3, 5, 8])))


def around(rng: np.random.Generator, product: np.ndarray) -> np.ndarray:
    """A box around the product with margins of its own on each side."""
    rows, columns = np.flatnonzero(product.any(1)), np.flatnonzero(product.any(0))
    margin = rng.uniform(2, 30, 4)
    mask = np.zeros_like(product)
    top, left = max(0, int(rows[0] - margin[0])), max(0, int(columns[0] - margin[1]))
    mask[top : int(rows[-1] + margin[2]) + 1, left : int(columns[-1] + margin[3]) + 1] = True
    return mask


def strokes(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """One to four thick strokes or boxes."""
    height, width = shape
    canvas = Image.new("L", (width, height))
    draw = ImageDraw.Draw(canvas)
    for _ in range(int(rng.integers(1, 5))):
        if rng.random() < 0.5:
            points = rng.uniform(0, 1, (int(rng.integers(2, 6)), 2)) * (width, height)
            draw.line([tuple(p) for p in points.tolist()], fill=255, width=int(rng.integers(12, 60)), joint="curve")
        else:
            x, y = rng.uniform(-0.1, 0.8, 2) * (width, height)
            w, h = rng.uniform(0.15, 0.7, 2) * (width, height)
            draw.rectangle((x, y, x + w, y + h), fill=255)
    return np.asarray(canvas) > 0


def make_mask(rng: np.random.Generator, kind: str, product: np.ndarray, cell: int = 8) -> np.ndarray:
    """A mask (h, w), bool, of the kind; frames without a product get strokes instead of product kinds.

    `cell`: pixels of this frame that a latent cell will cover.
    """
    if kind == "full":
        return np.ones_like(product)
    if kind == "strokes" or not product.any():
        return strokes(rng, product.shape)
    if kind == "place":
        return place(rng, product, cell)
    if kind == "background":
        return background(rng, product)
    if kind == "product":
        return grow(product, float(rng.uniform(4, 22)))
    return around(rng, product)


def to_latent_mask(mask: np.ndarray, factor: int = 8) -> np.ndarray:
    """A mask (h, w) to the latent grid (h/8, w/8): 1 wherever any of its pixels is 1."""
    height, width = mask.shape
    blocks = mask.reshape(height // factor, factor, width // factor, factor)
    return np.asarray(blocks.max((1, 3)))
