"""Examples for the latent cache."""

from __future__ import annotations

import numpy as np

from finetune.latents.cache import Row


def example(number: int, size: int = 64) -> Row:
    picture = np.random.default_rng(number).integers(0, 256, (size, size, 3), dtype=np.uint8)
    product = np.zeros((size, size), dtype=bool)
    product[size // 4 : size // 2, size // 4 : size // 2] = True
    return Row(picture, product, f"a photo of thing {number % 2}", "background", number, (size, size, 0, 0, size, size))
