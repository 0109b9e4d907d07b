"""Masks drawn on the stored pixels of a photo that its EXIF data turns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from drawn_products import draw_bottle
from PIL import Image

from finetune.core.errors import ImageError
from finetune.core.pictures.decoded import ORIENTATIONS
from finetune.core.products.catalog import SetConfig
from finetune.core.products.set_files import Photo
from finetune.matting.photo import CutPhoto, cut_photo

STORED = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
"""EXIF orientation -> Pillow's transpose that makes the stored pixels of an upright picture."""


def product(size: tuple[int, int], *, noise: float = 2) -> tuple[Image.Image, Image.Image]:
    """A bottle, off the middle of its photo, and its mask."""
    photo = Image.new("RGB", size, "white")
    photo.paste(draw_bottle(300), (10, 20))
    mask = Image.fromarray(((np.asarray(photo).min(axis=-1) < 128) * 255).astype(np.uint8))
    values = np.asarray(photo) * 0.97 + np.random.default_rng(1).normal(0, noise, (*photo.size[::-1], 3))
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)), mask


def written(folder: Path, photo: Image.Image, mask: Image.Image, orientation: int, *, stored_mask: bool) -> Photo:
    """A photo with an EXIF orientation, and its mask, drawn on its stored pixels or upright."""
    (folder / "photos").mkdir()
    (folder / "masks").mkdir()
    back = Image.Transpose(STORED[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo.transpose(back).save(folder / "photos" / "front.jpg", quality=92, exif=exif.tobytes())
    (mask.transpose(back) if stored_mask else mask).save(folder / "masks" / "front.png")
    return Photo(folder / "photos" / "front.jpg", folder / "masks" / "front.png")


def cut(photo: Photo) -> CutPhoto:
    return cut_photo(photo, SetConfig(class_noun="jar", glass="no"))


def same(found: CutPhoto, mask: Image.Image) -> bool:
    wanted = np.asarray(mask) > 127
    return bool(((found.cutout.full_alpha() > 0.5) != wanted).mean() < 0.002)


def test_what_stores_a_picture_is_undone_by_reading_it() -> None:
    picture, _ = product((340, 360))
    for orientation, back in STORED.items():
        assert picture.transpose(Image.Transpose(back)).transpose(ORIENTATIONS[orientation]) == picture


@pytest.mark.parametrize("size", [(400, 400), (340, 420)], ids=["square", "upright"])
@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_mask_of_the_stored_pixels_is_turned_and_that_is_told(
    tmp_path: Path, orientation: int, size: tuple[int, int]
) -> None:
    photo, mask = product(size)
    found = cut(written(tmp_path, photo, mask, orientation, stored_mask=True))
    assert same(found, mask)
    assert [r.what for r in found.remarks] == ["the mask was turned as the photo's EXIF data says"]


@pytest.mark.parametrize("size", [(400, 400), (340, 420)], ids=["square", "upright"])
def test_an_upright_mask_stays_as_it_is(tmp_path: Path, size: tuple[int, int]) -> None:
    photo, mask = product(size)
    found = cut(written(tmp_path, photo, mask, 6, stored_mask=False))
    assert same(found, mask)
    assert found.remarks == ()


def test_a_soft_mask_stays_soft_when_it_is_turned(tmp_path: Path) -> None:
    photo, mask = product((400, 400))
    soft = np.asarray(mask).copy()
    rows = np.flatnonzero(soft.any(axis=1))
    soft[rows[0] : rows[0] + 6] = soft[rows[0] : rows[0] + 6] // 2
    found = cut(written(tmp_path, photo, Image.fromarray(soft), 6, stored_mask=True))
    assert [r.what for r in found.remarks] == ["the mask was turned as the photo's EXIF data says"]
    assert set(np.unique(np.asarray(found.cutout.rgba)[:5, :, 3])) == {0, 127}


def test_a_lying_mask_that_fits_no_edge_is_refused_with_the_cause(tmp_path: Path) -> None:
    photo, _ = product((340, 420))
    mask = Image.new("L", photo.size, 0)
    mask.paste(255, (200, 300, 330, 410))
    with pytest.raises(ImageError, match="the mask is 420x340 pixels but its photo is 340x420: EXIF data turns") as no:
        cut(written(tmp_path, photo, mask, 6, stored_mask=True))
    assert "upright" in no.value.hint


def test_in_a_picture_full_of_edges_nothing_is_certain(tmp_path: Path) -> None:
    """There any outline runs along edges; the mask is kept as it is."""
    busy = Image.fromarray(np.random.default_rng(2).integers(0, 255, (50, 50, 3), dtype=np.uint8))
    photo, mask = busy.resize((400, 400), Image.Resampling.NEAREST), product((400, 400))[1]
    found = cut(written(tmp_path, photo, mask, 6, stored_mask=False))
    assert found.remarks == ()
    assert same(found, mask)
