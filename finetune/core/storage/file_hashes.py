"""Fingerprints of files, remembered between calls so that unchanged files are not read again.

A remembered fingerprint is valid as long as the file's size, inode, modification time and status-change time are the
same. No program can set the last, so a copy that preserves the old file's times is noticed. A file that was changed
less than `SETTLED` before it was read is not remembered at all, so that a second edit within one tick of the file
system's clock (up to 2 s on FAT) is noticed too: git's rule for "racily clean" entries. What is up to date is still
decided by content; this only saves reading it.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path

from pydantic import RootModel

from finetune.core import fingerprint
from finetune.core.json_files import read_cache
from finetune.core.storage.durable import write_text

SETTLED = 2_500_000_000
"""Nanoseconds a file must have been left alone before its fingerprint is remembered."""

Entry = tuple[int, int, int, int, str]


class FileHashes:
    """Fingerprints by path, backed by a JSON file; if that is lost or damaged, everything is read again."""

    def __init__(self, store: Path, *, trust: bool = True) -> None:
        """Read what is remembered.

        Args:
            store: The JSON file.
            trust: False to read every file again.
        """
        self._store = store
        self._known = _read(store) if trust else {}
        self._kept: dict[str, Entry] = {}
        self._now: dict[Path, str] = {}

    def of_file(self, path: Path) -> str:
        """Fingerprint of a file's bytes, `finetune.core.fingerprint.of_file`; read at most once by this object."""
        if path not in self._now:
            self._now[path] = self._look_up(path)
        return self._now[path]

    def _look_up(self, path: Path) -> str:
        key = str(path.absolute())
        status = path.stat()
        state = (status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
        entry = self._known.get(key)
        if entry is None or entry[:4] != state:
            began = time.time_ns()
            content = fingerprint.of_file(path)
            after = path.stat()
            same = (after.st_size, after.st_ino, after.st_mtime_ns, after.st_ctime_ns) == state
            if not same or began - max(status.st_mtime_ns, status.st_ctime_ns) < SETTLED:
                return content
            entry = (*state, content)
        self._kept[key] = entry
        return entry[4]

    def save(self, *, forget: bool = True) -> None:
        """Write what this object looked up into the store; a store that cannot be written is left as it is.

        Args:
            forget: Whether to drop all other entries; False if others use this store for further files.
        """
        if not forget:
            self._kept = self._known | self._kept
        if self._kept == self._known:
            return
        with suppress(OSError):
            write_text(self._store, json.dumps(self._kept))


class _Store(RootModel[dict[str, Entry]]):
    """The file: fingerprints by path."""


def _read(store: Path) -> dict[str, Entry]:
    kept = read_cache(store, _Store, what="the file of remembered fingerprints")
    return {} if kept is None else dict(kept.root)
