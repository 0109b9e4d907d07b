"""Rendered products with true masks, as the gate's subjects."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

VIEWS = 3
"""Views of a product that are compared: the first ones."""


@dataclass(frozen=True)
class Subject:
    """A product."""

    name: str
    noun: str
    views: tuple[Image.Image, ...]
    """RGBA, cropped to the product."""
    chooses: bool
    """Whether its pictures may choose bars; the others judge."""


def read_subjects(folder: Path, *, limit: int | None = None) -> list[Subject]:
    """The products of a folder, every other one choosing.

    Args:
        folder: `<name>/meta.json` with `view_K.png` and `view_K_mask.png`.
        limit: Of how many products; all if None.
    """
    found = []
    for number, meta in enumerate(sorted(folder.glob("*/meta.json"))[:limit]):
        facts = json.loads(meta.read_text(encoding="utf-8"))
        noun = str(
            (facts.get("product") or {}).get("noun") or facts.get("noun") or facts.get("class_noun") or "product"
        )
        masks = sorted(meta.parent.glob("view_*_mask.png"))[:VIEWS]
        views = tuple(_cut(mask.with_name(mask.name.replace("_mask", "")), mask) for mask in masks)
        found.append(Subject(meta.parent.name, noun, views, chooses=number % 2 == 0))
    return found


def _cut(picture: Path, mask: Path) -> Image.Image:
    with Image.open(picture) as photo, Image.open(mask) as alpha:
        cutout = photo.convert("RGB")
        cutout.putalpha(alpha.convert("L"))
    box = Image.fromarray((np.asarray(cutout)[..., 3] > 127).astype(np.uint8)).getbbox()
    return cutout.crop(box)
