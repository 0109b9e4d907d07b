"""What came of the work on one photo, as a JSON file beside its pictures: the record of what was made, or why not.

Written by `finetune.dataset.photo_task` and the recipes `prepare` and `check`, which take unchanged photos over by it. Makes
and judges nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from finetune.core import errors
from finetune.core.storage.durable import write_text

PREPARE_FORMAT = 7
"""Raised when the same input would give other files; joins every key."""
RECORDS = "records"
LAYERS = {"cutout": "cutouts", "glass": "glass", "shadow": "shadows"}
"""Folder of every picture a cutout may consist of."""


@dataclass(frozen=True)
class PhotoRecord:
    """What came of the work on one photo: enough to describe it, judge it and show it without opening it again."""

    key: str
    """Fingerprint of all that its files depend on; empty where it was only looked at."""
    look_key: str
    """Fingerprint of all that its cutout depends on."""
    cutout: dict[str, Any]
    """Fields of `finetune.core.products.prepared.PreparedPhoto` but its name, split and paths."""
    look: dict[str, Any] | None
    """`finetune.checks.photo_facts.Look` as JSON; None in a brand set."""
    figures: str
    """Its pictures on the report's page."""
    examples: list[dict[str, Any]]
    """One entry a variant: what its row says, but for names, split and caption."""
    files: list[list[str]]
    """[folder, ending] of every file: `<folder>/<name><ending>`."""

    def layers(self, name: str) -> dict[str, str]:
        """The cutout's pictures of a photo of that name by kind, relative to the prepared folder; empty for none."""
        there = {folder for folder, _ in self.files}
        return {layer: f"{folder}/{name}.png" if folder in there else "" for layer, folder in LAYERS.items()}

    def paths(self, name: str) -> list[str]:
        """Every file of a photo of that name, relative to the prepared folder; the record is the last."""
        return [*(f"{folder}/{name}{ending}" for folder, ending in self.files), f"{RECORDS}/{name}.json"]


@dataclass(frozen=True)
class LeftOut:
    """A photo that cannot be used, and under which circumstances that was found."""

    mark: str
    """Fingerprint of all that its cutout depends on and of what is installed to read and cut it with."""
    error: str
    """Class of the error, of `finetune.core.errors`."""
    message: str
    hint: str

    @classmethod
    def of(cls, mark: str, error: errors.PackshotError) -> LeftOut:
        """The record of an error."""
        return cls(mark, type(error).__name__, error.message, error.hint)

    def as_error(self) -> errors.PackshotError:
        """The error again."""
        kind = getattr(errors, self.error, None)
        if not (isinstance(kind, type) and issubclass(kind, errors.PackshotError)):
            kind = errors.PackshotError
        return kind(self.message, self.hint)


def write_record(record: PhotoRecord | LeftOut, path: Path) -> None:
    """Write a record; its folder is made where it is missing."""
    write_text(path, json.dumps(asdict(record), ensure_ascii=False))


def read_record(path: Path) -> PhotoRecord | LeftOut | None:
    """Read a record; None where there is none, or it is damaged or of another form."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return LeftOut(**data) if "mark" in data else PhotoRecord(**data)
    except (OSError, ValueError, TypeError):
        return None


@dataclass
class Known:
    """The records of earlier prepared sets."""

    made: dict[str, tuple[Path, str, PhotoRecord]] = field(default_factory=dict)
    """key -> (prepared folder, the photo's name there, its record)."""
    left_out: dict[str, LeftOut] = field(default_factory=dict)
    """By mark."""


def known_records(folders: Iterable[Path]) -> Known:
    """Every record of some prepared folders; of equal ones the first."""
    known = Known()
    for folder in folders:
        root = folder / RECORDS
        for path in sorted(root.rglob("*.json")):
            record = read_record(path)
            if isinstance(record, PhotoRecord):
                known.made.setdefault(record.key, (folder, path.relative_to(root).with_suffix("").as_posix(), record))
            elif record is not None:
                known.left_out.setdefault(record.mark, record)
    return known
