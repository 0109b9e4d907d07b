"""Bases in the hub's local cache: finding a snapshot, downloading it, and the command that completes one."""

from __future__ import annotations

from pathlib import Path

from finetune.core.basemodel import architecture
from finetune.core.basemodel.weight_files import names_of, stem_of
from finetune.core.errors import BaseModelError

SMALL = ["*.json", "*/*.json", "*/*.txt"]
HALF = ["*/*.fp16.safetensors", "*/*.fp16-*.safetensors"]
WANTED = [*SMALL, *HALF]
ANY_WEIGHTS = "*/*.safetensors"


def completing(folder: Path, revision: str) -> str:
    """The hint that completes a download: a command where the base is the hub's.

    Args:
        folder: Where the base lies, which tells its hub id where that is the hub's cache.
        revision: The hub's revision, or empty.
    """
    cached = next((part for part in folder.parts if part.startswith("models--")), "")
    if "--" not in cached.removeprefix("models--"):
        return architecture.INCOMPLETE
    identity = cached.removeprefix("models--").replace("--", "/", 1)
    return f"on a machine with network, run: {command(identity, revision, folder)}"


def command(model: str, revision: str = "", folder: Path | None = None) -> str:
    """The command that downloads what is loaded of a base: its fp16 files, or the kind that is there already."""
    patterns = ["*.json", "*/*.txt", *(HALF if not folder or not _holds_plain(folder) else [ANY_WEIGHTS])]
    chosen = f" --revision {revision}" if revision else ""
    return f"hf download {model}{chosen} " + " ".join(f"--include '{pattern}'" for pattern in patterns)


def _holds_plain(folder: Path) -> bool:
    for part in architecture.FIRST_LAYERS:
        single, index = (folder / part / name for name in names_of(part, None))
        if any(path.is_symlink() or path.exists() for path in (single, index)):
            return True
    return False


def cached_snapshot(model: str, revision: str) -> Path | None:
    """Folder of a hub model in the local cache, complete or not; None where there is none."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import IncompleteSnapshotError

    try:
        return Path(snapshot_download(model, revision=revision or None, local_files_only=True, allow_patterns=SMALL))
    except IncompleteSnapshotError as error:
        return Path(error.snapshot_path)
    except Exception:  # not in the cache
        return None


def download(model: str, revision: str) -> Path:
    """Fetch what is loaded of a hub model; parts that the hub has no fp16 files of come in plain ones.

    Raises:
        BaseModelError: The hub can't be reached, or has no such model.
    """
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(model, revision=revision or None, allow_patterns=WANTED))
        plain = [p for p in architecture.FIRST_LAYERS if (folder / p).is_dir() and not any(folder.glob(f"{p}/*.fp16*"))]
        if plain:
            patterns = [*WANTED, *(f"{part}/{stem_of(part)}*.safetensors" for part in plain)]
            folder = Path(snapshot_download(model, revision=revision or None, allow_patterns=patterns))
    except Exception as error:
        raise BaseModelError(
            f"base '{model}' is not on disk and the hub can't be reached ({type(error).__name__})",
            f"on a machine with network, run: {command(model, revision)}; or use a copy with "
            "--set base.model=FOLDER; `--config embedded` needs no SDXL",
        ) from error
    return folder
