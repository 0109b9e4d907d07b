"""An entry of the cache as a file: it carries a checksum of its numbers and counts only while that holds.

A file that was cut short, that a failing disk changed, or that comes from before entries had a checksum is no entry:
it reads as missing, and the cache makes it again instead of training on it. Called by `finetune.latents.cache`; it knows
nothing of what the tensors mean.
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
"""In the file's header."""


def write_entry(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write an entry, whole or not at all; two processes that make the same one at once do not meet.

    Args:
        tensors: contiguous, fp32, on the CPU.

    Raises:
        StateWriteError: the disk did not take it.
    """
    from safetensors.torch import save_file

    with atomic_write(path, "an entry of the cache") as part:
        save_file(tensors, str(part), metadata={CHECKSUM: checksum(tensors)})


def read_entry(path: Path) -> dict[str, Tensor] | None:
    """An entry by memory map; None where it is missing or not what was written.

    Checking reads the file once; its pages stay the system's, which can take them back.
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
    """An entry that was written just now.

    Raises:
        StateWriteError: it is not what was written.
    """
    tensors = read_entry(path)
    if tensors is None:
        raise StateWriteError(f"{path.name} in the cache does not read as it was written", "is the disk sound?")
    return tensors


def checksum(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names, shapes and numbers."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name} {tuple(tensors[name].shape)} {tensors[name].dtype}\n".encode())
        digest.update(tensors[name].numpy().data)
    return digest.hexdigest()
