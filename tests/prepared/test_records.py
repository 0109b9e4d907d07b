"""`packshot check` alone opens only photos it does not know; a photo that failed is tried again when that may help."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from drawn_products import draw_bottle, noting, write_set
from PIL import Image
from wild_pictures import in_the_wild, silhouette

import finetune.check as checking
import finetune.prepare as preparing
from finetune.check import check_set
from finetune.checks import examination
from finetune.checks.answer_cache import AnswerCache, read_answers
from finetune.core import fingerprint
from finetune.core.errors import CutoutError, PackshotError
from finetune.core.products.catalog import Workspace, load_set
from finetune.core.products.set_files import UnusablePhoto
from finetune.core.segmentation import learned
from finetune.dataset import photo_task
from finetune.dataset.photo_task import check_photo, prepare_photo
from finetune.dataset.records import PhotoRecord, UnusableRecord, read_record, write_record
from finetune.matting import sources
from finetune.nightly import NightlyConfig, plan_night
from finetune.prepare import prepare_set, prepared_fingerprint
from finetune.settings import DataSection

DATA = DataSection(size=64, variants=2)


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Three photos that can be used, one on no plain ground, and one that is no picture; no learned model."""
    monkeypatch.setenv("U2NET_HOME", str(tmp_path / "models"))
    learned._session.cache_clear()
    photos = {f"{number}": draw_bottle(120, shift=number) for number in range(3)}
    folder = write_set(tmp_path, "box01", photos | {"wild": in_the_wild(160)})
    (folder / "photos" / "torn.jpg").write_text("no picture")
    return Workspace(tmp_path)


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the photos that were opened to be checked or prepared."""
    names: list[str] = []
    monkeypatch.setattr(checking, "check_photo", noting(names, check_photo))
    monkeypatch.setattr(preparing, "prepare_photo", noting(names, prepare_photo))
    return names


def page_of(workspace: Workspace) -> tuple[dict[str, object], bytes]:
    report, page = check_set(workspace, "box01", size=64)
    return report.as_dict(), page.read_bytes()


ALL = ["0.png", "1.png", "2.png", "torn.jpg", "wild.png"]


@pytest.mark.slow
def test_what_was_checked_once_is_not_opened_again(shelf: Workspace, tried: list[str]) -> None:
    first = page_of(shelf)
    assert sorted(tried) == ALL
    tried.clear()
    assert page_of(shelf) == first
    assert tried == []
    draw_bottle(120, colour=(30, 90, 180)).save(shelf.datasets / "box01" / "photos" / "1.png")
    changed = page_of(shelf)
    assert tried == ["1.png"]
    assert changed != first
    tried.clear()
    check_set(shelf, "box01", size=64, force=True)
    assert sorted(tried) == ALL
    assert page_of(shelf) == changed
    kept = [p.name for p in (shelf.cache / "checks" / "box01").iterdir()]
    assert len(kept) == 5 + 1, "a record a photo, none of the photo's earlier state"


@pytest.mark.slow
def test_check_finds_the_same_alone_by_many_and_from_a_prepared_set(
    shelf: Workspace, tried: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = page_of(shelf)
    monkeypatch.setattr(checking, "FEW_PHOTO_PIXELS", 0)
    monkeypatch.setattr(checking, "check_photo", check_photo)  # a process can't be handed the one that notes
    report, page = check_set(shelf, "box01", size=64, force=True, jobs=2)
    assert (report.as_dict(), page.read_bytes()) == first
    prepared, _ = prepare_set(shelf, "box01", data=DATA)
    assert (prepared.folder / "report.html").read_bytes() == first[1]
    for path in (shelf.cache / "checks" / "box01").iterdir():
        path.unlink()
    assert page_of(shelf) == first
    assert list((shelf.cache / "checks" / "box01").iterdir()) == [shelf.cache / "checks" / "box01" / "remembered.json"]


@pytest.mark.slow
def test_a_label_is_read_once_a_photo(shelf: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[int, int]] = []

    def reader(picture: Image.Image) -> list[str]:
        read.append(picture.size)
        return ["NOIRE"]

    monkeypatch.setattr(examination, "open_reader", lambda: reader)
    (shelf.datasets / "box01" / "set.yaml").write_text("class_noun: perfume bottle\nlabel_text: [NOIRE, 50 ml]\n")
    first = page_of(shelf)
    assert len(read) == 3
    assert page_of(shelf) == first
    prepare_set(shelf, "box01", data=DATA)
    assert len(read) == 6, "another folder, once"
    draw_bottle(120, shift=9).save(shelf.datasets / "box01" / "photos" / "1.png")
    prepare_set(shelf, "box01", data=DATA)
    assert len(read) == 7


def test_a_photo_that_failed_is_left_alone_until_something_changes(shelf: Workspace, tried: list[str]) -> None:
    first, _ = prepare_set(shelf, "box01", data=DATA)
    assert set(first.unusable) == {"wild", "torn"}
    assert sorted(tried) == ALL
    tried.clear()
    assert not prepare_set(shelf, "box01", data=DATA)[1]
    draw_bottle(120, shift=9).save(shelf.datasets / "box01" / "photos" / "0.png")
    assert prepare_set(shelf, "box01", data=DATA)[1]
    assert tried == ["0.png"]
    page = (first.folder / "report.html").read_text(encoding="utf-8")
    assert "the ground is not plain" in page
    assert "torn.jpg is not a picture" in page


@pytest.mark.slow
def test_a_model_installed_later_redoes_what_failed_without_it(
    shelf: Workspace, tried: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = prepare_set(shelf, "box01", data=DATA)
    product = load_set(shelf, "box01")
    assert prepared_fingerprint(shelf, product, DATA) == first.fingerprint
    tried.clear()
    model = shelf.root / "models" / "u2netp.onnx"
    model.parent.mkdir()
    model.write_bytes(b"no model at all")
    assert prepared_fingerprint(shelf, product, DATA) != first.fingerprint, "a night will see to it"
    again, made = prepare_set(shelf, "box01", data=DATA)
    assert made
    assert sorted(tried) == ["torn.jpg", "wild.png"]
    assert again.fingerprint == first.fingerprint, "it failed again: an adapter made of the rest is up to date"
    assert not prepare_set(shelf, "box01", data=DATA)[1]
    tried.clear()
    model.write_bytes(b"a model that works")
    monkeypatch.setattr(sources, "learned_mask", lambda picture, _: silhouette(160))  # stands for rembg's
    better, made = prepare_set(shelf, "box01", data=DATA)
    assert made
    assert sorted(tried) == ["torn.jpg", "wild.png"]
    assert {p.photo: p.source for p in better.photos}["wild"] == "learned model u2netp"
    assert set(better.unusable) == {"torn"}
    assert better.fingerprint != first.fingerprint
    assert prepared_fingerprint(shelf, product, DATA) == better.fingerprint


def test_a_set_cut_by_plain_ground_is_not_redone_for_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("U2NET_HOME", str(tmp_path / "models"))
    write_set(tmp_path, "box01", {"0": draw_bottle(120)})
    prepare_set(Workspace(tmp_path), "box01", data=DATA)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "u2netp.onnx").write_bytes(b"model")
    assert not prepare_set(Workspace(tmp_path), "box01", data=DATA)[1]


def test_the_night_asks_for_the_fingerprint_without_reading_a_photo_twice(
    shelf: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    real = fingerprint.of_file

    def counted(path: Path) -> str:
        reads.append(path.name)
        return real(path)

    monkeypatch.setattr(fingerprint, "of_file", counted)
    plan = plan_night(shelf, NightlyConfig(config="embedded", skus=("box01",)))
    assert [entry.action for entry in plan] == ["train"]
    assert sorted(name for name in reads if name in ALL) == ALL
    product = load_set(shelf, "box01")
    wanted = prepared_fingerprint(shelf, product, DATA)
    prepared, _ = prepare_set(shelf, "box01", data=DATA)
    assert wanted != prepared.fingerprint, "two photos turned out to be unusable"
    assert prepared_fingerprint(shelf, product, DATA) == prepared.fingerprint


def test_records_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "x.json"
    error = CutoutError("the ground is not plain", "give a mask")
    write_record(UnusableRecord.of("m", UnusablePhoto(Path("a.jpg"), "cutting", error)), path)
    back = read_record(path)
    assert isinstance(back, UnusableRecord)
    again = back.photo(Path("b.jpg"))
    assert (again.path.name, again.stage) == ("b.jpg", "cutting")
    assert (type(again.error), again.error.message, again.error.hint) == (CutoutError, error.message, error.hint)

    def revived(name: str) -> type[PackshotError]:
        return type(UnusableRecord(failure_key="m", error=name, message="x", hint="").photo(path).error)

    assert revived("did_you_mean") is revived("Exception") is PackshotError
    assert [revived(name).__name__ for name in ("ImageError", "ConfigError")] == ["ImageError", "ConfigError"]
    path.write_text(json.dumps({"mark": "m"}))
    assert read_record(path) is None
    assert not list(path.parent.glob(".*")), "nothing half-written stays"
    answers = AnswerCache(scenes={"a": "on a shelf"})
    answers.write(path)
    broken = tmp_path / "broken.json"
    broken.write_text('{"colours": 1')
    assert read_answers(tmp_path / "none.json", broken, path) == answers


def test_the_environment_follows_the_model_only_where_it_could_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("U2NET_HOME", str(tmp_path))
    before = {source: photo_task.environment(source, "", tmp_path) for source in ("auto", "learned", "plain", "mask")}
    (tmp_path / "u2netp.onnx").write_bytes(b"model")
    after = {source: photo_task.environment(source, "", tmp_path) for source in before}
    assert {source for source in before if before[source] != after[source]} == {"auto", "learned"}


def test_a_set_prepared_by_an_earlier_version_stays_up_to_date(shelf: Workspace, tried: list[str]) -> None:
    """Its records name other keys than today's classes do, and have the crop of every example."""
    folder = prepare_set(shelf, "box01", data=DATA)[0].folder
    path = folder / "records" / "0.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    assert list(data) == ["key", "look_key", "cutout", "look", "figures", "examples", "glass", "files"]
    del data["glass"], data["look"]["matte"]
    data["examples"] = [example | {"crop_top": 0, "crop_left": 0} for example in data["examples"]]
    path.write_text(json.dumps(data), encoding="utf-8")
    failed = folder / "records" / "wild.json"
    earlier = {key: value for key, value in json.loads(failed.read_text(encoding="utf-8")).items() if key != "stage"}
    assert list(earlier) == ["mark", "error", "message", "hint"]
    failed.write_text(json.dumps(earlier), encoding="utf-8")
    assert isinstance(read_record(path), PhotoRecord)
    assert "left_out" in json.loads((folder / "prepared.json").read_text(encoding="utf-8"))
    tried.clear()
    assert not prepare_set(shelf, "box01", data=DATA)[1]
    (shelf.datasets / "box01" / "set.yaml").write_text("class_noun: perfume flacon")
    assert prepare_set(shelf, "box01", data=DATA)[1]
    assert tried == []
