"""Accuracy of a cutout, measured against a true mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finetune.core.pictures.images import LUMINANCE, Floats, to_linear
from finetune.core.pictures.masks import Mask, bounding_box, dilate

RIM = 3
"""Pixels to each side of the true outline in which the halo is measured."""


@dataclass(frozen=True)
class Accuracy:
    """The measures of one view."""

    error: float
    """Mean absolute error of coverage alpha in the product's box plus 10 %; glass counts as covered."""
    boundary: float
    """F-score of the outlines at 2 px."""
    overlap: float
    """IoU of the silhouettes, alpha over 0.5."""
    halo: float
    """Mean excess of linear luminance over the true composite on black, in the rim; deficits count as zero."""


def accuracy(rgba: NDArray[np.uint8], photo: NDArray[np.uint8], true: Floats) -> Accuracy:
    """Measure a cutout.

    Args:
        rgba: (H, W, 4), the cutout at its place in the whole photo.
        photo: (H, W, 3).
        true: (H, W) in 0..1, the true coverage.
    """
    mine = rgba[..., 3].astype(np.float32) / 255
    box = bounding_box(true > 0)
    assert box is not None
    box = box.grown(round(0.1 * max(box.width, box.height)), (true.shape[1], true.shape[0]))
    inside = np.s_[box.top : box.bottom, box.left : box.right]
    return Accuracy(
        error=float(np.abs(mine - true)[inside].mean()),
        boundary=boundary_f(mine > 0.5, true > 0.5, 2.0),
        overlap=iou(mine > 0.5, true > 0.5),
        halo=halo(rgba, photo, true),
    )


def iou(first: Mask, second: Mask) -> float:
    """Intersection over union; 1 if both masks are empty."""
    union = np.logical_or(first, second).sum()
    return float(np.logical_and(first, second).sum() / union) if union else 1.0


def boundary_f(mine: Mask, true: Mask, tolerance: float) -> float:
    """F-score of the outlines: shares of each within `tolerance` pixels of the other."""
    outlines = [m & ~dilate(m, -1) for m in (mine, true)]
    near = [dilate(o, tolerance) for o in outlines]
    precision = (outlines[0] & near[1]).sum() / max(1, outlines[0].sum())
    recall = (outlines[1] & near[0]).sum() / max(1, outlines[1].sum())
    return float(2 * precision * recall / max(1e-9, precision + recall))


def halo(rgba: NDArray[np.uint8], photo: NDArray[np.uint8], true: Floats) -> float:
    """Mean luminance excess over the true composite on black, in the rim.

    The true composite is true coverage times true colour: the photo's own where coverage is 1, and in mixed pixels
    that of the nearest pixel well inside. (Photo minus the ground's share would count the ground's own overexposure.)
    """
    solid = true > 0.5
    rim = dilate(solid, RIM) & ~dilate(solid, -RIM)
    light = to_linear(photo)
    inner = dilate(true >= 1, -1)
    rows, columns = ndimage.distance_transform_edt(~inner, return_distances=False, return_indices=True)
    colour = np.where((true >= 1)[..., None], light, light[rows, columns])
    expected = (true[..., None] * colour) @ LUMINANCE
    on_black = (to_linear(rgba[..., :3]) * (rgba[..., 3:].astype(np.float32) / 255)) @ LUMINANCE
    return float((on_black - expected)[rim].clip(0).mean())
