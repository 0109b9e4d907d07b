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
    """Let a workspace read and write what this run of the tests has encoded and planned; what it has itself stays."""
    for kind in ENTRIES:
        if (root / ".cache" / kind).exists():
            continue
        shared = Path(os.environ[VARIABLE]) / kind
        shared.mkdir(exist_ok=True)
        (root / ".cache").mkdir(exist_ok=True)
        (root / ".cache" / kind).symlink_to(shared, target_is_directory=True)


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
