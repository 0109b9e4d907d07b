"""Pictures in and out: open safely, orient, convert to sRGB, resample with alpha, write atomically.

Pillow and numpy only. Pixel arrays are (H, W, C) or (H, W); uint8 in 0..255 unless a name says `linear`, which is
float32 in 0..1 of linear light (IEC 61966-2-1 transfer function).
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, PngImagePlugin, UnidentifiedImageError

from finetune.core.errors import ImageError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".heic", ".heif")
MAX_PIXELS = 200_000_000
MIN_SIDE = 32
Image.MAX_IMAGE_PIXELS = None  # the limit is ours, checked on the header before a pixel is decoded

Array = NDArray[np.uint8]
Floats = NDArray[np.float32]


def open_picture(path: Path, *, min_side: int = MIN_SIDE) -> Image.Image:
    """Open a picture as upright sRGB in mode RGB, or RGBA when it has transparency.

    Raises:
        ImageError: not a picture, truncated, under `min_side` pixels, or over 200 megapixels.
    """
    with _reading(path):
        _register_heic(path)
        with Image.open(path) as opened:
            _check_size(opened, path, min_side)
            opened.load()
            picture = _to_srgb(ImageOps.exif_transpose(opened), path)
    picture.info.clear()
    return picture


def open_mask(path: Path) -> Image.Image:
    """Open a mask as mode L: its alpha where it has one that says something, its luminance otherwise.

    Raises:
        ImageError: as for `open_picture`.
    """
    picture = open_picture(path, min_side=1)
    if picture.mode == "RGBA":
        alpha = picture.getchannel("A")
        if alpha.getextrema() != (255, 255):
            return alpha
    return picture.convert("RGB").convert("L")


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Map what Pillow raises on a bad file to an ImageError that names it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # EXIF oddities and palette notices tell the user nothing
            yield
    except ImageError:
        raise
    except FileNotFoundError as error:
        raise ImageError(f"no such picture: {path}") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{path.name} is not a picture", "remove it or export it again") from error
    except MemoryError as error:
        raise ImageError(f"{path.name} is too large for this machine's memory") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        reason = "truncated" if "truncated" in str(error) else "damaged"
        raise ImageError(f"{path.name} is {reason} ({error})", "copy or export the file again") from error


def _register_heic(path: Path) -> None:
    if path.suffix.lower() not in (".heic", ".heif"):
        return
    try:
        import pillow_heif
    except ImportError as error:
        raise ImageError(f"{path.name} is HEIC", "pip install 'packshot[heic]', or export it as JPEG") from error
    pillow_heif.register_heif_opener()


def _check_size(opened: Image.Image, path: Path, min_side: int) -> None:
    width, height = opened.size
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{path.name} claims {width}x{height} pixels, over the limit of {MAX_PIXELS // 1_000_000} megapixels",
            "scale it down; product photos need no more than 20 megapixels",
        )
    if min(width, height) < min_side:
        raise ImageError(f"{path.name} is only {width}x{height} pixels", f"give at least {min_side} a side")


def _to_srgb(picture: Image.Image, path: Path) -> Image.Image:
    profile = picture.info.get("icc_profile")
    if picture.mode in ("I;16", "I;16B", "I;16L", "I", "F"):
        picture = _sixteen_to_eight(picture)
    has_alpha = "A" in picture.getbands() or "transparency" in picture.info
    alpha = picture.convert("RGBA").getchannel("A") if has_alpha else None
    if profile and picture.mode in ("RGB", "RGBA", "L", "CMYK"):
        colour = _through_profile(picture, profile, path)
    else:
        colour = picture.convert("RGBA").convert("RGB") if has_alpha else picture.convert("RGB")
    if alpha is None or alpha.getextrema() == (255, 255):
        return colour
    colour.putalpha(alpha)
    return colour


def _through_profile(picture: Image.Image, profile: bytes, path: Path) -> Image.Image:
    """Convert through the embedded profile, relative colorimetric with black-point compensation."""
    source = picture.convert("RGB") if picture.mode == "RGBA" else picture
    try:
        converted = ImageCms.profileToProfile(
            source,
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError) as error:
        raise ImageError(f"{path.name} has a damaged colour profile", "export it again as sRGB") from error
    assert converted is not None
    return converted


def _sixteen_to_eight(picture: Image.Image) -> Image.Image:
    values = np.asarray(picture, dtype=np.float64)
    full = 65535.0 if values.max() > 255 else 255.0
    return Image.fromarray(np.clip(values / full * 255.0 + 0.5, 0, 255).astype(np.uint8))


def to_linear(values: Array | Floats) -> Floats:
    """sRGB (uint8, or float 0..1) -> linear light, float32 in 0..1."""
    if values.dtype == np.uint8:
        return _LINEAR[values]
    return _decoded(np.asarray(values, dtype=np.float32))


def _decoded(x: Floats) -> Floats:
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4).astype(np.float32)


_LINEAR = _decoded(np.arange(256, dtype=np.float32) / np.float32(255.0))


def to_srgb8(linear: Floats) -> Array:
    """Linear light, float 0..1 (clipped) -> sRGB uint8, rounded."""
    x = np.clip(linear, 0.0, 1.0)
    encoded = np.where(x <= 0.0031308, x * 12.92, 1.055 * np.power(x, 1 / 2.4) - 0.055)
    return (encoded * 255.0 + 0.5).astype(np.uint8)


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
        over: (H, W, 3) uint8. alpha: (H, W) float32 in 0..1. under: (H, W, 3) uint8.
    """
    a = alpha[..., None]
    mixed = to_srgb8(to_linear(over) * a + to_linear(under) * (1.0 - a))
    return np.where(a >= 1.0, over, np.where(a <= 0.0, under, mixed)).astype(np.uint8)


def letterbox(picture: Image.Image, size: tuple[int, int], fill: tuple[int, int, int]) -> Image.Image:
    """Fit an RGB picture into `size` (width, height) without cropping; the rest is `fill`."""
    return ImageOps.pad(picture.convert("RGB"), size, Image.Resampling.LANCZOS, color=fill)


def write_png(picture: Image.Image, path: Path, text: dict[str, str] | None = None) -> None:
    """Write a PNG under a temporary name and rename it, so that nobody ever sees half a file."""
    info = PngImagePlugin.PngInfo()
    for key, value in (text or {}).items():
        info.add_itxt(key, value)
    part = path.with_name(path.name + ".part")
    picture.save(part, format="PNG", pnginfo=info, compress_level=4)
    part.replace(path)
