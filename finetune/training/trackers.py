"""Where a run is logged besides its own folder: TensorBoard, wandb, trackio, each through accelerate.

`check_trackers` refuses what is not installed before anything loads: accelerate drops such a tracker silently.
wandb sends data to its service unless WANDB_MODE=offline is set; trackio and TensorBoard write files. Packshot
itself sends nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from finetune.core.environment import version_of
from finetune.core.errors import ConfigError, RunError

if TYPE_CHECKING:
    from accelerate import Accelerator

PROJECT = "packshot"


def check_trackers(names: Sequence[str]) -> None:
    """Refuse trackers that are not installed.

    Raises:
        ConfigError: a tracker is not installed.
    """
    for name in names:
        if not version_of(name):
            raise ConfigError(f"{name} is not installed", f"run: pip install {name}; or remove it from train.trackers")


def start_trackers(accelerator: Accelerator, run: Path, config: Mapping[str, Mapping[str, Any]]) -> None:
    """Start the Accelerator's trackers under the run's name, so that a resumed run continues in the same one.

    Args:
        accelerator: made with `log_with`.
        run: the run's folder.
        config: the resolved configuration by section.

    Raises:
        RunError: a tracker does not start.
    """
    wanted = len(accelerator.log_with)
    if not wanted:
        return
    options: dict[str, dict[str, Any]] = {
        "wandb": {"name": run.name, "id": run.name, "resume": "allow", "dir": str(run), "settings": {"console": "off"}},
        "trackio": {"name": run.name, "resume": "allow", "embed": False},
    }
    try:
        with redirect_stdout(sys.stderr):  # stdout is ours
            accelerator.init_trackers(PROJECT, init_kwargs=options)
            for tracker in accelerator.trackers:
                if tracker.name in options:
                    flat = {f"{s}.{k}": _plain(v) for s, section in config.items() for k, v in section.items()}
                    tracker.store_init_configuration(flat)
    except Exception as error:
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise RunError(
            f"a tracker could not be started: {first}",
            "wandb needs a login or WANDB_MODE=offline; or remove it from train.trackers",
        ) from error
    if accelerator.is_main_process and len(accelerator.trackers) != wanted:
        raise RunError("a tracker could not be started", "check that every tracker in train.trackers is installed")


def _plain(value: Any) -> Any:
    return value if isinstance(value, (bool, int, float, str, type(None))) else str(value)


def end_trackers(accelerator: Accelerator) -> None:
    """Close every tracker."""
    with redirect_stdout(sys.stderr):
        for tracker in accelerator.trackers:
            tracker.finish()
        if accelerator.is_main_process and any(tracker.name == "trackio" for tracker in accelerator.trackers):
            import trackio

            trackio.finish()  # accelerate ends its run, but trackio would end it once more at exit, on stdout


def log_pictures(accelerator: Accelerator, pictures: Mapping[str, Image.Image], step: int) -> None:
    """Log the pictures of a step, by name, to every tracker that takes pictures."""
    for tracker in accelerator.trackers:
        named = {f"preview/{name}": picture for name, picture in pictures.items()}
        if tracker.name == "tensorboard":
            arrays = {name: np.asarray(picture)[None] for name, picture in named.items()}
            tracker.log_images(arrays, step=step, dataformats="NHWC")
        elif tracker.name == "wandb":
            tracker.log_images({name: [picture] for name, picture in named.items()}, step=step)
        elif tracker.name == "trackio":
            import trackio

            tracker.log({name: trackio.Image(picture) for name, picture in named.items()}, step=step)
