"""Files of a set: links out of it, unreadable entries, masks, captions; by the command where a user meets them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner, Result
from drawn_products import cut_all, draw_bottle, write_set
from PIL import Image

from finetune.core.commands import main
from finetune.core.errors import CatalogError
from finetune.core.products.catalog import Workspace, load_set
from finetune.core.products.prepared import require_prepared

SMALL = ("--set", "data.size=64", "--set", "data.variants=4")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def spoiled_set(root: Path) -> Path:
    """A set with one good photo and one of every bad kind."""
    folder = write_set(root, "bottle01", {"good": draw_bottle()})
    (root / "secret.png").write_bytes((folder / "photos" / "good.png").read_bytes())
    photos = folder / "photos"
    (photos / "link_out.png").symlink_to("../../../secret.png")
    (photos / "link_to_nothing.jpg").symlink_to("nowhere.jpg")
    (photos / "folder.jpg").mkdir()
    os.mkfifo(photos / "pipe.jpg")
    (photos / "text.jpg").write_text("not a picture")
    (photos / "empty.webp").write_bytes(b"")
    (photos / "cut.png").write_bytes((photos / "good.png").read_bytes()[:600])
    return folder


SAID = {
    "link_out.png": "is a link that leads out of the set",
    "link_to_nothing.jpg": "is a broken link",
    "folder.jpg": "is not a file",
    "pipe.jpg": "is not a file",
    "text.jpg": "is not a picture",
    "empty.webp": "is empty",
    "cut.png": "is truncated",
}


def test_each_bad_file_is_named_and_the_good_one_goes_on(tmp_path: Path) -> None:
    folder = spoiled_set(tmp_path)
    before = {p.name: p.lstat().st_mtime_ns for p in (folder / "photos").iterdir()}
    checked = run("check", "bottle01", "--json", "--workspace", str(tmp_path))
    assert checked.exit_code == 0, checked.output
    found = json.loads(checked.stdout)
    assert (found["photos"], found["usable"]) == (len(SAID) + 1, 1)
    unusable = {f["photo"]: f for f in found["findings"] if f["check"] == "file"}
    assert sorted(unusable) == sorted(SAID)
    page = (folder / "report.html").read_text(encoding="utf-8")
    for name, words in SAID.items():
        assert f"{name} {words}" in unusable[name]["what"]
        assert unusable[name]["cure"]
        assert f"{name} {words}" in page
    prepared = run("prepare", "bottle01", *SMALL, "--workspace", str(tmp_path))
    assert prepared.exit_code == 0, prepared.output
    for name, words in SAID.items():
        assert f"photo not used: {name} {words}" in prepared.stderr
    assert [p.photo for p in require_prepared(folder / "prepared", "bottle01").photos] == ["good"]
    assert {p.name: p.lstat().st_mtime_ns for p in (folder / "photos").iterdir()} == before


@pytest.mark.slow
def test_without_a_good_photo_the_exit_code_is_one(tmp_path: Path) -> None:
    folder = spoiled_set(tmp_path)
    (folder / "photos" / "good.png").unlink()
    for command in ("check", "prepare"):
        result = run(command, "bottle01", "--workspace", str(tmp_path))
        assert result.exit_code == 1
        assert f"none of the {len(SAID)} photos of 'bottle01' can be used" in result.stderr
    assert not (folder / "prepared").exists()


def test_a_photos_folder_that_is_a_link_out_of_the_set(tmp_path: Path) -> None:
    folder = write_set(tmp_path, "bottle01", {"good": draw_bottle()})
    (folder / "photos").rename(tmp_path / "elsewhere")
    (folder / "photos").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CatalogError, match="photos is a link that leads out of the set"):
        load_set(Workspace(tmp_path), "bottle01")


def test_links_within_the_set_and_a_linked_set_are_fine(tmp_path: Path) -> None:
    folder = write_set(tmp_path, "bottle01", {"good": draw_bottle()})
    (folder / "originals").mkdir()
    (folder / "photos" / "good.png").rename(folder / "originals" / "x.png")
    (folder / "photos" / "good.png").symlink_to("../originals/x.png")
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    product = load_set(Workspace(tmp_path), "bottle01")
    assert ([p.stem for p in product.photos], product.unusable) == (["good"], ())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path: Path) -> None:
    folder = write_set(tmp_path, "bottle01", {"good": draw_bottle(), "shut": draw_bottle()})
    (folder / "photos" / "shut.png").chmod(0)
    assert "cannot be read: permission denied" in load_set(Workspace(tmp_path), "bottle01").unusable[0].error.message


def test_a_mask_that_leads_out_of_the_set_takes_its_photo_along(tmp_path: Path) -> None:
    folder = write_set(tmp_path, "bottle01", {"good": draw_bottle(), "other": draw_bottle()})
    (folder / "masks").mkdir()
    Image.new("L", (200, 200), 255).save(tmp_path / "mask.png")
    (folder / "masks" / "other.png").symlink_to(tmp_path / "mask.png")
    product = load_set(Workspace(tmp_path), "bottle01")
    assert [p.stem for p in product.photos] == ["good"]
    assert product.unusable[0].error.message == "other.png: its mask other.png is a link that leads out of the set"


def test_unicode_and_spaces_work_end_to_end(tmp_path: Path) -> None:
    """A name with an accent in two pieces (macOS) finds the mask and the caption whose accent is one letter."""
    folder = write_set(tmp_path, "bottle01", {})
    name = "Fla\u0308schchen № 1 (vorne) 🧴"
    draw_bottle().save(folder / "photos" / f"{name}.png")
    (folder / "masks").mkdir()
    mask = np.asarray(draw_bottle().convert("L")) < 250
    Image.fromarray(mask.astype(np.uint8) * 255).save(folder / "masks" / "Fl\u00e4schchen № 1 (vorne) 🧴.png")
    (folder / "photos" / "Fl\u00e4schchen № 1 (vorne) 🧴.txt").write_text("mit Schatten", encoding="utf-8")
    result = run("prepare", "bottle01", *SMALL, "--workspace", str(tmp_path))
    assert result.exit_code == 0, result.output
    prepared = require_prepared(folder / "prepared", "bottle01")
    assert [(p.photo, p.source) for p in prepared.photos] == [(name, "mask")]
    assert prepared.cutout_path(prepared.photos[0]).is_file()
    assert load_set(Workspace(tmp_path), "bottle01").photos[0].caption == "mit Schatten"
    assert run("check", "bottle01", "--workspace", str(tmp_path)).exit_code == 0


@pytest.mark.slow
def test_what_is_odd_about_a_file_is_a_finding(tmp_path: Path) -> None:
    folder = write_set(tmp_path, "bottle01", {"plain": draw_bottle()})
    bottle, other = draw_bottle(), draw_bottle(colour=(40, 90, 160))
    bottle.save(folder / "photos" / "lying.jpg", "PNG")
    bottle.save(folder / "photos" / "moving.webp", save_all=True, append_images=[other], lossless=True)
    pages = np.stack([np.asarray(p).astype(np.uint16) * 257 for p in (bottle, other)])
    tifffile.imwrite(folder / "photos" / "pages.tif", pages, photometric="rgb")
    result = run("prepare", "bottle01", *SMALL, "--workspace", str(tmp_path))
    assert result.exit_code == 0, result.output
    assert "lying.jpg: the file is named JPEG but contains PNG" in result.stderr
    assert "moving.webp: the file holds 2 pictures; only the first is used" in result.stderr
    assert "pages.tif: the file holds 2 pictures; only the first is used" in result.stderr


@pytest.mark.slow
def test_a_large_photo_is_scaled_down_with_its_mask_and_said(tmp_path: Path) -> None:
    folder = write_set(tmp_path, "bottle01", {"big": draw_bottle(1400)}, max_megapixels=1)
    (folder / "masks").mkdir()
    mask = np.asarray(draw_bottle(1400).convert("L")) < 250
    Image.fromarray(mask.astype(np.uint8) * 255).save(folder / "masks" / "big.png")
    cuts, failures = cut_all(load_set(Workspace(tmp_path), "bottle01"))
    assert failures == []
    assert (cuts[0].picture.size, cuts[0].cutout.photo_size) == ((1000, 1000), (1000, 1000))
    (remark,) = cuts[0].remarks
    assert remark.what == "the photo is scaled down from 1400x1400 to 1000x1000 pixels"
    assert not remark.serious
    Image.new("L", (1000, 1000), 255).save(folder / "masks" / "big.png")
    _, failures = cut_all(load_set(Workspace(tmp_path), "bottle01"))
    assert "the mask is 1000x1000 pixels but its photo is 1400x1400" in failures[0].text


def test_captions_from_both_sources(tmp_path: Path) -> None:
    folder = write_set(tmp_path, "bottle01", {"front": draw_bottle(), "side": draw_bottle(), "back": draw_bottle()})
    rows = [{"file_name": "front.png", "text": " lit from\nthe left "}, {"file_name": "side.png", "text": "on a shelf"}]
    (folder / "photos" / "metadata.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    (folder / "photos" / "back.txt").write_text("\ufeffseen from behind\n", encoding="utf-8")
    (folder / "photos" / "side.txt").write_text("on a shelf\n", encoding="utf-8")
    (folder / "photos" / "notes.txt").write_text("not of a photo", encoding="utf-8")
    photos = load_set(Workspace(tmp_path), "bottle01").photos
    wanted = {"front": "lit from the left", "side": "on a shelf", "back": "seen from behind"}
    assert {p.stem: p.caption for p in photos} == wanted
    run("prepare", "bottle01", *SMALL, "--set", "data.keep_original=1", "--workspace", str(tmp_path))
    rows = [json.loads(x) for x in (folder / "prepared" / "metadata.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 12
    assert all(row["text"].endswith(wanted[row["photo"]]) for row in rows)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"file_name": "fromt.png", "text": "x"}', "there is no photo 'fromt.png'"),
        ('{"file_name": "front.png"}', "line 1, is damaged: text: Field required"),
        ("front.png: x", "line 1, is damaged: Invalid JSON"),
        ('["front.png", "x"]', "line 1, is damaged: Input should be an object"),
        ('{"file_name": "front.png", "text": "x"}\n{"file_name": "front.png", "text": "y"}', "has a second row"),
        ('{"file_name": "front.png", "text": "other words"}', "has two captions"),
    ],
)
def test_captions_that_cannot_be_meant(tmp_path: Path, line: str, words: str) -> None:
    folder = write_set(tmp_path, "bottle01", {"front": draw_bottle()})
    (folder / "photos" / "metadata.jsonl").write_text(line + "\n", encoding="utf-8")
    (folder / "photos" / "front.txt").write_text("some words", encoding="utf-8")
    with pytest.raises(CatalogError, match=words) as caught:
        load_set(Workspace(tmp_path), "bottle01")
    assert caught.value.hint
    if "fromt" in line:
        assert caught.value.hint == "did you mean 'front'?"


def test_a_caption_is_not_read_through_a_link_out_of_the_set(tmp_path: Path) -> None:
    folder = write_set(tmp_path, "bottle01", {"front": draw_bottle()})
    (tmp_path / "secret.txt").write_text("a secret", encoding="utf-8")
    (folder / "photos" / "front.txt").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(CatalogError, match=r"front\.txt is a link that leads out of the set"):
        load_set(Workspace(tmp_path), "bottle01")


def test_a_caption_in_another_encoding_is_named(tmp_path: Path) -> None:
    folder = write_set(tmp_path, "bottle01", {"front": draw_bottle()})
    (folder / "photos" / "front.txt").write_bytes("grüner Flakon".encode("latin-1"))
    with pytest.raises(CatalogError, match=r"front\.txt is not UTF-8"):
        load_set(Workspace(tmp_path), "bottle01")
