"""Content fingerprints: what is up to date is decided by these, never by file times.

A fingerprint is the first 16 hex digits of a SHA-256 over content. Two callers that describe the same content get
the same fingerprint on any machine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

LENGTH = 16


def of_bytes(data: bytes) -> str:
    """Fingerprint of raw bytes."""
    return hashlib.sha256(data).hexdigest()[:LENGTH]


def of_value(value: Any) -> str:
    """Fingerprint of anything JSON can hold; the order of keys does not matter."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return of_bytes(text.encode())


def of_file(path: Path) -> str:
    """Fingerprint of a file's bytes, read in blocks so that a 7 GB checkpoint needs no memory."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:LENGTH]


def of_files(paths: Iterable[Path], root: Path, hash_of: Callable[[Path], str] = of_file) -> dict[str, str]:
    """Fingerprint of each file by its path relative to `root`, in sorted order.

    Args:
        paths: The files, all inside `root`.
        root: The folder.
        hash_of: A replacement of `of_file` that remembers results.
    """
    return {p.relative_to(root).as_posix(): hash_of(p) for p in sorted(paths)}
