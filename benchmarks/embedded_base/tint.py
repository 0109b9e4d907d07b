"""What a picture's colours say of its light: quantiles of CIELAB by band, the tint of greys, hardness of edges.

Numbers that pooled features of a network trained to ignore light hold only faintly. Used by the scene reader.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from finetune.core.pictures.images import Array, to_linear

BANDS = 4
QUANTILES = (2, 10, 25, 50, 75, 90, 98)
GREYS = ((0, 5), (5, 12), (12, 25))
"""Ranges of chroma: nearly grey things take on the light's tint."""
EDGES = (25, 50, 75, 90, 97, 99.5)
WIDTH = BANDS * 3 * (len(QUANTILES) + 1) + 3 + 4 * len(GREYS) + len(EDGES)


def statistics_of(pictures: Array) -> NDArray[np.float32]:
    """(n, h, w, 3) uint8 to (n, WIDTH)."""
    return np.stack([_of_one(picture) for picture in pictures])


def _of_one(picture: Array) -> NDArray[np.float32]:
    from skimage.color import rgb2lab

    lab = rgb2lab(picture[::2, ::2])
    values: list[float] = []
    for band in np.array_split(lab, BANDS):
        flat = band.reshape(-1, 3)
        values += [*np.percentile(flat, QUANTILES, axis=0).ravel(), *flat.std(axis=0)]
    values += [*np.log(to_linear(picture).reshape(-1, 3).mean(axis=0) + 1e-3)]
    chroma = np.hypot(lab[..., 1], lab[..., 2])
    for low, high in GREYS:
        inside = (chroma >= low) & (chroma < high)
        values += [*(lab[inside].mean(axis=0) if inside.any() else np.zeros(3)), inside.mean()]
    across, down = np.diff(lab[..., 0], axis=1)[:-1], np.diff(lab[..., 0], axis=0)[:, :-1]
    values += [*np.percentile(np.hypot(across, down), EDGES)]
    return np.array(values, dtype=np.float32)
