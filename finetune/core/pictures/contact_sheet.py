"""Contact sheets: a grid of pictures with a line of text under each, and the grounds cutouts are shown on."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from finetune.core.pictures.images import over

GAP = 8
LINE = 13
PAPER = (250, 250, 250)
INK = (40, 40, 40)


def contact_sheet(pictures: Sequence[Image.Image], captions: Sequence[str], *, columns: int, cell: int) -> Image.Image:
    """Lay pictures out in a grid, each fitted into a `cell` x `cell` square with its caption (up to 3 lines) below.

    Args:
        pictures: of any mode; transparency is shown on white.
        captions: one per picture, may be empty.
        columns: pictures in a row.
        cell: side of a square in pixels.

    Returns:
        The sheet, RGB.
    """
    if len(pictures) != len(captions) or not pictures or columns < 1:
        raise ValueError(f"{len(pictures)} pictures, {len(captions)} captions, {columns} columns")
    wrapped = [textwrap.wrap(text, max(8, cell // 6))[:3] for text in captions]
    lines = max(len(w) for w in wrapped)
    columns = min(columns, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    tall = cell + lines * LINE + GAP
    sheet = Image.new("RGB", (columns * (cell + GAP) + GAP, rows * tall + GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(11)
    for index, (picture, text) in enumerate(zip(pictures, wrapped, strict=True)):
        left, top = GAP + index % columns * (cell + GAP), GAP + index // columns * tall
        small = _fitted(picture, cell)
        sheet.paste(small, (left + (cell - small.width) // 2, top + (cell - small.height) // 2))
        draw.multiline_text((left, top + cell + 1), "\n".join(text), INK, font, spacing=1)
    return sheet


def _fitted(picture: Image.Image, cell: int) -> Image.Image:
    scale = cell / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return over(picture, "white").resize(size, Image.Resampling.LANCZOS)


def on_three_grounds(cutout: Image.Image, size: tuple[int, int]) -> tuple[Image.Image, Image.Image, Image.Image]:
    """Show a cutout in the middle of grey chequers, of black and of white.

    Args:
        cutout: RGBA, no larger than `size`.
        size: (width, height) of each picture.

    Returns:
        Three RGB pictures.
    """
    layer = Image.new("RGBA", size, (0, 0, 0, 0))
    layer.paste(cutout, ((size[0] - cutout.width) // 2, (size[1] - cutout.height) // 2))
    chequers = checkerboard(size).convert("RGBA")
    chequers.alpha_composite(layer)
    return chequers.convert("RGB"), over(layer, "black"), over(layer, "white")


def checkerboard(size: tuple[int, int], square: int = 12) -> Image.Image:
    """Grey chequers, which stand for transparency: RGB of `size` (width, height), each `square` pixels wide."""
    y, x = np.mgrid[0 : size[1], 0 : size[0]] // square
    return Image.fromarray(np.where((x + y) % 2, 204, 255).astype(np.uint8)).convert("RGB")
