"""The workspace and its product sets: `datasets/<sku>/set.yaml`, photos, masks.

Nothing is written. Names of SKUs become folder names, so they are checked before any path is made.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from finetune.core import fingerprint
from finetune.core.config import Strict, validate
from finetune.core.errors import CatalogError, did_you_mean
from finetune.core.pictures.images import SUFFIXES
from finetune.core.products.set_files import Photo, UnusablePhoto, find_photos
from finetune.core.yaml_files import read_yaml

SKU_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


PLACING_ONLY = {"pose"}
"""Keys of set.yaml that change no prepared picture."""


class SetConfig(Strict):
    """The contents of `set.yaml`."""

    REFERENCE = "the keys of set.yaml are described in datasets/README.md"

    class_noun: str = Field(min_length=2, max_length=60)
    """What the product is, in the words of a caption: `perfume bottle`."""
    kind: Literal["sku", "brand", "category"] = "sku"
    """`sku`: one product; `brand`: pictures of a style; `category`: all SKUs whose set.yaml names it."""
    token: str = ""
    """Trigger word of the adapter; derived from the folder's name if left out."""
    brand: str = ""
    """Folder of the brand set this SKU belongs to."""
    category: str = ""
    """Folder of the category set this SKU belongs to."""
    label_text: tuple[str, ...] = ()
    """Words printed on the product, as they should read."""
    height_mm: float | None = Field(default=None, gt=0, le=10_000)
    """Real height in millimetres: its size on a plate of the gallery; usual for its class if left out."""
    pose: Literal["auto", "standing", "lying", "hanging"] = "auto"
    """How the product rests in a scene; `auto` decides by the class noun: sunglasses lie, bottles stand."""
    mirror: bool = False
    """Whether training examples may be mirrored. A label becomes unreadable when mirrored."""
    cutout: Literal["auto", "mask", "alpha", "plain", "learned"] = "auto"
    """How the product is cut out: by its mask, the alpha channel, the plain ground, or a learned model (extra
    `cutout`); `auto` takes the first of these that works for a photo."""
    cutout_model: str = ""
    """The learned model: a name rembg knows (u2netp, isnet-general-use, birefnet-general) or the path of its .onnx
    file; empty: the best one found on disk."""
    max_megapixels: float = Field(default=10, ge=1, le=200)
    """Larger photos are scaled down to this on reading. At 10 megapixels a product that fills the frame has 2,500 to
    3,600 px, more than any example (2048 px) or scene needs; cutting out and measuring take memory per pixel."""
    glass: Literal["auto", "yes", "no"] = "auto"
    """Whether transparent parts let the new ground show through; `auto` decides by the pictures and the class noun,
    for all views of a product alike."""

    @field_validator("token")
    @classmethod
    def _plain_token(cls, value: str) -> str:
        if value and not re.fullmatch(r"[a-z0-9]{3,20}", value):
            raise ValueError("use 3 to 20 lower-case letters and digits")
        return value


@dataclass(frozen=True)
class ProductSet:
    """A folder under `datasets/`."""

    sku: str
    folder: Path
    config: SetConfig
    photos: tuple[Photo, ...]
    unusable: tuple[UnusablePhoto, ...] = ()
    """Pictures in photos/ that cannot be opened: links out of the set, folders, unreadable files."""

    @property
    def token(self) -> str:
        """The trigger word: as given, or derived from the folder's name (`derive_token`)."""
        return self.config.token or derive_token(self.sku)

    @property
    def prepared_dir(self) -> Path:
        """The folder of this SKU's prepared set."""
        return self.folder / "prepared"

    def contents(self, hash_of: Callable[[Path], str] = fingerprint.of_file) -> dict[str, str]:
        """Fingerprints of set.yaml, as parsed, and of each photo and mask, by path relative to the set's folder.

        Args:
            hash_of: gives a file's fingerprint; pass one that remembers, so that files are not read twice.
        """
        return {"set.yaml": fingerprint.of_value(self._config())} | self._files(hash_of)

    def fingerprint(self, hash_of: Callable[[Path], str] = fingerprint.of_file) -> str:
        """Fingerprint of the set's content: `set.yaml` as parsed, and the bytes of every photo and mask.

        Args:
            hash_of: gives a file's fingerprint; pass one that remembers, so that files are not read twice.
        """
        return fingerprint.of_value({"config": self._config(), "files": self._files(hash_of)})

    def _config(self) -> dict[str, Any]:
        """set.yaml as parsed, without what only placing reads: no prepared set is stale by it."""
        return self.config.model_dump(mode="json", exclude=PLACING_ONLY)

    def _files(self, hash_of: Callable[[Path], str]) -> dict[str, str]:
        files = [p.path for p in self.photos] + [p.mask for p in self.photos if p.mask]
        files += [p.hint for p in self.photos if p.hint]
        return fingerprint.of_files(files, self.folder, hash_of)


@dataclass(frozen=True)
class Workspace:
    """The folder that holds datasets/, runs/, adapters/, scenes/ and cutouts/."""

    root: Path

    @property
    def datasets(self) -> Path:
        """Product sets."""
        return self.root / "datasets"

    @property
    def runs(self) -> Path:
        """Training runs."""
        return self.root / "runs"

    @property
    def adapters(self) -> Path:
        """Adapter versions."""
        return self.root / "adapters"

    @property
    def scenes(self) -> Path:
        """Placed pictures."""
        return self.root / "scenes"

    @property
    def cutouts(self) -> Path:
        """Cutouts as files for people."""
        return self.root / "cutouts"

    @property
    def cache(self) -> Path:
        """Cached results, keyed by content; may be deleted at any time."""
        return self.root / ".cache"

    def skus(self) -> list[str]:
        """Names of every folder under datasets/ that has a set.yaml, sorted."""
        if not self.datasets.is_dir():
            return []
        return sorted(p.parent.name for p in self.datasets.glob("*/set.yaml") if SKU_PATTERN.fullmatch(p.parent.name))


def check_sku_name(sku: str) -> str:
    """Return the name if it can be a SKU's.

    Raises:
        CatalogError: it is empty, or contains `..` or characters other than letters, digits, `.`, `_`, `-`.
    """
    if not SKU_PATTERN.fullmatch(sku) or ".." in sku:
        raise CatalogError(
            f"'{sku}' is not a SKU name",
            "a SKU is the name of a folder in datasets/: letters, digits, '.', '_' and '-'",
        )
    return sku


def derive_token(sku: str) -> str:
    """A trigger word from a folder's name: `perfume01` -> `prfm01`; 3 to 20 letters and digits."""
    plain = unicodedata.normalize("NFKD", sku).encode("ascii", "ignore").decode().lower()
    plain = re.sub(r"[^a-z0-9]", "", plain)
    short = re.sub(r"[aeiou]", "", plain)
    return (short if len(short) >= 3 else plain).ljust(3, "x")[:20]


def load_set(workspace: Workspace, sku: str) -> ProductSet:
    """Read one product set.

    Raises:
        CatalogError: the SKU is unknown; it has no set.yaml or no picture at all; or as `find_photos`.
        ConfigError: set.yaml has an unknown key or a bad value.
    """
    check_sku_name(sku)
    folder = workspace.datasets / sku
    if not folder.is_dir():
        known = workspace.skus()
        hint = did_you_mean(sku, known) or (
            f"product sets here: {', '.join(known)}"
            if known
            else f"create {workspace.datasets}/{sku}/ with set.yaml and photos/"
        )
        raise CatalogError(f"no product set '{sku}' in {workspace.datasets}", hint)
    if not (folder / "set.yaml").is_file():
        hint = "write one; the line `class_noun: perfume bottle` is enough"
        raise CatalogError(f"datasets/{sku} has no set.yaml", hint)
    config = validate(SetConfig, read_yaml(folder / "set.yaml"), f"datasets/{sku}/set.yaml")
    photos, unusable = find_photos(folder, f"datasets/{sku}")
    if not photos and not unusable and config.kind != "category":
        raise CatalogError(f"datasets/{sku}/photos holds no picture", f"put photos into it ({' '.join(SUFFIXES)})")
    return ProductSet(sku, folder, config, photos, unusable)
