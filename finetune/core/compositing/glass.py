"""Compositing a product over a scene, the scene showing through its glass; the same for training and for placing.

The glass layer is RGBA at the cutout's size: RGB is the transmittance T per channel as sRGB would show it, A the share
g of each pixel that transmits. A product pixel is its own light (1 - g) F plus the scene's g T S, with F the cutout's
colour.
"""

from __future__ import annotations

import numpy as np

from finetune.core.pictures.images import Array, Floats, composite, to_linear, to_srgb8
from finetune.core.pictures.masks import Mask


def composite_glass(over: Array, alpha: Floats, under: Array, glass: Array | None) -> Array:
    """`alpha` ((1 - g) over + g T under) + (1 - `alpha`) under in linear light.

    Where alpha is 1 and g is 0 the bytes of `over` are copied, where alpha is 0 those of `under`.

    Args:
        over: (H, W, 3) uint8, the product.
        alpha: (H, W) in 0..1.
        under: (H, W, 3) uint8, the scene.
        glass: (H, W, 4) uint8, or None for an opaque product.
    """
    plain = composite(over, alpha, under)
    if glass is None or not glass[..., 3].any():
        return plain
    rows, columns = np.nonzero(glass[..., 3])
    scene = to_linear(under[rows, columns])
    a = alpha[rows, columns][:, None]
    g = glass[rows, columns, 3:].astype(np.float32) / np.float32(255)
    through = (1 - g) * to_linear(over[rows, columns]) + g * to_linear(glass[rows, columns, :3]) * scene
    plain[rows, columns] = to_srgb8((a * through + (1 - a) * scene).astype(np.float32))
    return plain


def opaque_core(canvas: Array, glass: Array | None) -> Mask:
    """Pixels that reach a picture unchanged, (H, W) bool: alpha 255 and nothing transmitted.

    Args:
        canvas: (H, W, 4) uint8, the cutout at its place.
        glass: (H, W, 4) uint8, or None for an opaque product.
    """
    core = canvas[..., 3] == 255
    return np.asarray(core if glass is None else core & (glass[..., 3] == 0))
