"""What several tests need is made once in a run of the tests, and shared by its workers.

The folder of a run lies beside its workers' temporary folders. Who asks first makes a thing there, under a lock. What
is shared is found by content: entries of the latent cache by the names Packshot gives them, prepared sets by the
fingerprint that `prepare_set` itself compares.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock

from finetune.checks.answer_cache import FILE as ANSWERS
from finetune.core.products.catalog import Workspace, load_set
from finetune.core.products.prepared import PreparedSet
from finetune.prepare import prepare_set, prepared_fingerprint
from finetune.settings import DataSection

ENTRIES = ("latents", "text", "plans")
"""Folders of a workspace's cache whose entries are shared: each is named by all that it depends on."""
VARIABLE = "TESTS_MADE_ONCE"
_SHARING: dict[Path, bool] = {}
"""Workspaces whose entries are shared, and whether they were looked at after a test."""


def open_at(folder: Path) -> None:
    """Share in this folder from now on, in processes started by this one too."""
    folder.mkdir(parents=True, exist_ok=True)
    os.environ[VARIABLE] = str(folder)


def made_once(name: str, make: Callable[[Path], object]) -> Path:
    """The folder of that name; `make` fills it if this run of the tests has not made it yet."""
    folder = Path(os.environ[VARIABLE]) / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    whole = folder.with_name(f"{folder.name}.whole")
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        if not whole.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a test that failed while it made it
            make(folder)
            whole.touch()
    return folder


def share_entries(root: Path) -> None:
    """Put what this run of the tests has encoded and planned into a workspace, unless that has a cache of its own.

    What the workspace adds is shared by `collect_entries`.
    """
    if root not in _SHARING and any((root / ".cache" / kind).exists() for kind in ENTRIES):
        return
    _link_files(Path(os.environ[VARIABLE]) / "entries", root / ".cache")
    _SHARING.setdefault(root, False)


def collect_entries(*, again: bool) -> None:
    """Share what the workspaces of `share_entries` have made since.

    Args:
        again: Whether to look at all workspaces, and a last time; otherwise only at those not looked at yet.
    """
    for root, seen in _SHARING.items():
        if again or not seen:
            _link_files(root / ".cache", Path(os.environ[VARIABLE]) / "entries")
    _SHARING.update(dict.fromkeys(_SHARING, True))
    if again:
        _SHARING.clear()


def _link_files(source: Path, target: Path) -> None:
    """Hard links in `target` to each whole entry of `source`: Packshot replaces files and changes none."""
    for kind in ENTRIES:
        for path in (source / kind).rglob("*"):
            place = target / path.relative_to(source)
            if path.is_file() and not path.name.startswith("."):
                place.parent.mkdir(parents=True, exist_ok=True)
                with contextlib.suppress(FileExistsError):
                    os.link(path, place)


@contextlib.contextmanager
def exchange_records(folder: Path) -> Iterator[None]:
    """Give `check_set` the records of all photos measured in this run of the tests, and take its new ones.

    A record is named by all that reading and cutting out depends on. Answers about photos side by side stay the set's.
    """
    shared = Path(os.environ[VARIABLE]) / "checks"
    shared.mkdir(exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    for record in shared.glob("*.json"):
        os.link(record, folder / record.name)
    yield
    for record in folder.glob("*.json"):
        if record.name != ANSWERS:
            with contextlib.suppress(FileExistsError):
                os.link(record, shared / record.name)


def prepare_once(workspace: Workspace, sku: str, data: DataSection) -> PreparedSet:
    """What `prepare_set` returns, in a workspace whose cache is shared (`share_entries`).

    Where the same set was prepared before in this run of the tests, its files are copied first.
    """
    share_entries(workspace.root)
    product = load_set(workspace, sku)
    if not product.prepared_dir.exists():
        name = f"prepared/{prepared_fingerprint(workspace, product, data)}"

        def make(folder: Path) -> None:
            prepare_set(workspace, sku, data=data)
            shutil.copytree(product.prepared_dir, folder)

        shared = made_once(name, make)
        if not product.prepared_dir.exists():
            shutil.copytree(shared, product.prepared_dir)
    found, _ = prepare_set(workspace, sku, data=data)
    return found
