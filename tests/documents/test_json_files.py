"""The JSON reader: models or one line, whatever the file holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetune.core.errors import RunError
from finetune.core.json_files import Document, read_json, read_json_lines


class Note(Document):
    """A document of the test."""

    format: int = 2
    name: str
    sizes: tuple[int, ...] = ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "EOF|expected value|Invalid JSON"),
        ("null", "Input should be an object"),
        ("[]", "Input should be an object"),
        ("{}", "note.json is damaged: name: Field required"),
        ('{"name": 3}', "name: Input should be a valid string"),
        ('{"name": "a", "sizes": [1, "x"]}', r"sizes\.1: Input should be a valid integer"),
        ('{"name": "a"', "Invalid JSON"),
        ("[" * 20_000, "recursion limit"),
        ('{"format": 1, "name": "a"}', r"was written by an older Packshot \(format 1, this one reads 2\)"),
        ('{"format": 3}', "was written by a newer Packshot"),
        ('{"format": true, "name": "a"}', "format: Input should be a valid integer|older"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "note.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RunError, match=message) as caught:
        read_json(path, Note, RunError, version=2)
    assert "\n" not in caught.value.message + caught.value.hint
    assert str(path) in caught.value.hint


def test_a_document_comes_back(tmp_path: Path) -> None:
    note = Note(name="größer", sizes=(1, 2))
    (tmp_path / "note.json").write_text(note.model_dump_json(), encoding="utf-8")
    assert read_json(tmp_path / "note.json", Note, RunError, version=2) == note
    assert Note.model_validate_json('{"name": "a", "of_a_newer_version": 1}') == Note(name="a")


def test_lines_name_the_one_that_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "notes.jsonl"
    path.write_text('{"name": "a"}\n\n{"name": "b"}\n', encoding="utf-8")
    assert [note.name for note in read_json_lines(path, Note, RunError)] == ["a", "b"]
    path.write_text('{"name": "a"}\n{"name"\n', encoding="utf-8")
    with pytest.raises(RunError, match=r"^notes\.jsonl, line 2, is damaged: Invalid JSON"):
        read_json_lines(path, Note, RunError)
