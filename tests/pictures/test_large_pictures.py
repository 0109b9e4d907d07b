"""Pictures scaled down on reading: light is averaged, no strip shows, masks keep coverage, memory stays bounded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from drawn_products import draw_bottle
from PIL import Image

from finetune.core.pictures import images
from finetune.core.pictures.images import read_mask, read_picture, to_linear

PEAK = """
import sys
from pathlib import Path
from finetune.core.products.catalog import Photo, SetConfig
from finetune.core.device import resident_peak_mib
from finetune.matting.photo import cut_photo
cut = cut_photo(Photo(Path(sys.argv[1]), None), SetConfig(class_noun="box"))
print(cut.picture.width, cut.cutout.box.width, round(resident_peak_mib()))
"""


def fine_noise(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "deep.tif"])
def test_light_is_averaged_not_its_code(tmp_path: Path, name: str) -> None:
    """Black and white pixels in turn reflect half the light: 188 of 255, not 128."""
    board = (np.indices((400, 600)).sum(axis=0) % 2 * 255).astype(np.uint8)
    pixels = np.repeat(board[..., None], 3, axis=-1)
    if name == "deep.tif":
        tifffile.imwrite(tmp_path / name, pixels.astype(np.uint16) * 257, photometric="rgb")
    else:
        Image.fromarray(pixels).save(tmp_path / name)
    found = read_picture(tmp_path / name, max_pixels=60_000)
    assert (found.picture.size, found.original_size) == ((300, 200), (600, 400))
    middle = np.asarray(found.picture)[20:-20, 20:-20]
    assert np.abs(middle.astype(int) - 188).max() <= 2


def test_a_masks_coverage_is_averaged(tmp_path: Path) -> None:
    board = (np.indices((400, 600)).sum(axis=0) % 2 * 255).astype(np.uint8)
    Image.fromarray(board).save(tmp_path / "a.png")
    middle = np.asarray(read_mask(tmp_path / "a.png", max_pixels=60_000).picture)[20:-20, 20:-20]
    assert np.abs(middle.astype(int) - 128).max() <= 2


@pytest.mark.parametrize("orientation", [1, 6])
def test_strips_leave_no_seam(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, orientation: int
) -> None:
    picture = Image.fromarray(fine_noise((500, 700), rng))
    exif = picture.getexif()
    exif[0x0112] = orientation
    picture.save(tmp_path / "a.png", exif=exif)
    whole = read_picture(tmp_path / "a.png", max_pixels=90_000)
    monkeypatch.setattr(images, "STRIP_PIXELS", 20_000)
    strips = read_picture(tmp_path / "a.png", max_pixels=90_000)
    difference = np.abs(np.asarray(whole.picture).astype(int) - np.asarray(strips.picture))
    assert difference.max() <= 1
    assert whole.original_size == ((500, 700) if orientation == 1 else (700, 500))


def test_transparent_colour_does_not_bleed(tmp_path: Path) -> None:
    pixels = np.zeros((640, 640, 4), dtype=np.uint8)
    pixels[..., 1] = 255  # transparent green around an opaque red square
    pixels[161:479, 161:479] = (255, 0, 0, 255)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    small = np.asarray(read_picture(tmp_path / "a.png", max_pixels=40_000).picture)
    seen = small[small[..., 3] > 8]
    assert len(seen) > 9_000
    assert seen[:, 1].max() <= 1
    assert small[..., 3].mean() == pytest.approx(255 * (318 / 640) ** 2, rel=0.01)


def test_what_fits_is_not_touched(tmp_path: Path, rng: np.random.Generator) -> None:
    pixels = fine_noise((300, 200), rng)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    found = read_picture(tmp_path / "a.png", max_pixels=60_000)
    assert np.array_equal(np.asarray(found.picture), pixels)
    assert found.remarks == ()


def test_light_of_the_whole_is_kept(tmp_path: Path, rng: np.random.Generator) -> None:
    pixels = np.asarray(draw_bottle(900)) // 2 + fine_noise((900, 900), rng) // 2
    Image.fromarray(pixels).save(tmp_path / "a.png")
    small = np.asarray(read_picture(tmp_path / "a.png", max_pixels=50_000).picture)
    assert to_linear(small).mean(axis=(0, 1)) == pytest.approx(to_linear(pixels).mean(axis=(0, 1)), rel=0.005)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "deep.tif"])
def test_100_megapixels_are_cut_out_within_a_gigabyte_and_a_half(tmp_path: Path, name: str) -> None:
    picture = Image.new("RGB", (10_000, 10_000), (250, 250, 250))
    picture.paste((120, 60, 30), (1_000, 1_500, 9_000, 8_500))
    if name == "deep.tif":
        tifffile.imwrite(tmp_path / name, np.asarray(picture).astype(np.uint16) * 257, photometric="rgb")
    else:
        picture.save(tmp_path / name, compress_level=1)
    del picture
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path / name)], capture_output=True, text=True, check=True
    )
    width, product, peak = map(int, done.stdout.split())
    assert (width, product) == (3162, pytest.approx(0.8 * 3162, abs=4))
    assert peak < 1_500
