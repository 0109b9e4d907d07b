"""Adapter versions of a SKU: `adapters/<sku>/0001/`, `0002/`, ... and `current`, the one that is published.

A version is complete once its folder has its final name; `current` is a one-line text file, replaced atomically, and
written by `nightly`, `promote` and `rollback` alone.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.core.adapters.file import WEIGHTS, read_header
from finetune.core.adapters.foreign import Adapter, read_adapter
from finetune.core.errors import AdapterError
from finetune.core.products.catalog import Workspace, check_sku_name
from finetune.core.storage.durable import write_text

NUMBER = re.compile(r"\d{4}")
HISTORY = "history.jsonl"
RETIRED = "retired"
"""Beside the versions: numbers of those that were removed, one a line."""


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


def list_versions(workspace: Workspace, sku: str) -> list[AdapterVersion]:
    """Every complete version of a SKU, oldest first."""
    folder = workspace.adapters / check_sku_name(sku)
    if not folder.is_dir():
        return []
    current = read_current(workspace, sku)
    numbers = sorted(p.name for p in folder.iterdir() if NUMBER.fullmatch(p.name) and (p / WEIGHTS).is_file())
    return [_read(sku, number, folder / number, number == current) for number in numbers]


def find_version(workspace: Workspace, sku: str, wanted: str | None = None) -> AdapterVersion:
    """The wanted version (number, folder, or any LoRA file), else the published one, else the newest.

    Raises:
        AdapterError: there is none, or the wanted one is not there, damaged, or no LoRA for SDXL's UNet.
    """
    versions = list_versions(workspace, sku)
    if wanted:
        for version in versions:
            if wanted in (version.number, version.number.lstrip("0")):
                return version
        folder = Path(wanted).expanduser()
        if folder.is_file():
            return _read_file(sku, folder)
        if (folder / WEIGHTS).is_file():
            return _read(sku, folder.name, folder, published=False)
        known = ", ".join(v.number for v in versions) or "none"
        raise AdapterError(f"no adapter version '{wanted}' of '{sku}'", f"versions: {known}")
    if not versions:
        cure = f"run: packshot train {sku} (placing works without: --adapter none)"
        raise AdapterError(f"'{sku}' has no adapter yet", cure)
    return next((v for v in versions if v.published), versions[-1])


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
    lines = retired.read_text(encoding="utf-8", errors="replace").split() if retired.is_file() else []
    taken = [*version_numbers(workspace, sku), *filter(NUMBER.fullmatch, lines)]
    return f"{max(map(int, taken), default=0) + 1:04d}"


def retire_number(workspace: Workspace, sku: str, number: str) -> None:
    """Record that a version is removed, so that its number is not given again."""
    with (workspace.adapters / check_sku_name(sku) / RETIRED).open("a", encoding="utf-8") as handle:
        handle.write(number + "\n")


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
    number = path.read_text(encoding="utf-8").strip()
    if not NUMBER.fullmatch(number):
        raise AdapterError(f"{path} is damaged", f"run: packshot adapters promote {sku} VERSION")
    return number


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
    before = read_current(workspace, sku)
    if before == version.number:
        return version
    write_text(folder / "current", version.number + "\n")
    entry = {"when": when, "from": before, "to": version.number, "reason": reason}
    with (folder / HISTORY).open("a", encoding="utf-8") as handle:
        handle.write(json.dumps(entry) + "\n")
    return find_version(workspace, sku, version.number)


def earlier_published(workspace: Workspace, sku: str) -> str | None:
    """Number of the version that was published before the current one and is still there; None if there is none."""
    current = read_current(workspace, sku)
    path = workspace.adapters / sku / HISTORY
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    folder = workspace.adapters / sku
    existing = {number for number in version_numbers(workspace, sku) if (folder / number / WEIGHTS).is_file()}
    for entry in map(json.loads, reversed(lines)):
        if entry["to"] == current and entry["from"] in existing and entry["reason"] != "rollback":
            return str(entry["from"])
    return None


def rollback(workspace: Workspace, sku: str, *, when: str) -> AdapterVersion:
    """Publish the version that was published before the current one.

    Raises:
        AdapterError: nothing was published before it.
    """
    if number := earlier_published(workspace, sku):
        return promote(workspace, sku, number, reason="rollback", when=when)
    raise AdapterError(f"'{sku}' has no earlier published version", f"packshot adapters list {sku} shows all versions")
