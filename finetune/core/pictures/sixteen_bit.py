"""Pictures of 16 bits a channel, of which Pillow keeps the upper 8: TIFF by tifffile, PNG by imagecodecs.

What the decoders raise on damaged bytes passes through; files are never changed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.core.errors import ImageError
from finetune.core.pictures.decoded import DecodedPicture

DEEP_PIXELS = 50_000_000
"""Largest PNG decoded at 16 bits, in pixels: the decoder holds the whole file and all its pixels in memory. Larger ones
are scaled down on reading anyway, and Pillow's 8 bits of them are within one level."""
COLOURS = {"MINISBLACK": ("gray", 1), "MINISWHITE": ("gray", 1), "RGB": ("rgb", 3), "SEPARATED": ("cmyk", 4)}
"""Names of TIFF's photometric interpretations that can be shown: space and number of colours."""
EXPORT = "export it as RGB with 8 or 16 bits"


def read_deep_tiff(path: Path, check_size: Callable[[tuple[int, int]], None]) -> DecodedPicture | None:
    """Read the first page of a 16-bit TIFF; None for one of up to 8 bits, which Pillow decodes.

    Args:
        path: of the file.
        check_size: called with (width, height) before a pixel is decoded.

    Raises:
        ImageError: it holds floating-point numbers, or colours that are neither grey, RGB nor CMYK.
    """
    import tifffile

    with tifffile.TiffFile(path) as opened:
        page: Any = opened.pages[0]
        if page.bitspersample <= 8:
            return None
        check_size((page.imagewidth, page.imagelength))
        if page.dtype != np.uint16:
            raise ImageError(f"{path.name} holds {page.bitspersample}-bit values of type {page.dtype}", EXPORT)
        photometric = tifffile.PHOTOMETRIC(page.photometric).name
        if photometric not in COLOURS:
            raise ImageError(f"{path.name} uses the colour space {photometric}, which is not supported", EXPORT)
        space, colours = COLOURS[photometric]
        values = page.asarray()
        if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and values.ndim == 3:
            values = np.moveaxis(values, 0, -1)
        values = values[..., None] if values.ndim == 2 else values
        if values.ndim != 3 or values.shape[-1] < colours:
            raise ImageError(f"{path.name} is not a flat picture: its pixels have the shape {values.shape}", EXPORT)
        if photometric == "MINISWHITE":
            values = 65535 - values
        extra = page.extrasamples[0] if page.extrasamples else None
        alpha = extra in (tifffile.EXTRASAMPLE.ASSOCALPHA, tifffile.EXTRASAMPLE.UNASSALPHA)
        values = values[..., : colours + alpha]  # an unspecified extra channel is a saved selection, not transparency
        if extra == tifffile.EXTRASAMPLE.ASSOCALPHA:
            values = _unmultiplied(values)
        orientation = int(page.tags.valueof(274, 1))
        profile = bytes(page.iccprofile or b"")
        return DecodedPicture(path.name, values, space, alpha, profile, orientation, len(opened.pages))


def _unmultiplied(values: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Straight colours of premultiplied ones."""
    cover = np.maximum(values[..., -1:], 1).astype(np.float32) / 65535
    colour = np.minimum(values[..., :-1] / cover + 0.5, 65535).astype(np.uint16)
    return np.concatenate([colour, values[..., -1:]], axis=-1)


def is_deep_png(head: bytes) -> bool:
    """Whether a PNG's header (its first 32 bytes) says 16 bits, and few enough pixels to decode them all."""
    if head[:8] != b"\x89PNG\r\n\x1a\n" or head[24] != 16:
        return False
    return int.from_bytes(head[16:20]) * int.from_bytes(head[20:24]) <= DEEP_PIXELS


def decode_deep_png(path: Path) -> NDArray[np.uint16]:
    """The pixels of a 16-bit PNG, (H, W, C): grey, grey and alpha, RGB or RGBA."""
    import imagecodecs

    values = np.asarray(imagecodecs.png_decode(path.read_bytes()))
    return values[..., None] if values.ndim == 2 else values
