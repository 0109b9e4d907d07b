"""`packshot prepare --from`: kohya folders, imagefolders, one picture; through the command, the source untouched."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from drawn_products import draw_bottle, write_set

from finetune.core.commands import main
from finetune.core.products.catalog import ProductSet, Workspace, load_set
from finetune.core.products.prepared import require_prepared

SMALL = ("--set", "data.size=64", "--set", "data.variants=4", "--set", "data.keep_original=1")


def run(root: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["prepare", *arguments, *SMALL, "--workspace", str(root / "work")])


def loaded(root: Path, sku: str) -> ProductSet:
    return load_set(Workspace(root / "work"), sku)


def kohya(root: Path, name: str, captions: dict[str, str], ending: str = ".txt") -> Path:
    folder = root / "img" / name
    folder.mkdir(parents=True)
    for shift, (stem, text) in enumerate(captions.items()):
        draw_bottle(shift=2 * shift).save(folder / f"{stem}.png")
        if text:
            (folder / f"{stem}{ending}").write_text(text + "\n", encoding="utf-8")
    return folder


def state(folder: Path) -> dict[str, tuple[str, int]]:
    files = [p for p in folder.rglob("*") if p.is_file()]
    return {str(p): (hashlib.sha256(p.read_bytes()).hexdigest(), p.stat().st_mtime_ns) for p in files}


def test_a_kohya_folder(tmp_path: Path) -> None:
    captions = {"front": "ohwx perfume bottle, on white", "side ü": "seen from the side", "back": ""}
    folder = kohya(tmp_path, "10_ohwx perfume bottle", captions)
    (folder / "front.npz").write_bytes(b"a latent cache")
    before = state(tmp_path / "img")
    result = run(tmp_path, "--from", str(folder))
    assert result.exit_code == 0, result.output
    product = loaded(tmp_path, "ohwx")
    assert (product.config.class_noun, product.token) == ("perfume bottle", "ohwx")
    assert {p.stem: p.caption for p in product.photos} == captions
    assert "Packshot ignores the repeats" in result.stderr
    said = (product.folder / "set.yaml").read_text(encoding="utf-8")
    assert "kohya's '10_ohwx perfume bottle'; the repeats in the name are ignored" in said
    texts = {
        (row["photo"], row["text"])
        for row in map(json.loads, (product.prepared_dir / "metadata.jsonl").read_text(encoding="utf-8").splitlines())
    }
    assert ("front", "ohwx perfume bottle, on white") in texts  # names the token: taken as it is
    assert ("side ü", "a photo of ohwx perfume bottle, seen from the side") in texts
    assert state(tmp_path / "img") == before
    assert sorted(p.name for p in (tmp_path / "work" / "datasets").iterdir()) == ["ohwx"]


def test_a_folder_of_kohya_folders(tmp_path: Path) -> None:
    """Two concepts are two sets; the same words with other repeats are one."""
    kohya(tmp_path, "10_ohwx perfume bottle", {"a": "first"}, ending=".caption")
    kohya(tmp_path, "2_ohwx perfume bottle", {"a": "second"})
    kohya(tmp_path, "5_mugx mug", {"m": ""})
    result = run(tmp_path, "--from", str(tmp_path / "img"), "--json")
    assert result.exit_code == 0, result.output
    assert [json.loads(line)["sku"] for line in result.stdout.splitlines()] == ["ohwx", "mugx"]
    assert {p.stem: p.caption for p in loaded(tmp_path, "ohwx").photos} == {"a": "first", "a-2": "second"}
    assert "a.png is imported as a-2.png" in result.stderr
    assert loaded(tmp_path, "mugx").config.class_noun == "mug"
    named = run(tmp_path, "--from", str(tmp_path / "img"), "other")
    assert named.exit_code == 1
    assert "holds 2 products: 'ohwx perfume bottle', 'mugx mug'" in named.stderr


def test_an_imagefolder_with_metadata(tmp_path: Path) -> None:
    source = tmp_path / "perfume_bottle"
    (source / "more").mkdir(parents=True)
    draw_bottle().save(source / "front.png")
    draw_bottle(shift=4).save(source / "more" / "side.png")
    rows = [{"file_name": "front.png", "text": "on white"}, {"file_name": "more/side.png", "text": "from the side"}]
    (source / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    before = state(source)
    result = run(tmp_path, "--from", str(source))
    assert result.exit_code == 0, result.output
    product = loaded(tmp_path, "perfume-bottle")
    assert (product.config.class_noun, product.token) == ("perfume bottle", "prfmbttl")
    assert {p.stem: p.caption for p in product.photos} == {"front": "on white", "side": "from the side"}
    assert "the class noun is 'perfume bottle', from the folder name" in result.stderr
    assert state(source) == before


def test_an_imagefolder_with_text_files_a_name_and_a_noun(tmp_path: Path) -> None:
    source = tmp_path / "photos"
    source.mkdir()
    draw_bottle().save(source / "front.png")
    (source / "front.txt").write_text("on white\n", encoding="utf-8")
    result = run(tmp_path, "--from", str(source), "mymug", "--class-noun", "mug")
    assert result.exit_code == 0, result.output
    product = loaded(tmp_path, "mymug")
    assert (product.config.class_noun, product.photos[0].caption) == ("mug", "on white")
    assert len(require_prepared(product.prepared_dir, "mymug").photos) == 1


def test_one_picture(tmp_path: Path) -> None:
    draw_bottle().save(tmp_path / "IMG 0001.png")
    (tmp_path / "IMG 0001.txt").write_text("on white", encoding="utf-8")
    draw_bottle().save(tmp_path / "another.png")
    result = run(tmp_path, "--from", str(tmp_path / "IMG 0001.png"), "--class-noun", "bottle")
    assert result.exit_code == 0, result.output
    assert [(p.stem, p.caption) for p in loaded(tmp_path, "IMG-0001").photos] == [("IMG 0001", "on white")]


def test_a_set_that_is_there_is_never_overwritten(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "work", "ohwx", {"old": draw_bottle()})
    source = kohya(tmp_path, "10_ohwx perfume bottle", {"front": ""})
    before = state(folder)
    result = run(tmp_path, "--from", str(source))
    assert result.exit_code == 1
    assert "the product set 'ohwx' exists already" in result.stderr
    assert state(folder) == before
    assert "is a product set already" in run(tmp_path, "--from", str(folder), "again").stderr


def test_bad_entries_are_left_out_by_name_and_a_bad_picture_by_prepare(tmp_path: Path) -> None:
    source = kohya(tmp_path, "10_ohwx perfume bottle", {"front": ""})
    (tmp_path / "secret.png").write_bytes((source / "front.png").read_bytes())
    (source / "leak.png").symlink_to(tmp_path / "secret.png")
    (source / "folder.jpg").mkdir()
    (source / "broken.jpg").write_text("no picture", encoding="utf-8")
    result = run(tmp_path, "--from", str(source))
    assert result.exit_code == 0, result.output
    assert "photo not imported: leak.png is a link that leads out of the folder" in result.stderr
    assert "photo not imported: folder.jpg is not a file" in result.stderr
    assert "photo not used: broken.jpg is not a picture" in result.stderr
    assert [p.stem for p in loaded(tmp_path, "ohwx").photos] == ["broken", "front"]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ('{"file_name": "../secret.png", "text": "x"}', "is not a picture in the folder"),
        ('{"file_name": "fromt.png", "text": "x"}', "did you mean 'front.png'?"),
        ("no json", "line 1, is damaged: Invalid JSON"),
    ],
)
def test_metadata_that_cannot_be_meant_imports_nothing(tmp_path: Path, row: str, words: str) -> None:
    source = tmp_path / "bottle"
    source.mkdir()
    draw_bottle().save(source / "front.png")
    draw_bottle().save(tmp_path / "secret.png")
    (source / "metadata.jsonl").write_text(row, encoding="utf-8")
    result = run(tmp_path, "--from", str(source))
    assert result.exit_code == 1
    assert words in result.stderr
    assert list((tmp_path / "work").rglob("*.*")) == []


def test_what_cannot_be_imported_says_why(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    assert "holds no picture" in run(tmp_path, "--from", str(tmp_path / "photos")).stderr
    draw_bottle().save(tmp_path / "photos" / "a.png")
    noun = run(tmp_path, "--from", str(tmp_path / "photos"), "mug1")
    assert (noun.exit_code, "--class-noun 'perfume bottle'" in noun.stderr) == (1, True)
    (tmp_path / "outer" / "inner").mkdir(parents=True)
    draw_bottle().save(tmp_path / "outer" / "inner" / "a.png")
    assert f"did you mean {tmp_path / 'outer' / 'inner'}?" in run(tmp_path, "--from", str(tmp_path / "outer")).stderr
    assert "there is no" in run(tmp_path, "--from", str(tmp_path / "nowhere")).stderr
    assert run(tmp_path).exit_code == 2
    assert run(tmp_path, "mug1", "--class-noun", "mug").exit_code == 2


def test_a_token_that_is_none_is_said(tmp_path: Path) -> None:
    source = kohya(tmp_path, "3_My_Mug coffee_mug", {"a": ""})
    result = run(tmp_path, "--from", str(source), "mug1")
    assert result.exit_code == 0, result.output
    assert "the token 'My_Mug' becomes 'mymug'" in result.stderr
    product = loaded(tmp_path, "mug1")
    assert (product.token, product.config.class_noun) == ("mymug", "coffee mug")
