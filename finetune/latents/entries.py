"""A cache entry as a file with a checksum of its numbers.

A file that was cut short, changed by a failing disk, or written before entries had a checksum reads as missing, so it
is encoded again and never trained on.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from finetune.core.errors import StateWriteError
from finetune.core.storage.durable import atomic_write

if TYPE_CHECKING:
    from torch import Tensor

CHECKSUM = "packshot_checksum"
"""Key in the file's header."""


def write_entry(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write an entry, whole or not at all; two processes may write the same one at once.

    Args:
        path: of the entry.
        tensors: contiguous, fp32, on the CPU.

    Raises:
        StateWriteError: the disk refused it.
    """
    from safetensors.torch import save_file

    with atomic_write(path, "an entry of the cache") as part:
        save_file(tensors, str(part), metadata={CHECKSUM: checksum(tensors)})


def read_entry(path: Path) -> dict[str, Tensor] | None:
    """An entry by memory map; None where it is missing or differs from what was written.

    Checking reads the file once; its pages stay in the system's page cache, which can be reclaimed.
    """
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_file

    try:
        with safe_open(str(path), "pt") as handle:
            expected = (handle.metadata() or {}).get(CHECKSUM)
        tensors: dict[str, Tensor] = load_file(str(path))
        return tensors if checksum(tensors) == expected else None
    except (OSError, SafetensorError, ValueError, TypeError):  # the last two: a damaged header that still is JSON
        return None


def read_back(path: Path) -> dict[str, Tensor]:
    """Read back an entry that was just written.

    Raises:
        StateWriteError: it differs from what was written.
    """
    tensors = read_entry(path)
    if tensors is None:
        raise StateWriteError(
            f"cache entry {path.name} does not read back as written", f"check the disk that holds {path.parent}"
        )
    return tensors


def checksum(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names, shapes and numbers."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name} {tuple(tensors[name].shape)} {tensors[name].dtype}\n".encode())
        digest.update(tensors[name].numpy().data)
    return digest.hexdigest()
