"""Taking camera noise and JPEG's blocks out of a picture without moving its edges."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from finetune.core.pictures.images import Floats

RADIUS = 3
"""Pixels around each over which it is smoothed."""
LEAST = 1.5 / 255
"""Least noise assumed, sRGB: what rounding and JPEG leave on an even ground."""
NOISES = 2.5
"""Standard deviations of the noise up to which a difference is smoothed away."""


def smoothed(encoded: Floats, noise: float) -> Floats:
    """Smooth whatever is of the size of the noise: the guided filter with each channel as its own guide.

    Args:
        encoded: (H, W, 3) sRGB 0..1.
        noise: standard deviation on even ground, in the same values.

    Returns:
        (H, W, 3). He, Sun and Tang, "Guided Image Filtering", 2013; edges many times the noise are left as they are.
    """
    strength = max(NOISES * noise, LEAST) ** 2
    size = 2 * RADIUS + 1
    result = np.empty_like(encoded)
    for channel in range(encoded.shape[2]):
        values = encoded[..., channel]
        mean = ndimage.uniform_filter(values, size)
        variance = np.maximum(ndimage.uniform_filter(values * values, size) - mean * mean, 0)
        gain = variance / (variance + strength)
        offset = ndimage.uniform_filter(mean * (1 - gain), size)
        result[..., channel] = ndimage.uniform_filter(gain, size) * values + offset
    return result
