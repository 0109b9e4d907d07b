"""What in a scene looks like a product besides the one that was placed there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from finetune.core.pictures.images import Floats

SURE = 0.5
"""Probability from which a pixel counts as product."""
CLEARANCE = 0.02
"""Margin around the placed product, as a share of the picture's longer side, in which nothing is counted: the
network's outline is soft, and the product's own shadow touches it."""
LEAST_SHARE = 0.01
"""Smallest piece apart from the product that counts as a second object, as a share of the product's area."""
LEAST_GROWTH = 0.04
"""Smallest piece that touches the product's margin and counts: soft outlines and shadows are smaller. Set by eye on
held-out renders of one product, 5 % of which have such a piece or one apart from it."""
MIRRORED = 1.15
"""A piece that hangs below the product is taken for its mirror image if it is at most so many times as wide."""
LEAST_PIXELS = 24
"""Smallest piece at the size looked at (longer side 256): less is the network's noise beside a tiny product."""


@dataclass(frozen=True)
class SecondObject:
    """A piece of the scene that looks like a product."""

    share: float
    """Its area over the placed product's."""
    box: tuple[float, float, float, float]
    """Left, top, right and bottom as shares of the picture."""
    touches: bool
    """Whether it reaches the placed product's margin: growth, such as a second cap above the first."""


def second_objects(found: Floats, matte: Floats) -> list[SecondObject]:
    """Pieces that look like a product, largest first.

    Args:
        found: (h, w) probabilities of `find_products`.
        matte: (H, W) coverage 0..1 of the placed product in the same picture, of any size.

    Returns:
        Every connected piece of at least one per cent of the product's area (four if it touches the product's margin),
        but for a mirror image below it; empty for a clean scene.
    """
    height, width = found.shape
    size = (width, height)
    placed = np.asarray(Image.fromarray(matte.astype(np.float32)).resize(size, Image.Resampling.BOX)) > 0.5
    area = max(int(placed.sum()), 1)
    reach = max(1, round(CLEARANCE * max(height, width)))
    near: NDArray[np.bool_] = np.asarray(ndimage.distance_transform_edt(~placed)) <= reach if placed.any() else placed
    labels, count = ndimage.label((found > SURE) & ~near)
    pieces = []
    rim = np.asarray(ndimage.binary_dilation(near))
    base, width_placed = _base_of(placed)
    for number, window in enumerate(ndimage.find_objects(labels)[:count], 1):
        piece = labels[window] == number
        rows, columns = window
        pixels, touches = int(piece.sum()), bool((piece & rim[window]).any())
        if pixels < max((LEAST_GROWTH if touches else LEAST_SHARE) * area, LEAST_PIXELS):
            continue
        if touches and rows.start >= base and columns.stop - columns.start <= MIRRORED * width_placed:
            continue
        box = (columns.start / width, rows.start / height, columns.stop / width, rows.stop / height)
        pieces.append(SecondObject(pixels / area, box, touches))
    return sorted(pieces, key=lambda piece: -piece.share)


def _base_of(placed: NDArray[np.bool_]) -> tuple[int, int]:
    """The row under the product, and its width in pixels; (0, 0) for none."""
    rows, columns = (np.flatnonzero(placed.any(axis)) for axis in (1, 0))
    return (int(rows[-1]) + 1, int(columns[-1] - columns[0]) + 1) if len(rows) else (0, 0)
