"""Plain English in everything a user can read and in every docstring: the idioms that once stood here are banned."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tools.docs.messages import Message, messages

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted([*ROOT.glob("finetune/**/*.py"), *ROOT.glob("inference/**/*.py")])
PAGES = [
    ROOT / name
    for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "docs/training.md", "datasets/README.md")
]

BANNED = {
    r"\bof before\b": "earlier, previous",
    r"\b(is|are|was) said\b": "is printed, reported, refused",
    r"\bby mark\b": "by key",
    r"\bwhat (is|are) yet to come\b": "future",
    r"\b(came|come|comes) to nothing\b": "failed",
    r"\bgo(es)? on (with|without|from)\b": "continue, resume, skip",
    r"\bgoing on\b": "resuming, continuing",
    r"\bfor want of\b": "without",
    r"\bas it (really )?comes? out\b": "effective",
    r"\bnot told apart\b": "not distinguished",
    r"\bwants? for\b": "needs",
    r"\bwithout a word\b": "silently",
    r"\b(leaves?|has left) memory\b": "is freed",
    r"\bdoes not suffice\b": "is too small, too little",
    r"\bheld against\b": "compared with, checked against",
    r"\b([Cc]alled|[Uu]sed) by (the |`)?(recipe|command|training|placing|preview|session|loop|planner)": "leave it out",
}
"""Pattern -> what to write instead."""


def docstrings(path: Path) -> list[Message]:
    """Docstrings of a module, its classes and functions, and those under its constants and fields."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    texts = [n.value for n in ast.walk(tree) if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)]
    file = path.relative_to(ROOT)
    return [Message(file, text.lineno, " ".join(text.value.split())) for text in texts if isinstance(text.value, str)]


def idioms(text: str) -> list[str]:
    """The banned idioms in a text, each with what to write instead."""
    return [f"{match[0]!r}: {instead}" for pattern, instead in BANNED.items() if (match := re.search(pattern, text))]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_banned_idiom_in_code(path: Path) -> None:
    read = [*messages([path]), *docstrings(path)]
    assert [(m.line, wrong, m.text[:80]) for m in read for wrong in idioms(m.text)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_banned_idiom_in_pages(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()
    assert [(number, wrong) for number, line in enumerate(lines, 1) for wrong in idioms(line)] == []


def test_the_list_of_messages_is_whole() -> None:
    found = messages(MODULES)
    assert len(found) > 500
    by_file = {m.file.as_posix() for m in found}
    assert {
        "finetune/core/basemodel/resolve.py",
        "inference/request.py",
        "finetune/checks/photo_findings.py",
    } <= by_file


def test_a_planted_idiom_is_found() -> None:
    assert idioms("entries of before are made again") != []
    assert idioms("re-encoding 3 cache entries") == []
