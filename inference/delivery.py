"""The proof that the product in a picture is still the packshot's: its core, byte for byte.

The *core* is every pixel of the product whose alpha is 255 and which is opaque.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from finetune.core.compositing.frame import cut_to_frame
from finetune.core.compositing.glass import composite_glass
from finetune.core.compositing.placement import Placed
from finetune.core.pictures.images import Array
from finetune.core.pictures.masks import Mask


@dataclass(frozen=True)
class CoreCheck:
    """The product's core in a picture, compared with the packshot's."""

    pixels: int
    max_difference: int
    """Largest difference of any channel, 0..255; anything but 0 is a bug."""
    sha256: str
    """Of the core's RGB bytes, row by row."""


def core_sha256(picture: Array, core: Mask) -> str:
    """SHA-256 of the RGB bytes of the core's pixels, row by row."""
    return hashlib.sha256(np.ascontiguousarray(picture[core]).tobytes()).hexdigest()


def check_core(picture: Array, product: Array, core: Mask) -> CoreCheck:
    """Compare the core of a picture with the resampled packshot's.

    Args:
        picture: (H, W, 3) uint8, read back from the file.
        product: (H, W, 3) uint8, the packshot on the picture's canvas.
        core: (H, W) bool.
    """
    difference = np.abs(picture[core].astype(np.int16) - product[core].astype(np.int16))
    return CoreCheck(
        pixels=int(core.sum()),
        max_difference=int(difference.max()) if difference.size else 0,
        sha256=core_sha256(picture, core),
    )


def core_difference(scene: Image.Image, placed: Placed) -> int:
    """Largest change of the product's core in a preserve picture of a scene, through compositing and PNG.

    Uses the functions `place` delivers with; only 0 passes.

    Args:
        scene: RGB, at the size at which the base paints the frame.
        placed: The product on the delivered picture's canvas.
    """
    under = np.asarray(cut_to_frame(scene, placed.size))
    picture = composite_glass(placed.rgb, placed.matte, under, None)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="PNG")
    with Image.open(file) as opened:
        delivered = np.asarray(opened.convert("RGB"))
    return check_core(delivered, placed.rgb, placed.core).max_difference
