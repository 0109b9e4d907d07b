"""Checkpoints of a run: LoRA weights, optimizer, schedule and random state; written whole or not at all.

accelerate writes them; hooks make it store the adapter instead of the frozen base. `state/step-000100` gets its name
only when it is complete, so the newest folder can always be resumed from.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import RootModel

from finetune.core.console import warn
from finetune.core.errors import RunError
from finetune.core.fingerprint import of_file
from finetune.core.json_files import read_json
from finetune.core.storage.durable import atomic_folder, fsync_tree
from finetune.training import distributed
from finetune.unet.lora import load_lora_state, lora_state

if TYPE_CHECKING:
    from accelerate import Accelerator

CHECKSUMS = "checksums.json"
STEP = re.compile(r"step-(\d{6})")
LORA_FILE = "lora.safetensors"


class Checksums(RootModel[dict[str, str]]):
    """`checksums.json` of a checkpoint: fingerprint of every other file, by path."""


def save_only_the_adapter(accelerator: Accelerator) -> None:
    """Make accelerate's save_state and load_state store the LoRA weights and not the base."""
    from safetensors.torch import load_file, save_file

    def save(models: list[Any], weights: list[Any], output_dir: str) -> None:
        state = {k: v.detach().cpu().contiguous() for k, v in lora_state(accelerator.unwrap_model(models[0])).items()}
        save_file(state, str(Path(output_dir) / LORA_FILE))
        weights.clear()

    def load(models: list[Any], input_dir: str) -> None:
        load_lora_state(accelerator.unwrap_model(models.pop()), load_file(str(Path(input_dir) / LORA_FILE)))

    accelerator.register_save_state_pre_hook(save)
    accelerator.register_load_state_pre_hook(load)


def save_checkpoint(accelerator: Accelerator, folder: Path, step: int, keep: int) -> Path:
    """Write the checkpoint of a step and remove all but the newest `keep`.

    Only the main process writes: the others hold the same weights and optimizer state, and no random number comes from
    a process's own generator.

    Raises:
        StateWriteError: the disk refused it; earlier checkpoints are untouched.
    """
    return distributed.main_only(lambda: _save(accelerator, folder, step, keep))


def _save(accelerator: Accelerator, folder: Path, step: int, keep: int) -> Path:
    final = folder / f"step-{step:06d}"
    with atomic_folder(final, f"the checkpoint of step {step}", replace=True) as part:
        accelerator.save_state(str(part), safe_serialization=True)
        sums = Checksums({p.relative_to(part).as_posix(): of_file(p) for p in sorted(part.rglob("*")) if p.is_file()})
        (part / CHECKSUMS).write_text(sums.model_dump_json(indent=1) + "\n", encoding="utf-8")
        fsync_tree(part)
    for old in checkpoints(folder)[:-keep]:
        shutil.rmtree(old)
    return final


def drop_after(folder: Path, step: int) -> Path | None:
    """Delete the checkpoints after a step; return the newest one left, None if none is."""
    for path in checkpoints(folder):
        if _step(path) > step:
            shutil.rmtree(path)
    return next(reversed(checkpoints(folder)), None)


def _step(path: Path) -> int:
    match = STEP.fullmatch(path.name)
    assert match is not None
    return int(match[1])


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints of a run, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if STEP.fullmatch(p.name))


def load_newest(accelerator: Accelerator, folder: Path) -> int:
    """Load the newest checkpoint that is as it was written; damaged ones are set aside, with a warning.

    Returns:
        Optimizer steps done; 0 when there is no whole checkpoint.

    Raises:
        RunError: a whole checkpoint can't be loaded, for example by another version of a library.
    """
    newest = distributed.main_only(lambda: _newest_whole(folder))
    if newest is None:
        return 0
    try:
        accelerator.load_state(str(newest))
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise RunError(
            f"checkpoint {newest.name} can't be loaded ({type(error).__name__}: {reason})",
            f"delete {newest} to resume from the checkpoint before it",
        ) from error
    return _step(newest)


def _newest_whole(folder: Path) -> Path | None:
    for path in reversed(checkpoints(folder)):
        if not (problem := damage(path)):
            return path
        aside = path.with_name(f"damaged-{path.name}")
        shutil.rmtree(aside, ignore_errors=True)
        path.rename(aside)
        warn(f"checkpoint {path.name} is damaged ({problem}); it is set aside as {aside}")
    return None


def damage(path: Path) -> str:
    """What is wrong with a checkpoint's files; empty for a whole one, and for one of an older Packshot without sums."""
    if not (path / CHECKSUMS).exists():
        return ""
    try:
        sums = read_json(path / CHECKSUMS, Checksums, RunError).root
    except RunError as error:
        return error.message
    for name, wanted in sums.items():
        file = path / name
        if not file.is_file():
            return f"{name} is missing"
        if of_file(file) != wanted:
            return f"{name} is not as it was written"
    return ""
