"""Cache of per-photo answers (colour comparison, label text, captions), keyed by content.

A JSON file in the prepared set and in the cache of `packshot check`. It may be lost or damaged: the questions are then
asked again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from finetune.core.storage.durable import write_text

FILE = "remembered.json"


@dataclass(frozen=True)
class AnswerCache:
    """Answers by the fingerprint of what was asked."""

    colours: Mapping[str, dict[str, str] | None] = field(default_factory=dict)
    """Fields of the finding from comparing a photo's colours with other photos'; None for no finding."""
    labels: Mapping[str, list[str]] = field(default_factory=dict)
    """Lines of text read on a cutout."""
    scenes: Mapping[str, str] = field(default_factory=dict)
    """A captioner's words for a photo's surroundings."""

    def write(self, path: Path) -> None:
        """Write the file."""
        write_text(path, json.dumps(asdict(self), sort_keys=True, ensure_ascii=False))


def read_answers(*paths: Path) -> AnswerCache:
    """The answers of several files together; a file that is missing, damaged or of another form adds none."""
    found = AnswerCache()
    for path in paths:
        try:
            data = AnswerCache(**json.loads(path.read_text(encoding="utf-8")))
            found = AnswerCache(
                {**found.colours, **data.colours}, {**found.labels, **data.labels}, {**found.scenes, **data.scenes}
            )
        except (OSError, ValueError, TypeError):
            continue
    return found
