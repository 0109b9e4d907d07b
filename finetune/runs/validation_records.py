"""The file validation.jsonl of a run: one validation loss a line, and what follows from them.

Early stopping needs no state of its own: it is a pure function of these records.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

from finetune.core.errors import RunError
from finetune.core.json_files import Document, read_json_lines
from finetune.core.storage.durable import write_text

BASE = 0
"""The step under which the loss of the base without adapter is recorded."""


class Record(Document):
    """One validation, a line of the file."""

    step: int
    """Optimizer steps done; `BASE` for the base alone."""
    loss: float


def read_records(path: Path) -> list[Record]:
    """The validations of a run, in order; none when there is no file.

    Raises:
        RunError: the file is damaged.
    """
    if not path.is_file():
        return []
    return read_json_lines(path, Record, RunError, what="the validation record", hint=f"delete {path.parent}")


def write_records(path: Path, records: Sequence[Record]) -> None:
    """Replace the file with these records, whole or not at all."""
    lines = [json.dumps({"step": r.step, "loss": r.loss}) + "\n" for r in records]
    write_text(path, "".join(lines), "the validation record")


def by_loss(records: Sequence[Record]) -> list[Record]:
    """Lowest loss first, the earlier step where losses are equal, NaN last; the base's record is left out."""
    of_steps = [record for record in records if record.step != BASE]
    return sorted(of_steps, key=lambda r: (not math.isfinite(r.loss), r.loss, r.step))


def is_stale(records: Sequence[Record], patience: int) -> bool:
    """Whether the last `patience` validations brought no new lowest loss; never with a patience of 0."""
    ranked = by_loss(records)
    if not patience or not ranked:
        return False
    return sum(record.step > ranked[0].step for record in ranked) >= patience
