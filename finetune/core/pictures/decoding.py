"""Decoding of picture files: the first picture of a JPEG, PNG, WebP, TIFF or HEIC file.

The format is recognised by content, never by suffix, and only those of `FORMATS` are tried, so that no file reaches a
decoder that runs programs (EPS). An unusual but readable file gets a `Remark`, an unreadable one raises an
`ImageError`. Files are never changed.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from finetune.core.errors import ImageError
from finetune.core.pictures.decoded import DecodedPicture, Remark
from finetune.core.pictures.icc import adobe_rgb, profile_space
from finetune.core.pictures.sixteen_bit import EXPORT, decode_deep_png, is_deep_png, read_deep_tiff

FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "TIFF", "HEIF", "GIF", "BMP", "AVIF")
"""Pillow's names of the formats that are opened. The last three have no accepted suffix: their files come misnamed."""
NAMES = {"MPO": "JPEG", "WEBP": "WebP", "HEIF": "HEIC"}
SUFFIX_FORMATS = {
    **dict.fromkeys((".jpg", ".jpeg"), "JPEG"),
    **{".png": "PNG", ".webp": "WebP"},
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    **dict.fromkeys((".heic", ".heif"), "HEIC"),
}
MAX_PIXELS = 200_000_000
Image.MAX_IMAGE_PIXELS = None  # the limit is ours, checked on the header before a pixel is decoded

ORIENTATION = 0x0112
EXIF_PART, INTEROPERABILITY_PART, INTEROPERABILITY_INDEX = 0x8769, 0xA005, 1
MODES = {
    "L": ("gray", False),
    "LA": ("gray", True),
    "RGB": ("rgb", False),
    "RGBA": ("rgb", True),
    "CMYK": ("cmyk", False),
}
"""Pillow's mode of a decoded picture -> (colour space, has alpha)."""
NAMES_OF_SPACES = {"gray": "grey", "rgb": "RGB", "cmyk": "CMYK"}
HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def decode(path: Path, *, min_side: int) -> DecodedPicture:
    """Decode the first picture of a file.

    Args:
        path: of the file.
        min_side: least width and height in pixels.

    Raises:
        ImageError: no file, no picture, truncated, under `min_side` pixels a side or over 200 megapixels, in a colour
            mode that cannot be shown as sRGB, or HEIC without the extra.
    """
    with _reading(path):
        if not path.exists():
            raise FileNotFoundError(path)
        if not path.is_file():
            raise ImageError(f"{path.name} is not a file", "remove it, or put the picture itself in its place")
        with path.open("rb") as handle:
            head = handle.read(32)
        if not head:
            raise ImageError(f"{path.name} is empty", "copy or export the file again")
        if head[4:8] == b"ftyp" and head[8:12] in HEIF_BRANDS:
            _register_heif(path)
        if head[:4] in TIFF_SIGNATURES:
            deep = read_deep_tiff(path, lambda size: _check_size(size, path, min_side))
            if deep is not None:
                return _remarked(deep, path, "TIFF")
        return _with_pillow(path, head, min_side)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Map what the decoders raise on a bad file to an ImageError that names it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # EXIF oddities and palette notices tell the user nothing
            yield
    except ImageError:
        raise
    except FileNotFoundError as error:
        raise ImageError(f"there is no picture {path}", "check the path") from error
    except PermissionError as error:
        raise ImageError(f"{path.name} cannot be read: permission denied", "grant read permission") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{path.name} is not a picture", "remove it or export it again") from error
    except MemoryError as error:
        raise ImageError(f"{path.name} does not fit into this machine's memory", "scale it down") from error
    except Exception as error:  # on damaged bytes decoders raise anything, from struct.error to IndexError
        reason = "truncated" if "truncated" in str(error) else "damaged"
        raise ImageError(f"{path.name} is {reason} ({error})", "copy or export the file again") from error


def _register_heif(path: Path) -> None:
    try:
        import pillow_heif
    except ImportError as error:
        raise ImageError(
            f"{path.name} is HEIC, which needs the extra `heic`", "pip install 'packshot[heic]', or export it as JPEG"
        ) from error
    pillow_heif.register_heif_opener()


def _check_size(size: tuple[int, int], path: Path, min_side: int) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{path.name} claims {width}x{height} pixels, over the limit of {MAX_PIXELS // 1_000_000} megapixels",
            "scale it down; product photos need no more than 20 megapixels",
        )
    if min(width, height) < min_side:
        raise ImageError(f"{path.name} is only {width}x{height} pixels", f"each side needs at least {min_side} pixels")


def _with_pillow(path: Path, head: bytes, min_side: int) -> DecodedPicture:
    Image.init()  # without it only the most usual formats are there to be named
    with Image.open(path, formats=[name for name in FORMATS if name in Image.OPEN]) as opened:
        _check_size(opened.size, path, min_side)
        told = NAMES.get(opened.format or "", opened.format or "")
        profile = opened.info.get("icc_profile") or b""
        if not profile and _is_adobe_rgb(opened.getexif()):
            profile = adobe_rgb()
        # what a phone's JPEG (MPO) holds besides are previews and depth maps
        pictures = 1 if opened.format == "MPO" else getattr(opened, "n_frames", 1)
        primaries = (opened.info.get("nclx_profile") or {}).get("color_primaries", 1)
        pixels: Image.Image | NDArray[np.uint16]
        if is_deep_png(head) and "transparency" not in opened.info:
            pixels = decode_deep_png(path)
            space, alpha = ("rgb" if pixels.shape[-1] > 2 else "gray"), pixels.shape[-1] in (2, 4)
        else:
            opened.load()
            pixels = _plain_mode(opened, path)
            space, alpha = MODES[pixels.mode]
        # read after loading: Pillow rotates a TIFF by itself and then deletes the tag
        orientation = opened.getexif().get(ORIENTATION, 1)
    decoded = DecodedPicture(path.name, pixels, space, alpha, profile, orientation, pictures)
    return _remarked(decoded, path, told, wide=primaries not in (1, 2))


def _is_adobe_rgb(exif: Image.Exif) -> bool:
    """Cameras mark an Adobe RGB file by the interoperability index R03 and embed no profile (DCF 2.0)."""
    if INTEROPERABILITY_PART not in exif.get_ifd(EXIF_PART):
        return False
    return bool(exif.get_ifd(INTEROPERABILITY_PART).get(INTEROPERABILITY_INDEX) == "R03")


def _plain_mode(opened: Image.Image, path: Path) -> Image.Image:
    """The picture in one of `MODES`: palettes and colour keys resolved, premultiplied colours made straight."""
    if "transparency" in opened.info or opened.mode in ("PA", "RGBa", "La"):
        return opened.convert("LA" if opened.mode == "La" else "RGBA")
    if opened.mode in ("I;16", "I;16B", "I;16L"):  # a grey PNG too large to be decoded at 16 bits
        return Image.fromarray(((np.asarray(opened).astype(np.uint32) + 128) // 257).astype(np.uint8))
    if opened.mode == "1":
        return opened.convert("L")
    if opened.mode in ("P", "RGBX"):
        return opened.convert("RGB")
    if opened.mode not in MODES:
        raise ImageError(f"{path.name} is in the colour mode {opened.mode}", EXPORT)
    return opened  # its pixels are loaded; a copy would take 400 MB more of a 100-megapixel picture


def _remarked(decoded: DecodedPicture, path: Path, told: str, *, wide: bool = False) -> DecodedPicture:
    """Add remarks on what is unusual about the file; drop a profile made for another colour space."""
    remarks, profile = [], decoded.profile
    expected = SUFFIX_FORMATS.get(path.suffix.lower())
    if expected and told != expected:
        what = f"the file is named {expected} but contains {told}"
        cure = f"rename it, or export it again as {expected}"
        remarks.append(Remark(what, "other programs may refuse to open it", cure))
    if decoded.pictures > 1:
        remarks.append(
            Remark(
                f"the file holds {decoded.pictures} pictures; only the first is used",
                "training does not see the other frames or pages",
                "save the others as separate photos if they matter",
            )
        )
    if profile and profile_space(profile) in ("rgb", "gray", "cmyk") and profile_space(profile) != decoded.space:
        what = f"the colour profile is for {NAMES_OF_SPACES[profile_space(profile)]} but the pixels are "
        what += f"{NAMES_OF_SPACES[decoded.space]}: the profile is ignored"
        remarks.append(Remark(what, "colours may be slightly wrong", "export it again as sRGB"))
        profile = b""
    if not profile and decoded.space == "cmyk":
        what = "the file is CMYK without a colour profile: its colours are estimated"
        remarks.append(Remark(what, "inks differ, so the product's colours may be wrong", "export it as sRGB"))
    if wide and not profile:
        what = "the file uses a gamut wider than sRGB but has no ICC profile: its values are read as sRGB"
        remarks.append(Remark(what, "the product's colours come out too pale", "export it as sRGB"))
    return replace(decoded, profile=profile, remarks=tuple(remarks))
