"""Writing what has to last, on a disk that may be full: whole or not at all, and a refusal told in one line.

Called by whatever a training run keeps: checkpoints, metrics, the cache, run folders, versions. It decides nothing of
what is written.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from finetune.core.errors import StateWriteError

SYSTEM_ERROR = re.compile(r"os error (\d+)|\bcode: (\d+)")
"""How safetensors, which writes outside of Python, names the system's error."""
TORCH_WRITER = ("PytorchStreamWriter", "inline_container", "file write failed", "iostream error")
"""In the errors of torch's file writer, which keeps the system's reason to itself."""


@contextmanager
def kept(what: str, part: Path, *, at: Path | None = None) -> Iterator[Path]:
    """Write something into `part`, which is removed if that fails; renaming it is the block's last act.

    Args:
        what: what is written, in words. part: a file or folder that need not exist yet. at: where to look for free
            space, if not beside `part`.

    Raises:
        StateWriteError: the disk did not take it.
    """
    try:
        yield part
    except BaseException as error:
        shutil.rmtree(part, ignore_errors=True) if part.is_dir() else _unlink(part)
        if reason := refusal(error):
            raise StateWriteError(f"{what} can't be written: {reason}", _hint(at or part)) from error
        raise


def check_writable(what: str, folder: Path) -> None:
    """See that something can be put into a folder, making it; before a run works for hours towards that.

    Raises:
        StateWriteError: it can't.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".part-"):
            pass
    except OSError as error:
        hint = f"make {folder} a folder you may write into, or give another --workspace"
        raise StateWriteError(f"{what} can't be written: {error.strerror or error}", hint) from error


def refusal(error: BaseException) -> str:
    """Why the disk refused, in the system's words; empty for an error that is none of the disk's."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    text = str(error)
    if type(error).__name__ == "SafetensorError" and (found := SYSTEM_ERROR.search(text)):
        return os.strerror(int(found[1] or found[2]))
    if isinstance(error, RuntimeError) and any(sign in text for sign in TORCH_WRITER):
        return "the disk takes no more"
    return ""


def settle(folder: Path) -> None:
    """Have the system put a folder's files on the disk: some find out only then that it is full.

    Raises:
        OSError: they do not fit.
    """
    for path in [*folder.rglob("*"), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return


def _hint(path: Path) -> str:
    place = next((p for p in path.absolute().parents if p.is_dir()), Path("/"))
    free = shutil.disk_usage(place).free / 2**20
    return f"{free:,.0f} MiB are free in {place}; when there is room, the same command goes on from the last checkpoint"
