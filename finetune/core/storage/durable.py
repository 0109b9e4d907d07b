"""Files and folders that last: written whole under a temporary name beside their place, then renamed in one step.

A reader sees the old content or the new one, never half of either, also after a kill or on a full disk. Temporary names
carry machine, process and a counter, so that two writers of one file never take each other's; what killed processes
left behind is removed by the next one that writes into the folder.
"""

from __future__ import annotations

import errno
import itertools
import math
import os
import platform
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from finetune.core import fingerprint
from finetune.core.errors import StateWriteError

SYSTEM_ERROR = re.compile(r"os error (\d+)|\bcode: (\d+)")
"""How safetensors, which writes outside of Python, reports the system's error number."""
TORCH_WRITER = ("PytorchStreamWriter", "inline_container", "file write failed", "iostream error")
"""Found in the errors of torch's file writer, which does not pass on the system's reason."""
TEMPORARY = re.compile(r"\..+\.(?P<machine>[0-9a-f]{6})-(?P<process>\d+)-\d+\.part(\.[^.]+)?")
"""Names that `temporary_beside` gives."""
ABANDONED = 86_400.0
"""Seconds after which another machine's temporary file on a shared disk counts as left behind."""

RACE = (errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY)
"""Errors of a rename when another process renames the same folder at the same moment."""
ATTEMPTS = 20
NOT_SPACE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP)
"""Errors that more room on the disk does not cure."""

_COUNTER = itertools.count()


def temporary_beside(path: Path, *, process: int | None = None) -> Path:
    """A hidden name beside `path` that no other writer uses; its ending stays, since some writers go by it.

    Args:
        path: The file or folder that is going to be written.
        process: Id of the process that writes; this one by default.
    """
    owner = os.getpid() if process is None else process
    return path.with_name(f".{path.stem}.{_machine()}-{owner}-{next(_COUNTER)}.part{path.suffix}")


@contextmanager
def atomic_write(path: Path, what: str = "") -> Iterator[Path]:
    """Write a file: the block writes the yielded temporary path, which replaces `path` when the block ends well.

    Args:
        path: The file; its folder is made if it is missing.
        what: What is written, in words, if the disk's errors are to become a `StateWriteError`.

    Yields:
        A path that does not exist yet. It is removed if the block fails.

    Raises:
        StateWriteError: With `what`: the disk refused.
        OSError: Without `what`: the disk refused.
    """
    with state_errors(what, path), _temporary(path, _sweep_once) as part:
        yield part
        part.replace(path)


def write_text(path: Path, text: str, what: str = "") -> None:
    """Write a UTF-8 text file; arguments and errors as for `atomic_write`."""
    with atomic_write(path, what) as part:
        part.write_text(text, encoding="utf-8")


def append_line(path: Path, line: str) -> None:
    """Append a line to a UTF-8 text file, which is made if it is missing; never through a link.

    Raises:
        OSError: The disk refused, or the file is a link.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o666), "ab") as handle:
        handle.write(line.encode() + b"\n")


@contextmanager
def atomic_folder(path: Path, what: str = "", *, replace: bool = False) -> Iterator[Path]:
    """Write a folder: the block fills the yielded temporary folder, which becomes `path` when the block ends well.

    Args:
        path: The folder; its parent is made if it is missing.
        what: As for `atomic_write`.
        replace: Whether a folder that is at `path` by then gives way; otherwise that is an error.

    Yields:
        An empty folder. It is removed if the block fails, and `path` is then as it was.

    Raises:
        StateWriteError: With `what`: the disk refused, or `path` is taken.
        OSError: Without `what`: the same.
    """
    with state_errors(what, path), temporary_folder(path) as part:
        yield part
        if replace:
            _take_place(part, path)
        else:
            part.rename(path)


@contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """An empty folder beside `path`, for a caller that renames it; removed at the block's end if it is still there."""
    with _temporary(path, sweep) as part:
        part.mkdir()
        yield part


@contextmanager
def state_errors(what: str, near: Path) -> Iterator[None]:
    """Map what the disk refuses inside the block to a `StateWriteError` that says `what` could not be written.

    Args:
        what: What is written, in words; if empty, nothing is mapped.
        near: A path on the disk in question, for the hint about its free space.
    """
    try:
        yield
    except Exception as error:
        if what and (reason := disk_error(error)):
            raise StateWriteError(f"{what} can't be written: {reason}", _hint(near, error)) from error
        raise


def may_become_file(path: Path) -> bool:
    """Whether a file may be written at a path that a user gave: no folder, device or pipe, nor a link to one, is there.

    What is written replaces what stands there, so a device would be gone.
    """
    return bool(path.name) and (path.is_file() or not path.exists())


def check_writable(what: str, folder: Path) -> None:
    """Make sure that files can be put into a folder, which is made, before a run works for hours towards that.

    Raises:
        StateWriteError: They can't.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with temporary_folder(folder / "check"):
            pass
    except OSError as error:
        hint = f"make {folder} a folder you may write into, or give another --workspace"
        raise StateWriteError(f"{what} can't be written: {error.strerror or error}", hint) from error


def disk_error(error: BaseException) -> str:
    """Why the disk refused, in the system's words; empty for an error that is not the disk's."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    text = str(error)
    if type(error).__name__ == "SafetensorError" and (found := SYSTEM_ERROR.search(text)):
        return os.strerror(int(found[1] or found[2]))
    if isinstance(error, RuntimeError) and any(sign in text for sign in TORCH_WRITER):
        return "the disk takes no more"
    return ""


def fsync_tree(folder: Path) -> None:
    """Have the system put a folder's files on the disk: on some file systems only this finds out that it is full.

    Raises:
        OSError: They do not fit.
    """
    for path in [*folder.rglob("*"), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def _temporary(path: Path, sweep: Callable[[Path], None]) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent)
    part = temporary_beside(path)
    _remove(part)  # a link of that name would lead elsewhere
    try:
        yield part
    finally:
        _remove(part)


def _take_place(part: Path, path: Path) -> None:
    """Make `part` the folder `path`, whatever stands there; several processes may do so at once, the last one wins."""
    for attempt in range(ATTEMPTS):
        try:
            if path.exists():
                _swap(part, path)
            else:
                part.rename(path)
            return
        except OSError as error:
            if error.errno not in RACE or attempt == ATTEMPTS - 1:
                raise


def _swap(part: Path, path: Path) -> None:
    """Put `part` in the place of the folder `path`, which stays as it was if that fails."""
    old = temporary_beside(path)
    path.rename(old)
    try:
        part.rename(path)
    except BaseException:
        with suppress(OSError):  # another process has put its own there
            old.rename(path)
        raise
    finally:
        _remove(old)


def sweep(folder: Path) -> None:
    """Remove what processes that were killed as they wrote left in a folder, where there is one."""
    for path in folder.iterdir() if folder.is_dir() else ():
        remove_if_abandoned(path)


def remove_if_abandoned(path: Path) -> None:
    """Remove a temporary file or folder whose writer is gone; anything else stays."""
    match = TEMPORARY.fullmatch(path.name)
    if match and _is_abandoned(path, match["machine"], int(match["process"])):
        _remove(path)


@cache
def _sweep_once(folder: Path) -> None:
    """Sweep at the first file this process writes into a folder: caches hold thousands."""
    sweep(folder)


def _is_abandoned(path: Path, machine: str, process: int) -> bool:
    try:
        if machine != _machine():
            return time.time() - path.stat().st_mtime > ABANDONED
        return path.stat().st_mtime < _began(process)
    except OSError:  # it just vanished
        return False


def _began(process: int) -> float:
    """When a process began, in seconds since 1970; infinity where there is none of that id.

    In containers the same ids come again: a file that is older than its process was another one's.
    """
    import psutil

    try:
        return float(psutil.Process(process).create_time())
    except psutil.NoSuchProcess:
        return math.inf
    except psutil.Error:  # it is another user's
        return -math.inf


@cache
def _machine() -> str:
    """Six digits for this machine or container, since process ids on a shared disk mean nothing elsewhere."""
    return fingerprint.of_bytes(platform.node().encode())[:6]


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return


def _hint(path: Path, error: BaseException) -> str:
    place = next((p for p in path.absolute().parents if p.is_dir()), Path("/"))
    if isinstance(error, OSError) and error.errno in NOT_SPACE:
        return f"check {path.parent}: what stands there, its owner and its permissions"
    free = shutil.disk_usage(place).free / 2**20
    return f"{free:,.0f} MiB are free in {place}; when there is room, the same command resumes from the last checkpoint"
