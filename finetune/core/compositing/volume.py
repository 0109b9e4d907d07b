"""How deep a product is: the silhouette of one photo, thought of as a body of slices that a light can shine on.

*Standing*: every run of a silhouette's row is taken for a round cross-section, as it is for bottles, cups and cans,
limited in depth for what is wide (bags, boxes). Its front stands on the product's lower contour, so that a box's rising
edges and the rear feet of a stool stand further back. *Lying*: the silhouette is the body's print on its surface,
swelling towards its middle. *Hanging* is lying on a wall.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from finetune.core.pictures.images import Floats
from finetune.core.pictures.masks import Box, Mask, bounding_box

Pose = Literal["standing", "lying", "hanging", "floating"]
POSES: tuple[Pose, ...] = ("standing", "lying", "hanging", "floating")

TOUCHES = 0.16
"""A column whose lowest pixel is within this share of the height above the foot touches the ground."""
CORNER = 0.08
"""Share of a foot's width at either end whose contact is not read: a rounded corner is no edge that recedes."""
RESTS = 0.04
"""Height of the part on which a column rests, share of the height."""
DEEPEST = 0.45
"""Depth of a wide product, share of its height."""
SWELL, THINNEST = 0.35, 0.04
"""Height of what lies over the distance to its outline, and at its outline as a share of the longer side."""
LIFT = 0.12
"""How high a floating product hovers, share of its height."""
LIES = 14
"""Slices of a body that lies."""


@dataclass(frozen=True)
class Slice:
    """A horizontal cut through the body."""

    height: float
    """Above the surface, in cells."""
    print: Mask
    """(away, right) bool: what it covers, seen from above."""
    left: int
    near: int
    """Cell of the print's first column and row, from the product's foot; rows grow away from the camera."""


@dataclass(frozen=True)
class Body:
    """A product's slices on a grid whose cells are `cell` pixels of the picture wide."""

    slices: tuple[Slice, ...]
    cell: float
    foot: tuple[float, float]
    """Column and row of the picture where cell (0, 0) stands."""
    height: float
    """Cells."""
    step: float
    """Cells between two slices."""


def body_of(matte: Floats, pose: Pose, elevation: float, *, cells: int) -> Body | None:
    """The body behind a silhouette; None for an empty one.

    Args:
        matte: (H, W) in 0..1, the product at its place.
        pose: How it rests.
        elevation: Radians by which the camera looks down at it.
        cells: Cells of the grid along the product's longer side.
    """
    box = bounding_box(np.asarray(matte >= 0.5))
    if box is None:
        return None
    cell = max(box.width, box.height) / cells
    size = (max(2, round(box.width / cell)), max(2, round(box.height / cell)))
    crop = Image.fromarray(matte[box.top : box.bottom, box.left : box.right])
    solid = np.asarray(crop.resize(size, Image.Resampling.BOX)) >= 0.4
    if pose in ("lying", "hanging"):
        return _lying(solid, box, cell)
    body = _standing(solid, box, cell, max(elevation, math.radians(4)))
    return _lifted(body) if pose == "floating" else body


def _standing(solid: Mask, box: Box, cell: float, elevation: float) -> Body:
    height, width = solid.shape
    rows_back, depths = _front(solid), _depths(solid)
    axis = rows_back / math.sin(elevation) + _resting(solid, depths) / 2
    solid, depths = _let_down(solid, rows_back), _let_down(depths, rows_back)
    slices = []
    for row in range(height):
        columns = np.flatnonzero(solid[row])
        if columns.size == 0:
            continue
        first, last = int(columns[0]), int(columns[-1]) + 1
        half = depths[row, first:last] / 2
        middle = axis[first:last]
        near = math.floor(float((middle - half)[solid[row, first:last]].min()))
        far = math.ceil(float((middle + half)[solid[row, first:last]].max()))
        away = np.arange(near, far + 1)[:, None] + 0.5
        print_ = (np.abs(away - middle) <= np.maximum(half, 0.75)) & solid[row, first:last]
        slices.append(Slice((height - 1 - row) / math.cos(elevation), print_, first - width // 2, near))
    foot = (box.left + width // 2 * cell, float(box.bottom))
    return Body(tuple(slices), cell, foot, height / math.cos(elevation), 1 / math.cos(elevation))


def _front(solid: Mask) -> Floats:
    """Rows by which each column's contact with the ground lies above the foot, (W,), smoothed; 0 where it hangs."""
    height = solid.shape[0]
    lowest = np.argmax(solid[::-1], axis=0).astype(np.float32)
    touches = solid.any(axis=0) & (lowest <= TOUCHES * height)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], touches.astype(np.int8), [0]])))
    known = [
        np.arange(first + round(CORNER * (last - first)), last - round(CORNER * (last - first)))
        for first, last in zip(edges[::2], edges[1::2], strict=True)
    ]
    if not known:
        return np.zeros_like(lowest)
    columns = np.concatenate(known)
    filled = np.interp(np.arange(lowest.size), columns, lowest[columns])
    return np.asarray(ndimage.median_filter(filled, size=5, mode="nearest"), dtype=np.float32)


def _let_down(values: NDArray[Any], rows_back: Floats) -> NDArray[Any]:
    """Each column moved down by the rows that its contact lies above the foot: heights count from its own contact."""
    height, width = values.shape
    rows = np.arange(height)[:, None] - np.rint(rows_back).astype(int)[None, :]
    moved = values[np.clip(rows, 0, height - 1), np.arange(width)[None, :]]
    return np.asarray(np.where(rows >= 0, moved, np.zeros_like(moved)))


def _resting(solid: Mask, depths: Floats) -> Floats:
    """Depth of what each column rests on, (W,): of its lowest part, not of the body that a leg carries."""
    height = solid.shape[0]
    lowest = height - 1 - np.argmax(solid[::-1], axis=0)
    rows = np.arange(height)[:, None]
    part = (rows <= lowest) & (rows > lowest - max(2, round(RESTS * height)))
    return np.asarray(np.where(part, depths, 0).max(axis=0), dtype=np.float32)


def _depths(solid: Mask) -> Floats:
    """Depth of each pixel's run as a round body has it, (H, W); flattened for what is wide."""
    height, width = solid.shape
    depths = np.zeros((height, width), dtype=np.float32)
    for row in range(height):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], solid[row].astype(np.int8), [0]])))
        for first, last in zip(edges[::2], edges[1::2], strict=True):
            run = last - first
            across = (np.arange(first, last) + 0.5 - (first + last) / 2) / (run / 2)
            depths[row, first:last] = np.sqrt(np.maximum(0, 1 - across**2)) * min(run, DEEPEST * height)
    return depths


def _lying(solid: Mask, box: Box, cell: float) -> Body:
    width = solid.shape[1]
    inside = ndimage.distance_transform_edt(np.pad(solid, 1))[1:-1, 1:-1]
    rise = np.where(solid, THINNEST * max(solid.shape) + SWELL * np.minimum(inside, 0.25 * min(solid.shape)), 0)
    tops = np.linspace(0, float(rise.max()), LIES, endpoint=False)
    slices = [Slice(float(top), np.asarray(rise > top)[::-1], -(width // 2), 0) for top in tops]
    foot = (box.left + width // 2 * cell, float(box.bottom))
    return Body(tuple(slices), cell, foot, float(rise.max()), float(rise.max()) / LIES)


def _lifted(body: Body) -> Body:
    up = LIFT * body.height
    slices = tuple(Slice(s.height + up, s.print, s.left, s.near) for s in body.slices)
    return Body(slices, body.cell, body.foot, body.height + up, body.step)
