"""The workspace and its product sets: `datasets/<sku>/set.yaml`, photos, masks.

Read by both sides; writes nothing. Names of SKUs become folder names, so they are checked before any path is made.
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
from finetune.core.config import Strict, read_yaml, validate
from finetune.core.errors import CatalogError, did_you_mean
from finetune.core.pictures.images import SUFFIXES
from finetune.core.products.set_files import Photo as Photo
from finetune.core.products.set_files import Refusal, find_photos

SKU_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class SetConfig(Strict):
    """What `set.yaml` says of a product set."""

    class_noun: str = Field(min_length=2, max_length=60)
    """What the product is, in the words of a caption: `perfume bottle`."""
    kind: Literal["sku", "brand", "category"] = "sku"
    """`sku`: one product; `brand`: pictures of a style; `category`: the SKUs that name it."""
    token: str = ""
    """Trigger word of the adapter; derived from the folder's name if left out."""
    brand: str = ""
    """Folder of the brand set this SKU belongs to."""
    category: str = ""
    """Folder of the category set this SKU belongs to."""
    label_text: tuple[str, ...] = ()
    """Words printed on the product, as they should be read."""
    height_mm: float | None = Field(default=None, gt=0, le=10_000)
    """Real height, for placing products beside each other in scale."""
    mirror: bool = False
    """May training examples be mirrored? Labels don't mirror."""
    cutout: Literal["auto", "mask", "alpha", "plain", "learned"] = "auto"
    """What the product is cut out by: its mask, the alpha channel, the plain ground, a learned model (extra `cutout`);
    `auto`: the first of these that a photo allows."""
    cutout_model: str = ""
    """The learned model: a name rembg knows (u2netp, isnet-general-use, birefnet-general) or the path of its .onnx
    file; empty: the best of those on disk."""
    max_megapixels: float = Field(default=10, ge=1, le=200)
    """Larger photos are scaled down to this on reading. 10 megapixels leave a product that fills the frame 2,500 to
    3,600 px, more than any example (2048 px) or scene needs; the checks' measures take memory by the pixel, too."""
    glass: Literal["auto", "yes", "no"] = "auto"
    """Do transparent parts show the new ground through themselves? `auto` asks the picture and the class noun."""

    @field_validator("token")
    @classmethod
    def _plain_token(cls, value: str) -> str:
        if value and not re.fullmatch(r"[a-z0-9]{3,20}", value):
            raise ValueError("use 3 to 20 small letters and digits")
        return value


@dataclass(frozen=True)
class ProductSet:
    """A folder under `datasets/`."""

    sku: str
    folder: Path
    config: SetConfig
    photos: tuple[Photo, ...]
    refused: tuple[Refusal, ...] = ()
    """Entries of photos/ that cannot be used, each with why: links out of the set, folders, unreadable files."""

    @property
    def token(self) -> str:
        """The trigger word: as given, or the folder's name without vowels and signs."""
        return self.config.token or derive_token(self.sku)

    @property
    def prepared_dir(self) -> Path:
        """Where the prepared set of this SKU stands."""
        return self.folder / "prepared"

    def contents(self, hash_of: Callable[[Path], str] = fingerprint.of_file) -> dict[str, str]:
        """Fingerprint of set.yaml, as understood, and of each photo and mask, by the path in the set's folder."""
        return {"set.yaml": fingerprint.of_value(self.config.model_dump(mode="json"))} | self._files(hash_of)

    def fingerprint(self, hash_of: Callable[[Path], str] = fingerprint.of_file) -> str:
        """Fingerprint of the set's content: `set.yaml` as understood, the bytes of every photo and mask.

        Args:
            hash_of: gives a file's fingerprint, for a caller that remembers them.
        """
        return fingerprint.of_value({"config": self.config.model_dump(mode="json"), "files": self._files(hash_of)})

    def _files(self, hash_of: Callable[[Path], str]) -> dict[str, str]:
        files = [p.path for p in self.photos] + [p.mask for p in self.photos if p.mask]
        return fingerprint.of_files(files, self.folder, hash_of)


@dataclass(frozen=True)
class Workspace:
    """The folder that holds datasets/, runs/, adapters/ and scenes/."""

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
    def cache(self) -> Path:
        """Latents and text embeddings, keyed by content; may be deleted at any time."""
        return self.root / ".cache"

    def skus(self) -> list[str]:
        """Names of every folder under datasets/ that has a set.yaml, sorted."""
        if not self.datasets.is_dir():
            return []
        return sorted(p.parent.name for p in self.datasets.glob("*/set.yaml") if SKU_PATTERN.fullmatch(p.parent.name))


def check_sku_name(sku: str) -> str:
    """Return the name, or say why it can't be one.

    Raises:
        CatalogError: it is empty, holds a path separator, `..`, or other signs than letters, digits, `.`, `_`, `-`.
    """
    if not SKU_PATTERN.fullmatch(sku) or ".." in sku:
        raise CatalogError(
            f"'{sku}' is not a SKU name",
            "a SKU is the name of a folder in datasets/: letters, digits, '.', '_' and '-'",
        )
    return sku


def derive_token(sku: str) -> str:
    """A trigger word from a folder's name: `perfume01` -> `prfm01`; at least three signs, letters and digits only."""
    plain = unicodedata.normalize("NFKD", sku).encode("ascii", "ignore").decode().lower()
    plain = re.sub(r"[^a-z0-9]", "", plain)
    short = re.sub(r"[aeiou]", "", plain)
    return (short if len(short) >= 3 else plain).ljust(3, "x")[:20]


def load_set(workspace: Workspace, sku: str) -> ProductSet:
    """Read one product set.

    Raises:
        CatalogError: unknown SKU, no set.yaml, no photo at all, or what `find_photos` says of the files.
        ConfigError: set.yaml has a misspelt or ill-valued key.
    """
    check_sku_name(sku)
    folder = workspace.datasets / sku
    if not folder.is_dir():
        known = workspace.skus()
        hint = did_you_mean(sku, known) or (
            f"product sets here: {', '.join(known)}"
            if known
            else f"make {workspace.datasets}/{sku}/ with set.yaml and photos/"
        )
        raise CatalogError(f"no product set '{sku}' in {workspace.datasets}", hint)
    if not (folder / "set.yaml").is_file():
        raise CatalogError(f"datasets/{sku} has no set.yaml", "write one; `class_noun: perfume bottle` is enough")
    config = validate(SetConfig, read_yaml(folder / "set.yaml"), f"datasets/{sku}/set.yaml")
    photos, refused = find_photos(folder, f"datasets/{sku}")
    if not photos and not refused and config.kind != "category":
        raise CatalogError(f"datasets/{sku}/photos holds no picture", f"put photos there ({' '.join(SUFFIXES)})")
    return ProductSet(sku, folder, config, photos, refused)


def set_summary(product: ProductSet) -> dict[str, Any]:
    """What manifests record of a set."""
    return {
        "sku": product.sku,
        "kind": product.config.kind,
        "class_noun": product.config.class_noun,
        "token": product.token,
        "fingerprint": product.fingerprint(),
    }
