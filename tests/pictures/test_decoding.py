"""Reading picture files: the same pixels from every container, odd files said, bad files refused by name."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from finetune.core.errors import ImageError
from finetune.core.pictures.images import open_picture, read_picture

Write = Callable[[Path, np.ndarray], None]


def photo(rng: np.random.Generator, size: tuple[int, int] = (120, 80)) -> np.ndarray:
    """Smooth random colours, (H, W, 3) uint8: what JPEG can hold."""
    noise = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    return np.asarray(noise.filter(ImageFilter.GaussianBlur(6)).point(lambda v: min(255, max(0, 5 * v - 512))))


def pillow(**options: object) -> Write:
    return lambda path, pixels: Image.fromarray(pixels).save(path, **options)


def tiff16(**options: object) -> Write:
    return lambda path, pixels: tifffile.imwrite(path, pixels.astype(np.uint16) * 257, photometric="rgb", **options)


def tiff16_planes(path: Path, pixels: np.ndarray) -> None:
    planes = np.ascontiguousarray(np.moveaxis(pixels, -1, 0).astype(np.uint16) * 257)
    tifffile.imwrite(path, planes, photometric="rgb", planarconfig="separate")


def png16(path: Path, pixels: np.ndarray) -> None:
    path.write_bytes(imagecodecs.png_encode(pixels.astype(np.uint16) * 257))


def heic(path: Path, pixels: np.ndarray) -> None:
    heif = pytest.importorskip("pillow_heif")
    heif.from_pillow(Image.fromarray(pixels)).save(path, quality=100, chroma=444)


CONTAINERS: dict[str, tuple[Write, float]] = {
    "a.png": (pillow(), 0),
    "a.webp": (pillow(lossless=True), 0),
    "plain.tif": (pillow(), 0),
    "lzw.tiff": (pillow(compression="tiff_lzw"), 0),
    "deflate.TIF": (pillow(compression="tiff_adobe_deflate"), 0),
    "jpeg.tif": (pillow(compression="jpeg", quality=100), 4),
    "deep.tif": (tiff16(), 0),
    "deep_lzw.tif": (tiff16(compression="lzw", predictor=2), 0),
    "deep_zip.tif": (tiff16(compression="deflate", predictor=2), 0),
    "deep_big_endian.tif": (tiff16(byteorder=">"), 0),
    "deep_bigtiff.tif": (tiff16(bigtiff=True), 0),
    "deep_tiled.tif": (tiff16(tile=(64, 64)), 0),
    "deep_planes.tif": (tiff16_planes, 0),
    "deep.png": (png16, 0),
    "a.jpg": (pillow(quality=100, subsampling=0), 4),
    "progressive.jpeg": (pillow(quality=100, subsampling=0, progressive=True), 4),
    "a.heic": (heic, 6),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_the_same_pixels_from_every_container(tmp_path: Path, rng: np.random.Generator, name: str) -> None:
    write, tolerance = CONTAINERS[name]
    pixels = photo(rng)
    write(tmp_path / name, pixels)
    before = hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    found = read_picture(tmp_path / name)
    seen = np.asarray(found.picture)
    assert (found.picture.mode, found.remarks) == ("RGB", ())
    assert np.abs(seen.astype(int) - pixels).max() <= tolerance
    assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == before


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif", "deep.tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_in_every_container(
    tmp_path: Path, rng: np.random.Generator, name: str, orientation: int
) -> None:
    """What stands in the file, told by the EXIF standard's own words: where row 0 and column 0 of the scene are."""
    scene = photo(rng)
    stored = {
        1: scene,
        2: scene[:, ::-1],
        3: scene[::-1, ::-1],
        4: scene[::-1],
        5: scene.transpose(1, 0, 2),
        6: np.rot90(scene, 1),
        7: scene[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(scene, -1),
    }[orientation]
    stored = np.ascontiguousarray(stored)
    if name == "deep.tif":
        tag = (274, "H", 1, orientation, True)
        tifffile.imwrite(tmp_path / name, stored.astype(np.uint16) * 257, photometric="rgb", extratags=[tag])
    else:
        picture = Image.fromarray(stored)
        exif = picture.getexif()
        exif[0x0112] = orientation
        options = {"a.jpg": {"quality": 100, "subsampling": 0}, "a.webp": {"lossless": True}}.get(name, {})
        picture.save(tmp_path / name, exif=exif, **options)
    found = read_picture(tmp_path / name)
    assert found.original_size == found.picture.size == (120, 80)
    assert np.abs(np.asarray(found.picture).astype(int) - scene).max() <= (4 if name == "a.jpg" else 0)


def test_transparency_in_every_form(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (40, 40), (200, 30, 60, 0))
    clear.paste((10, 20, 30, 255), (10, 10, 30, 30))
    clear.save(tmp_path / "rgba.png")
    clear.convert("LA").save(tmp_path / "la.png")
    clear.quantize(8).save(tmp_path / "palette.png")
    clear.save(tmp_path / "rgba.tif")
    clear.save(tmp_path / "lossless.webp", lossless=True)
    Image.new("RGB", (40, 40), (9, 9, 9)).save(tmp_path / "key.png", transparency=(9, 9, 9))
    straight = np.asarray(clear).astype(np.uint16) * 257
    tifffile.imwrite(tmp_path / "deep.tif", straight, photometric="rgb", extrasamples=["unassalpha"])
    half = np.zeros((40, 40, 4), dtype=np.uint16)
    half[10:30, 10:30] = (20_000, 10_000, 5_000, 32_768)
    tifffile.imwrite(tmp_path / "premultiplied.tif", half, photometric="rgb", extrasamples=["assocalpha"])
    for path in sorted(tmp_path.iterdir()):
        found = open_picture(path)
        assert found.mode == "RGBA", path.name
        inside = 0 if path.name == "key.png" else 128 if path.name == "premultiplied.tif" else 255
        assert found.getpixel((20, 20))[3] == inside, path.name
        assert found.getpixel((2, 2))[3] == 0, path.name
    shown = open_picture(tmp_path / "premultiplied.tif").getpixel((20, 20))
    assert shown == pytest.approx((156, 78, 39, 128), abs=1)


def test_a_saved_selection_in_a_tiff_is_no_transparency(tmp_path: Path) -> None:
    values = np.full((40, 40, 4), 20_000, dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", extrasamples=["unspecified"])
    assert open_picture(tmp_path / "a.tif").mode == "RGB"


@pytest.mark.parametrize("depth", [1, 8, 16])
def test_white_is_zero_tiffs(tmp_path: Path, depth: int) -> None:
    if depth == 1:
        Image.new("1", (40, 40), 1).save(tmp_path / "a.tif")
        wanted = 255
    else:
        dark = np.full((40, 40), 40 if depth == 8 else 40 * 257, dtype=np.uint8 if depth == 8 else np.uint16)
        tifffile.imwrite(tmp_path / "a.tif", dark, photometric="miniswhite")
        wanted = 215
    assert open_picture(tmp_path / "a.tif").getpixel((5, 5)) == (wanted,) * 3


def frames(count: int) -> list[Image.Image]:
    return [Image.new("RGB", (40, 40), (40 * n, 9, 9)) for n in range(count)]


@pytest.mark.parametrize("name", ["a.webp", "a.png", "a.tif", "deep.tif", "a.gif"])
def test_of_several_pictures_the_first_is_used_and_said(tmp_path: Path, name: str) -> None:
    first, *rest = frames(3)
    if name == "deep.tif":
        pages = np.stack([np.asarray(f).astype(np.uint16) * 257 for f in (first, *rest)])
        tifffile.imwrite(tmp_path / name, pages, photometric="rgb")
    else:
        first.save(tmp_path / name, save_all=True, append_images=rest, **({"lossless": True} if "w" in name else {}))
    found = read_picture(tmp_path / name)
    assert np.asarray(found.picture)[20, 20] == pytest.approx([0, 9, 9], abs=1)
    assert [r.what for r in found.remarks] == ["the file holds 3 pictures; only the first is used"]
    assert found.remarks[0].serious


def test_a_lying_suffix_is_said(tmp_path: Path) -> None:
    held = io.BytesIO()
    Image.new("RGB", (40, 40), (1, 2, 3)).save(held, "PNG")
    (tmp_path / "a.jpg").write_bytes(held.getvalue())
    found = read_picture(tmp_path / "a.jpg")
    assert found.picture.getpixel((0, 0)) == (1, 2, 3)
    assert found.remarks[0].what == "the file is named JPEG but contains PNG"


def bad_files(folder: Path) -> dict[str, str]:
    """Files nothing can be read from, and what must be said of each."""
    picture = Image.new("RGB", (200, 200), (3, 90, 40))
    (folder / "text.jpg").write_text("not a picture")
    (folder / "empty.png").write_bytes(b"")
    (folder / "folder.jpg").mkdir()
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    os.mkfifo(folder / "pipe.jpg")
    tifffile.imwrite(folder / "float.tif", np.zeros((40, 40, 3), np.float32), photometric="rgb")
    picture.convert("LAB").save(folder / "lab.tif")
    # an EPS would be handed to Ghostscript
    (folder / "script.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 90 90\nshowpage\n")
    noise = np.random.default_rng(0).integers(0, 65536, (90, 90, 3), dtype=np.uint16)
    tifffile.imwrite(folder / "cut16.tif", noise, photometric="rgb")
    (folder / "cut16.png").write_bytes(imagecodecs.png_encode(noise))
    Image.fromarray((noise >> 8).astype(np.uint8)).save(folder / "cut.webp", lossless=True)
    Image.fromarray((noise >> 8).astype(np.uint8)).save(folder / "cut.png")
    for name in ("cut16.tif", "cut16.png", "cut.webp", "cut.png"):
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 16, 2, 0, 0, 0)
    chunks = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (b"IHDR" + header, b"IDAT")]
    (folder / "bomb16.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    tags = struct.pack("<HHHII", 7, 256, 4, 1, 60_000) + struct.pack("<HHII", 257, 4, 1, 60_000)
    tags += struct.pack("<HHIHH", 258, 3, 1, 16, 0) + struct.pack("<HHIHH", 259, 3, 1, 1, 0)
    tags += struct.pack("<HHIHH", 262, 3, 1, 1, 0) + struct.pack("<HHII", 273, 4, 1, 8)
    tags += struct.pack("<HHII", 279, 4, 1, 8)
    (folder / "bomb16.tif").write_bytes(b"II*\0" + struct.pack("<I", 8) + tags + b"\0" * 12)
    return {
        "text.jpg": "is not a picture",
        "empty.png": "is empty",
        "folder.jpg": "is not a file",
        "gone.png": "there is no picture",
        "pipe.jpg": "is not a file",
        "float.tif": "holds 32-bit values",
        "lab.tif": "colour mode LAB",
        "script.jpg": "is not a picture",
        "cut16.tif": "is (truncated|damaged)",
        "cut16.png": "is (truncated|damaged)",
        "cut.webp": "is (truncated|damaged|not a picture)",
        "cut.png": "is truncated",
        "bomb16.png": "over the limit of 200 megapixels",
        "bomb16.tif": "over the limit of 200 megapixels",
    }


def test_bad_files_are_refused_by_name(tmp_path: Path) -> None:
    wanted = bad_files(tmp_path)
    assert sorted(wanted) == sorted(path.name for path in tmp_path.iterdir())
    for name, message in wanted.items():
        with pytest.raises(ImageError, match=message) as caught:
            open_picture(tmp_path / name)
        assert name in caught.value.message


def test_heic_without_the_extra_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 40)  # told by content: a phone's misnamed export
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError, match="is HEIC") as caught:
        open_picture(tmp_path / "a.jpg")
    assert "packshot[heic]" in caught.value.hint


SEEDS: dict[str, bytes] = {}


def seed_of(kind: str) -> bytes:
    """A small valid file of each kind, made once."""
    if kind not in SEEDS:
        pixels = np.random.default_rng(3).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        held = io.BytesIO()
        if kind == "deep.tif":
            tifffile.imwrite(held, pixels.astype(np.uint16) * 257, photometric="rgb", compression="lzw")
        elif kind == "deep.png":
            held.write(imagecodecs.png_encode(pixels.astype(np.uint16) * 257))
        else:
            Image.fromarray(pixels).save(held, {"jpg": "JPEG", "tif": "TIFF"}.get(kind, kind))
        SEEDS[kind] = held.getvalue()
    return SEEDS[kind]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["jpg", "png", "webp", "tif", "deep.tif", "deep.png"]),
    flips=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=6),
    cut=st.floats(0, 1),
)
def test_damaged_bytes_give_a_picture_or_an_image_error(
    tmp_path: Path, kind: str, flips: list[tuple[float, int]], cut: float
) -> None:
    data = bytearray(seed_of(kind))
    for where, value in flips:
        data[int(where * (len(data) - 1))] = value
    path = tmp_path / f"a.{kind}"
    path.write_bytes(bytes(data[: max(1, int(len(data) * max(cut, 0.2) / 0.9))]))
    said = path.name
    try:
        mode = open_picture(path).mode
    except ImageError as error:
        mode, said = "RGB", error.message
    assert mode in ("RGB", "RGBA")
    assert path.name in said
