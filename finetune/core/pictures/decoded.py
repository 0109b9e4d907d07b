"""A decoded picture still in its file's own colours, and its conversion to sRGB strip by strip.

Strips keep the memory of large pictures low: the whole picture is never converted at once. No file is read or written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from finetune.core.pictures.icc import as_srgb, eight_bits, to_srgb

ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation (EXIF 2.32, tag 274) -> what turns the picture upright."""


@dataclass(frozen=True)
class Remark:
    """Something unusual about a file that was read nevertheless."""

    what: str
    why: str
    cure: str
    serious: bool = True
    """False: for information only, nothing to correct."""


@dataclass(frozen=True)
class DecodedPicture:
    """The first picture of a file, decoded."""

    name: str
    """File name."""
    pixels: Image.Image | NDArray[np.uint16]
    """Mode L, LA, RGB, RGBA or CMYK; or (H, W, C) of 16 bits, with 0 for no ink where it is CMYK."""
    space: str
    """`gray`, `rgb` or `cmyk`."""
    alpha: bool
    """Whether the last channel is transparency (straight alpha)."""
    profile: bytes
    """The ICC profile to convert through; empty for sRGB."""
    orientation: int
    """EXIF orientation, 1 to 8."""
    pictures: int
    """How many pictures the file holds."""
    remarks: tuple[Remark, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) as stored, before it is turned upright."""
        if isinstance(self.pixels, Image.Image):
            return self.pixels.size
        return self.pixels.shape[1], self.pixels.shape[0]

    def strip(self, top: int, bottom: int, *, managed: bool = True) -> NDArray[np.uint8]:
        """Convert some rows to sRGB.

        Args:
            top: first row, inside.
            bottom: last row, outside.
            managed: convert through the colour profile; False for data such as masks, which are not colours.

        Returns:
            (bottom - top, W, 3) uint8, or 4 channels with straight alpha.

        Raises:
            ImageError: the colour profile is damaged.
        """
        if isinstance(self.pixels, Image.Image):
            rows: NDArray[Any] = np.asarray(self.pixels.crop((0, top, self.pixels.width, bottom)))
        else:
            rows = self.pixels[top:bottom]
        rows = rows[..., None] if rows.ndim == 2 else rows
        colour = rows[..., :-1] if self.alpha else rows
        through = self.profile and managed
        shown = to_srgb(colour, self.space, self.profile, self.name) if through else as_srgb(colour)
        return np.concatenate([shown, eight_bits(rows[..., -1:])], axis=-1) if self.alpha else shown

    def upright(self, picture: Image.Image) -> Image.Image:
        """Turn a picture as the EXIF orientation says."""
        turn = ORIENTATIONS.get(self.orientation)
        return picture if turn is None else picture.transpose(turn)
