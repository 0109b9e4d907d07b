"""Documents of a workspace that are damaged: what can be made again is, anything else is one line with its cure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from drawn_products import draw_bottle, write_set

from finetune.checks.answer_cache import read_answers
from finetune.core.adapters import versions
from finetune.core.errors import AdapterError, CatalogError
from finetune.core.products.catalog import Workspace
from finetune.core.products.prepared import FILE, FORMAT, OtherFormat, read_prepared, require_prepared
from finetune.core.storage.file_hashes import FileHashes
from finetune.dataset.records import read_record
from finetune.prepare import prepare_set
from finetune.settings import DataSection

SMALL = DataSection(size=64, variants=1, buckets=False)


@pytest.fixture
def shop(tmp_path: Path) -> Workspace:
    """A workspace with one prepared set."""
    write_set(tmp_path, "bottle01", {"front": draw_bottle()})
    prepare_set(Workspace(tmp_path), "bottle01", data=SMALL)
    return Workspace(tmp_path)


def prepared_json(shop: Workspace) -> Path:
    return shop.datasets / "bottle01" / "prepared" / FILE


def test_another_format_is_called_so_and_prepared_again(shop: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    path = prepared_json(shop)
    path.write_text(json.dumps({"format": FORMAT - 1, "sku": "bottle01"}), encoding="utf-8")
    with pytest.raises(OtherFormat, match="'bottle01' was prepared by an older Packshot") as caught:
        require_prepared(path.parent, "bottle01")
    assert caught.value.hint == "run: packshot prepare bottle01"
    _, made = prepare_set(shop, "bottle01", data=SMALL)
    assert made
    assert "was prepared by an older Packshot; it is prepared again" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", "[" * 20_000, '{"format": 3}', "\ufeff{", '{"format": "x"}'])
def test_a_damaged_prepared_json_is_one_line_and_prepared_again(shop: Workspace, text: str) -> None:
    path = prepared_json(shop)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CatalogError, match="is damaged") as caught:
        read_prepared(path.parent)
    assert "\n" not in caught.value.message
    assert prepare_set(shop, "bottle01", data=SMALL)[1]


@pytest.mark.parametrize("cutout", ["../../secret.png", "/etc/passwd", "cutouts/../../x.png", "a\0b"])
def test_a_path_out_of_the_prepared_set_is_refused(shop: Workspace, cutout: str) -> None:
    path = prepared_json(shop)
    data = json.loads(path.read_text(encoding="utf-8"))
    data["photos"][0]["cutout"] = cutout
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(CatalogError, match=r"photos\.0\.cutout: the path leads out of its folder"):
        read_prepared(path.parent)


@pytest.mark.parametrize("text", ["null", "{", '{"file_name": 3}', "[" * 20_000])
def test_a_damaged_row_has_the_set_prepared_again(shop: Workspace, text: str) -> None:
    rows = prepared_json(shop).with_name("metadata.jsonl")
    whole = rows.read_text(encoding="utf-8")
    rows.write_text(text, encoding="utf-8")
    assert prepare_set(shop, "bottle01", data=SMALL)[1]
    assert rows.read_text(encoding="utf-8") == whole


def test_caches_that_are_damaged_are_reported_and_made_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, text in enumerate(("null", "{", '{"a": [1]}', "[" * 20_000)):
        path = tmp_path / f"{number}.json"
        path.write_text(text, encoding="utf-8")
        assert FileHashes(path).of_file(path)
        assert read_record(path) is None
    path.write_text('{"colours": 3}', encoding="utf-8")
    assert read_answers(path).colours == {}
    said = capsys.readouterr().err
    assert said.count("; it is made again (") == 9
    assert "the record 0.json is damaged" in said


def test_a_record_names_no_file_elsewhere(shop: Workspace) -> None:
    path = shop.datasets / "bottle01" / "prepared" / "records" / "front.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    assert read_record(path) is not None
    data["files"][0] = ["../../..", "/passwd"]
    path.write_text(json.dumps(data), encoding="utf-8")
    assert read_record(path) is None


@pytest.mark.parametrize("data", [b"\xff\xfe", b"", b"1", b"0001\n0002", b"x" * 5000])
def test_a_damaged_current_is_an_error_that_promote_cures(tmp_path: Path, data: bytes) -> None:
    folder = tmp_path / "adapters" / "bottle01"
    folder.mkdir(parents=True)
    (folder / "current").write_bytes(data)
    with pytest.raises(AdapterError, match="current") as caught:
        versions.read_current(Workspace(tmp_path), "bottle01")
    assert "adapters promote bottle01" in caught.value.hint


@pytest.mark.parametrize(
    "line", ["null", "{}", "{", '{"when": "x", "from": 3, "to": "0001", "reason": ""}', "[" * 5000]
)
def test_a_damaged_history_is_an_error_that_names_it(tmp_path: Path, line: str) -> None:
    folder = tmp_path / "adapters" / "bottle01"
    folder.mkdir(parents=True)
    (folder / "current").write_text("0002\n", encoding="utf-8")
    (folder / versions.HISTORY).write_text(line + "\n", encoding="utf-8")
    with pytest.raises(AdapterError, match=r"history\.jsonl, line 1, is damaged"):
        versions.earlier_published(Workspace(tmp_path), "bottle01")
