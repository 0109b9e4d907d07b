"""The one way to read a text file a person or Packshot wrote: regular, small enough, UTF-8, with errors in one line."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from finetune.core.errors import PackshotError

MAX_BYTES = 1 << 20
"""Bytes of a document a person writes; the longest shipped configuration has under 4 KB."""


def read_text(path: Path, error: type[PackshotError], *, limit: int = MAX_BYTES, what: str = "", hint: str = "") -> str:
    """Read a whole file as UTF-8 text, a byte order mark left out.

    Only regular files are opened, so that a named pipe cannot make the command wait for ever.

    Args:
        path: the file.
        error: class of the errors raised.
        limit: largest size in bytes.
        what: what the file is, for messages; its name by default.
        hint: the cure; each problem has a general one by default.

    Raises:
        PackshotError: of class `error`: the file is missing, no regular file, too large, not readable or not UTF-8.
    """
    name = what or path.name
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as reason:  # ValueError: a name with a null byte
        raise error(f"{name} can't be read: {reason_of(reason)}", hint or f"check {path}") from reason
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise error(f"{name} is not a file", hint or f"put a file at {path}")
        if status.st_size > limit:
            size = f"{status.st_size / 2**20:,.1f} MiB"
            raise error(f"{name} has {size}, more than the {limit / 2**20:g} MiB allowed", hint or f"shorten {path}")
        with os.fdopen(handle, "rb", closefd=False) as opened:
            data = opened.read(limit + 1)
    except OSError as reason:
        raise error(f"{name} can't be read: {reason_of(reason)}", hint or f"check {path}") from reason
    finally:
        os.close(handle)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as reason:
        line = data.count(b"\n", 0, reason.start) + 1
        raise error(f"{name} is not UTF-8 text (line {line})", hint or f"save {path} as UTF-8") from reason


def check_text(text: str, what: str, error: type[PackshotError]) -> None:
    """Refuse an argument of the command line that is not text: bytes that are not UTF-8 arrive as lone surrogates.

    Args:
        text: the argument.
        what: what it is, for the message.
        error: class of the error raised.

    Raises:
        PackshotError: of class `error`: it can be written into no file.
    """
    try:
        text.encode()
    except UnicodeEncodeError as reason:
        raise error(f"{what} is not UTF-8 text", "write it, or save the script that gives it, as UTF-8") from reason


def reason_of(error: BaseException) -> str:
    """An error of the system in its own words, in one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())


def expanded(text: str) -> Path:
    """A path as the user wrote it, `~` replaced by the home folder; `~nosuchuser/x` stays as it is."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def is_there(path: Path) -> bool:
    """Whether a path names something, a broken link too; a name that no file can have names nothing."""
    try:
        path.lstat()
    except (OSError, ValueError):
        return False
    return True
