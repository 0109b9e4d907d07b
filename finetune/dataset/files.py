"""The files of a prepared set: names, rows, contact sheet, and the swap of the whole folder.

The layout is what `datasets.load_dataset("imagefolder", data_dir=...)` opens: with a metadata.jsonl it reads only the
pictures in its rows, as long as no path contains a word that `datasets` takes for a split's name.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from finetune.core import fingerprint
from finetune.core.errors import CatalogError
from finetune.core.json_files import read_json_lines
from finetune.core.pictures.contact_sheet import contact_sheet, on_three_grounds
from finetune.core.products.prepared import FILE, PreparedSet
from finetune.examples.facts import ExampleRow

SPLIT_WORDS = re.compile(
    r"(?<![A-Za-z])(train|training|validation|valid|dev|val|test|testing|eval|evaluation)(?![A-Za-z])"
)
ROWS = "metadata.jsonl"
LONGEST_NAME = 180
"""Bytes of a photo's name in the prepared folder at most: endings are added, and file systems allow 255."""
SHEET_CELL = 256
SHEET_PHOTOS = 12
SHEET_EXAMPLES = 12


def plain_name(stem: str) -> str:
    """A photo's stem as a file name in which `datasets` sees no split: `test-01` would make one named test.

    Characters with a meaning in its patterns and URLs (`[`, `*`, `::`, `#`) and the end of very long names are replaced
    by the stem's fingerprint, so that two stems never get the same name.
    """
    wanted = SPLIT_WORDS.sub(r"\1~", stem)
    short = re.sub(r"[^\w .~+,()&='!@-]", "~", wanted).encode()[:LONGEST_NAME].decode(errors="ignore")
    return short if short == wanted else f"{short}~{fingerprint.of_bytes(stem.encode())[:8]}"


def take_over(paths: Sequence[str], source: Path, target: Path, renamed: Sequence[str]) -> bool:
    """Take over files of another prepared folder: as hard links, or copies if the file system has no links.

    Args:
        paths: of the files, relative to `source`.
        source: the other prepared folder.
        target: the new prepared folder.
        renamed: their paths relative to `target`.

    Returns:
        False if one of them is missing; the others are then removed from `target`.
    """
    done: list[Path] = []
    try:
        for path, name in zip(paths, renamed, strict=True):
            _link_or_copy(source / path, target / name)
            done.append(target / name)
    except FileNotFoundError:
        for file in done:
            file.unlink()
        return False
    return True


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)


def write_rows(folder: Path, rows: Sequence[ExampleRow]) -> None:
    """Write metadata.jsonl, one row a line."""
    lines = (json.dumps(row.model_dump(), ensure_ascii=False) + "\n" for row in rows)
    (folder / ROWS).write_text("".join(lines), encoding="utf-8")


def check_rows(prepared: PreparedSet) -> None:
    """Check that the rows of a prepared set can be opened: `datasets`' own reader crashes on some damaged files.

    Raises:
        CatalogError: metadata.jsonl is missing, damaged, or not of this set.
    """
    path = prepared.folder / ROWS
    hint = f"run: packshot prepare {prepared.sku}"
    rows = read_json_lines(path, ExampleRow, CatalogError, what=str(path), hint=hint)
    if len(rows) != prepared.examples:
        raise CatalogError(f"{path} has {len(rows)} rows, and {FILE} says {prepared.examples}", hint)


def overview(folder: Path, cutouts: Sequence[tuple[str, Path]], rows: Sequence[ExampleRow]) -> Image.Image:
    """The contact sheet: up to 12 cutouts on chequers, black and white, then a sample of the examples.

    Args:
        folder: the prepared folder.
        cutouts: caption and file of each photo's cutout.
        rows: of metadata.jsonl.
    """
    pictures: list[Image.Image] = []
    captions: list[str] = []
    for name, path in cutouts[:SHEET_PHOTOS]:
        with Image.open(path) as cutout:
            fitted = cutout.convert("RGBA")
        fitted.thumbnail((SHEET_CELL - 16, SHEET_CELL - 16), Image.Resampling.LANCZOS)
        pictures += on_three_grounds(fitted, (SHEET_CELL, SHEET_CELL))
        captions += [name, "on black", "on white"]
    top = contact_sheet(pictures, captions, columns=6, cell=SHEET_CELL) if pictures else None
    chosen = [rows[i] for i in np.linspace(0, len(rows) - 1, min(len(rows), SHEET_EXAMPLES)).astype(int)]
    opened = [Image.open(folder / row.file_name) for row in chosen]
    labels = [f"{row.text} [{row.mask_kind}]" for row in chosen]
    bottom = contact_sheet(opened, labels, columns=6, cell=SHEET_CELL)
    if top is None:
        return bottom
    sheet = Image.new("RGB", (max(top.width, bottom.width), top.height + bottom.height), "white")
    sheet.paste(top, (0, 0))
    sheet.paste(bottom, (0, top.height))
    return sheet
