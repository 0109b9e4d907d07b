"""Checkpoints of a run: LoRA weights, optimizer, schedule and random state; written whole or not at all.

accelerate writes them; hooks make it store the adapter instead of the frozen base. `state/step-000100` gets its name
only when it is complete, so the newest folder can always be resumed from.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.core.errors import RunError
from finetune.core.storage.durable import atomic_folder, fsync_tree
from finetune.training import distributed
from finetune.unet.lora import load_lora_state, lora_state

if TYPE_CHECKING:
    from accelerate import Accelerator

STEP = re.compile(r"step-(\d{6})")
LORA_FILE = "lora.safetensors"


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
    """Load the newest checkpoint.

    Returns:
        Optimizer steps done; 0 when there is none.

    Raises:
        RunError: the newest checkpoint can't be read.
    """
    found = checkpoints(folder)
    if not found:
        return 0
    try:
        accelerator.load_state(str(found[-1]))
    except Exception as error:
        raise RunError(
            f"checkpoint {found[-1].name} can't be read ({type(error).__name__}: {error})",
            f"delete {found[-1]} to resume from the checkpoint before it",
        ) from error
    return _step(found[-1])
