"""The prepared set on disk: `prepared.json` and what it names. Written by `prepare`, read by training and placing.

datasets/<sku>/prepared/
  prepared.json        this module's contract: fingerprint, settings, one entry a photo
  metadata.jsonl       the imagefolder's rows: file_name, mask_file_name, matte_file_name, text, variant, split, ...
  images/ masks/ mattes/   examples, <name>-<variant>.png; in a category every folder has one a SKU
  records/<name>.json  what the work on one photo found, or why it was left out, and by which key it is taken over
  remembered.json      what else was found out about photos (colours held side by side, words read, scenes described)
  cutouts/<name>.png   RGBA at the photo's own resolution, cropped to the product, edge colours unmixed
  glass/<name>.png     of transparent products: RGBA at the cutout's size, RGB transmittance, A the share that transmits
  shadows/<name>.png   of packshots: L, the soft shadow on the photo's ground, linear light, perhaps reduced
  contact_sheet.png    every cutout on checkerboard, black and white, and a sample of the examples
  report.html          what `finetune.check` found, beside every photo and cutout
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.core.errors import CatalogError
from finetune.core.fingerprint import of_file

if TYPE_CHECKING:
    from finetune.core.products.catalog import ProductSet

FORMAT = 3
FILE = "prepared.json"
MOST_CHANGES = 5
"""Changed files that are named."""


@dataclass(frozen=True)
class PreparedPhoto:
    """One photo after cutting out. `cutout` is relative to the prepared folder, sizes in pixels."""

    photo: str
    cutout: str
    source: str
    """Where the matte came from: `mask`, `alpha` or `plain ground`."""
    width: int
    height: int
    split: str
    """`train` or `validation`."""
    glass: str = ""
    """The glass layer, relative to the prepared folder; empty for an opaque product."""
    shadow: str = ""
    """The packshot's own shadow, relative to the prepared folder; empty where none is known."""


@dataclass(frozen=True)
class PreparedSet:
    """What `prepared.json` says."""

    folder: Path
    sku: str
    kind: str
    class_noun: str
    token: str
    fingerprint: str
    """Content of the set, brand pictures and data settings it was made from."""
    content: str
    """Content of the product set alone (`ProductSet.fingerprint`), to tell whether photos changed since."""
    size: int
    """Side of the square training examples in pixels."""
    examples: int
    photos: tuple[PreparedPhoto, ...]
    settings: dict[str, Any]
    left_out: dict[str, str] = field(default_factory=dict)
    """Photos that could not be used, each with a fingerprint of the circumstances: those are not tried again."""

    contents: dict[str, str] = field(default_factory=dict)
    """The same file by file (`ProductSet.contents`), to tell which changed."""

    def changes(self, product: ProductSet, hash_of: Callable[[Path], str] = of_file) -> str:
        """What changed in a set since it was prepared: `photos/front.png changed, photos/top.png is new`; or nothing.

        Args:
            hash_of: gives a file's fingerprint, for a caller that remembers them.
        """
        now, before = product.contents(hash_of), self.contents
        if not before:  # prepared by an earlier Packshot
            return "photos or set.yaml changed" if self.content != product.fingerprint(hash_of) else ""
        names = sorted(name for name in now.keys() | before.keys() if now.get(name) != before.get(name))
        said = [f"{n} {'is new' if n not in before else 'is gone' if n not in now else 'changed'}" for n in names]
        more = [f"{len(said) - MOST_CHANGES} more"] if len(said) > MOST_CHANGES else []
        return ", ".join(said[:MOST_CHANGES] + more)

    def cutout_path(self, photo: PreparedPhoto) -> Path:
        """Full path of a photo's cutout."""
        return self.folder / photo.cutout

    def glass_path(self, photo: PreparedPhoto) -> Path | None:
        """Full path of a photo's glass layer, None for an opaque product."""
        return self.folder / photo.glass if photo.glass else None

    def write(self) -> None:
        """Write `prepared.json` (last of all files: its presence says the set is complete)."""
        data = {"format": FORMAT} | {k: v for k, v in asdict(self).items() if k != "folder"}
        (self.folder / FILE).write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_prepared(folder: Path) -> PreparedSet | None:
    """Read a prepared set; None when there is none or it was made by another format of Packshot.

    Raises:
        CatalogError: `prepared.json` is there but damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data.pop("format") != FORMAT:
            return None
        photos = tuple(PreparedPhoto(**p) for p in data.pop("photos"))
        return PreparedSet(folder=folder, photos=photos, **data)
    except (ValueError, KeyError, TypeError) as error:
        raise CatalogError(
            f"{path} is damaged", "delete the prepared folder and run `packshot prepare` again"
        ) from error


def require_prepared(folder: Path, sku: str) -> PreparedSet:
    """Read a prepared set that has to be there.

    Raises:
        CatalogError: it is not, or is damaged.
    """
    prepared = read_prepared(folder)
    if prepared is None:
        raise CatalogError(f"'{sku}' is not prepared", f"run: packshot prepare {sku}")
    return prepared
