"""Aspect buckets: the frames training examples come in, all of about the same area, and which one suits a product.

For 1024 px those of SDXL's own sizes (Podell et al. 2023, arXiv 2307.01952, appendix I) whose sides differ by a factor
of at most two, the largest of each width: steps of 64 px, 90 to 100 % of the square's area. Other sizes scale, but
never under 32 px: the VAE makes one latent of 8 pixels, and SDXL's UNet halves latents twice. Called by the recipe
`prepare`'s parts; pure arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

LEAST_STEP = 32
"""Pixels of one cell of the UNet's coarsest level: 8 of the VAE times 4."""
LONGEST = 2.0
"""Longer side over shorter, at most; SDXL's table goes on to 4, where no product picture is."""
LEAST_AREA = 0.9
"""Least area, share of the square's."""

Frame = tuple[int, int]
"""(width, height) in pixels."""


def frames(size: int, *, buckets: bool) -> tuple[Frame, ...]:
    """Every frame of a size, narrowest first; without buckets the square alone.

    Args:
        size: side of the square frame, a multiple of 32 px.
    """
    if not buckets:
        return ((size, size),)
    step = max(LEAST_STEP, math.ceil(size / 16 / LEAST_STEP) * LEAST_STEP)
    tall = []
    for width in range(step, size, step):
        height = size**2 // width // step * step  # the largest frame of that width
        if width * height >= LEAST_AREA * size**2 and height <= LONGEST * width:
            tall.append((width, height))
    return (*tall, (size, size), *((height, width) for width, height in reversed(tall)))


def nearest(ratio: float, choice: Sequence[Frame]) -> Frame:
    """The frame whose width over height is nearest to a ratio, by factor."""
    return min(choice, key=lambda frame: (abs(math.log(frame[0] / frame[1] / ratio)), frame))


def for_product(ratio: float, choice: Sequence[Frame], rng: np.random.Generator) -> Frame:
    """A frame for a product of a ratio: somewhere between the square and the product's own shape.

    So a bottle is seen in tall frames and in square ones, as it will be placed, and never in a wide one.
    """
    return nearest(float(ratio ** rng.uniform(0, 1)), choice)
