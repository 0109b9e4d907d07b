"""Reading pictures as upright sRGB, resampling them with alpha, compositing them, and writing them atomically.

Pixel arrays are (H, W, C) or (H, W); uint8 in 0..255 unless a name says `linear`, which is
float32 in 0..1 of linear light (IEC 61966-2-1 transfer function).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from finetune.core.pictures.decoded import DecodedPicture, Remark
from finetune.core.pictures.decoding import SUFFIX_FORMATS, decode
from finetune.core.storage.durable import atomic_write

SUFFIXES = tuple(SUFFIX_FORMATS)
MIN_SIDE = 32
STRIP_PIXELS = 4_000_000
"""Pixels of a large picture that are converted and scaled down at a time."""
STRIP_MARGIN = 2
"""Rows of the result that a strip overlaps its neighbours by: the filter reaches one."""

Array = NDArray[np.uint8]
Floats = NDArray[np.float32]

LUMINANCE = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)
"""Relative luminance of linear red, green and blue (IEC 61966-2-1, ITU-R BT.709)."""


@dataclass(frozen=True)
class Reading:
    """A picture that was read, with remarks on its file."""

    picture: Image.Image
    """Upright sRGB, RGB, or RGBA where it has transparency."""
    original_size: tuple[int, int]
    """(width, height) in the file, upright; `picture` is smaller where it was scaled down."""
    remarks: tuple[Remark, ...]
    orientation: int = 1
    """EXIF orientation of the file, 1 to 8; `picture` is upright already."""


def open_picture(path: Path, *, min_side: int = MIN_SIDE) -> Image.Image:
    """Open a picture as upright sRGB in mode RGB, or RGBA if it has transparency.

    Args:
        path: of the file.
        min_side: least width and height in pixels.

    Raises:
        ImageError: not a picture, truncated, under `min_side` pixels, or over 200 megapixels.
    """
    return read_picture(path, min_side=min_side).picture


def read_picture(path: Path, *, min_side: int = MIN_SIDE, max_pixels: int | None = None) -> Reading:
    """Read a picture as upright sRGB, with remarks on what is unusual about its file.

    Args:
        path: of the file.
        min_side: least width and height in pixels.
        max_pixels: a larger picture is scaled down to this many, in linear light, so that edges stay the mixtures of
            product and ground they were. None: as large as it is.

    Raises:
        ImageError: not a picture, truncated, under `min_side` pixels, or over 200 megapixels.
    """
    return _read(path, min_side, max_pixels, managed=True)


def read_mask(path: Path, *, max_pixels: int | None = None) -> Reading:
    """Read a mask as mode L: its alpha channel if it has one that is not opaque throughout, else its luminance.

    A mask is data: colour profiles are ignored, and scaling down averages coverage, not light.

    Args:
        path: of the file.
        max_pixels: a larger mask is scaled down to this many; None: as large as it is.

    Raises:
        ImageError: as for `read_picture`.
    """
    found = _read(path, 1, max_pixels, managed=False)
    alpha = found.picture.getchannel("A") if found.picture.mode == "RGBA" else None
    mask = alpha if alpha is not None else found.picture.convert("L")
    return Reading(mask, found.original_size, found.remarks, found.orientation)


def _read(path: Path, min_side: int, max_pixels: int | None, *, managed: bool) -> Reading:
    decoded = decode(path, min_side=min_side)
    width, height = decoded.size
    original = decoded.upright(Image.new("1", decoded.size)).size
    remarks = decoded.remarks
    if max_pixels is not None and width * height > max_pixels:
        scale = math.sqrt(max_pixels / (width * height))
        size = (max(1, int(width * scale)), max(1, int(height * scale)))
        pixels = _scaled_down(decoded, size, managed=managed)
    else:
        pixels = decoded.strip(0, height, managed=managed)
    if pixels.shape[-1] == 4 and pixels[..., 3].min() == 255:
        pixels = pixels[..., :3]
    picture = decoded.upright(Image.fromarray(np.ascontiguousarray(pixels)))
    if picture.size != original:
        what = f"the photo is scaled down from {original[0]}x{original[1]} to {picture.width}x{picture.height} pixels"
        why = f"max_megapixels limits photos to {(max_pixels or 0) / 1e6:g} megapixels, to save memory"
        cure = "raise it in set.yaml if scenes need more pixels of the product"
        remarks = (*remarks, Remark(what, why, cure, serious=False))
    return Reading(picture, original, remarks, decoded.orientation)


def _scaled_down(decoded: DecodedPicture, size: tuple[int, int], *, managed: bool) -> Array:
    """A picture scaled down to `size` (width, height) strip by strip, (H, W, 3 or 4).

    Strips overlap a little and are then cut to size, so that no seam shows. The filter is Hamming's window: nearly as
    sharp as Lanczos and without its overshoot, which no mixture of two colours explains.
    """
    width, height = size
    scale = decoded.size[1] / height
    rows = max(1, STRIP_PIXELS // decoded.size[0])
    step = max(1, int(rows / scale))
    pieces = []
    for first in range(0, height, step):
        last = min(first + step, height)
        low, high = max(first - STRIP_MARGIN, 0), min(last + STRIP_MARGIN, height)
        top, bottom = int(low * scale), min(math.ceil(high * scale), decoded.size[1])
        strip = decoded.strip(top, bottom, managed=managed)
        box = (0, low * scale - top, decoded.size[0], min(high * scale, bottom) - top)
        piece = _averaged(strip, (width, high - low), box, light=managed)
        pieces.append(piece[first - low : last - low])
    return np.concatenate(pieces)


def _averaged(strip: Array, size: tuple[int, int], box: tuple[float, float, float, float], *, light: bool) -> Array:
    """Resample a strip: colours as linear light weighted by alpha, or every channel as plain data (`light` False)."""

    def shrink(plane: Floats) -> Floats:
        return np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.HAMMING, box), dtype=np.float32)

    if not light:
        planes = [shrink(strip[..., c].astype(np.float32)) for c in range(strip.shape[-1])]
        return (np.stack(planes, axis=-1) + 0.5).astype(np.uint8)
    if strip.shape[-1] == 3:
        return to_srgb8(np.stack([shrink(to_linear(strip[..., c])) for c in range(3)], axis=-1))
    alpha: Floats = strip[..., 3].astype(np.float32) / np.float32(255)
    cover = shrink(alpha)
    colour = [shrink(to_linear(strip[..., c]) * alpha) / np.maximum(cover, 1e-4) for c in range(3)]
    return np.dstack([to_srgb8(np.stack(colour, axis=-1)), (cover * 255 + 0.5).astype(np.uint8)])


def to_float(pixels: Array) -> Floats:
    """uint8 -> the same values as float32 in 0..1."""
    return np.asarray(pixels / np.float32(255), dtype=np.float32)


def to_linear(values: Array | Floats) -> Floats:
    """sRGB (uint8, or float 0..1) -> linear light, float32 in 0..1."""
    if isinstance(values, np.ndarray) and values.dtype == np.uint8:
        return LINEAR[values]
    return _decoded(np.asarray(values, dtype=np.float32))


def _decoded(x: Floats) -> Floats:
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4).astype(np.float32)


LINEAR = _decoded(np.arange(256, dtype=np.float32) / 255.0)
"""Linear light of each of the 256 values."""


def to_srgb8(linear: Floats) -> Array:
    """Linear light, float 0..1 (clipped) -> sRGB uint8, rounded."""
    return (to_srgb(linear) * 255.0 + 0.5).astype(np.uint8)


def to_srgb(linear: Floats) -> Floats:
    """Linear light, float 0..1 (clipped) -> sRGB, float 0..1."""
    x = np.clip(linear, 0.0, 1.0)
    return np.asarray(np.where(x <= 0.0031308, x * 12.92, 1.055 * np.power(x, 1 / 2.4) - 0.055))


def resize_rgba(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resample RGBA to `size` (width, height): Lanczos on premultiplied linear light, so edges keep their colour."""
    if picture.size == size:
        return picture.copy()
    pixels = np.asarray(picture.convert("RGBA"))
    alpha = pixels[..., 3].astype(np.float32) / 255.0
    planes = [to_linear(pixels[..., c]) * alpha for c in range(3)] + [alpha]
    red, green, blue, cover = (
        np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.LANCZOS)) for plane in planes
    )
    cover = np.clip(cover, 0.0, 1.0)
    safe = np.maximum(cover, 1e-4)
    colour = to_srgb8(np.stack([red / safe, green / safe, blue / safe], axis=-1).astype(np.float32))
    return Image.fromarray(np.dstack([colour, (cover * 255.0 + 0.5).astype(np.uint8)]))


def composite(over: Array, alpha: Floats, under: Array) -> Array:
    """`alpha`*over + (1-`alpha`)*under in linear light; where alpha is exactly 1 or 0 the bytes are copied.

    Args:
        over: (H, W, 3) uint8.
        alpha: (H, W) float32 in 0..1.
        under: (H, W, 3) uint8.

    Returns:
        (H, W, 3) uint8.
    """
    a = alpha[..., None]
    mixed = to_srgb8(to_linear(over) * a + to_linear(under) * (1.0 - a))
    return np.where(a >= 1.0, over, np.where(a <= 0.0, under, mixed)).astype(np.uint8)


def over(picture: Image.Image, colour: str | tuple[int, int, int]) -> Image.Image:
    """A picture without transparency, on a ground of one colour.

    Args:
        picture: of any mode; one without an alpha channel is only converted.
        colour: of the ground, sRGB.

    Returns:
        RGB.
    """
    if picture.mode != "RGBA":
        return picture.convert("RGB")
    ground = Image.new("RGB", picture.size, colour).convert("RGBA")
    return Image.alpha_composite(ground, picture).convert("RGB")


def write_png(picture: Image.Image, path: Path, text: dict[str, str] | None = None) -> None:
    """Write a PNG under a temporary name and rename it, so that nobody ever sees half a file."""
    info = PngImagePlugin.PngInfo()
    for key, value in (text or {}).items():
        info.add_itxt(key, value)
    with atomic_write(path) as part:
        picture.save(part, format="PNG", pnginfo=info, compress_level=4)
