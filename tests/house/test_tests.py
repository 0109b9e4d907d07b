"""The rules of the tests: where a test file stands, and what it imports."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
FILES = sorted(TESTS.rglob("test_*.py"))
SUPPORT = {path.stem for path in (TESTS / "support").glob("*.py")}
NAMED_OTHERWISE = {
    "abuse": "benchmarks/abuse",
    "assets": "benchmarks",
    "documents": "finetune/core",
    "house": "CONTRIBUTING.md",
    "placing": "inference",
    "prepared": "finetune/dataset",
    "whole": "finetune/cli",
}
"""Folders of tests that do not have the name of the room they test, and what they test."""


def room_of(folder: str) -> Path | None:
    """What the tests in a folder are of; None where that is not there."""
    places = [ROOT / "finetune" / folder, ROOT / "finetune" / "core" / folder]
    if folder in NAMED_OTHERWISE:
        places = [ROOT / NAMED_OTHERWISE[folder]]
    return next((place for place in places if place.exists()), None)


def imported_tests(source: str) -> list[str]:
    """The test modules and `conftest` that a source imports, by name or from the package `tests`."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [f"{'.' * node.level}{node.module or ''}", *(alias.name for alias in node.names if node.level)]
    return [
        name
        for name in found
        if name.startswith((".", "tests.")) or name.split(".")[-1].startswith(("test_", "conftest"))
    ]


def test_every_test_stands_in_the_folder_of_what_it_tests() -> None:
    assert len(FILES) > 80
    assert [path.name for path in FILES if path.parent.parent != TESTS] == []
    folders = {path.parent.name for path in FILES}
    assert sorted(folder for folder in folders if room_of(folder) is None) == []
    assert sorted(NAMED_OTHERWISE.keys() - folders) == [], "entries that no folder needs"


def test_no_test_imports_another() -> None:
    sources = {path: path.read_text(encoding="utf-8") for path in [*FILES, *(TESTS / "support").glob("*.py")]}
    assert {
        str(path.relative_to(ROOT)): found for path, text in sources.items() if (found := imported_tests(text))
    } == {}


@pytest.mark.parametrize(
    "source", ["from test_train import x", "import tests.support.crashes", "from .crashes import x", "from . import y"]
)
def test_an_import_of_another_test_is_seen(source: str) -> None:
    assert imported_tests(source)


def test_what_tests_share_is_used() -> None:
    sources = [path.read_text(encoding="utf-8") for path in TESTS.rglob("*.py")]
    trees = [node for text in sources for node in ast.walk(ast.parse(text))]
    used = {node.module for node in trees if isinstance(node, ast.ImportFrom)}
    used |= {alias.name for node in trees if isinstance(node, ast.Import) for alias in node.names}
    by_name = {"imported_libraries"}  # preloaded by the server of forked commands
    assert len(SUPPORT) > 15
    assert sorted(SUPPORT - used - by_name) == []
