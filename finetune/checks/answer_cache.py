"""Cache of per-photo answers (colour comparison, label text, captions), keyed by content.

A JSON file in the prepared set and in the cache of `packshot check`. It may be lost or damaged: the questions are then
asked again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field

from finetune.core.json_files import Document, read_cache
from finetune.core.storage.durable import write_text

FILE = "remembered.json"


class AnswerCache(Document):
    """Answers by the fingerprint of what was asked."""

    colours: Mapping[str, dict[str, str] | None] = Field(default_factory=dict)
    """Fields of the finding from comparing a photo's colours with other photos'; None for no finding."""
    labels: Mapping[str, list[str]] = Field(default_factory=dict)
    """Lines of text read on a cutout."""
    scenes: Mapping[str, str] = Field(default_factory=dict)
    """A captioner's words for a photo's surroundings."""

    def write(self, path: Path) -> None:
        """Write the file."""
        write_text(path, json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False))


def read_answers(*paths: Path) -> AnswerCache:
    """The answers of several files together; a missing file adds none, nor does a damaged one, which is reported."""
    found = AnswerCache()
    for path in paths:
        if (data := read_cache(path, AnswerCache)) is not None:
            found = AnswerCache(
                colours={**found.colours, **data.colours},
                labels={**found.labels, **data.labels},
                scenes={**found.scenes, **data.scenes},
            )
    return found
