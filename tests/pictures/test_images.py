"""Pictures in and out: what is refused, how colour and orientation are read, resampling and writing."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageCms

from finetune.core.errors import ImageError
from finetune.core.pictures.contact_sheet import on_three_grounds
from finetune.core.pictures.images import (
    composite,
    open_picture,
    over,
    read_mask,
    resize_rgba,
    to_linear,
    to_srgb8,
    write_png,
)


def test_srgb_survives_linear_light_and_back() -> None:
    values = np.arange(256, dtype=np.uint8)
    assert np.array_equal(to_srgb8(to_linear(values)), values)


def test_linear_light_is_the_standards() -> None:
    linear = to_linear(np.array([0, 10, 128, 255], dtype=np.uint8))
    assert linear == pytest.approx([0.0, 0.0030353, 0.2158605, 1.0], abs=1e-6)


def test_a_text_file_called_jpg_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fake.jpg"
    path.write_text("not a picture")
    with pytest.raises(ImageError, match=r"fake\.jpg is not a picture"):
        open_picture(path)


def test_a_truncated_jpeg_is_refused(tmp_path: Path) -> None:
    whole = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(whole, "JPEG")
    path = tmp_path / "cut.jpg"
    path.write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    with pytest.raises(ImageError, match=r"cut\.jpg is truncated"):
        open_picture(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="there is no picture"):
        open_picture(tmp_path / "nowhere.png")


def test_a_one_pixel_picture_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    with pytest.raises(ImageError, match="only 1x1"):
        open_picture(tmp_path / "dot.png")


def test_a_decompression_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b""))
    with pytest.raises(ImageError, match="over the limit of 200 megapixels") as caught:
        open_picture(path)
    assert caught.value.hint


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    picture = Image.new("RGB", (80, 40), "white")
    exif = picture.getexif()
    exif[0x0112] = 6  # rotate by 90 degrees
    picture.save(tmp_path / "turned.jpg", exif=exif)
    assert open_picture(tmp_path / "turned.jpg").size == (40, 80)


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "I;16"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    if mode == "I;16":
        picture = Image.fromarray(np.full((40, 40), 0x8080, dtype=np.uint16))
    else:
        grey = Image.new("RGB", (40, 40), (128, 128, 128))
        picture = grey.quantize(4) if mode == "P" else grey.convert(mode)
    picture.save(tmp_path / "picture.tiff")
    opened = open_picture(tmp_path / "picture.tiff")
    assert opened.mode == "RGB"
    assert np.asarray(opened)[20, 20].tolist() == pytest.approx([128, 128, 128], abs=2)


def test_a_wide_gamut_profile_is_converted(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture = Image.new("RGB", (40, 40), (200, 30, 60))
    picture.save(tmp_path / "same.png", icc_profile=profile)
    assert np.asarray(open_picture(tmp_path / "same.png"))[0, 0].tolist() == pytest.approx([200, 30, 60], abs=2)
    picture.save(tmp_path / "broken.png", icc_profile=b"no profile at all")
    with pytest.raises(ImageError, match="damaged colour profile"):
        open_picture(tmp_path / "broken.png")


def test_opaque_alpha_is_dropped_and_real_alpha_kept(tmp_path: Path) -> None:
    Image.new("RGBA", (40, 40), (1, 2, 3, 255)).save(tmp_path / "opaque.png")
    Image.new("RGBA", (40, 40), (1, 2, 3, 100)).save(tmp_path / "clear.png")
    assert open_picture(tmp_path / "opaque.png").mode == "RGB"
    assert open_picture(tmp_path / "clear.png").getchannel("A").getextrema() == (100, 100)


def test_a_mask_is_read_from_luminance_or_alpha(tmp_path: Path) -> None:
    Image.new("L", (40, 40), 200).save(tmp_path / "grey.png")
    Image.new("RGBA", (40, 40), (0, 0, 0, 90)).save(tmp_path / "alpha.png")
    assert read_mask(tmp_path / "grey.png").picture.getextrema() == (200, 200)
    assert read_mask(tmp_path / "alpha.png").picture.getextrema() == (90, 90)


def test_resampling_does_not_bleed_transparent_colour() -> None:
    pixels = np.zeros((64, 64, 4), dtype=np.uint8)
    pixels[..., 1] = 255  # transparent green around an opaque red square
    pixels[16:48, 16:48] = (255, 0, 0, 255)
    small = np.asarray(resize_rgba(Image.fromarray(pixels), (21, 21)))
    seen = small[small[..., 3] > 8]
    assert seen[:, 1].max() <= 1
    assert np.array_equal(np.asarray(resize_rgba(Image.fromarray(pixels), (64, 64))), pixels)


@settings(max_examples=30, deadline=None)
@given(
    over=arrays(np.uint8, (6, 5, 3)),
    under=arrays(np.uint8, (6, 5, 3)),
    alpha=arrays(np.float32, (6, 5), elements=st.floats(0, 1, width=32)),
)
def test_composite_copies_core_and_ground_and_stays_between(
    over: np.ndarray, under: np.ndarray, alpha: np.ndarray
) -> None:
    result = composite(over, alpha, under)
    assert np.array_equal(result[alpha == 1], over[alpha == 1])
    assert np.array_equal(result[alpha == 0], under[alpha == 0])
    low, high = np.minimum(over, under).astype(int), np.maximum(over, under).astype(int)
    assert (result >= low - 1).all()
    assert (result <= high + 1).all()


@settings(max_examples=20, deadline=None)
@given(left=st.integers(0, 20), top=st.integers(0, 20), data=arrays(np.uint8, (9, 7, 4)))
def test_paste_then_crop_gives_the_picture_back(left: int, top: int, data: np.ndarray) -> None:
    frame = Image.new("RGBA", (32, 32), (9, 9, 9, 255))
    frame.paste(Image.fromarray(data), (left, top))
    assert np.array_equal(np.asarray(frame.crop((left, top, left + 7, top + 9))), data)


def test_transparency_shows_the_colour_of_the_ground() -> None:
    half = Image.new("RGBA", (2, 1), (200, 100, 0, 128))
    half.putpixel((1, 0), (200, 100, 0, 255))
    shown = over(half, (0, 0, 200))
    assert shown.mode == "RGB"
    assert shown.getpixel((1, 0)) == (200, 100, 0)
    assert shown.getpixel((0, 0)) == pytest.approx((100, 50, 100), abs=1)
    assert over(Image.new("L", (1, 1), 9), "white").getpixel((0, 0)) == (9, 9, 9)


def test_png_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    write_png(Image.new("RGB", (8, 8)), tmp_path / "a.png", {"packshot": "é"})
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
    with Image.open(tmp_path / "a.png") as opened:
        opened.load()
        assert opened.info["packshot"] == "é"


def test_a_cutout_is_shown_in_the_middle_of_three_grounds() -> None:
    cutout = Image.new("RGBA", (4, 2), (200, 0, 0, 255))
    chequers, black, white = on_three_grounds(cutout, (8, 8))
    assert {picture.mode for picture in (chequers, black, white)} == {"RGB"}
    assert [picture.getpixel((0, 0)) for picture in (chequers, black, white)] == [(255,) * 3, (0,) * 3, (255,) * 3]
    for picture in (chequers, black, white):
        red = np.argwhere((np.asarray(picture) == (200, 0, 0)).all(axis=-1))
        assert (red.min(axis=0).tolist(), red.max(axis=0).tolist()) == ([3, 2], [4, 5])
