"""The camera over a flat ground: which point of the ground a pixel shows.

A pinhole camera without roll. Lengths on the ground are in *foot pixels*: the size of a pixel at the place where the
product stands, so that a product of 300 pixels is 300 long there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from finetune.core.pictures.images import Floats

ELEVATION = 12.0
"""Degrees by which a product photographer's camera usually looks down, where nothing is known."""
LENS = 2.2
"""Focal length over the picture's height where nothing is known: a portrait lens, as product photographers use."""
GRAZING = math.radians(0.7)
"""Flatter than this the ground is the horizon."""


@dataclass(frozen=True)
class Camera:
    """A camera over the ground, and the point of the picture where the product stands."""

    focal: float
    """Focal length in pixels."""
    pitch: float
    """How far it looks down, radians."""
    centre: tuple[float, float]
    """Column and row of the middle of the picture."""
    foot: tuple[float, float]
    """Column and row where the product stands."""

    @property
    def elevation(self) -> float:
        """Angle at which it sees the ground at the product's foot, radians."""
        return self.pitch + math.atan((self.foot[1] - self.centre[1]) / self.focal)

    def horizon(self) -> float:
        """Row of the horizon; may lie outside the picture."""
        return self.centre[1] - self.focal * math.tan(self.pitch)

    def depth(self, row: float) -> float | None:
        """How much farther the ground in a row is than at the product's foot, as a ratio; None above the horizon."""
        seen = self.elevation
        down = self.pitch + math.atan((row - self.centre[1]) / self.focal)
        if down <= GRAZING:
            return None
        near = math.sin(down) / math.cos(down - self.pitch)
        return math.sin(seen) / math.cos(seen - self.pitch) / near

    def ground(self, columns: Floats, rows: Floats) -> tuple[Floats, Floats]:
        """The points of the ground that pixels show, from the product's foot, in foot pixels.

        Args:
            columns: (W,) pixel columns.
            rows: (H,) pixel rows.

        Returns:
            `right` (H, W) and `away` (H, W), the latter growing away from the camera; NaN at and above the horizon.
        """
        seen = self.elevation
        distance = self.focal / math.cos(seen - self.pitch)
        height = distance * math.sin(seen)
        down = self.pitch + np.arctan((rows - self.centre[1]) / self.focal)
        down = np.where(down > GRAZING, down, np.nan)
        away = height / np.tan(down) - height / math.tan(seen)
        depth = height / np.sin(down) * np.cos(down - self.pitch)
        right = (columns[None, :] - self.centre[0]) * (depth / self.focal)[:, None] - (self.foot[0] - self.centre[0])
        return right.astype(np.float32), np.broadcast_to(away[:, None], right.shape).astype(np.float32)


def camera_over(
    size: tuple[int, int], foot: tuple[float, float], *, elevation: float = ELEVATION, horizon: float | None = None
) -> Camera:
    """A camera from what is known of a picture.

    Args:
        size: (width, height) of the picture in pixels.
        foot: Column and row where the product stands.
        elevation: Degrees by which the camera looks down at that place, 1 to 90.
        horizon: Row of the horizon in pixels; a usual lens is assumed if None.
    """
    width, height = size
    centre = (width / 2, height / 2)
    seen = math.radians(min(max(elevation, 1.0), 89.0))

    def looks(focal: float) -> float:
        """How much steeper than `seen` a camera of this focal length would see the foot."""
        assert horizon is not None
        return math.atan((centre[1] - horizon) / focal) + math.atan((foot[1] - centre[1]) / focal) - seen

    focal = LENS * height
    low, high = 0.05 * height, 100.0 * height
    if horizon is not None and looks(low) * looks(high) < 0:
        focal = float(brentq(looks, low, high))
    return Camera(focal, seen - math.atan((foot[1] - centre[1]) / focal), centre, foot)
