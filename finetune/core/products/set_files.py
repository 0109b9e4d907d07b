"""The files of a product set: its photos with their masks and captions, and the pictures that cannot be used.

No picture is decoded and nothing is written. Nothing outside a set's folder is read: a link that leads out of it may
have come with an archive from a stranger, and what it points to would end up in a model.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from finetune.core.errors import CatalogError, ImageError, PackshotError, did_you_mean
from finetune.core.json_files import MAX_BYTES, Document, parse_json
from finetune.core.pictures.images import SUFFIXES
from finetune.core.text_files import read_text, reason_of

METADATA = "metadata.jsonl"
CAPTION = ".txt"
"""Ending of a photo's caption file, in any case."""
LARGEST = 2 << 30
"""Bytes of a file of a set; 200 megapixels in 16 bits have 1.2 GB."""
LONGEST_CAPTION = 1 << 16
"""Bytes of a caption file; CLIP reads 77 tokens."""
ROW_HINT = 'write one JSON object a line: {"file_name": "front.jpg", "text": "a caption"}'

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
        entries = sorted(inside.iterdir())
    except OSError as error:
        reason = reason_of(error).lower()
        raise CatalogError(f"{name}/{part} cannot be read: {reason}", "grant read permission") from error
    check_names(entries, f"{name}/{part}")
    return [p for p in entries if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")]


def check_names(paths: Iterable[Path], place: str) -> None:
    """Refuse names that are not text: they can stand in no report and no prepared set.

    Args:
        paths: of the files.
        place: the name in messages of the folder they are in.

    Raises:
        CatalogError: a name is not UTF-8.
    """
    for path in paths:
        if not (name := path.name).isascii() and name.encode(errors="replace") != name.encode(errors="surrogateescape"):
            shown = name.encode(errors="backslashreplace").decode()
            raise CatalogError(f"{place}: the name '{shown}' is not UTF-8 text", "rename the file")


def _leads_out(path: Path, folder: Path) -> bool:
    try:
        return not path.resolve().is_relative_to(folder.resolve())
    except (RuntimeError, OSError):  # a link to itself leads nowhere
        return False


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
    if path.stat().st_size > LARGEST:
        return ImageError(f"{path.name} has more than {LARGEST >> 30} GiB", "save it smaller, as a PNG or JPEG")
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
    origin = dict.fromkeys(found, METADATA)
    for path in _caption_files(inside):
        stem, text = _same(path.stem), ""
        if stem in stems:
            text = " ".join(read_caption_file(path, folder, f"{name}/photos").split())
        if text and found.get(stem, text) != text:
            raise CatalogError(
                f"{name}/photos: '{path.stem}' has two captions, in {path.name} and in {origin[stem]}",
                "remove one of them",
            )
        if text:
            found[stem] = text
            origin[stem] = path.name
    return found


def _caption_files(photos: Path) -> list[Path]:
    """The caption files beside photos, sorted; cameras and older systems write `.TXT`."""
    return sorted(p for p in photos.iterdir() if p.suffix.lower() == CAPTION) if photos.is_dir() else []


def stray_captions(folder: Path, stems: set[str]) -> list[str]:
    """Names of the caption files of a set that belong to no photo.

    Args:
        folder: of the set.
        stems: of its photos.
    """
    known = {_same(stem) for stem in stems}
    return [path.name for path in _caption_files(folder / "photos") if _same(path.stem) not in known]


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
        if line.strip():
            row = parse_json(line, _Row, CatalogError, what=f"{name}, line {number},", hint=ROW_HINT)
            rows.append((number, row.file_name, " ".join(row.text.split())))
    return rows


class _Row(Document):
    """A line of the user's metadata.jsonl; other columns are of no use here."""

    file_name: str
    text: str


def read_caption_file(path: Path, folder: Path, place: str) -> str:
    """Read a caption file.

    Args:
        path: of the file.
        folder: which a link must not leave.
        place: the name in messages of the folder the file is in.

    Raises:
        CatalogError: the file is a link out of the folder, cannot be read, is too large, or is not UTF-8.
    """
    if error := fault(path, folder):
        raise CatalogError(f"{place}/{error.message}", error.hint)
    limit = MAX_BYTES if path.name == METADATA else LONGEST_CAPTION
    return read_text(path, CatalogError, limit=limit, what=f"{place}/{path.name}")
