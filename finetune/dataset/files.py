"""Writing a prepared set's files: examples, rows, contact sheet, and the swap of the whole folder. Called by `prepare`.

The layout is what `datasets.load_dataset("imagefolder", data_dir=...)` opens: with a metadata.jsonl only its rows are
read, other pictures in the folder are not, as long as no path holds a word that `datasets` takes for a split's name.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from finetune.core import fingerprint
from finetune.core.pictures.contact_sheet import checkerboard, contact_sheet

SPLIT_WORDS = re.compile(
    r"(?<![A-Za-z])(train|training|validation|valid|dev|val|test|testing|eval|evaluation)(?![A-Za-z])"
)
LONGEST_NAME = 180
"""Bytes of a photo's name in the prepared folder: endings are added, and file systems end at 255."""
SHEET_CELL = 256
SHEET_PHOTOS = 12
SHEET_EXAMPLES = 12


def plain_name(stem: str) -> str:
    """A photo's stem as a file name that `datasets` opens and sees no split in: `test-01` would make one named test.

    Signs that mean something in its patterns and addresses (`[`, `*`, `::`, `#`) and the end of very long names make
    way for the stem's fingerprint, so that two stems never get one name.
    """
    wanted = SPLIT_WORDS.sub(r"\1~", stem)
    short = re.sub(r"[^\w .~+,()&='!@-]", "~", wanted).encode()[:LONGEST_NAME].decode(errors="ignore")
    return short if short == wanted else f"{short}~{fingerprint.of_bytes(stem.encode())[:8]}"


def take_over(paths: Sequence[str], source: Path, target: Path, renamed: Sequence[str]) -> bool:
    """Take files of another prepared folder over as they are: hard links, copies where the file system has none.

    Args:
        paths: relative to `source`. renamed: what they are called in `target`, one each.

    Returns:
        False where one of them is missing; nothing is left of the others then.
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


def write_rows(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write metadata.jsonl, one row a line."""
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "metadata.jsonl").write_text("".join(lines), encoding="utf-8")


def overview(folder: Path, cutouts: Sequence[tuple[str, Path]], rows: Sequence[dict[str, Any]]) -> Image.Image:
    """The contact sheet: cutouts (up to 12) on chequers, black and white, then a sample of the examples.

    Args:
        cutouts: (what to call it, file) of each photo. rows: of metadata.jsonl, their files in `folder`.
    """
    pictures: list[Image.Image] = []
    captions: list[str] = []
    for name, path in cutouts[:SHEET_PHOTOS]:
        with Image.open(path) as cutout:
            fitted = cutout.convert("RGBA")
        fitted.thumbnail((SHEET_CELL - 16, SHEET_CELL - 16), Image.Resampling.LANCZOS)
        square = (SHEET_CELL, SHEET_CELL)
        corner = ((SHEET_CELL - fitted.width) // 2, (SHEET_CELL - fitted.height) // 2)
        for ground in (checkerboard(square), Image.new("RGB", square), Image.new("RGB", square, "white")):
            shown = ground.convert("RGBA")
            shown.alpha_composite(fitted, corner)
            pictures.append(shown)
        captions += [name, "on black", "on white"]
    top = contact_sheet(pictures, captions, columns=6, cell=SHEET_CELL) if pictures else None
    chosen = np.linspace(0, len(rows) - 1, min(len(rows), SHEET_EXAMPLES)).astype(int)
    opened = [Image.open(folder / rows[i]["file_name"]) for i in chosen]
    bottom = contact_sheet(
        opened, [f"{rows[i]['text']} [{rows[i]['mask_kind']}]" for i in chosen], columns=6, cell=SHEET_CELL
    )
    if top is None:
        return bottom
    sheet = Image.new("RGB", (max(top.width, bottom.width), top.height + bottom.height), "white")
    sheet.paste(top, (0, 0))
    sheet.paste(bottom, (0, top.height))
    return sheet
