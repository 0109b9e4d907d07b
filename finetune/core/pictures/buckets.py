"""Aspect buckets: sizes of about one area, at which a base is trained and paints.

For 1024 px those of SDXL's own sizes (Podell et al. 2023, arXiv 2307.01952, appendix I) whose sides differ by a factor
of at most two, the largest of each width: steps of 64 px, 90 to 100 % of the square's area. Other sizes scale, but
steps are never under 32 px: the VAE makes one latent of 8 pixels, and SDXL's UNet halves latents twice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

LEAST_STEP = 32
"""Pixels of one cell of the UNet's coarsest level: 8 of the VAE times 4."""
LONGEST = 2.0
"""Greatest ratio of the longer to the shorter side; SDXL's table goes on to 4, which no product picture needs."""
LEAST_AREA = 0.9
"""Least area, as a share of the square's."""

Bucket = tuple[int, int]
"""(width, height) in pixels."""


def bucket_sizes(size: int, *, aspect: bool) -> tuple[Bucket, ...]:
    """The buckets of a size, narrowest first.

    Args:
        size: side of the square bucket, a multiple of 32 px.
        aspect: False gives the square alone.
    """
    if not aspect:
        return ((size, size),)
    step = max(LEAST_STEP, math.ceil(size / 16 / LEAST_STEP) * LEAST_STEP)
    tall = []
    for width in range(step, size, step):
        height = size**2 // width // step * step  # the largest bucket of that width
        if width * height >= LEAST_AREA * size**2 and height <= LONGEST * width:
            tall.append((width, height))
    return (*tall, (size, size), *((height, width) for width, height in reversed(tall)))


def nearest(ratio: float, buckets: Sequence[Bucket]) -> Bucket:
    """The bucket whose width over height is nearest to a ratio, by factor."""
    return min(buckets, key=lambda bucket: (abs(math.log(bucket[0] / bucket[1] / ratio)), bucket))
