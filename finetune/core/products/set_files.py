"""The files of a product set: its photos with their masks and captions, and the pictures that cannot be used.

No picture is decoded and nothing is written. Nothing outside a set's folder is read: a link that leads out of it may
have come with an archive from a stranger, and what it points to would end up in a model.
"""

from __future__ import annotations

import json
import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from finetune.core.errors import CatalogError, ImageError, PackshotError, did_you_mean
from finetune.core.pictures.images import SUFFIXES

METADATA = "metadata.jsonl"

Stage = Literal["listing", "reading", "cutting"]
"""Where a photo failed: its entry in the folder; decoding it or its mask; separating the product from its ground."""


@dataclass(frozen=True)
class Photo:
    """One input picture of a set and, where given, its mask and its caption."""

    path: Path
    mask: Path | None
    caption: str = ""
    """The user's own words for it, one line; empty without any."""
    hint: Path | None = None
    """What the user knows of its pixels: 0 is ground, 255 product, 128 open."""

    @property
    def stem(self) -> str:
        """File name without suffix: how a photo is known in reports and prepared files."""
        return self.path.stem


@dataclass(frozen=True)
class UnusablePhoto:
    """A picture of a set that cannot be used, and why."""

    path: Path
    """Of the picture."""
    stage: Stage
    """Where it failed. What fails at `listing` is never opened."""
    error: PackshotError
    """What is wrong with it, and the cure."""

    @property
    def text(self) -> str:
        """What is wrong, in one line that names the file."""
        message = self.error.message
        return message if self.path.name in message else f"{self.path.name}: {message}"


def find_photos(folder: Path, name: str) -> tuple[tuple[Photo, ...], tuple[UnusablePhoto, ...]]:
    """List the photos of a set, sorted by name, and the pictures that cannot be used.

    Args:
        folder: of the set.
        name: the set's name in messages, `datasets/<sku>`.

    Raises:
        CatalogError: two photos have the same stem; a mask or a caption belongs to no photo; a caption cannot be
            read; photos/ or masks/ is a link that leads out of the set.
    """
    masks = {_same(path.stem): path for path in _pictures(folder, "masks", name)}
    hints = {_same(path.stem): path for path in _pictures(folder, "hints", name)}
    photos: dict[str, Path] = {}
    unusable: dict[str, UnusablePhoto] = {}
    for path in _pictures(folder, "photos", name):
        stem = _same(path.stem)
        if error := fault(path, folder):
            unusable[path.name] = UnusablePhoto(path, "listing", error)
            masks.pop(stem, None)
            hints.pop(stem, None)
            continue
        if stem in photos:
            raise CatalogError(
                f"{name}/photos has two photos named '{path.stem}'", "rename one: outputs are named after the stem"
            )
        photos[stem] = path
        for what, files in (("mask", masks), ("hint", hints)):
            if stem in files and (error := fault(files[stem], folder)):
                because = ImageError(f"{path.name}: its {what} {error.message}", error.hint)
                unusable[path.name] = UnusablePhoto(path, "listing", because)
    for what, files in (("mask", masks), ("hint", hints)):
        if strangers := sorted(set(files) - set(photos)):
            raise CatalogError(
                f"{name}/{what}s/{files[strangers[0]].name} belongs to no photo",
                did_you_mean(strangers[0], photos) or f"name the {what} like its photo (same stem)",
            )
    captions = _captions(folder, name, {*photos, *(_same(u.path.stem) for u in unusable.values())})
    good = {stem: path for stem, path in photos.items() if path.name not in unusable}
    found = tuple(Photo(path, masks.get(stem), captions.get(stem, ""), hints.get(stem)) for stem, path in good.items())
    return found, tuple(unusable.values())


def _same(name: str) -> str:
    """A name in Unicode form NFC: file systems differ in how they store accents."""
    return unicodedata.normalize("NFC", name)


def _pictures(folder: Path, part: str, name: str) -> list[Path]:
    """Entries of a subfolder with a picture's suffix, sorted; hidden ones are skipped."""
    inside = folder / part
    if not inside.is_dir():
        return []
    if _leads_out(inside, folder):
        raise CatalogError(
            f"{name}/{part} is a link that leads out of the set", f"copy the pictures into {part}/ inside the set"
        )
    try:
        return sorted(p for p in inside.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    except PermissionError as error:
        raise CatalogError(f"{name}/{part} cannot be read: permission denied", "grant read permission") from error


def _leads_out(path: Path, folder: Path) -> bool:
    return not path.resolve().is_relative_to(folder.resolve())


def fault(path: Path, folder: Path, place: str = "the set") -> ImageError | None:
    """Say why a file in a folder cannot be opened at all; None if opening it may be tried.

    Args:
        path: of the file.
        folder: which a link must not leave.
        place: what messages call that folder.
    """
    if path.is_symlink() and _leads_out(path, folder):
        return ImageError(f"{path.name} is a link that leads out of {place}", "replace the link by the file")
    if not path.exists():
        return ImageError(f"{path.name} is a broken link", "replace the link by the file, or remove it")
    if not path.is_file():
        return ImageError(f"{path.name} is not a file", "remove it, or put the picture itself in its place")
    if not os.access(path, os.R_OK):
        return ImageError(f"{path.name} cannot be read: permission denied", "grant read permission")
    return None


def _captions(folder: Path, name: str, stems: set[str]) -> dict[str, str]:
    """The user's own captions by stem: `<stem>.txt` beside a photo, or rows of metadata.jsonl.

    Raises:
        CatalogError: a caption cannot be read; a row belongs to no photo; a photo has two different captions.
    """
    inside = folder / "photos"
    found: dict[str, str] = {}
    if (inside / METADATA).exists():
        found = _metadata(
            read_caption_file(inside / METADATA, folder, f"{name}/photos"), f"{name}/photos/{METADATA}", stems
        )
    for path in sorted(inside.glob("*.txt")) if inside.is_dir() else []:
        stem, text = _same(path.stem), ""
        if stem in stems:
            text = " ".join(read_caption_file(path, folder, f"{name}/photos").split())
        if text and found.get(stem, text) != text:
            raise CatalogError(
                f"{name}/photos: '{path.stem}' has two captions, in {path.name} and in {METADATA}", "remove one of them"
            )
        if text:
            found[stem] = text
    return found


def _metadata(text: str, name: str, stems: set[str]) -> dict[str, str]:
    """Captions of a metadata.jsonl by stem."""
    found: dict[str, str] = {}
    for number, file_name, caption in metadata_rows(text, name):
        stem = _same(Path(file_name).stem)
        if stem not in stems:
            raise CatalogError(
                f"{name}, line {number}: there is no photo '{file_name}'",
                did_you_mean(stem, stems) or "remove the row, or add the photo",
            )
        if stem in found:
            raise CatalogError(f"{name}, line {number}: '{file_name}' has a second row", "remove one of them")
        found[stem] = caption
    return found


def metadata_rows(text: str, name: str) -> list[tuple[int, str, str]]:
    """The rows of a metadata.jsonl, one JSON object a line.

    Args:
        text: the file's content.
        name: the file's name in messages.

    Returns:
        Line number, `file_name` and `text` of each row; the text in one line.

    Raises:
        CatalogError: a line is not JSON, or has no `file_name` or no `text`.
    """
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise CatalogError(f"{name}, line {number}, is not JSON", "write one JSON object per line") from error
        if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in ("file_name", "text")):
            raise CatalogError(
                f"{name}, line {number}, needs `file_name` and `text`",
                'write it as {"file_name": "front.jpg", "text": "a caption"}',
            )
        rows.append((number, row["file_name"], " ".join(row["text"].split())))
    return rows


def read_caption_file(path: Path, folder: Path, place: str) -> str:
    """Read a caption file.

    Args:
        path: of the file.
        folder: which a link must not leave.
        place: the name in messages of the folder the file is in.

    Raises:
        CatalogError: the file is a link out of the folder, cannot be read, or is not UTF-8.
    """
    if error := fault(path, folder):
        raise CatalogError(f"{place}/{error.message}", error.hint)
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise CatalogError(f"{place}/{path.name} is not UTF-8 text", "save it as UTF-8") from error
