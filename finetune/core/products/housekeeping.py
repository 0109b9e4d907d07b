"""The folders of a workspace that a command is about to write into: no link below them, nothing left of a kill.

Top-level folders of a workspace may be links, for people keep `runs/` or `.cache/` on another disk. Below them a link
to a folder would have Packshot write somewhere else: it is refused. Single files are replaced, never written through.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from finetune.core.errors import RunError
from finetune.core.products.catalog import Workspace
from finetune.core.storage.durable import remove_if_abandoned


def check_folders(workspace: Workspace, sku: str) -> None:
    """Refuse links among a SKU's folders and the cache, and remove what killed commands left in them.

    Links are looked for first: what killed commands left is removed only where everything is Packshot's own.

    Args:
        workspace: The workspace.
        sku: Whose folders they are.

    Raises:
        RunError: A folder below a top-level one is a link.
    """
    places = [workspace.datasets / sku / "prepared", workspace.runs / sku, workspace.adapters / sku]
    places += [workspace.scenes / sku, workspace.cutouts / sku, workspace.runs / "nightly", workspace.cache]
    _refuse_link(workspace.datasets / sku)
    for place in places[:-1]:
        _refuse_link(place)
    entries = [entry for place in places for entry in _below(place)]
    entries += _entries(workspace.datasets / sku) + _entries(workspace.datasets)
    for entry in entries:
        remove_if_abandoned(Path(entry.path))


def check_cache(workspace: Workspace) -> None:
    """Refuse links among the folders of the cache, for commands that write nothing else below a top-level folder.

    Raises:
        RunError: One is a link.
    """
    for entry in _entries(workspace.cache):
        _refuse_link(Path(entry.path))


def _below(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Every entry below a folder; what is in a temporary one belongs to that."""
    for entry in _entries(folder):
        yield entry
        if entry.is_symlink():
            _refuse_link(Path(entry.path))
        elif entry.is_dir() and not entry.name.endswith(".part"):
            yield from _below(Path(entry.path))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError:  # not there; or not readable, which writing into it will say
        return []


def _refuse_link(path: Path) -> None:
    if path.is_symlink() and path.is_dir():
        raise RunError(
            f"{path} is a link to a folder; below a workspace's top-level folders Packshot writes through no link",
            "put the folder itself there; the top-level folders (runs/, .cache/, ...) may be links",
        )
