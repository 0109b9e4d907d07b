"""What was found out about the photos of a set beyond their records, kept for the next call: nothing is asked twice.

A JSON file in the prepared set and in the cache of `packshot check`. It may be lost or damaged: everything is then
found out again. Used by the recipes `prepare` and `check`; finds out nothing itself.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from finetune.core.storage.durable import write_text

FILE = "remembered.json"


@dataclass
class Remembered:
    """Answers by the fingerprint of what was asked."""

    colours: dict[str, dict[str, str] | None] = field(default_factory=dict)
    """Fields of the finding that comparing a photo's colours with others' came to; None for no finding."""
    labels: dict[str, list[str]] = field(default_factory=dict)
    """Lines of words read on a cutout."""
    scenes: dict[str, str] = field(default_factory=dict)
    """Words a captioner found for a photo's surroundings."""

    def write(self, path: Path) -> None:
        """Write the file."""
        write_text(path, json.dumps(asdict(self), sort_keys=True, ensure_ascii=False))


def read_remembered(*paths: Path) -> Remembered:
    """What some files remember together; nothing of one that is missing, damaged or of another form."""
    found = Remembered()
    for path in paths:
        try:
            data = Remembered(**json.loads(path.read_text(encoding="utf-8")))
            found = Remembered(found.colours | data.colours, found.labels | data.labels, found.scenes | data.scenes)
        except (OSError, ValueError, TypeError):
            continue
    return found
