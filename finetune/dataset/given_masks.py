"""Masks and hints given on the command line: checked against their photos, then copied into masks/ and hints/.

All are checked before the first is copied. A file that is replaced is kept in the folder `replaced` beside it, where no
photo looks for one: it may be somebody's work by hand.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from finetune.core import fingerprint
from finetune.core.console import say
from finetune.core.errors import CatalogError, ConfigError, ImageError, PackshotError, RunError, did_you_mean
from finetune.core.products.catalog import ProductSet
from finetune.core.products.set_files import Photo
from finetune.core.storage.durable import atomic_write
from finetune.matting.photo import cut_photo

REPLACED = "replaced"
SOURCES = {"mask": ("auto", "mask"), "hint": ("auto", "plain")}
"""What is given -> values of `cutout` in set.yaml that use it."""
PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Given:
    """A file, and the photo that it is the mask or the hint of."""

    what: str
    """`mask` or `hint`."""
    photo: Photo
    file: Path

    @property
    def place(self) -> Path:
        """Where the set keeps it."""
        return self.photo.path.parent.parent / f"{self.what}s" / f"{self.photo.stem}.png"


def take_given(product: ProductSet, masks: Sequence[str], hints: Sequence[str]) -> None:
    """Check masks and hints and copy them into a set.

    Args:
        product: the set.
        masks: `PHOTO=FILE.png`; PHOTO is the photo's file name or its stem.
        hints: the same.

    Raises:
        ConfigError: a pair has another form, two are for one photo, or set.yaml uses none.
        CatalogError: there is no such photo, or a file of another format would stay beside the new one.
        ImageError: a file is no PNG, or does not fit its photo.
        CutoutError: a mask is empty or covers the whole photo; a photo would have a mask and a hint.
        RunError: a file cannot be copied.
    """
    given = [_given(product, what, pair) for what, pairs in (("mask", masks), ("hint", hints)) for pair in pairs]
    for number, one in enumerate(given):
        if any(one.photo is other.photo for other in given[:number]):
            raise ConfigError(f"--{one.what} names '{one.photo.path.name}' a second time", "give one file per photo")
        _check(product, one)
    for one in given:
        _copy(product.sku, one)


def _given(product: ProductSet, what: str, pair: str) -> Given:
    config = product.config
    if config.kind != "sku" or config.cutout not in SOURCES[what]:
        why = f"kind: {config.kind}" if config.kind != "sku" else f"cutout: {config.cutout}"
        raise ConfigError(
            f"'{product.sku}' uses no {what}s: its set.yaml says `{why}`", f"change that line, or leave out --{what}"
        )
    name, separator, file = pair.partition("=")
    if not (name and separator and file):
        raise ConfigError(f"--{what} cannot be '{pair}'", "give it as PHOTO=FILE.png")
    found = [photo for photo in product.photos if name in (photo.path.name, photo.stem)]
    if not found:
        known = [photo.path.name for photo in product.photos]
        hint = did_you_mean(name, known) or f"photos that can be opened: {', '.join(known) or 'none'}"
        raise CatalogError(f"'{product.sku}' has no photo '{name}'", hint)
    return Given(what, found[0], Path(file))


def _check(product: ProductSet, one: Given) -> None:
    """Cut the photo out by the file, as preparing will do it."""
    try:
        with one.file.open("rb") as opened:
            png = opened.read(len(PNG)) == PNG
    except OSError as error:
        raise ImageError(f"{one.file} cannot be read: {error.strerror or error}", "check the path") from error
    if not png:
        raise ImageError(f"{one.file} is no PNG", f"save the {one.what} as PNG: JPEG blurs its outline")
    there = one.photo.mask if one.what == "mask" else one.photo.hint
    if there is not None and there != one.place:
        raise CatalogError(
            f"'{one.photo.path.name}' already has the {one.what} {one.what}s/{there.name}", "move that file away first"
        )
    try:
        photo = replace(one.photo, mask=one.file) if one.what == "mask" else replace(one.photo, hint=one.file)
        cut_photo(photo, product.config.model_copy(update={"glass": "no"}))
    except PackshotError as error:
        message = error.message if one.photo.path.name in error.message else f"{one.photo.path.name}: {error.message}"
        raise type(error)(f"{one.file} cannot be used: {message}", error.hint) from error


def _copy(sku: str, one: Given) -> None:
    place, content = one.place, fingerprint.of_file(one.file)
    try:
        if place.exists():
            before = fingerprint.of_file(place)
            if before == content:
                return
            kept = place.parent / REPLACED / f"{place.stem}-{before[:8]}.png"
            with atomic_write(kept) as part:
                shutil.copyfile(place, part)
            say(f"{sku}: {one.what}s/{place.name} is replaced; the earlier one is {one.what}s/{REPLACED}/{kept.name}")
        with atomic_write(place) as part:
            shutil.copyfile(one.file, part)
    except OSError as error:
        raise RunError(f"can't write {place}: {error.strerror or error}", "check the folder's permissions") from error
