"""Category sets: the photos of every SKU that names them, under one trigger word; stale when a member changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from drawn_products import draw_bottle, write_set

import finetune.prepare as recipe
from finetune.core.errors import CatalogError
from finetune.core.products.catalog import Workspace, load_set
from finetune.dataset.photo_task import prepare_photo
from finetune.prepare import prepare_set, prepared_fingerprint
from finetune.settings import DataSection

DATA = DataSection(size=64, variants=3, keep_original=1)


@pytest.fixture
def shelf(tmp_path: Path) -> Workspace:
    """Two vases that name the category `vases`, and a mug that does not."""
    for sku, colour in (("vase01", (40, 90, 160)), ("vase02", (40, 140, 60)), ("mug01", (90, 90, 90))):
        photos = {"front": draw_bottle(120, colour), "test 2": draw_bottle(120, colour, shift=4)}
        category = {"category": "vases"} if sku != "mug01" else {}
        write_set(tmp_path, sku, photos, class_noun="blue vase", token=f"{sku[:4]}a{sku[-1]}", **category)
    (tmp_path / "datasets" / "vase01" / "photos" / "front.txt").write_text("vasea1 blue vase on a sill")
    folder = tmp_path / "datasets" / "vases"
    folder.mkdir()
    (folder / "set.yaml").write_text("kind: category\nclass_noun: vase\ntoken: vsct01\n")
    return Workspace(tmp_path)


def rows_of(workspace: Workspace, sku: str) -> list[dict[str, object]]:
    text = (workspace.datasets / sku / "prepared" / "metadata.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.slow
def test_a_category_shows_its_members_under_its_own_word(shelf: Workspace, tmp_path: Path) -> None:
    import datasets

    prepared, made = prepare_set(shelf, "vases", data=DATA)
    assert made
    assert (prepared.kind, prepared.token, prepared.class_noun) == ("category", "vsct01", "vase")
    names = ["vase01/front", "vase01/test 2", "vase02/front", "vase02/test 2"]
    assert [photo.photo for photo in prepared.photos] == names
    assert all(prepared.cutout_path(photo).is_file() for photo in prepared.photos)
    opened = datasets.load_dataset("imagefolder", data_dir=str(prepared.folder), cache_dir=str(tmp_path / "cache"))
    assert list(opened) == ["train"]
    table = opened["train"]
    assert len(table) == 12
    assert set(table["sku"]) == {"vase01", "vase02"}
    assert all("vsct01" in text and "vasea" not in text for text in table["text"])
    assert "vsct01 blue vase on a sill" in table["text"]
    assert table["image"][0].size == (64, 64)
    page = (prepared.folder / "report.html").read_text(encoding="utf-8")
    assert "vase01/front.png" in page
    assert "another product" not in page, "members are meant to differ"


def test_what_members_have_prepared_is_taken_over(shelf: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    worked_on: list[str] = []

    def noted(job: object) -> object:
        worked_on.append(job.task.sku)  # type: ignore[attr-defined]
        return prepare_photo(job)  # type: ignore[arg-type]

    monkeypatch.setattr(recipe, "prepare_photo", noted)
    prepare_set(shelf, "vase01", data=DATA)
    worked_on.clear()
    category, _ = prepare_set(shelf, "vases", data=DATA)
    assert worked_on == ["vase02", "vase02"]
    own = shelf.datasets / "vase01" / "prepared" / "images" / "front-01.png"
    assert (category.folder / "images" / "vase01" / "front-01.png").read_bytes() == own.read_bytes()
    split = {row["photo"]: row["split"] for row in rows_of(shelf, "vases")}
    assert {f"vase01/{row['photo']}": row["split"] for row in rows_of(shelf, "vase01")}.items() <= split.items()


@pytest.mark.slow
def test_members_that_change_or_come_make_it_stale(shelf: Workspace) -> None:
    first, _ = prepare_set(shelf, "vases", data=DATA)
    assert not prepare_set(shelf, "vases", data=DATA)[1]
    draw_bottle(120, (1, 2, 3)).save(shelf.datasets / "mug01" / "photos" / "front.png")
    assert not prepare_set(shelf, "vases", data=DATA)[1], "the mug is no member"
    draw_bottle(120, (90, 90, 160)).save(shelf.datasets / "vase02" / "photos" / "front.png")
    wanted = prepared_fingerprint(shelf, load_set(shelf, "vases"), DATA)
    second, made = prepare_set(shelf, "vases", data=DATA)
    assert made
    assert first.fingerprint != second.fingerprint == wanted
    write_set(shelf.root, "vase03", {"a": draw_bottle(120, (200, 60, 60))}, class_noun="vase", category="vases")
    third, made = prepare_set(shelf, "vases", data=DATA)
    assert made
    assert {photo.photo.split("/")[0] for photo in third.photos} == {"vase01", "vase02", "vase03"}


def test_a_category_without_members_or_with_photos_is_refused(shelf: Workspace) -> None:
    for sku in ("vase01", "vase02"):
        (shelf.datasets / sku / "set.yaml").write_text("class_noun: vase\n")
    with pytest.raises(CatalogError, match="no SKU names the category 'vases'") as caught:
        prepare_set(shelf, "vases", data=DATA)
    assert "category: vases" in caught.value.hint
    photos = shelf.datasets / "vases" / "photos"
    photos.mkdir()
    draw_bottle(120).save(photos / "a.png")
    with pytest.raises(CatalogError, match="has photos of its own"):
        prepare_set(shelf, "vases", data=DATA)
