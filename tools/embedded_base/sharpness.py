"""How much of the fine detail of a picture another one has: veins, grain, edges of letters, or blur in their place.

Called by the training tools and by the benchmark.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

LUMINANCE = np.array((0.2126, 0.7152, 0.0722), np.float32)
LEAST = 0.25
"""Energy (half a level squared) under which a picture has no detail to lose."""


def fine_energy(made: np.ndarray, true: np.ndarray, radius: float = 1.0) -> float:
    """Energy of fine detail in made pictures over that in the true ones, the mean over pictures (n, h, w, 3) uint8.

    Detail is the luminance less its Gaussian blur of `radius` pixels; energy is its mean square. 1 is as sharp as the
    truth, less is soft, more is noise or ringing; pictures without detail do not count (NaN where none has any).
    """
    energies = []
    for pictures in (made, true):
        luminance = pictures.astype(np.float32) @ LUMINANCE
        detail = luminance - ndimage.gaussian_filter(luminance, (0, radius, radius))
        energies.append((detail**2).mean((1, 2)))
    counted = energies[1] > LEAST
    return float((energies[0][counted] / energies[1][counted]).mean()) if counted.any() else float("nan")
