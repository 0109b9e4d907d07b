"""Embedded profiles: pictures in wide gamuts, grey and CMYK become the sRGB that colour science says.

The profiles are written byte by byte from published primaries (ICC.1:2001-04), the expectation is computed here from
the same primaries: no colour engine has a say in it.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image
from skimage.color import deltaE_ciede2000, lab2xyz, rgb2lab

from finetune.core.errors import ImageError
from finetune.core.pictures.images import open_picture, read_mask, read_picture

D50, D65 = np.array([0.9642, 1.0, 0.8249]), np.array([0.3127 / 0.3290, 1.0, 0.3583 / 0.3290])
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
SRGB = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
ADOBE = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
PROPHOTO = ((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001))
Space = tuple[tuple[tuple[float, float], ...], np.ndarray, float]
SPACES: dict[str, Space] = {
    "Display P3": (P3, D65, 0.0),  # 0: the sRGB curve
    "Adobe RGB": (ADOBE, D65, 563 / 256),
    "ProPhoto": (PROPHOTO, D50, 1.8),
}


def to_d50(primaries: tuple[tuple[float, float], ...], white: np.ndarray) -> np.ndarray:
    """Linear RGB -> XYZ relative to D50, (3, 3)."""
    columns = np.array([[x / y, 1.0, (1 - x - y) / y] for x, y in primaries]).T
    to_xyz = columns * np.linalg.solve(columns, white)
    cones = (BRADFORD @ D50) / (BRADFORD @ white)
    return np.linalg.inv(BRADFORD) @ np.diag(cones) @ BRADFORD @ to_xyz


def srgb_encode(linear: np.ndarray) -> np.ndarray:
    x = np.clip(linear, 0, 1)
    return np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)


def srgb_decode(x: np.ndarray) -> np.ndarray:
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def expected(values: np.ndarray, space: Space) -> np.ndarray:
    """sRGB (0..1) of values 0..1 in a space."""
    primaries, white, gamma = space
    linear = values**gamma if gamma else srgb_decode(values)
    return srgb_encode(linear @ (np.linalg.inv(to_d50(SRGB, D65)) @ to_d50(primaries, white)).T)


def profile(kind: bytes, space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC version 2 profile, with the white point D50 that every profile connects through."""
    table, data, start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        padded = content + b"\0" * (-len(content) % 4)
        table += name + struct.pack(">II", start + len(data), len(content))
        data += padded
    header = struct.pack(
        ">I4sI4s4s4s12s4s", start + len(data), b"test", 0x02100000, kind, space, connection, b"", b"acsp"
    )
    header += b"\0" * 28 + struct.pack(">iii", *(round(v * 65536) for v in D50))
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + data


def xyz_tag(values: np.ndarray) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">iii", *(round(float(v) * 65536) for v in values))


def curve_tag(gamma: float) -> bytes:
    """One gamma, or the sRGB curve as 1024 points."""
    if gamma:
        return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))
    points = np.round(srgb_decode(np.linspace(0, 1, 1024)) * 65535).astype(">u2")
    return b"curv\0\0\0\0" + struct.pack(">I", 1024) + points.tobytes()


def matrix_profile(space: Space) -> bytes:
    primaries, white, gamma = space
    columns = to_d50(primaries, white).T
    tags = {b"wtpt": xyz_tag(D50)}
    tags |= {name + b"XYZ": xyz_tag(column) for name, column in zip((b"r", b"g", b"b"), columns, strict=True)}
    tags |= {name + b"TRC": curve_tag(gamma) for name in (b"r", b"g", b"b")}
    return profile(b"mntr", b"RGB ", b"XYZ ", tags)


INKS = {0: (100, 0, 0), 1: (55, -37, -50), 2: (48, 74, -3), 4: (89, -5, 93)}
"""Lab of paper, cyan, magenta and yellow; whatever has black in it is black, overprints are grey."""


def cmyk_profile() -> bytes:
    """A press with two grid points an ink, as a lut8 table to Lab."""
    lab = [(0, 0, 0) if n & 8 else INKS.get(n, (30, 0, 0)) for n in range(16)]
    grid = b""
    for cyan, magenta, yellow, black in np.ndindex(2, 2, 2, 2):
        light, a, b = lab[cyan | magenta << 1 | yellow << 2 | black << 3]
        grid += bytes([round(light * 2.55), a + 128, b + 128])
    identity = bytes(range(256))
    unit = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + unit + identity * 4 + grid + identity * 3
    return profile(b"prtr", b"CMYK", b"Lab ", {b"wtpt": xyz_tag(D50), b"A2B0": table})


def chart(rng: np.random.Generator, top: int) -> np.ndarray:
    """48 patches of 16 px, grey steps and random colours, as (96, 128, 3) values 0..`top`."""
    colours = rng.integers(0, top + 1, (48, 3))
    colours[:8] = np.linspace(0, top, 8).astype(int)[:, None]
    return np.repeat(np.repeat(colours.reshape(6, 8, 3), 16, axis=0), 16, axis=1)


def difference(picture: Image.Image, wanted: np.ndarray) -> float:
    """Largest CIEDE2000 over the patches' centres."""
    seen = np.asarray(picture.convert("RGB"))[8::16, 8::16] / 255
    return float(deltaE_ciede2000(rgb2lab(seen), rgb2lab(wanted[8::16, 8::16])).max())


def write_pillow(**options: object) -> Callable[[Path, np.ndarray, bytes], None]:
    def write(path: Path, values: np.ndarray, icc: bytes) -> None:
        Image.fromarray(values.astype(np.uint8)).save(path, icc_profile=icc, **options)

    return write


def write_tiff16(path: Path, values: np.ndarray, icc: bytes) -> None:
    tifffile.imwrite(path, values.astype(np.uint16), photometric="rgb", iccprofile=icc, compression="lzw", predictor=2)


def write_png16(path: Path, values: np.ndarray, icc: bytes) -> None:
    plain = imagecodecs.png_encode(values.astype(np.uint16))
    packed = imagecodecs.zlib_encode(icc)
    body = b"iCCPtest\0\0" + packed
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", imagecodecs.zlib_crc32(body))
    path.write_bytes(plain[:33] + chunk + plain[33:])  # behind the signature (8) and IHDR (25)


CONTAINERS: dict[str, tuple[Callable[[Path, np.ndarray, bytes], None], int, float]] = {
    "a.png": (write_pillow(), 255, 1.0),
    "a.tif": (write_pillow(compression="tiff_lzw"), 255, 1.0),
    "a.webp": (write_pillow(lossless=True, exact=True), 255, 1.0),
    "a.jpg": (write_pillow(quality=100, subsampling=0), 255, 2.0),
    "deep.tiff": (write_tiff16, 65535, 0.8),
    "deep.png": (write_png16, 65535, 0.8),
}
"""How each is written, its greatest value, and the CIEDE2000 allowed: 1 is what an eye just sees."""


@pytest.mark.parametrize("name", CONTAINERS)
@pytest.mark.parametrize("space", SPACES)
def test_wide_gamuts_become_srgb(tmp_path: Path, rng: np.random.Generator, space: str, name: str) -> None:
    write, top, allowed = CONTAINERS[name]
    values = chart(rng, top)
    write(tmp_path / name, values, matrix_profile(SPACES[space]))
    wanted = expected(values / top, SPACES[space])
    assert difference(open_picture(tmp_path / name), wanted) < allowed
    # had the profile been left out, it would show
    assert float(np.abs(wanted - values / top).max()) > 0.05


def test_heic_with_a_profile(tmp_path: Path, rng: np.random.Generator) -> None:
    heif = pytest.importorskip("pillow_heif")
    values = chart(rng, 255)
    picture = heif.from_pillow(Image.fromarray(values.astype(np.uint8)))
    picture.info["icc_profile"] = matrix_profile(SPACES["Display P3"])
    picture.save(tmp_path / "a.heic", quality=100, chroma=444)
    assert difference(open_picture(tmp_path / "a.heic"), expected(values / 255, SPACES["Display P3"])) < 4.0


def test_cmyk_through_its_profile_in_both_polarities(tmp_path: Path) -> None:
    """A CMYK TIFF holds ink, an Adobe CMYK JPEG 255 minus ink; both are the same colours."""
    inks = np.zeros((64, 16 * 5, 4), dtype=np.uint8)
    for index, ink in enumerate((0, 1, 2, 4, 8)):
        inks[:, 16 * index : 16 * index + 16] = [255 * bool(ink & 1 << bit) for bit in range(4)]
    picture = Image.frombytes("CMYK", (80, 64), inks.tobytes())
    picture.save(tmp_path / "a.tif", icc_profile=cmyk_profile())
    picture.save(tmp_path / "a.jpg", icc_profile=cmyk_profile(), quality=100, subsampling=0)
    assert b"Adobe" in (tmp_path / "a.jpg").read_bytes()
    lab = np.array([*INKS.values(), (0, 0, 0)], dtype=float)[None]
    xyz = lab2xyz(lab, illuminant="D50")
    wanted = srgb_encode(xyz @ np.linalg.inv(to_d50(SRGB, D65)).T)
    for name in ("a.tif", "a.jpg"):
        seen = np.asarray(open_picture(tmp_path / name))[32, 8::16][None] / 255
        assert deltaE_ciede2000(rgb2lab(seen), rgb2lab(wanted)).max() < 2.0, name
    assert read_picture(tmp_path / "a.jpg").remarks == ()


def test_cmyk_without_a_profile_is_a_guess_and_says_so(tmp_path: Path) -> None:
    Image.new("CMYK", (40, 40), (0, 255, 255, 0)).save(tmp_path / "a.tif")
    found = read_picture(tmp_path / "a.tif")
    assert np.asarray(found.picture)[20, 20].tolist() == [255, 0, 0]
    (remark,) = found.remarks
    assert remark.what == "the file is CMYK without a colour profile: its colours are estimated"


def test_grey_with_a_profile_is_managed_and_a_mask_is_not(tmp_path: Path) -> None:
    icc = profile(b"mntr", b"GRAY", b"XYZ ", {b"wtpt": xyz_tag(D50), b"kTRC": curve_tag(1.0)})  # linear light
    Image.new("L", (40, 40), 55).save(tmp_path / "a.png", icc_profile=icc)
    wanted = float(srgb_encode(np.array(55 / 255))) * 255
    assert np.asarray(open_picture(tmp_path / "a.png"))[0, 0] == pytest.approx([wanted] * 3, abs=1)
    assert read_mask(tmp_path / "a.png").picture.getextrema() == (55, 55)


def test_a_palette_goes_through_its_profile(tmp_path: Path, rng: np.random.Generator) -> None:
    values = chart(rng, 255)
    palette = Image.fromarray(values.astype(np.uint8)).quantize(256, dither=Image.Dither.NONE)
    palette.save(tmp_path / "a.png", icc_profile=matrix_profile(SPACES["Adobe RGB"]))
    held = np.asarray(palette.convert("RGB")) / 255
    assert difference(open_picture(tmp_path / "a.png"), expected(held, SPACES["Adobe RGB"])) < 1.0


def test_a_profile_for_other_colours_is_left_out_and_said(tmp_path: Path) -> None:
    Image.new("L", (40, 40), 90).save(tmp_path / "a.png", icc_profile=matrix_profile(SPACES["Adobe RGB"]))
    found = read_picture(tmp_path / "a.png")
    assert np.asarray(found.picture)[0, 0].tolist() == [90, 90, 90]
    assert "profile is for RGB but the pixels are grey" in found.remarks[0].what


def test_a_cameras_adobe_rgb_mark_counts(tmp_path: Path, rng: np.random.Generator) -> None:
    values = chart(rng, 255)
    picture = Image.fromarray(values.astype(np.uint8))
    exif = picture.getexif()
    exif.get_ifd(0x8769)[0xA001] = 65535  # "uncalibrated"
    exif.get_ifd(0x8769)[0xA005] = {1: "R03", 2: b"0100"}
    held = io.BytesIO()
    picture.save(held, "JPEG", exif=exif, quality=100, subsampling=0)
    (tmp_path / "_DSC1.jpg").write_bytes(held.getvalue())
    assert difference(open_picture(tmp_path / "_DSC1.jpg"), expected(values / 255, SPACES["Adobe RGB"])) < 2.0


@pytest.mark.parametrize("broken", [b"no profile at all", matrix_profile(SPACES["Adobe RGB"])[:200]])
def test_a_damaged_profile_is_refused(tmp_path: Path, broken: bytes) -> None:
    Image.new("RGB", (40, 40), (200, 30, 60)).save(tmp_path / "a.png", icc_profile=broken)
    with pytest.raises(ImageError, match="damaged colour profile"):
        open_picture(tmp_path / "a.png")
