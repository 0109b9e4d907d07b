"""The product's outline at full size, from one found on a reduced picture.

Only cells of the reduced picture that lie on the outline are examined at full size.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from finetune.core.pictures.images import Array, Floats, to_linear
from finetune.core.pictures.masks import Mask
from finetune.matting.unmixing import CLEAR_CONTRAST, GroundAt, Rows, grown

TOUCHED = 0.06
"""Share of the contrast between product and ground from which a pixel contains some product."""
LEAST_DEVIATION = 0.014
"""Deviation from the ground, as a share of its light, below which a pixel contains no product."""
SAMPLES = 600
"""Places along the outline where its blur is measured."""
PATCH = 8
"""Radius (px) of the patch examined at each."""
UNCLEAR_BLUR = 0.6
"""Blur (px) assumed if it cannot be measured anywhere along the outline."""


def enlarged(small: Floats, factor: int) -> GroundAt:
    """A reduced picture as a function of the full picture's rows and columns, bilinear between its cells.

    Args:
        small: (H, W, C).
        factor: full pixels per cell along each axis.
    """
    if factor == 1:
        return lambda rows, columns: small[rows, columns]

    def at(rows: Rows, columns: Rows) -> Floats:
        places = np.stack([(rows + 0.5) / factor - 0.5, (columns + 0.5) / factor - 0.5])
        planes = [
            ndimage.map_coordinates(small[..., c], places, order=1, mode="nearest") for c in range(small.shape[2])
        ]
        return np.stack(planes, axis=-1)

    return at


def refine_outline(pixels: Array, ground_at: GroundAt, small: Floats, product: Mask, factor: int) -> Mask:
    """Find all pixels the product touches, at full size.

    Args:
        pixels: (H, W, 3) uint8 at full size.
        ground_at: the ground's colour at given rows and columns of it.
        small: the reduced picture, (H / factor, W / factor, 3) linear light, sizes rounded up.
        product: the mask on the reduced picture.
        factor: pixels per cell of the reduced picture along each axis.

    Returns:
        (H, W) bool.
    """
    height, width = pixels.shape[:2]
    full = _repeated(product, factor)[:height, :width]
    doubtful = _repeated(grown(product, 1.5) & ~_shrunk(product, 1.5), factor)[:height, :width]
    rows, columns = np.nonzero(doubtful)
    light, ground = to_linear(pixels[rows, columns]), ground_at(rows, columns)
    front = _front(small, product)[rows // factor, columns // factor]
    difference = front - ground
    contrast = np.sqrt((difference**2).sum(axis=-1))
    share = ((light - ground) * difference).sum(axis=-1) / np.maximum(contrast**2, 1e-6)
    deviates = np.abs(light / np.maximum(ground, 1e-3) - 1).max(axis=-1) > LEAST_DEVIATION
    soft = enlarged(product[..., None].astype(np.float32), factor)(rows, columns)[:, 0] > 0.5
    full[rows, columns] = np.where(contrast > CLEAR_CONTRAST, (share > TOUCHED) & deviates, soft)
    return full


def outline_blur(pixels: Array, ground_at: GroundAt, product: Mask) -> float:
    """Blur of the product's outline in the full picture, see `edge_blur`.

    Args:
        pixels: (H, W, 3) uint8.
        ground_at: the ground's colour at given rows and columns of it.
        product: (H, W).
    """

    def deviation_at(at_rows: Rows, at_columns: Rows) -> Floats:
        middle = ground_at(at_rows[:, PATCH, PATCH], at_columns[:, PATCH, PATCH])
        light = to_linear(pixels[at_rows, at_columns]) / np.maximum(middle, 1e-3)[:, None, None]
        return np.asarray(np.abs(light - 1).max(axis=-1))

    return edge_blur(product, deviation_at)


def _front(small: Floats, product: Mask) -> Floats:
    """The product's colour for every cell: that of the nearest cell deep inside, in thin parts of any."""
    deep = _shrunk(product, 1.5)
    known = deep | (product & ~grown(deep, 4))
    rows, columns = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    return np.asarray(small[rows, columns])


def _shrunk(mask: Mask, radius: float) -> Mask:
    return ~grown(~mask, radius)


def _repeated(mask: Mask, factor: int) -> Mask:
    return mask.repeat(factor, axis=0).repeat(factor, axis=1)


def edge_blur(product: Mask, deviation_at: Callable[[Rows, Rows], Floats]) -> float:
    """Blur of the outline, from a step's height over its steepest slope: h / g = sqrt(2 pi (1 + blur^2)) at scale 1.

    Args:
        product: (H, W).
        deviation_at: rows and columns (N, P, P) -> how far those pixels are from the ground.

    Returns:
        Standard deviation in pixels, the median of places spread along the outline; 0.6 if none is clear.
    """
    rows, columns = np.nonzero(product & ~_shrunk(product, 1))
    height, width = product.shape
    away = (rows >= PATCH) & (rows < height - PATCH) & (columns >= PATCH) & (columns < width - PATCH)
    rows, columns = rows[away], columns[away]
    if not len(rows):
        return UNCLEAR_BLUR
    chosen = np.linspace(0, len(rows) - 1, min(len(rows), SAMPLES)).astype(np.intp)
    reach = np.arange(-PATCH, PATCH + 1)
    deviation = deviation_at(
        *np.broadcast_arrays(rows[chosen][:, None, None] + reach[:, None], columns[chosen][:, None, None] + reach)
    )
    slopes = [ndimage.gaussian_filter(deviation, (0, 1, 1), order=order) for order in ((0, 1, 0), (0, 0, 1))]
    step = np.ptp(_middle(deviation, 6), axis=(1, 2))
    slope = _middle(np.hypot(*slopes), 4).max(axis=(1, 2))
    clear = (step > 0.1) & (slope > 1e-4)
    if not clear.any():
        return UNCLEAR_BLUR
    ratio = float(np.median(step[clear] / slope[clear]))
    return float(np.sqrt(max(0.0, ratio**2 / (2 * np.pi) - 1)))


def _middle(patches: Floats, radius: int) -> Floats:
    inside = slice(PATCH - radius, PATCH + radius + 1)
    return patches[:, inside, inside]
