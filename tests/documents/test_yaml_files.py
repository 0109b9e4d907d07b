"""The YAML reader: scalars stay as they are written, and hostile documents end in one line at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from finetune.core.errors import CatalogError, ConfigError
from finetune.core.yaml_files import MAX_DEPTH, parse_yaml, read_yaml

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 00123", "00123"), ("a: 1e5", "1e5"), ("a: yes", "yes"), ("a: 2026-01-01", "2026-01-01"),
        ("a: 2001-99-99", "2001-99-99"), ("a: !!int abc", "abc"), ("a: 0x1F", "0x1F"), ("a: 12:30", "12:30"),
        ("a: true", "true"), ("a: .5", ".5"), ("a: 'null'", "null"),
        ('a: ""', ""), ("a: [1, '2', ~]", ["1", "2", None]),
        ("a:", None), ("a: ~", None), ("a: null", None), ("a: {b: {c: d}}", {"b": {"c": "d"}}),
        ("a: &x [1]\nb: *x", ["1"]), ("a: |\n  two\n  lines\n", "two\nlines\n"), ("\ufeffa: 1", "1"),
    ],
)  # fmt: skip
def test_scalars_stay_as_they_are_written(tmp_path: Path, text: str, value: Any) -> None:
    file = tmp_path / "set.yaml"
    file.write_text(text, encoding="utf-8")
    assert read_yaml(file)["a"] == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", r"^x\.yaml, line 1, column \d+ is not valid YAML: "),
        ("a: @x", "is not valid YAML"),
        ("a: b: c", "is not valid YAML"),
        ("a: *nowhere", "undefined alias"),
        ("--- 1\n--- 2", "another document"),
        ("a: &x [*x]", "line 1, column 4: an anchor contains itself"),
        (LAUGHS, "more than 20,000 values"),
        ("[" * 5000, rf"nested more than {MAX_DEPTH} levels"),
        ("{a: " * 400 + "1" + "}" * 400, "nested more than"),
        ("a: 1\na: 2", "line 2, column 1: the key 'a' stands here twice"),
        ("[1, 2]: 3", "a key must be a word"),
        ("a: \x00", "is not valid YAML"),
    ],
)
def test_what_is_wrong_is_one_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse_yaml(text, "x.yaml")
    assert "\n" not in caught.value.message + caught.value.hint
    assert caught.value.hint


def test_files_that_are_no_documents(tmp_path: Path) -> None:
    latin, large, pipe, words = (tmp_path / name for name in ("latin", "large", "pipe", "words"))
    latin.write_bytes(b"a: 1\nb: \xe9\n")
    large.write_bytes(b"#" * (2 << 20))
    os.mkfifo(pipe)
    words.write_text("just words", encoding="utf-8")
    for path, message in (
        (latin, r"latin is not UTF-8 text \(line 2\)"),
        (large, "large has 2.0 MiB, more than the 1 MiB allowed"),
        (pipe, "pipe is not a file"),
        (tmp_path, "is not a file|Is a directory"),
        (tmp_path / "missing", "missing can't be read: No such file"),
        (tmp_path / ("n" * 5000), "File name too long"),
        (words, "must hold a mapping"),
    ):
        with pytest.raises(CatalogError, match=message) as caught:
            read_yaml(path, CatalogError)
        assert caught.value.hint, path
        assert "\n" not in caught.value.message


def test_an_empty_file_is_an_empty_mapping(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("# nothing yet\n", encoding="utf-8")
    assert read_yaml(tmp_path / "a.yaml") == {}
