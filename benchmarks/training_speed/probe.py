"""Runs a training script or `packshot` unchanged and writes when each of its steps began its backward pass.

    python -m benchmarks.training_speed.probe OUT.json SCRIPT.py ARGUMENTS...
    python -m benchmarks.training_speed.probe OUT.json packshot ARGUMENTS...

Both sides call `accelerate.Accelerator.backward` once a step (accumulation 1), so the time between two calls is the
time of a whole step: data, forward, backward, optimizer, logging. Imports, caching and saving lie outside. Beside the
wall clock stands the processor time of all threads.
"""

from __future__ import annotations

import json
import runpy
import sys
import time
from pathlib import Path
from typing import Any

STAND_IN = "torchvision"


def install_stand_in() -> None:
    """Put `benchmarks.training_speed.transforms` in torchvision's place where that is not installed.

    Only the script under the probe sees it: diffusers and transformers have looked for the real one by then.
    """
    import importlib.util

    import diffusers.loaders  # noqa: F401
    import transformers  # noqa: F401

    if importlib.util.find_spec(STAND_IN) is None:
        from benchmarks.training_speed import transforms

        sys.modules[STAND_IN] = transforms
        sys.modules[f"{STAND_IN}.transforms"] = transforms
        sys.modules[f"{STAND_IN}.transforms.functional"] = transforms


def main(out: Path, target: str, arguments: list[str]) -> None:
    """Run the target with the clock in place."""
    import torch
    from accelerate import Accelerator

    began: list[tuple[float, float]] = []
    real = Accelerator.backward

    def timed(self: Any, *args: Any, **kwargs: Any) -> Any:
        began.append((time.perf_counter(), time.process_time()))
        return real(self, *args, **kwargs)

    Accelerator.backward = timed
    sys.argv = [target, *arguments]
    try:
        if target == "packshot":
            from finetune.core.commands import main as command

            command(standalone_mode=False)
        else:
            install_stand_in()
            runpy.run_path(target, run_name="__main__")
    finally:
        out.write_text(json.dumps({"began": began, "threads": torch.get_num_threads()}), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
