"""A product's parts are glass in every view of a set or in none; how much is transparent is said and written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from drawn_glass import bottle, photograph, white
from drawn_products import write_set
from PIL import Image

from finetune.core.products.catalog import Workspace
from finetune.core.products.prepared import PreparedSet
from finetune.dataset import glass_vote
from finetune.dataset.glass_vote import decided
from finetune.dataset.records import GlassVote, PhotoRecord, read_record
from finetune.prepare import prepare_set
from finetune.settings import DataSection

DATA = DataSection(size=64, variants=1)
CLEAR = (0.93, 0.93, 0.92)
CREAM = (0.62, 0.58, 0.5)


def view(*, glass: bool) -> Image.Image:
    return photograph(bottle(CLEAR if glass else CREAM, lined=glass), white())


def prepared(root: Path, *glass: bool, **config: object) -> PreparedSet:
    write_set(root, "x1", {f"view{n}": view(glass=each) for n, each in enumerate(glass)}, **config)
    return prepare_set(Workspace(root), "x1", data=DATA)[0]


def votes(found: PreparedSet) -> list[GlassVote]:
    records = [read_record(path) for path in sorted((found.folder / "records").iterdir())]
    return [record.glass for record in records if isinstance(record, PhotoRecord)]


@pytest.mark.parametrize(
    ("own", "verdict"),
    [
        ((0.0, 0.0, 0.0), ""),
        ((0.4, 0.2), ""),
        ((0.5, 0.0, 0.0), "no"),
        ((0.5, 0.3, 0.0), "yes"),
        ((0.5, 0.0), "no"),
        ((0.02, 0.03, 0.0), "no"),
        ((), ""),
    ],
)
def test_the_majority_by_evidence_decides(own: tuple[float, ...], verdict: str) -> None:
    assert decided(own) == verdict


def test_a_single_view_of_glass_follows_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = prepared(tmp_path, True, False, False)
    assert [photo.glass for photo in found.photos] == ["", "", ""]
    assert not list((found.folder / "glass").iterdir())
    first, second, third = votes(found)
    assert first.own > 0.3
    assert (first.verdict, second, third) == ("no", GlassVote(), GlassVote())
    said = capsys.readouterr().err
    assert "x1: the product is opaque by most of its views; view0.png showed otherwise and is made like them" in said
    assert "transparent" not in said


def test_glass_is_said_and_a_view_without_any_evidence_stays_opaque(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_set(tmp_path, "x1", {"a": view(glass=True), "b": view(glass=True), "c": view(glass=True)})
    found, _ = prepare_set(Workspace(tmp_path), "x1", data=DATA)
    assert all(photo.glass for photo in found.photos)
    said = capsys.readouterr().err
    assert len(re.findall(r"^[abc]\.png: \d\d% of the product is transparent$", said, re.MULTILINE)) == 3


def test_what_set_yaml_says_is_obeyed(tmp_path: Path) -> None:
    found = prepared(tmp_path, True, False, False, glass="no")
    assert {vote.verdict for vote in votes(found)} == {""}
    assert not any(photo.glass for photo in found.photos)


def test_a_view_that_was_overruled_is_taken_over_and_made_again_when_the_set_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = prepared(tmp_path, True, False, False)
    kept = (before.folder / "cutouts" / "view0.png").stat().st_ino
    (tmp_path / "datasets" / "x1" / "photos" / "view2.png").unlink()
    again = prepare_set(Workspace(tmp_path), "x1", data=DATA)[0]
    assert (again.folder / "cutouts" / "view0.png").stat().st_ino == kept, "its verdict is what it was"
    (tmp_path / "datasets" / "x1" / "photos" / "view1.png").unlink()
    alone = prepare_set(Workspace(tmp_path), "x1", data=DATA)[0]
    assert [bool(photo.glass) for photo in alone.photos] == [True]
    assert votes(alone)[0].verdict == ""
    assert votes(alone)[0].own > glass_vote.CLEAR
