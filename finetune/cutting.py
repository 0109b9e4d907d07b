"""Reading the photos of a product set and cutting the product out of each. Called by the recipes `prepare` and `check`.

A photo that cannot be used is named with its reason and left out; the good ones go on. Writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from finetune.core.catalog import Photo, ProductSet
from finetune.core.console import say, warn
from finetune.core.errors import CatalogError, PackshotError
from finetune.core.images import open_mask, open_picture
from finetune.matte import Cutout, cut_out


@dataclass(frozen=True)
class Cut:
    """A photo that was read and cut out."""

    photo: Photo
    picture: Image.Image
    cutout: Cutout
    description: str
    """What the photo's sidecar .txt says, empty without one."""


@dataclass(frozen=True)
class Failure:
    """A photo that cannot be used, and why."""

    photo: Photo
    error: PackshotError

    @property
    def text(self) -> str:
        """One line that names the photo."""
        name, message = self.photo.path.name, self.error.message
        return message if name in message else f"{name}: {message}"


def cut_all(product: ProductSet) -> tuple[list[Cut], list[Failure]]:
    """Read and cut out every photo of a set."""
    cuts, failures = [], []
    for photo in product.photos:
        try:
            picture = open_picture(photo.path)
            mask = open_mask(photo.mask) if photo.mask else None
            cuts.append(Cut(photo, picture, cut_out(picture, mask), sidecar(photo)))
        except PackshotError as error:
            failures.append(Failure(photo, error))
    return cuts, failures


def open_all(product: ProductSet) -> tuple[list[tuple[Photo, Image.Image]], list[Failure]]:
    """Read every picture of a brand set, which nothing is cut out of."""
    pictures, failures = [], []
    for photo in product.photos:
        try:
            pictures.append((photo, open_picture(photo.path)))
        except PackshotError as error:
            failures.append(Failure(photo, error))
    return pictures, failures


def sidecar(photo: Photo) -> str:
    """The text beside a photo (`<stem>.txt`) in one line; empty without one."""
    path: Path = photo.path.with_suffix(".txt")
    return " ".join(path.read_text(encoding="utf-8", errors="replace").split()) if path.is_file() else ""


def require_one(sku: str, good: int, failures: list[Failure]) -> None:
    """Refuse a set none of whose photos can be used.

    Raises:
        PackshotError: none is left; of a set of one photo, what is wrong with it.
    """
    if good or not failures:
        return
    first = failures[0]
    if len(failures) == 1:
        raise type(first.error)(first.text, first.error.hint)
    raise CatalogError(f"none of the {len(failures)} photos of '{sku}' can be used", first.error.hint)


def name_failures(sku: str, good: int, failures: list[Failure]) -> None:
    """Warn of each photo left out.

    Raises:
        PackshotError: none is left; of a set of one photo, what is wrong with it.
    """
    if good or len(failures) > 1:
        for failure in failures:
            warn(f"{sku}: left out {failure.text}")
        for hint in dict.fromkeys(failure.error.hint for failure in failures if failure.error.hint):
            say(f"hint: {hint}")
    require_one(sku, good, failures)
