"""Removing adapter versions: never the published one, nor the one that `rollback` would return to.

A version is renamed to a hidden name before its files go, so a kill leaves no half of one; its number is recorded and
not given again, since scenes and histories name versions by it.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from finetune.core.adapters import versions
from finetune.core.errors import AdapterError, RunError
from finetune.core.products.catalog import Workspace, check_sku_name
from finetune.core.storage.durable import temporary_beside


@dataclass(frozen=True)
class Removable:
    """A version that may be removed."""

    number: str
    folder: Path
    size: int
    """Bytes of its files."""


def deletable(workspace: Workspace, sku: str, wanted: str) -> Removable:
    """The version that `adapters delete` removes.

    Args:
        workspace: Where `adapters/<sku>/` is.
        sku: Whose version it is.
        wanted: `0002` or `2`; it may be damaged.

    Raises:
        AdapterError: There is none of that number, or it is needed.
    """
    numbers, number = versions.version_numbers(workspace, sku), wanted.zfill(4)
    if number not in numbers:
        raise AdapterError(f"no adapter version '{wanted}' of '{sku}'", f"versions: {', '.join(numbers) or 'none'}")
    if why := needed(workspace, sku).get(number):
        raise AdapterError(f"version {number} of '{sku}' is {why}", "publish another: packshot adapters promote")
    return _measured(workspace, sku, number)


def prunable(workspace: Workspace, sku: str, keep: int) -> list[Removable]:
    """The versions that `adapters prune` removes, oldest first.

    Args:
        workspace: Where `adapters/<sku>/` is.
        sku: Whose versions they are.
        keep: How many of the newest stay, besides those that are needed; at least 1.

    Raises:
        AdapterError: The SKU has no version.
    """
    assert keep >= 1, keep
    numbers = versions.version_numbers(workspace, sku)
    if not numbers:
        raise AdapterError(f"'{sku}' has no adapter yet", f"run: packshot train {sku}")
    kept = needed(workspace, sku)
    return [_measured(workspace, sku, number) for number in numbers[:-keep] if number not in kept]


def needed(workspace: Workspace, sku: str) -> dict[str, str]:
    """Numbers that are not removed -> why, in words."""
    current, earlier = versions.read_current(workspace, sku), versions.earlier_published(workspace, sku)
    found = {earlier: "the one published before, to which `rollback` returns"} if earlier else {}
    return found | ({current: "the published one"} if current else {})


def remove_version(workspace: Workspace, sku: str, version: Removable) -> None:
    """Remove a version from the disk.

    Raises:
        RunError: The disk refused.
    """
    try:
        versions.retire_number(workspace, sku, version.number)
        if version.folder.is_symlink():  # what it leads to is not ours
            version.folder.unlink()
            return
        gone = temporary_beside(version.folder)
        version.folder.rename(gone)
        shutil.rmtree(gone)
    except OSError as error:
        raise RunError(
            f"version {version.number} of '{sku}' can't be removed: {error.strerror or error}",
            f"check the permissions of {version.folder.parent}",
        ) from error


def _measured(workspace: Workspace, sku: str, number: str) -> Removable:
    folder = workspace.adapters / check_sku_name(sku) / number
    size = sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
    return Removable(number, folder, size)
