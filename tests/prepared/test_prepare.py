"""The prepare recipe on drawn product sets: layout, imagefolder, up to date, bad photos, atomic swap."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

import finetune.prepare as recipe
from finetune.core import console
from finetune.core.errors import CatalogError, CutoutError, ImageError
from finetune.core.products.catalog import Workspace
from finetune.core.products.prepared import read_prepared
from finetune.core.storage.durable import temporary_beside
from finetune.dataset import photo_task, sources
from finetune.dataset.files import plain_name
from finetune.prepare import prepare_set
from finetune.settings import DataSection

DATA = DataSection(size=64, variants=6)
PLAIN_ONLY = "class_noun: perfume bottle\ncutout: plain\n"  # whatever models this machine has


@pytest.fixture(autouse=True)
def _forget_warnings() -> None:
    console._EARLIER_WARNINGS.clear()


def draw(path: Path, shift: int = 0, side: int = 160, colour: tuple[int, int, int] = (30, 90, 160)) -> None:
    photo = Image.new("RGB", (side, side), (255, 255, 255))
    pen = ImageDraw.Draw(photo)
    pen.rounded_rectangle((45 + shift, 30, 105 + shift, 130), 8, fill=colour)
    pen.rectangle((55 + shift, 70, 95 + shift, 95), fill=(250, 250, 240))
    photo.save(path)


def make_set(root: Path, photos: int = 2, text: str = "class_noun: perfume bottle\n", sku: str = "box01") -> Workspace:
    folder = root / "datasets" / sku
    (folder / "photos").mkdir(parents=True)
    (folder / "set.yaml").write_text(text)
    for number in range(photos):
        draw(folder / "photos" / f"test-{number}.png", shift=5 * number)
    return Workspace(root)


def rows_of(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_datasets_opens_the_rows_and_nothing_else(tmp_path: Path) -> None:
    import datasets

    workspace = make_set(tmp_path, photos=2)  # the photos are called test-0 and test-1: no split may come of that
    prepared, made = prepare_set(workspace, "box01", data=DATA)
    assert made
    opened = datasets.load_dataset("imagefolder", data_dir=str(prepared.folder), cache_dir=str(tmp_path / "cache"))
    assert list(opened) == ["train"]
    table = opened["train"]
    assert len(table) == prepared.examples == 12
    assert set(table.column_names) == {
        *("image", "mask", "matte", "text", "variant", "split", "sku", "photo", "mask_kind", "seed"),
        *("original_width", "original_height", "target_width", "target_height"),
    }
    row = table[0]
    assert (row["image"].mode, row["image"].size) == ("RGB", (64, 64))
    assert (row["mask"].mode, row["mask"].getextrema()) == ("L", (0, 255))
    assert row["matte"].mode == "L"
    assert Counter(table["split"]) == {"train": 8, "validation": 4}
    assert set(table["photo"]) == {"test-0", "test-1"}
    assert all("bx01 perfume bottle" in text for text in table["text"])


def test_what_prepared_json_names_is_there(tmp_path: Path) -> None:
    prepared, _ = prepare_set(make_set(tmp_path), "box01", data=DATA)
    assert prepared == read_prepared(prepared.folder)
    assert (prepared.sku, prepared.kind, prepared.token, prepared.size) == ("box01", "sku", "bx01", 64)
    assert (prepared.folder / "contact_sheet.png").is_file()
    for photo in prepared.photos:
        with Image.open(prepared.cutout_path(photo)) as cutout:
            assert cutout.mode == "RGBA"
            assert cutout.size == (photo.width, photo.height) == (61, 101)
            assert cutout.getchannel("A").getpixel((30, 50)) == 255
        assert photo.source == "plain ground"


@pytest.mark.slow
def test_nothing_is_made_again_while_content_and_settings_stay(tmp_path: Path) -> None:
    workspace = make_set(tmp_path)
    first, _ = prepare_set(workspace, "box01", data=DATA)
    stamp = (first.folder / "prepared.json").stat().st_mtime_ns
    os.utime(workspace.datasets / "box01" / "photos" / "test-0.png")
    again, made = prepare_set(workspace, "box01", data=DATA)
    assert not made
    assert again == first
    assert (first.folder / "prepared.json").stat().st_mtime_ns == stamp
    assert prepare_set(workspace, "box01", data=DATA, force=True)[1]


@pytest.mark.parametrize("change", ["photo", "settings", "sidecar", "set", "format"])
def test_any_change_of_content_makes_it_again(tmp_path: Path, change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = make_set(tmp_path, photos=1)
    folder = workspace.datasets / "box01"
    data = DataSection(size=64, variants=2)
    first, _ = prepare_set(workspace, "box01", data=data)
    if change == "photo":
        draw(folder / "photos" / "test-0.png", colour=(90, 30, 30))
    elif change == "settings":
        data = DataSection(size=64, variants=2, seed=1)
    elif change == "sidecar":
        (folder / "photos" / "test-0.txt").write_text("seen from the front")
    elif change == "set":
        (folder / "set.yaml").write_text("class_noun: flacon\n")
    else:
        for module in (photo_task, sources):
            monkeypatch.setattr(module, "PREPARE_FORMAT", 99)
    second, made = prepare_set(workspace, "box01", data=data)
    assert made
    assert second.fingerprint != first.fingerprint


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    folders = [
        prepare_set(make_set(tmp_path / name, photos=1), "box01", data=DATA)[0].folder for name in ("one", "two")
    ]
    files = [{p.relative_to(f): p.read_bytes() for p in f.rglob("*") if p.is_file()} for f in folders]
    assert files[0] == files[1]


@pytest.mark.slow
def test_one_whole_photo_is_held_out_of_four(tmp_path: Path) -> None:
    prepared, _ = prepare_set(make_set(tmp_path, photos=4), "box01", data=DATA)
    kept = [photo.photo for photo in prepared.photos if photo.split == "validation"]
    assert len(kept) == 1
    assert kept[0] != "test-0"
    assert {row["photo"] for row in rows_of(prepared.folder) if row["split"] == "validation"} == set(kept)


def test_shares_hold_over_the_set(tmp_path: Path) -> None:
    data = DataSection(size=64, variants=20, keep_original=0.25)
    prepared, _ = prepare_set(make_set(tmp_path), "box01", data=data)
    rows = rows_of(prepared.folder)
    kinds = Counter(row["mask_kind"] for row in rows)
    assert kinds == {"background": 16, "product": 10, "box": 10, "full": 4}
    assert sum(row["original_height"] == 160 == row["original_width"] for row in rows) >= 10


def test_bad_photos_are_named_and_the_good_ones_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workspace = make_set(tmp_path, photos=1, text=PLAIN_ONLY)
    photos = workspace.datasets / "box01" / "photos"
    (photos / "notes.jpg").write_text("hello")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (99, 99, 3), dtype=np.uint8)).save(photos / "wild.png")
    prepared, _ = prepare_set(workspace, "box01", data=DATA)
    assert [photo.photo for photo in prepared.photos] == ["test-0"]
    said = capsys.readouterr()
    assert "Warning: box01: photo not used: notes.jpg is not a picture" in said.err
    assert "box01: photo not used: wild.png: the ground is not plain" in said.err
    assert said.err.count("hint: photograph the product on a plain ground, or add a mask in masks/") == 1
    assert said.out == ""


def test_a_set_without_a_good_photo_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    workspace = make_set(tmp_path, photos=0)
    photos = workspace.datasets / "box01" / "photos"
    (photos / "a.jpg").write_text("hello")
    with pytest.raises(ImageError, match=r"a\.jpg is not a picture"):
        prepare_set(workspace, "box01", data=DATA)
    Image.new("RGB", (80, 80), "white").save(photos / "b.png")
    with pytest.raises(CatalogError, match="none of the 2 photos of 'box01' can be used") as caught:
        prepare_set(workspace, "box01", data=DATA)
    assert caught.value.hint
    assert sorted(p.name for p in (workspace.datasets / "box01").iterdir()) == ["photos", "set.yaml"]


def test_a_mask_of_another_size_names_photo_and_sizes(tmp_path: Path) -> None:
    workspace = make_set(tmp_path, photos=1)
    (workspace.datasets / "box01" / "masks").mkdir()
    Image.new("L", (20, 20), 255).save(workspace.datasets / "box01" / "masks" / "test-0.png")
    with pytest.raises(ImageError, match=r"test-0\.png: the mask is 20x20 pixels but its photo is 160x160"):
        prepare_set(workspace, "box01", data=DATA)


def test_a_picture_in_the_wild_alone_says_what_to_do(tmp_path: Path) -> None:
    workspace = make_set(tmp_path, photos=0, text=PLAIN_ONLY)
    noise = np.random.default_rng(0).integers(0, 255, (99, 99, 3), dtype=np.uint8)
    Image.fromarray(noise).save(workspace.datasets / "box01" / "photos" / "wild.png")
    with pytest.raises(CutoutError, match=r"wild\.png: the ground is not plain") as caught:
        prepare_set(workspace, "box01", data=DATA)
    assert "add a mask in masks/" in caught.value.hint


@pytest.mark.slow
@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError])
def test_a_stop_midway_leaves_the_old_set_and_no_leftovers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: type[BaseException]
) -> None:
    workspace = make_set(tmp_path)
    first, _ = prepare_set(workspace, "box01", data=DATA)

    def stop(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(recipe, "write_rows", stop)
    with pytest.raises(failure):
        prepare_set(workspace, "box01", data=DATA, force=True)
    assert read_prepared(first.folder) == first
    assert sorted(p.name for p in first.folder.parent.iterdir()) == ["photos", "prepared", "set.yaml"]


def test_leftovers_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    workspace = make_set(tmp_path, photos=1)
    target = workspace.datasets / "box01" / "prepared"
    dead, alive = (temporary_beside(target, process=process) for process in (999999999, os.getppid()))
    for folder in (dead, alive):
        folder.mkdir()
    prepare_set(workspace, "box01", data=DATA)
    assert not dead.exists()
    assert alive.exists()


def test_weak_photos_are_warned_about(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workspace = make_set(tmp_path, photos=0)
    photo = Image.new("RGB", (400, 400), (255, 255, 255))
    ImageDraw.Draw(photo).rectangle((0, 100, 30, 160), fill=(10, 60, 30))
    photo.save(workspace.datasets / "box01" / "photos" / "corner.png")
    prepare_set(workspace, "box01", data=DATA)
    said = capsys.readouterr().err
    assert "corner.png: the product is 31x61 pixels, under the training size 64" in said
    assert "touches the picture's border" in said
    assert "covers only 1.2% of the picture" in said


def test_a_brand_set_is_letterboxed_with_its_words(tmp_path: Path) -> None:
    workspace = make_set(
        tmp_path, photos=3, text="class_noun: moody still life\nkind: brand\ntoken: noire\n", sku="noire"
    )
    (workspace.datasets / "noire" / "photos" / "test-1.txt").write_text("a dark stage")
    prepared, _ = prepare_set(workspace, "noire", data=DATA)
    rows = rows_of(prepared.folder)
    assert [row["text"] for row in rows] == [
        "a photo in noire style, moody still life",
        "a photo in noire style, a dark stage",
        "a photo in noire style, moody still life",
    ]
    assert {row["mask_kind"] for row in rows} == {"full"}
    assert prepared.kind == "brand"


@pytest.mark.slow
def test_a_brands_pictures_become_backdrops_and_count_as_content(tmp_path: Path) -> None:
    workspace = make_set(tmp_path, photos=2, text="class_noun: still life\nkind: brand\n", sku="noire")
    make_set(tmp_path, photos=1, text="class_noun: perfume bottle\nbrand: noire\n")
    prepared, _ = prepare_set(workspace, "box01", data=DataSection(size=64, variants=24))
    assert any("blurred background" in str(row["text"]) for row in rows_of(prepared.folder))
    draw(workspace.datasets / "noire" / "photos" / "test-1.png", colour=(1, 2, 3))
    assert prepare_set(workspace, "box01", data=DataSection(size=64, variants=24))[1]


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("front", "front"),
        ("test-01", "test~-01"),
        ("my train 2", "my train~ 2"),
        ("latest", "latest"),
        ("eval", "eval~"),
        ("Bild 1 (größer), été", "Bild 1 (größer), été"),
        ("a::b#1[x]", "a~~b~1~x~~55f65205"),
    ],
)
def test_names_that_datasets_would_take_for_splits_are_changed(stem: str, name: str) -> None:
    assert plain_name(stem) == name
