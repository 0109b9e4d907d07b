"""The record of the work on one photo, as a JSON file: what was made of it, or why it is unusable.

An unchanged photo is taken over by its record instead of being worked on again. Aliases are the keys in the files:
they stay what they were in earlier versions.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

from finetune.checks.photo_facts import PhotoFacts
from finetune.core import errors
from finetune.core.json_files import read_cache
from finetune.core.products.set_files import Stage, UnusablePhoto
from finetune.core.storage.durable import write_text
from finetune.examples.facts import ExampleFacts

PREPARE_FORMAT = 9
"""Raise it when the same input would give other files; it is part of every key."""
RECORDS = "records"
"""Folder of the records in a prepared set."""
LAYERS = {"cutout": "cutouts", "glass": "glass", "shadow": "shadows"}
"""Folder of each picture that a cutout may consist of."""


FolderName = Annotated[str, Field(pattern=r"^[a-z]{1,20}$")]
Ending = Annotated[str, Field(pattern=r"^[\w.~-]{1,40}$")]
"""Folder and ending of a photo's file: no separator, so that a record cannot name a file elsewhere."""


class Record(BaseModel):
    """What all records have in common."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    def as_json(self) -> str:
        """The file's content."""
        return json.dumps(self.model_dump(mode="json", by_alias=True), ensure_ascii=False)


class CutoutSize(Record):
    """The cutout as `prepared.json` describes it: its source, and its size in pixels."""

    source: str
    """`mask`, `alpha`, `plain ground` or `learned model <name>`; `picture` in a brand set."""
    width: int
    height: int


class GlassVote(Record):
    """What one view says of glass, and what its set decided against it."""

    own: float = 0.0
    """Share of the product that is glass by this view's own evidence, 0..1."""
    verdict: Literal["", "yes", "no"] = ""
    """What the views of the set decided, if this view was made otherwise than it says itself; else empty."""


class PhotoRecord(Record):
    """What was made of one photo: enough to describe it, check it and show it without opening it again."""

    key: str
    """Fingerprint of all that its files depend on; empty if it was only checked."""
    cutout_key: str = Field(validation_alias="look_key", serialization_alias="look_key")
    """Fingerprint of all that its cutout depends on."""
    cutout: CutoutSize
    facts: PhotoFacts | None = Field(validation_alias="look", serialization_alias="look")
    """What was measured on it; None in a brand set."""
    figures: str
    """Its pictures on the report's page, as HTML."""
    examples: tuple[ExampleFacts, ...]
    """One per variant."""
    glass: GlassVote = GlassVote()
    """What it says of glass beside the other views of its set."""
    files: tuple[tuple[FolderName, Ending], ...]
    """(folder, ending) of every file: `<folder>/<name><ending>`."""

    @property
    def transparent(self) -> float:
        """Share of the product that is glass, 0..1."""
        return self.facts.matte.transparent if self.facts and self.facts.matte else 0.0

    def layers(self, name: str) -> dict[str, str]:
        """The cutout's pictures by kind, relative to the prepared folder; empty where there is none.

        Args:
            name: of the photo in that folder.
        """
        there = {folder for folder, _ in self.files}
        return {layer: f"{folder}/{name}.png" if folder in there else "" for layer, folder in LAYERS.items()}

    def paths(self, name: str) -> list[str]:
        """Every file of the photo, relative to the prepared folder; the record is the last.

        Args:
            name: of the photo in that folder.
        """
        return [*(f"{folder}/{name}{ending}" for folder, ending in self.files), f"{RECORDS}/{name}.json"]


class UnusableRecord(Record):
    """Why a photo is unusable, and the circumstances of that."""

    failure_key: str = Field(validation_alias="mark", serialization_alias="mark")
    """Fingerprint of all that its cutout depends on, and of what is installed to read and cut it with."""
    error: str
    """Name of the error's class in `finetune.core.errors`."""
    message: str
    hint: str
    stage: Stage = "cutting"

    @classmethod
    def of(cls, failure_key: str, photo: UnusablePhoto) -> UnusableRecord:
        """The record of an unusable photo."""
        error = photo.error
        return cls(
            failure_key=failure_key,
            error=type(error).__name__,
            message=error.message,
            hint=error.hint,
            stage=photo.stage,
        )

    def photo(self, path: Path) -> UnusablePhoto:
        """The unusable photo again.

        Args:
            path: of the picture.
        """
        kind = getattr(errors, self.error, None)
        if not (isinstance(kind, type) and issubclass(kind, errors.PackshotError)):
            kind = errors.PackshotError
        return UnusablePhoto(path, self.stage, kind(self.message, self.hint))


def write_record(record: PhotoRecord | UnusableRecord, path: Path) -> None:
    """Write a record; its folder is created if it is missing."""
    write_text(path, record.as_json())


class _Either(RootModel[UnusableRecord | PhotoRecord]):
    """A record's file."""


def read_record(path: Path) -> PhotoRecord | UnusableRecord | None:
    """Read a record; None if there is none, or it is damaged, which a warning reports."""
    found = read_cache(path, _Either, what=f"the record {path.name}")
    return None if found is None else found.root


@dataclass(frozen=True)
class Known:
    """The records of earlier prepared sets."""

    made: dict[str, tuple[Path, str, PhotoRecord]] = field(default_factory=dict)
    """key -> (prepared folder, the photo's name there, its record)."""
    unusable: dict[str, UnusableRecord] = field(default_factory=dict)
    """By failure key."""


def known_records(folders: Iterable[Path]) -> Known:
    """Every record of some prepared folders; of several with one key the first."""
    known = Known()
    for folder in folders:
        root = folder / RECORDS
        for path in sorted(root.rglob("*.json")):
            record = read_record(path)
            if isinstance(record, PhotoRecord):
                known.made.setdefault(record.key, (folder, path.relative_to(root).with_suffix("").as_posix(), record))
            elif record is not None:
                known.unusable.setdefault(record.failure_key, record)
    return known
