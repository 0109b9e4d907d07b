"""The files of a product set: which are photos, their masks and captions, and which cannot be used, each with why.

Called by `core.catalog`. Decodes no picture and writes nothing. Nothing outside a set's folder is read: a link that
leads out of it may have come with an archive from a stranger, and what it points to would end up in a model.
"""

from __future__ import annotations

import json
import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from finetune.core.errors import CatalogError, ImageError, did_you_mean
from finetune.core.pictures.images import SUFFIXES

METADATA = "metadata.jsonl"


@dataclass(frozen=True)
class Photo:
    """One input picture of a set and, where given, its mask and its caption."""

    path: Path
    mask: Path | None
    caption: str = ""
    """The user's own words for it, one line; empty without any."""

    @property
    def stem(self) -> str:
        """File name without suffix: how a photo is known in reports and prepared files."""
        return self.path.stem


@dataclass(frozen=True)
class Refusal:
    """An entry of photos/ that is called like a picture and cannot be used."""

    path: Path
    error: ImageError


def find_photos(folder: Path, name: str) -> tuple[tuple[Photo, ...], tuple[Refusal, ...]]:
    """The photos of a set, by name, and the entries refused.

    Args:
        folder: of the set. name: how messages call it, `datasets/<sku>`.

    Raises:
        CatalogError: two photos of one stem, a mask or a caption that belongs to no photo, a caption that cannot be
            read, photos/ or masks/ being a link out of the set.
    """
    masks = {_same(path.stem): path for path in _pictures(folder, "masks", name)}
    photos: dict[str, Path] = {}
    refused: dict[str, Refusal] = {}
    for path in _pictures(folder, "photos", name):
        stem = _same(path.stem)
        if error := fault(path, folder):
            refused[path.name] = Refusal(path, error)
            masks.pop(stem, None)
            continue
        if stem in photos:
            raise CatalogError(
                f"{name}/photos has two photos named '{path.stem}'", "rename one: outputs are named by stem"
            )
        photos[stem] = path
        if stem in masks and (error := fault(masks[stem], folder)):
            refused[path.name] = Refusal(path, ImageError(f"{path.name}: its mask {error.message}", error.hint))
    if strangers := sorted(set(masks) - set(photos)):
        raise CatalogError(
            f"{name}/masks/{masks[strangers[0]].name} belongs to no photo",
            did_you_mean(strangers[0], photos) or "a mask has the stem of its photo",
        )
    captions = _captions(folder, name, {*photos, *(_same(r.path.stem) for r in refused.values())})
    good = {stem: path for stem, path in photos.items() if path.name not in refused}
    found = tuple(Photo(path, masks.get(stem), captions.get(stem, "")) for stem, path in good.items())
    return found, tuple(refused.values())


def _same(name: str) -> str:
    """A name in the one form by which names are compared: systems write accents in two ways."""
    return unicodedata.normalize("NFC", name)


def _pictures(folder: Path, part: str, name: str) -> list[Path]:
    """Entries of a folder called like pictures, sorted; hidden ones are none."""
    inside = folder / part
    if not inside.is_dir():
        return []
    if _leads_out(inside, folder):
        raise CatalogError(
            f"{name}/{part} is a link that leads out of the set", f"copy the pictures into a folder {part}/ of its own"
        )
    try:
        return sorted(p for p in inside.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    except PermissionError as error:
        raise CatalogError(f"{name}/{part} may not be read", "give yourself read permission") from error


def _leads_out(path: Path, folder: Path) -> bool:
    return not path.resolve().is_relative_to(folder.resolve())


def fault(path: Path, folder: Path, place: str = "the set") -> ImageError | None:
    """Why a file in a folder cannot be read at all; None where it may be tried."""
    if path.is_symlink() and _leads_out(path, folder):
        return ImageError(f"{path.name} is a link that leads out of {place}", "put the file itself there")
    if not path.exists():
        return ImageError(f"{path.name} is a link to nothing", "put the file itself there, or remove the link")
    if not path.is_file():
        return ImageError(f"{path.name} is no file", "remove it, or put the picture itself there")
    if not os.access(path, os.R_OK):
        return ImageError(f"{path.name} may not be read (permission denied)", "give yourself read permission")
    return None


def _captions(folder: Path, name: str, stems: set[str]) -> dict[str, str]:
    """The user's own captions by stem: `<stem>.txt` beside a photo, or rows of metadata.jsonl.

    Raises:
        CatalogError: one that cannot be read, a row without a photo, a photo with two different captions.
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
                f"{name}/photos: '{path.stem}' has two captions, in {path.name} and in {METADATA}", "keep one of them"
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
                did_you_mean(stem, stems) or "remove the row, or put the photo there",
            )
        if stem in found:
            raise CatalogError(f"{name}, line {number}: '{file_name}' has a second row", "keep one of them")
        found[stem] = caption
    return found


def metadata_rows(text: str, name: str) -> list[tuple[int, str, str]]:
    """Rows of a metadata.jsonl, one JSON object a line: line number, `file_name` and `text` (in one line).

    Args:
        name: how messages call the file.

    Raises:
        CatalogError: a line is not JSON, or lacks one of the two.
    """
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise CatalogError(f"{name}, line {number}, is not JSON", "one JSON object a line") from error
        if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in ("file_name", "text")):
            raise CatalogError(
                f"{name}, line {number}, has no file_name and text",
                'a row is {"file_name": "front.jpg", "text": "a caption"}',
            )
        rows.append((number, row["file_name"], " ".join(row["text"].split())))
    return rows


def read_caption_file(path: Path, folder: Path, place: str) -> str:
    """The text of a caption file in a folder.

    Args:
        place: how messages call the folder.

    Raises:
        CatalogError: it leads out of the folder, cannot be read, or is not UTF-8.
    """
    if error := fault(path, folder):
        raise CatalogError(f"{place}/{error.message}", error.hint)
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise CatalogError(f"{place}/{path.name} is not UTF-8 text", "save it as UTF-8") from error
