"""The adapters kept during a run, `candidates/step-000150.safetensors`: weights alone, by PEFT key.

After each validation those of lowest loss stay, and the newest. What drops out of the best never comes back, so a
resumed run ends with the same files as an uninterrupted one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from finetune.core.storage.durable import atomic_write
from finetune.runs.validation_records import Record, by_loss

if TYPE_CHECKING:
    import torch

NAME = re.compile(r"step-(\d{6})\.safetensors")


class Candidates:
    """The folder of a run's candidates."""

    def __init__(self, folder: Path, keep: int) -> None:
        """Use a folder, which need not exist yet.

        Args:
            folder: where the files are.
            keep: adapters of lowest loss to keep, besides the newest.
        """
        self.folder, self.keep = folder, keep

    def path(self, step: int) -> Path:
        """File of a step."""
        return self.folder / f"step-{step:06d}.safetensors"

    def steps(self) -> list[int]:
        """Steps on disk, in order."""
        found = [NAME.fullmatch(path.name) for path in self.folder.glob("step-*.safetensors")]
        return sorted(int(match[1]) for match in found if match)

    def add(self, step: int, state: dict[str, torch.Tensor], records: Sequence[Record]) -> None:
        """Write the adapter of a step, then remove those that are neither among the best nor the newest.

        Args:
            step: optimizer steps done.
            state: LoRA weights by PEFT key.
            records: of the run so far, this step's included.
        """
        from safetensors.torch import save_file

        with atomic_write(self.path(step), f"the adapter of step {step}") as part:
            save_file({key: tensor.detach().cpu().contiguous() for key, tensor in state.items()}, str(part))
        kept = {record.step for record in by_loss(records)[: self.keep]} | {step}
        for other in self.steps():
            if other not in kept:
                self.path(other).unlink()

    def load(self, step: int) -> dict[str, torch.Tensor]:
        """The weights of a step."""
        from safetensors.torch import load_file

        state: dict[str, torch.Tensor] = load_file(str(self.path(step)))
        return state
