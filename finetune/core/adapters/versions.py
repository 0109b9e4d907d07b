"""Adapter versions of a SKU: `adapters/<sku>/0001/`, `0002/`, ... and `current`, the one that is published.

A version is complete once its folder has its final name; `current` is a one-line text file, replaced atomically, and
written by `nightly`, `promote` and `rollback` alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from finetune.core.adapters.file import WEIGHTS, read_header
from finetune.core.adapters.foreign import Adapter, read_adapter
from finetune.core.console import warn
from finetune.core.errors import AdapterError
from finetune.core.json_files import Document, read_json_lines
from finetune.core.products.catalog import Workspace, check_sku_name
from finetune.core.storage.durable import append_line, write_text
from finetune.core.text_files import expanded, read_text

NUMBER = re.compile(r"\d{4}")
HISTORY = "history.jsonl"
RETIRED = "retired"
"""Beside the versions: numbers of those that were removed, one a line."""


class Publishing(Document):
    """A line of the history: a version was published."""

    when: str
    before: str | None = Field(alias="from")
    to: str
    reason: str


@dataclass(frozen=True)
class AdapterVersion:
    """One adapter on disk."""

    sku: str
    number: str
    """`0001`, or the name of the folder or file for an adapter outside the workspace."""
    folder: Path
    adapter: Adapter
    """The header of its file."""
    published: bool
    """Whether it is the one that `current` names."""

    @property
    def weights(self) -> Path:
        """The adapter file."""
        return self.adapter.path

    @property
    def manifest(self) -> dict[str, Any]:
        """How it was made; of another trainer's file what is known of that."""
        return self.adapter.manifest

    def is_in(self, folder: Path) -> bool:
        """Whether it is one of the numbered versions of a SKU's folder, not a file or folder given by its path."""
        return self.weights.resolve() == (folder / self.number / WEIGHTS).resolve()


def list_versions(
    workspace: Workspace, sku: str, *, damaged: Callable[[AdapterError], None] | None = None
) -> list[AdapterVersion]:
    """Every whole version of a SKU, oldest first.

    Args:
        workspace: Where `adapters/<sku>/` is.
        sku: Whose versions they are.
        damaged: Called with what is wrong with each damaged version; by default a warning says that it is passed over.
    """
    report = damaged or (lambda error: warn(f"passing over a version of '{sku}': {error.message}"))
    current = _current_or_none(workspace, sku)
    found = []
    for number in _complete(workspace, sku):
        try:
            found.append(_read(sku, number, workspace.adapters / sku / number, number == current))
        except AdapterError as error:
            report(error)
    return found


def _complete(workspace: Workspace, sku: str) -> list[str]:
    """Numbers of the versions whose file is there, oldest first."""
    folder = workspace.adapters / check_sku_name(sku)
    return [number for number in version_numbers(workspace, sku) if (folder / number / WEIGHTS).is_file()]


def find_version(workspace: Workspace, sku: str, wanted: str | None = None) -> AdapterVersion:
    """The wanted version (number, folder, or any LoRA file), else the published one, else the newest.

    Raises:
        AdapterError: there is none, or the wanted or the published one is not there, damaged, or no LoRA for SDXL's
            UNet.
    """
    numbers, place = _complete(workspace, sku), workspace.adapters / sku
    if wanted:
        for number in numbers:
            if wanted in (number, number.lstrip("0")):
                return _read(sku, number, place / number, number == _current_or_none(workspace, sku))
        folder = expanded(wanted)
        if folder.is_file():
            return _read_file(sku, folder)
        if (folder / WEIGHTS).is_file():
            return _read(sku, folder.name, folder, published=False)
        raise AdapterError(
            f"no adapter version '{wanted[:200]}' of '{sku}'", f"versions: {', '.join(numbers) or 'none'}"
        )
    if not numbers:
        cure = f"run: packshot train {sku} (placing works without: --adapter none)"
        raise AdapterError(f"'{sku}' has no adapter yet", cure)
    current = read_current(workspace, sku)
    if current is not None and current not in numbers:
        hint = f"run: packshot adapters promote {sku} {numbers[-1]} (or give --adapter)"
        raise AdapterError(f"the published version {current} of '{sku}' is not there", hint)
    number = current or numbers[-1]
    return _read(sku, number, place / number, number == current)


def _read(sku: str, number: str, folder: Path, published: bool) -> AdapterVersion:
    return AdapterVersion(sku, number, folder, read_header(folder / WEIGHTS), published)


def _read_file(sku: str, path: Path) -> AdapterVersion:
    return AdapterVersion(sku, path.name, path.parent, read_adapter(path), published=False)


def version_numbers(workspace: Workspace, sku: str) -> list[str]:
    """Numbers of a SKU's versions, damaged ones included, oldest first; no file is opened."""
    folder = workspace.adapters / check_sku_name(sku)
    return sorted(path.name for path in folder.glob("*") if NUMBER.fullmatch(path.name))


def next_number(workspace: Workspace, sku: str) -> str:
    """The number a new version gets: one more than the highest ever given, so that numbers are never used twice."""
    retired = workspace.adapters / check_sku_name(sku) / RETIRED
    text = (
        read_text(retired, AdapterError, hint=f"write the removed numbers into {retired}") if retired.exists() else ""
    )
    taken = [*version_numbers(workspace, sku), *filter(NUMBER.fullmatch, text.split())]
    return f"{max(map(int, taken), default=0) + 1:04d}"


def retire_number(workspace: Workspace, sku: str, number: str) -> None:
    """Record that a version is removed, so that its number is not given again."""
    append_line(workspace.adapters / check_sku_name(sku) / RETIRED, number)


def add_version(workspace: Workspace, sku: str, part: Path) -> AdapterVersion:
    """Give a finished folder (inside adapters/<sku>/) the next version number by renaming it."""
    while True:
        number = next_number(workspace, sku)
        folder = workspace.adapters / sku / number
        try:
            part.rename(folder)
        except OSError:
            if not folder.exists():
                raise  # and otherwise another process took the number between the two lines
        else:
            return _read(sku, number, folder, published=False)


def read_current(workspace: Workspace, sku: str) -> str | None:
    """Number of the published version; None when nothing is published."""
    path = workspace.adapters / sku / "current"
    if not path.is_file():
        return None
    hint = f"run: packshot adapters promote {sku} VERSION"
    number = read_text(path, AdapterError, limit=64, what=str(path), hint=hint).strip()
    if not NUMBER.fullmatch(number):
        raise AdapterError(f"{path} is damaged", hint)
    return number


def _current_or_none(workspace: Workspace, sku: str) -> str | None:
    """The published version's number; None, with a warning, where `current` is damaged and another was asked for."""
    try:
        return read_current(workspace, sku)
    except AdapterError as error:
        warn(f"{error.message}; {error.hint}")
        return None


def promote(workspace: Workspace, sku: str, number: str, *, reason: str, when: str) -> AdapterVersion:
    """Publish a version: `current` is replaced atomically, and the history says why.

    Args:
        workspace: Where `adapters/<sku>/` is.
        sku: Whose version it is.
        number: `0002` or `2`.
        reason: For the history.
        when: ISO 8601 time, for the history.

    Raises:
        AdapterError: There is no such version.
    """
    version = find_version(workspace, sku, number)
    folder = workspace.adapters / sku
    if not version.is_in(folder):
        raise AdapterError(
            f"'{number}' is no version of '{sku}' in this workspace",
            f"published are numbered versions only; `packshot adapters list {sku}` shows them",
        )
    before = _current_or_none(workspace, sku)
    if before == version.number:
        return version
    write_text(folder / "current", version.number + "\n")
    append_line(folder / HISTORY, json.dumps({"when": when, "from": before, "to": version.number, "reason": reason}))
    return find_version(workspace, sku, version.number)


def earlier_published(workspace: Workspace, sku: str) -> str | None:
    """Number of the version that was published before the current one and is still there; None if there is none."""
    current = read_current(workspace, sku)
    path = workspace.adapters / sku / HISTORY
    if not path.exists():
        return None
    hint = f"correct or remove {path}; it is what `rollback` and `prune` go by"
    existing = set(_complete(workspace, sku))
    for entry in reversed(read_json_lines(path, Publishing, AdapterError, what=str(path), hint=hint)):
        if entry.to == current and entry.before in existing and entry.reason != "rollback":
            return entry.before
    return None


def rollback(workspace: Workspace, sku: str, *, when: str) -> AdapterVersion:
    """Publish the version that was published before the current one.

    Raises:
        AdapterError: nothing was published before it.
    """
    if number := earlier_published(workspace, sku):
        return promote(workspace, sku, number, reason="rollback", when=when)
    raise AdapterError(f"'{sku}' has no earlier published version", f"packshot adapters list {sku} shows all versions")
