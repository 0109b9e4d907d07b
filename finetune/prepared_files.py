"""Writing a prepared set's files: examples, rows, contact sheet, and the swap of the whole folder. Called by `prepare`.

The layout is what `datasets.load_dataset("imagefolder", data_dir=...)` opens: with a metadata.jsonl only its rows are
read, other pictures in the folder are not, as long as no path holds a word that `datasets` takes for a split's name.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from finetune.core.contact_sheet import checkerboard, contact_sheet
from finetune.core.images import write_png
from finetune.core.masks import Mask
from finetune.examples import Example
from finetune.matte import Cutout

SPLIT_WORDS = re.compile(
    r"(?<![A-Za-z])(train|training|validation|valid|dev|val|test|testing|eval|evaluation)(?![A-Za-z])"
)
FOLDERS = ("images", "masks", "mattes", "cutouts", "glass", "shadows")
SHEET_CELL = 256
SHEET_PHOTOS = 12
SHEET_EXAMPLES = 12


def plain_name(stem: str) -> str:
    """A photo's stem as a file name in which `datasets` sees no split: `test-01` would make one named test."""
    return SPLIT_WORDS.sub(r"\1~", stem)


@contextmanager
def rebuilt(target: Path) -> Iterator[Path]:
    """A temporary sibling folder that takes the target's place when the block ends well, and vanishes otherwise.

    Leftovers of processes that are no more are removed.
    """
    for stale in target.parent.glob(f".{target.name}-*"):
        if not _is_other_process(stale.name.rsplit("-", 1)[-1]):
            shutil.rmtree(stale, ignore_errors=True)
    part = target.with_name(f".{target.name}-{os.getpid()}")
    old = target.with_name(f".{target.name}-old-{os.getpid()}")
    part.mkdir()
    try:
        yield part
        if target.exists():
            target.replace(old)
        part.replace(target)
    except BaseException:
        if old.exists() and not target.exists():
            old.replace(target)
        raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _is_other_process(pid: str) -> bool:
    if not pid.isdigit() or int(pid) == os.getpid():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def write_example(folder: Path, number: int, example: Example, photo: str, split: str) -> dict[str, Any]:
    """Write one example's three pictures and return its row of metadata.jsonl."""
    name = f"{number:05d}.png"
    pictures = {
        "images": example.image,
        "masks": _grey(example.product),
        "mattes": Image.fromarray((example.matte * 255 + 0.5).astype(np.uint8)),
    }
    for kind, picture in pictures.items():
        picture.save(folder / kind / name, compress_level=1)
    return {
        "file_name": f"images/{name}",
        "mask_file_name": f"masks/{name}",
        "matte_file_name": f"mattes/{name}",
        "text": example.caption,
        "variant": example.plan.variant,
        "split": split,
        "photo": photo,
        "mask_kind": example.plan.mask_kind,
        "seed": example.plan.seed,
        "original_width": example.original_size[0],
        "original_height": example.original_size[1],
        "crop_top": example.crop_top_left[0],
        "crop_left": example.crop_top_left[1],
    }


def _grey(mask: Mask) -> Image.Image:
    return Image.fromarray(mask.astype(np.uint8) * 255)


def write_layers(folder: Path, cutout: Cutout, stem: str) -> dict[str, str]:
    """Write a cutout and its layers; their paths by name (`cutout`, `glass`, `shadow`), empty where there is none."""
    layers = {
        "cutout": ("cutouts", cutout.rgba),
        "glass": ("glass", cutout.glass),
        "shadow": ("shadows", cutout.shadow),
    }
    paths = {}
    for name, (place, picture) in layers.items():
        paths[name] = f"{place}/{plain_name(stem)}.png" if picture else ""
        if picture:
            write_png(picture, folder / paths[name])
    return paths


def write_rows(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write metadata.jsonl, one row a line."""
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "metadata.jsonl").write_text("".join(lines), encoding="utf-8")


def overview(folder: Path, cutouts: Sequence[tuple[str, Image.Image]], rows: Sequence[dict[str, Any]]) -> Image.Image:
    """The contact sheet: every cutout (up to 12) on chequers, black and white, then a sample of the examples."""
    pictures: list[Image.Image] = []
    captions: list[str] = []
    for name, rgba in cutouts[:SHEET_PHOTOS]:
        fitted = rgba.copy()
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
