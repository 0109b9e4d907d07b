"""The prepared set on disk: `prepared.json` and the files it names.

datasets/<sku>/prepared/
  prepared.json        fingerprint, settings, one entry per photo
  metadata.jsonl       the imagefolder's rows: file_name, mask_file_name, matte_file_name, text, variant, split, ...
  images/ masks/ mattes/   examples, <name>-<variant>.png; in a category set each holds a folder per SKU
  records/<name>.json  what was measured on a photo and its examples' facts, or why it is unusable
  remembered.json      cached answers: colour comparisons, label text read, scenes described
  cutouts/<name>.png   RGBA at the photo's own resolution, cropped to the product, edge colours unmixed
  glass/<name>.png     of transparent products: RGBA at the cutout's size, RGB transmittance, A transmitting share
  shadows/<name>.png   of packshots: L, the soft shadow on the photo's ground, linear light, may be smaller
  contact_sheet.png    cutouts on chequers, black and white, and a sample of the examples
  report.html          the findings of the checks beside every photo and cutout
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from finetune.core.errors import CatalogError
from finetune.core.fingerprint import of_file
from finetune.core.json_files import MAX_BYTES, Document, RelativePath, parse_json
from finetune.core.text_files import read_text

if TYPE_CHECKING:
    from finetune.core.products.catalog import ProductSet

FORMAT = 3
FILE = "prepared.json"
MOST_CHANGES = 5
"""Changed files that are named; the rest are counted."""
STORED_NAMES = {"unusable": "left_out"}
"""Fields of `PreparedSet` that have another key in `prepared.json`."""


class OtherFormat(CatalogError):
    """A set was prepared by a Packshot of another format."""


@dataclass(frozen=True)
class PreparedPhoto:
    """One photo after cutting out. `cutout` is relative to the prepared folder, sizes in pixels."""

    photo: str
    cutout: RelativePath
    source: str
    """Where the matte came from: `mask`, `alpha`, `plain ground`, `learned model <name>`; `picture` in a brand set."""
    width: int
    height: int
    split: str
    """`train` or `validation`."""
    glass: RelativePath = ""
    """The glass layer, relative to the prepared folder; empty for an opaque product."""
    shadow: RelativePath = ""
    """The packshot's own shadow, relative to the prepared folder; empty where none is known."""


@dataclass(frozen=True)
class PreparedSet:
    """The contents of `prepared.json`."""

    folder: Path
    sku: str
    kind: str
    class_noun: str
    token: str
    fingerprint: str
    """Content of the set, brand pictures and data settings it was made from."""
    content: str
    """Content of the product set alone (`ProductSet.fingerprint`): tells whether photos changed since."""
    size: int
    """Side of the square training examples in pixels."""
    examples: int
    photos: tuple[PreparedPhoto, ...]
    settings: dict[str, Any]
    unusable: dict[str, str] = field(default_factory=dict)
    """Failure keys of the photos that cannot be used: one is tried again only when its key changes."""
    contents: dict[str, str] = field(default_factory=dict)
    """Content of each file of the set (`ProductSet.contents`): tells which changed."""

    def changes(self, product: ProductSet, hash_of: Callable[[Path], str] = of_file) -> str:
        """Describe what changed in a set since it was prepared: `photos/front.png changed, photos/top.png is new`.

        Args:
            product: the set as it is now.
            hash_of: gives a file's fingerprint; pass one that remembers, so that files are not read twice.

        Returns:
            At most 5 changes, the others counted; empty if there is none.
        """
        now, before = product.contents(hash_of), self.contents
        if not before:  # prepared by an earlier Packshot
            return "photos or set.yaml changed" if self.content != product.fingerprint(hash_of) else ""
        names = sorted(name for name in now.keys() | before.keys() if now.get(name) != before.get(name))
        told = [f"{n} {'is new' if n not in before else 'is gone' if n not in now else 'changed'}" for n in names]
        more = [f"{len(told) - MOST_CHANGES} more"] if len(told) > MOST_CHANGES else []
        return ", ".join(told[:MOST_CHANGES] + more)

    def cutout_path(self, photo: PreparedPhoto) -> Path:
        """Full path of a photo's cutout."""
        return self.folder / photo.cutout

    def glass_path(self, photo: PreparedPhoto) -> Path | None:
        """Full path of a photo's glass layer, None for an opaque product."""
        return self.folder / photo.glass if photo.glass else None

    def write(self) -> None:
        """Write `prepared.json`. It is written last: its presence means the set is complete."""
        stored = {STORED_NAMES.get(name, name): value for name, value in asdict(self).items() if name != "folder"}
        data = {"format": FORMAT} | stored
        (self.folder / FILE).write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


class _Stored(Document):
    """`prepared.json` as it lies on disk."""

    format: int
    sku: str
    kind: Literal["sku", "brand", "category"]
    class_noun: str
    token: str
    fingerprint: str = Field(pattern=r"[0-9a-f]{8,}")
    content: str
    size: int
    examples: int
    photos: tuple[PreparedPhoto, ...]
    settings: dict[str, Any]
    unusable: dict[str, str] = Field(default_factory=dict, alias="left_out")
    contents: dict[str, str] = Field(default_factory=dict)


class _Version(Document):
    """The one key that every format has."""

    format: int


def read_prepared(folder: Path) -> PreparedSet | None:
    """Read a prepared set; None if there is none.

    Raises:
        OtherFormat: it is another Packshot's.
        CatalogError: `prepared.json` is there but damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    what, hint = str(path), f"run: packshot prepare {folder.parent.name}"
    text = read_text(path, CatalogError, limit=MAX_BYTES, what=what, hint=hint)
    number = parse_json(text, _Version, CatalogError, what=what, hint=hint).format
    if number != FORMAT:
        age = "an older" if number < FORMAT else "a newer"
        raise OtherFormat(f"'{folder.parent.name}' was prepared by {age} Packshot", hint)
    stored = parse_json(text, _Stored, CatalogError, what=what, hint=hint)
    values = {name: getattr(stored, name) for name in _Stored.model_fields if name != "format"}
    return PreparedSet(folder=folder, **values)


def require_prepared(folder: Path, sku: str) -> PreparedSet:
    """Read a prepared set that must exist.

    Args:
        folder: `datasets/<sku>/prepared`.
        sku: for the message.

    Raises:
        CatalogError: there is none, it is damaged, or another Packshot's.
    """
    prepared = read_prepared(folder)
    if prepared is None:
        raise CatalogError(f"'{sku}' is not prepared", f"run: packshot prepare {sku}")
    return prepared
