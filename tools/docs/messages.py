"""Lists every sentence a user can read: errors, hints, warnings, progress lines, findings and command-line help.

    python -m tools.docs.messages [FOLDER ...]

Each line is `file:line<TAB>text`; what is filled in at run time stands in braces. The test of the house's words
(`tests/house/test_words.py`) reads the same list.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SIDES = ("finetune", "inference")
SPEAKERS = {"say", "warn", "echo", "secho", "option", "argument", "Finding", "Remark", "ClickException", "UsageError"}
"""Functions whose text arguments reach the terminal or a page; every class ending in `Error` does too."""
SPEAKING_ERRORS = {"OutOfMemory", "AdapterMismatch", "StateWriteError"}
COMMANDS = {"command", "group"}


@dataclass(frozen=True)
class Message:
    """A sentence a user can read."""

    file: Path
    """Relative to the repository."""
    line: int
    text: str


def messages(paths: list[Path]) -> list[Message]:
    """Every message of these files, in order."""
    found = []
    for path in paths:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found += [Message(path.relative_to(ROOT), line, text) for line, text in sorted(set(_of_tree(tree)))]
    return found


def _of_tree(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _speaks(node):
            for value in [*node.args, *(keyword.value for keyword in node.keywords)]:
                yield from _texts(value)
        if isinstance(node, ast.FunctionDef) and any(_is_command(d) for d in node.decorator_list):
            yield node.lineno, " ".join((ast.get_docstring(node) or "").split())


def _speaks(call: ast.Call) -> bool:
    name = ast.unparse(call.func).rsplit(".", 1)[-1]
    return name in SPEAKERS or name in SPEAKING_ERRORS or name.endswith("Error")


def _is_command(decorator: ast.expr) -> bool:
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return ast.unparse(called).rsplit(".", 1)[-1] in COMMANDS


def _texts(value: ast.expr) -> Iterator[tuple[int, str]]:
    """The sentences in an expression; both branches of a condition, the parts of a sum as one."""
    if isinstance(value, ast.IfExp):
        yield from _texts(value.body)
        yield from _texts(value.orelse)
    elif isinstance(value, (ast.Constant, ast.JoinedStr, ast.BinOp)):
        text = " ".join(_plain(value).split())
        if " " in text:
            yield value.lineno, text


def _plain(value: ast.expr) -> str:
    if isinstance(value, ast.Constant):
        return value.value if isinstance(value.value, str) else ""
    if isinstance(value, ast.JoinedStr):
        return "".join(
            part.value if isinstance(part, ast.Constant) else "{" + ast.unparse(part.value) + "}"
            for part in value.values
            if isinstance(part, (ast.Constant, ast.FormattedValue))
        )
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add):
        return _plain(value.left) + _plain(value.right)
    return ""


def main(folders: list[str]) -> None:
    """Print the messages of these folders, by default of the whole product."""
    for side in folders or SIDES:
        for message in messages(sorted((ROOT / side).rglob("*.py"))):
            print(f"{message.file}:{message.line}\t{message.text}")


if __name__ == "__main__":
    main(sys.argv[1:])
