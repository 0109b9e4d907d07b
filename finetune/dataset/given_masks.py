"""Masks given on the command line: checked against their photos, then copied into the set's masks/.

All are checked before the first is copied. A mask that is replaced is kept in masks/replaced/, where no photo looks for
one: it may be somebody's work by hand.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from finetune.core import fingerprint
from finetune.core.console import say
from finetune.core.errors import CatalogError, ConfigError, ImageError, PackshotError, RunError, did_you_mean
from finetune.core.products.catalog import ProductSet
from finetune.core.products.set_files import Photo
from finetune.core.storage.durable import atomic_write
from finetune.matting.photo import cut_photo

MASKS, REPLACED = "masks", "replaced"
PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class GivenMask:
    """A file, and the photo that it is the mask of."""

    photo: Photo
    file: Path

    @property
    def place(self) -> Path:
        """Where the set keeps it."""
        return self.photo.path.parent.parent / MASKS / f"{self.photo.stem}.png"


def take_masks(product: ProductSet, pairs: Sequence[str]) -> None:
    """Check masks and copy them into a set.

    Args:
        product: the set.
        pairs: `PHOTO=FILE.png`; PHOTO is the photo's file name or its stem.

    Raises:
        ConfigError: a pair has another form, two are for one photo, or set.yaml uses no masks.
        CatalogError: there is no such photo, or a mask of another format would stay beside the new one.
        ImageError: a file is no PNG, or does not fit its photo.
        CutoutError: a mask is empty or covers the whole photo.
        RunError: a mask cannot be copied.
    """
    if product.config.kind != "sku" or product.config.cutout not in ("auto", "mask"):
        why = f"kind: {product.config.kind}" if product.config.kind != "sku" else f"cutout: {product.config.cutout}"
        raise ConfigError(
            f"'{product.sku}' uses no masks: its set.yaml says `{why}`", "change that line, or leave out --mask"
        )
    given = [_given(product, pair) for pair in pairs]
    for number, mask in enumerate(given):
        if any(mask.photo is other.photo for other in given[:number]):
            raise ConfigError(f"--mask names '{mask.photo.path.name}' twice", "give one mask per photo")
        _check(product, mask)
    for mask in given:
        _copy(product.sku, mask)


def _given(product: ProductSet, pair: str) -> GivenMask:
    name, separator, file = pair.partition("=")
    if not (name and separator and file):
        raise ConfigError(f"--mask cannot be '{pair}'", "give it as PHOTO=FILE.png")
    found = [photo for photo in product.photos if name in (photo.path.name, photo.stem)]
    if not found:
        known = [photo.path.name for photo in product.photos]
        hint = did_you_mean(name, known) or f"photos that can be opened: {', '.join(known) or 'none'}"
        raise CatalogError(f"'{product.sku}' has no photo '{name}'", hint)
    return GivenMask(found[0], Path(file))


def _check(product: ProductSet, mask: GivenMask) -> None:
    """Cut the photo out by the mask, as preparing will do it."""
    try:
        with mask.file.open("rb") as opened:
            png = opened.read(len(PNG)) == PNG
    except OSError as error:
        raise ImageError(f"{mask.file} cannot be read: {error.strerror or error}", "check the path") from error
    if not png:
        raise ImageError(f"{mask.file} is no PNG", "save the mask as PNG: JPEG blurs its outline")
    there = mask.photo.mask
    if there is not None and there != mask.place:
        raise CatalogError(
            f"'{mask.photo.path.name}' already has the mask {MASKS}/{there.name}", "move that file away first"
        )
    try:
        cut_photo(Photo(mask.photo.path, mask.file), product.config.model_copy(update={"glass": "no"}))
    except PackshotError as error:
        message = error.message if mask.photo.path.name in error.message else f"{mask.photo.path.name}: {error.message}"
        raise type(error)(f"{mask.file} cannot be used: {message}", error.hint) from error


def _copy(sku: str, mask: GivenMask) -> None:
    place, content = mask.place, fingerprint.of_file(mask.file)
    try:
        if place.exists():
            before = fingerprint.of_file(place)
            if before == content:
                return
            kept = place.parent / REPLACED / f"{place.stem}-{before[:8]}.png"
            with atomic_write(kept) as part:
                shutil.copyfile(place, part)
            say(f"{sku}: {MASKS}/{place.name} is replaced; the earlier one is in {MASKS}/{REPLACED}/{kept.name}")
        with atomic_write(place) as part:
            shutil.copyfile(mask.file, part)
    except OSError as error:
        raise RunError(f"can't write {place}: {error.strerror or error}", "check the folder's permissions") from error
