"""The contact shadow of training examples: what makes a product on a composed ground stand instead of float.

Quicker and plainer than the shadow that scenes get (`core.compositing.cast_shadow`): an example needs thousands of them
and no direction of light. It darkens the ground, never the product (which is composited over it afterwards). Two parts:

* *occlusion*: a thin band along the product's lower contour, blurred: the dark line where it meets the ground;
* *cast*: the silhouette flattened onto the ground, column by column, and blurred wider: soft light from above.

Both follow the lower contour, so that a box seen at an angle, whose base rises to both sides of its nearest corner,
stands as well as a bottle. What hangs high above the ground (a handle, a nozzle) only casts, and weaker.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finetune.core.pictures.images import Floats
from finetune.core.pictures.masks import Box, Mask, bounding_box

TOUCHES = 0.16
"""A column of the product whose lowest pixel is within this share of its height above the foot touches the ground."""
BAND = 0.028
"""Thickness of the occlusion band, share of the product's height."""
FLATTEN = 0.16
"""Height of the cast shadow over the column's own height."""
IN_FRONT = 0.3
"""Share of band and cast in front of the contour; the rest lies behind it, hidden by the product."""
HANGING = 0.4
"""Weight of the shadow of what does not touch the ground."""
SPREAD = 1.15
"""The cast shadow's width over the product's: light from above reaches less of the ground beside it."""
OCCLUSION_DEPTH, CAST_DEPTH = 0.95, 0.8
"""Darkest share of light taken away at strength 1."""


def contact_shadow(matte: Floats, *, strength: float, softness: float) -> Floats:
    """Light that reaches the ground around a standing product.

    Args:
        matte: (H, W) in 0..1, the product at its place.
        strength: 0 (no shadow) to 1 (deepest).
        softness: 0 (sharp) to 1 (overcast); widens the blur in proportion to the product's height.

    Returns:
        (H, W) float32 factors in 0..1 of linear light; 1 where no shadow falls.
    """
    solid = np.asarray(matte >= 0.5)
    box = bounding_box(solid)
    if strength <= 0 or box is None:
        return np.ones_like(matte)
    reach = (0.3 + 1.4 * softness) * box.height
    contour, touches = _lower_contour(solid, box)
    band = np.where(touches, max(2.0, BAND * box.height), 0.0)
    occlusion = _blurred(_along(contour, band, matte.shape), 0.009 * reach, 0.016 * reach)
    occlusion /= max(float(occlusion.max()), 1e-6)  # a thin band loses its depth in the blur
    thickness = FLATTEN * solid.sum(axis=0)
    cast = _along(contour, thickness, matte.shape) * np.where(touches, 1.0, HANGING).astype(np.float32)
    cast = _blurred(_widened(cast, box), 0.03 * reach, 0.08 * reach)
    light = (1.0 - strength * OCCLUSION_DEPTH * occlusion) * (1.0 - strength * CAST_DEPTH * cast)
    return np.clip(light, 0.0, 1.0).astype(np.float32)


def _lower_contour(solid: Mask, box: Box) -> tuple[NDArray[np.float64], Mask]:
    """Row where each column of the product meets its ground, (W,), and whether it touches it there, (W,) bool.

    A column that ends high above the foot has its ground at the foot's row; columns without product touch nothing.
    """
    lowest = solid.shape[0] - np.argmax(solid[::-1], axis=0)
    gap = np.where(solid.any(axis=0), box.bottom - lowest, np.inf)
    touches = np.asarray(gap <= TOUCHES * box.height)
    return np.where(touches, lowest, box.bottom).astype(np.float64), touches


def _along(contour: NDArray[np.float64], thickness: NDArray[np.float64], shape: tuple[int, ...]) -> Floats:
    """1 in a band along `contour`, mostly above it, 0 elsewhere; `thickness` is in rows, one value per column."""
    rows = np.arange(shape[0])[:, None] + 0.5
    inside = (rows > contour - (1 - IN_FRONT) * thickness) & (rows < contour + IN_FRONT * thickness)
    return inside.astype(np.float32)


def _widened(values: Floats, box: Box) -> Floats:
    """Stretched along the width by SPREAD about the box's centre."""
    centre = (box.left + box.right - 1) / 2
    columns = centre + (np.arange(values.shape[1]) - centre) / SPREAD
    return values[:, np.clip(np.rint(columns), 0, values.shape[1] - 1).astype(int)]


def _blurred(values: Floats, vertical: float, horizontal: float) -> Floats:
    """Gaussian blur with standard deviations in pixels; nothing falls off the frame's edges."""
    return np.asarray(ndimage.gaussian_filter(values, (vertical, horizontal), mode="nearest"), dtype=np.float32)
