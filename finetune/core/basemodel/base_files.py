"""Files of a base: whether each is whole, and reading configurations and headers with the true reason where it is not.

Besides missing files there are files that only stand for others: links of the hub's cache whose target is gone, and
pointers that Git LFS puts in the place of files it has not fetched.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from finetune.core import fingerprint
from finetune.core.errors import BaseModelError
from finetune.core.json_files import read_object
from finetune.core.storage.safetensors_header import SafetensorsHeader, UnreadableHeader, read_safetensors_header

PARTS = ("unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler")
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
MISSING, DEAD_LINK, POINTER = "missing", "dead link", "Git LFS pointer"
SAMPLED_BLOCKS, BLOCK = 64, 1 << 16


class IncompleteBase(BaseModelError):
    """Files of a base are not there; more of a download may cure it."""


def fault_of(path: Path) -> str:
    """Why a file can't be opened as itself: `MISSING`, `DEAD_LINK` or `POINTER`; empty where nothing is wrong."""
    if not path.is_file():
        return DEAD_LINK if path.is_symlink() else MISSING
    try:
        with path.open("rb") as handle:
            return POINTER if handle.read(len(LFS_POINTER)) == LFS_POINTER else ""
    except OSError:  # reading it says why
        return ""


def faulty(path: Path, fault: str, model: str, cure: str) -> IncompleteBase:
    """The error that calls a file of a base what it is.

    Args:
        path: The file, in the folder of its part.
        fault: What `fault_of` found.
        model: The base, for messages.
        cure: What completes the download.
    """
    name = short_name(path)
    if fault == POINTER:
        where = path.parent.parent if path.parent.name in PARTS else path.parent
        return IncompleteBase(
            f"base '{model}': {name} is a Git LFS pointer, not the file itself", f"run `git lfs pull` in {where}"
        )
    if fault == DEAD_LINK:
        return IncompleteBase(f"base '{model}': {name} is a link to a file that is gone", cure)
    return IncompleteBase(f"base '{model}' is not complete: it lacks {name}", cure)


def short_name(path: Path) -> str:
    """`unet/config.json` of a part's files; `model_index.json` and checkpoints go by their own name."""
    return f"{path.parent.name}/{path.name}" if path.parent.name in PARTS else path.name


def read_json(path: Path, model: str, cure: str = "download it again") -> dict[str, Any]:
    """A configuration file of a base.

    Raises:
        BaseModelError: It is not there, or is no JSON object.
    """
    if fault := fault_of(path):
        raise faulty(path, fault, model, cure)
    return read_object(path, BaseModelError, what=f"base '{model}': {short_name(path)}", hint=cure)


def read_header(path: Path, model: str) -> SafetensorsHeader:
    """The header of a weight file.

    Raises:
        BaseModelError: It is not a safetensors file (pickled checkpoints are never opened), or it is cut short.
    """
    if fault := fault_of(path):
        raise faulty(path, fault, model, "download it again")
    try:
        return read_safetensors_header(path)
    except UnreadableHeader as error:
        if error.cut:
            found = f"{path.name} has {path.stat().st_size} bytes, which is not the size its header describes"
            raise BaseModelError(f"'{model}' is damaged: {found}", "download it again") from error
        raise BaseModelError(
            f"'{model}' is not a safetensors file", "convert it first; pickles are not opened"
        ) from error
    except OSError as error:
        raise BaseModelError(f"{path} can't be read: {error.strerror or error}", "check its permissions") from error


def sampled_fingerprint(path: Path) -> str:
    """Fingerprint of a weight file: whole up to 64 MiB, else its size, header and 64 blocks spread evenly."""
    size = path.stat().st_size
    if size <= 64 << 20:
        return fingerprint.of_file(path)
    pieces = [str(size).encode()]
    with path.open("rb") as handle:
        for index in range(SAMPLED_BLOCKS + 1):
            handle.seek(index * (size - BLOCK) // SAMPLED_BLOCKS)
            pieces.append(handle.read(BLOCK))
    return fingerprint.of_bytes(b"".join(pieces))
