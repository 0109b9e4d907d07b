"""Locks between commands of one workspace: who holds one, since when, and waiting for it.

The kernel frees a lock when its process dies, however it dies (`filelock`, flock underneath). What the holder wrote
beside it names it to whoever comes second; that file may be stale and decides nothing.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from finetune.core.console import say
from finetune.core.errors import RunError
from finetune.core.json_files import Document, read_json
from finetune.core.storage.durable import state_errors, write_text

CURE = "wait until it ends, stop it, or run again with --wait"
POLL = 1.0
"""Seconds between two attempts while waiting."""


def sku_lock(cache: Path, sku: str) -> Path:
    """The lock of whoever changes a SKU's prepared set or trains it.

    Args:
        cache: the workspace's cache folder.
        sku: the product; any text a folder's name may be.
    """
    return cache / "locks" / f"{sku}.lock"


@contextmanager
def exclusive(path: Path, what: str, *, wait: bool = False, cure: str = CURE) -> Iterator[None]:
    """Hold a lock while the block runs.

    Args:
        path: of the lock's file; its folder is made.
        what: what the holder does, for the message: `training perfume01`.
        wait: whether to wait for another holder instead of failing.
        cure: hint of the error.

    Raises:
        RunError: another process holds it and `wait` is off (the message names process, machine and since when); or
            the lock or its folder is a link.
        StateWriteError: the folder can't be written to.
    """
    if link := next((p for p in (path, path.parent) if p.is_symlink()), None):
        raise RunError(f"{link} is a link; Packshot does not write through it", f"remove {link}")
    holder = path.with_suffix(".holder.json")
    lock = FileLock(path)
    with state_errors("the lock", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        free = _try(lock)
    if not free:
        if not wait:
            raise RunError(f"{_told(holder)} is {what} already", cure)
        say(f"waiting for {_told(holder)}, which is {what}")
        lock.acquire(poll_interval=POLL)
    try:
        began = datetime.now().astimezone().isoformat(timespec="seconds")
        write_text(holder, _Holder(process=os.getpid(), machine=platform.node(), since=began).model_dump_json() + "\n")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _try(lock: FileLock) -> bool:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    return True


class _Holder(Document):
    """What a holder writes beside its lock."""

    process: int
    machine: str
    since: str


def _told(holder: Path) -> str:
    """The holder in words; another process where it left no name."""
    for _ in range(5):  # it may be about to write its name
        try:
            found = read_json(holder, _Holder, RunError)
            return f"process {found.process} on {found.machine} (since {found.since})"
        except RunError:
            time.sleep(0.05)
    return "another process"
