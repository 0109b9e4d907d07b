"""Hints: known pixels that correct what the plain ground tells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from drawn_products import draw_bottle, write_set
from PIL import Image, ImageDraw

from finetune.core.errors import CatalogError, PackshotError
from finetune.core.products.catalog import Workspace, load_set
from finetune.matting.photo import CutPhoto, cut_photo

SIDES = [200, 1400]
"""The second is reduced for analysis, so that hints act on the reduced picture and on the whole one."""


def scene(root: Path, side: int, **config: object) -> Path:
    """A bottle and a dark block beside it, on white."""
    photo = draw_bottle(side)
    unit = side / 100
    ImageDraw.Draw(photo).rectangle((78 * unit, 60 * unit, 92 * unit, 88 * unit), fill=(60, 60, 70))
    folder = write_set(root, "jar01", {"front": photo}, **({"class_noun": "jar", "glass": "no"} | config))
    (folder / "hints").mkdir()
    return folder


def hint(side: int, *, product: tuple[int, ...] = (), ground: tuple[int, ...] = ()) -> Image.Image:
    picture = Image.new("L", (side, side), 128)
    for box, value in ((product, 255), (ground, 0)):
        if box:
            ImageDraw.Draw(picture).rectangle(tuple(side * edge // 100 for edge in box), fill=value)
    return picture


def cut(root: Path) -> CutPhoto:
    product = load_set(Workspace(root), "jar01")
    return cut_photo(product.photos[0], product.config)


@pytest.mark.parametrize("side", SIDES)
def test_known_ground_is_out_and_known_product_in(tmp_path: Path, side: int) -> None:
    folder = scene(tmp_path, side)
    before = cut(tmp_path).cutout.full_alpha()
    block, empty = np.s_[side * 62 // 100 : side * 86 // 100, side * 80 // 100 : side * 90 // 100], np.s_[5:15, 5:15]
    assert before[block].min() == 1
    assert before[empty].max() == 0
    picture = hint(side, ground=(72, 54, 99, 95), product=(8, 8, 20, 30))
    picture.save(folder / "hints" / "front.png")
    after = cut(tmp_path).cutout.full_alpha()
    known = np.asarray(picture)
    assert (after[known == 0] == 0).all()
    assert (after[known == 255] == 1).all()
    bottle = np.s_[:, side * 30 // 100 : side * 70 // 100]
    assert np.abs(after - before)[bottle].mean() < 0.001, "what is open is decided as before"


def test_a_hint_is_content_of_its_set(tmp_path: Path) -> None:
    folder = scene(tmp_path, 200)
    before = load_set(Workspace(tmp_path), "jar01").fingerprint()
    hint(200, ground=(1, 1, 9, 9)).save(folder / "hints" / "front.png")
    product = load_set(Workspace(tmp_path), "jar01")
    assert product.fingerprint() != before
    assert "hints/front.png" in product.contents()


@pytest.mark.parametrize(
    ("picture", "config", "said"),
    [
        (Image.new("L", (200, 200), 100), {}, "the hint has pixels of the value 100"),
        (Image.new("L", (100, 200), 128), {}, "the hint is 100x200 pixels but its photo is 200x200"),
        (Image.new("L", (200, 200), 0), {}, "the hint leaves no product"),
        (Image.new("L", (200, 200), 128), {"cutout": "learned"}, "set.yaml says `cutout: learned`"),
    ],
)
def test_a_hint_that_cannot_be_used_is_refused(
    tmp_path: Path, picture: Image.Image, config: dict[str, object], said: str
) -> None:
    picture.save(scene(tmp_path, 200, **config) / "hints" / "front.png")
    with pytest.raises(PackshotError, match=said) as caught:
        cut(tmp_path)
    assert caught.value.hint


def test_a_mask_and_a_hint_contradict_each_other(tmp_path: Path) -> None:
    folder = scene(tmp_path, 200)
    (folder / "masks").mkdir()
    for part in ("masks", "hints"):
        hint(200, product=(30, 30, 60, 60)).save(folder / part / "front.png")
    with pytest.raises(PackshotError, match="a mask and a hint"):
        cut(tmp_path)


def test_a_hint_of_no_photo_is_named(tmp_path: Path) -> None:
    hint(200).save(scene(tmp_path, 200) / "hints" / "frnt.png")
    with pytest.raises(CatalogError, match=r"hints/frnt\.png belongs to no photo"):
        cut(tmp_path)
