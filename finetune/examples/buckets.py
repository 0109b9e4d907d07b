"""Which aspect bucket suits an example of a product."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from finetune.core.pictures.buckets import Bucket, nearest


def for_product(ratio: float, buckets: Sequence[Bucket], rng: np.random.Generator) -> Bucket:
    """A random bucket between the square and the product's own shape.

    So a bottle appears in tall pictures and in square ones, as it will be placed, and never in a wide one.

    Args:
        ratio: the product's width over its height.
        buckets: to choose from.
        rng: the only source of randomness.
    """
    return nearest(float(ratio ** rng.uniform(0, 1)), buckets)
