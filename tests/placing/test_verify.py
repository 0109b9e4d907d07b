"""`packshot verify`: a picture beside its manifest, whole, re-saved, edited, swapped."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from finetune.core.commands import main
from finetune.core.pictures.images import write_png
from finetune.core.pictures.masks import Box
from inference import manifest as provenance
from inference.delivery import check_core

SIZE = 64
BOX = Box(20, 10, 44, 50)


def make_picture(folder: Path, name: str = "01", seed: int = 0, with_core: bool = True) -> Path:
    """A picture of noise with a manifest, written as `place` writes them."""
    pixels = np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    core = np.zeros((SIZE, SIZE), dtype=bool)
    core[12:48, 22:42] = True
    check = check_core(pixels, pixels, core)
    manifest: dict[str, Any] = {
        "format": provenance.FORMAT,
        "digitalSourceType": provenance.SOURCE_TYPES["preserve"],
        "seed": seed,
        "size": SIZE,
        "placement": {"left": BOX.left, "top": BOX.top, "width": BOX.width, "height": BOX.height},
        "core": {"sha256": check.sha256, "mask": provenance.core_section(core, BOX)} if with_core else None,
    }
    path = folder / f"{name}.png"
    write_png(Image.fromarray(pixels), path, provenance.png_text(manifest))
    manifest["picture"] = provenance.picture_section(path)
    provenance.write_manifest(manifest, path.with_suffix(".json"))
    return path


def edit(path: Path, y: int, x: int) -> None:
    with Image.open(path) as opened:
        pixels = np.asarray(opened).copy()
    pixels[y, x, 0] ^= 1
    write_png(Image.fromarray(pixels), path)


def verify(*pictures: Path, as_json: bool = False) -> Result:
    return CliRunner().invoke(main, ["verify", *map(str, pictures), *(["--json"] if as_json else [])])


def test_untouched_picture_holds(tmp_path: Path) -> None:
    result = verify(make_picture(tmp_path))
    assert result.exit_code == 0
    assert "core intact" in result.stdout
    assert result.stderr == ""


def test_insert_picture_has_no_core_and_says_so(tmp_path: Path) -> None:
    result = verify(make_picture(tmp_path, with_core=False))
    assert result.exit_code == 0
    assert "no photographed core" in result.stdout


def test_one_bit_in_the_core_is_found(tmp_path: Path) -> None:
    path = make_picture(tmp_path)
    edit(path, 30, 30)
    result = verify(path)
    assert result.exit_code == 1
    assert "pixels of its core were changed" in result.stderr
    assert "hint:" in result.stderr


def test_one_bit_outside_is_found_and_told_apart(tmp_path: Path) -> None:
    path = make_picture(tmp_path)
    edit(path, 2, 2)
    result = verify(path)
    assert result.exit_code == 1
    assert "edited after it was placed; the product's core is intact" in result.stderr


def test_saved_again_without_loss_holds_with_a_word(tmp_path: Path) -> None:
    path = make_picture(tmp_path)
    with Image.open(path) as opened:
        copy = opened.copy()
    copy.info.clear()
    copy.save(path, compress_level=9)
    found = provenance.check_picture(path)
    assert (found.core, found.same_file) == ("intact", False)
    result = verify(path)
    assert result.exit_code == 0
    assert "saved again" in result.stderr


def test_an_edited_manifest_is_found(tmp_path: Path) -> None:
    path = make_picture(tmp_path)
    manifest = path.with_suffix(".json")
    manifest.write_text(manifest.read_text(encoding="utf-8").replace('"seed": 0', '"seed": 1'), encoding="utf-8")
    result = verify(path)
    assert result.exit_code == 1
    assert "01.json was edited" in result.stderr


def test_a_swapped_manifest_is_found(tmp_path: Path) -> None:
    first, second = make_picture(tmp_path, "01", 0), make_picture(tmp_path, "02", 1)
    first.with_suffix(".json").write_bytes(second.with_suffix(".json").read_bytes())
    assert verify(first).exit_code == 1


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda p: p.with_suffix(".json").unlink(), "has no manifest 01.json"),
        (lambda p: p.with_suffix(".json").write_text("{", encoding="utf-8"), "01.json is damaged"),
        (lambda p: p.with_suffix(".json").write_text("[]", encoding="utf-8"), "01.json is damaged"),
        (
            lambda p: p.with_suffix(".json").write_text('{"format": 99}', encoding="utf-8"),
            "not a manifest of this version",
        ),
        (lambda p: p.unlink(), "there is no picture"),
        (lambda p: p.write_text("not a picture", encoding="utf-8"), "is not a picture"),
        (lambda p: p.write_bytes(p.read_bytes()[:3000]), "truncated"),
        (lambda p: Image.new("RGB", (32, 32)).save(p), "is 32x32 pixels, but its manifest says 64x64"),
    ],
)
def test_what_is_damaged_is_one_line(tmp_path: Path, damage: Any, says: str) -> None:
    path = make_picture(tmp_path)
    damage(path)
    result = verify(path)
    assert result.exit_code == 1
    assert says in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("key", ["size", "core", "placement"])
def test_a_manifest_that_lacks_a_key_is_an_error_not_a_crash(tmp_path: Path, key: str) -> None:
    path = make_picture(tmp_path)
    manifest = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    del manifest[key]
    path.with_suffix(".json").write_text(json.dumps(manifest), encoding="utf-8")
    result = verify(path)
    assert result.exit_code == 1
    assert "damaged" in result.stderr


def test_several_pictures_and_json(tmp_path: Path) -> None:
    good, bad = make_picture(tmp_path, "01"), make_picture(tmp_path, "02", 1)
    edit(bad, 30, 30)
    result = verify(good, bad, as_json=True)
    assert result.exit_code == 1
    assert [entry["ok"] for entry in json.loads(result.stdout)] == [True, False]


def test_picture_section_hashes_the_file_and_its_pixels(tmp_path: Path) -> None:
    path = make_picture(tmp_path)
    section = provenance.picture_section(path)
    assert section["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert section["file"] == "01.png"
