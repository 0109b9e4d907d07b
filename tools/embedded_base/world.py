"""Reads folders of rendered product scenes: frames, masks, one JSON a line.

A record needs `file_name` and `mask` (paths under the folder), `index`, `empty`
and the caption fields that `captions.py` reads. Indices whose remainder by ten is
8 or 9 are held out: training never sees them, measurements use nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HELD_OUT_REMAINDERS = (8, 9)


@dataclass(frozen=True)
class World:
    """Records with their pictures (n, size, size, 3) and masks (n, size, size), uint8."""

    records: list[dict[str, Any]]
    frames: np.ndarray
    masks: np.ndarray

    def __len__(self) -> int:
        return len(self.records)


def is_held_out(record: dict[str, Any]) -> bool:
    """True for the records that are for evaluation only."""
    return int(record["index"]) % 10 in HELD_OUT_REMAINDERS


def read_records(folder: Path) -> list[dict[str, Any]]:
    """Every record that has both its frame and its mask; a line that is still being written is left for next time."""
    records = []
    for line in (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return [r for r in records if (folder / r["file_name"]).exists() and (folder / r["mask"]).exists()]


def load_world(folder: Path, held_out: bool, size: int = 256) -> World:
    """The training part of a folder, or the held-out part, decoded into memory."""
    return load_worlds([folder], held_out, size)


def load_worlds(folders: Sequence[Path], held_out: bool, size: int = 256) -> World:
    """The training parts of several folders as one world, or the held-out parts.

    Raises:
        ValueError: no folder has a usable record.
    """
    found = [(folder, r) for folder in folders for r in read_records(folder) if is_held_out(r) == held_out]
    if not found:
        raise ValueError(f"no usable records in {', '.join(str(folder) for folder in folders)}")
    frames = np.empty((len(found), size, size, 3), np.uint8)
    masks = np.empty((len(found), size, size), np.uint8)
    for i, (folder, record) in enumerate(found):
        with Image.open(folder / record["file_name"]) as picture:
            frames[i] = np.asarray(picture.convert("RGB").resize((size, size), Image.Resampling.LANCZOS))
        with Image.open(folder / record["mask"]) as mask:
            masks[i] = np.asarray(mask.convert("L").resize((size, size), Image.Resampling.BILINEAR))
    return World([record for _, record in found], frames, masks)


def may_mirror(record: dict[str, Any]) -> bool:
    """Letters do not mirror: only frames without label text do."""
    return not record.get("label_text")
