"""Out of memory in the middle of a run: switch once to settings that need less, and repeat the same step.

Gradient checkpointing goes up one level; a run that already recomputes everything halves its batch and doubles its
accumulation, so an optimizer step still sees as many samples (the same ones where all examples have one shape). Weights
and optimizer state are untouched. The lower settings are stored in the run's folder, so a resumed run keeps them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.core.console import say
from finetune.core.device import release_memory
from finetune.core.errors import OutOfMemory, RunError
from finetune.core.json_files import read_json
from finetune.core.storage.durable import write_text
from finetune.runs.folder import LoweredMemory
from finetune.unet import checkpointing

if TYPE_CHECKING:
    from accelerate import Accelerator


class BackOff:
    """The memory settings of a run, and the one step down from them."""

    def __init__(
        self,
        accelerator: Accelerator,
        unet: Any,
        file: Path,
        *,
        level: str,
        batch: int,
        save: Callable[[int], object],
    ) -> None:
        """Apply the settings: those given, or the lower ones that an earlier part of this run switched to.

        Args:
            accelerator: whose accumulation is lowered or raised.
            unet: in training.
            file: where lower settings are stored, `memory.json` of the run.
            level: of gradient checkpointing.
            batch: samples a forward pass on each process; accumulation is the accelerator's.
            save: writes the checkpoint of a step, so that a resumed run never redoes a step with other settings.
        """
        self.accelerator = accelerator
        self.unet = accelerator.unwrap_model(unet)
        self.file = file
        self.save = save
        self.level, self.batch = level, batch
        self.backed_off = file.is_file()
        if self.backed_off:
            lowered = read_json(file, LoweredMemory, RunError, hint=f"delete {file.parent} to start a new run")
            self.level, self.batch = lowered.gradient_checkpointing, lowered.batch
            accelerator.gradient_accumulation_steps = lowered.accumulation
            say(f"  an earlier part of this run ran out of memory; it continues with {self}")
        checkpointing.set_level(self.unet, self.level)

    def __str__(self) -> str:
        steps = self.accelerator.gradient_accumulation_steps
        return f"checkpointing {self.level}, batch {self.batch} x accumulation {steps}"

    def step_down(self, step: int, optimizer: Any) -> None:
        """Switch to lower settings; the caller repeats the step from its first sample.

        Args:
            step: optimizer steps done.
            optimizer: its gradients are cleared.

        Raises:
            OutOfMemory: the settings were lowered before, nothing is left to lower, or several processes share the
                run (one that runs out of memory cannot tell the others, which wait for its gradients).
        """
        lower = self._lower()
        if self.backed_off or lower is None or self.accelerator.num_processes > 1:
            raise OutOfMemory(
                f"out of memory at step {step} with {self}",
                "`packshot plan` shows what fits; a smaller preset, adapter.rank or data.size needs less",
            )
        before = str(self)
        self.backed_off = True
        self.level, self.batch, self.accelerator.gradient_accumulation_steps = lower
        checkpointing.set_level(self.unet, self.level)
        # accelerate's own zero_grad does nothing before the last pass of a step, and a backward pass that failed
        # half-way has left gradients
        getattr(optimizer, "optimizer", optimizer).zero_grad(set_to_none=True)
        self.accelerator.step = 0  # micro steps are counted from the start of the optimizer step
        release_memory(str(self.accelerator.device))
        say(f"  out of memory at step {step} with {before}: continuing with {self}")
        self._keep()
        self.save(step)

    def _lower(self) -> tuple[str, int, int] | None:
        """(level, batch, accumulation) one step down; None at the bottom."""
        accumulation = int(self.accelerator.gradient_accumulation_steps)
        position = checkpointing.LEVELS.index(self.level)
        if position + 1 < len(checkpointing.LEVELS):
            return checkpointing.LEVELS[position + 1], self.batch, accumulation
        divisor = next((d for d in range(2, self.batch + 1) if self.batch % d == 0), None)
        return (self.level, self.batch // divisor, accumulation * divisor) if divisor else None

    def _keep(self) -> None:
        steps = self.accelerator.gradient_accumulation_steps
        values = {"gradient_checkpointing": self.level, "batch": self.batch, "accumulation": steps}
        write_text(self.file, json.dumps(values) + "\n", "the memory settings in force")
