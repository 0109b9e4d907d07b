"""Contact sheets: a grid of pictures with a line of text under each. Called by preparing, placing and evaluating."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

GAP = 8
LINE = 13
PAPER = (250, 250, 250)
INK = (40, 40, 40)


def contact_sheet(pictures: Sequence[Image.Image], captions: Sequence[str], *, columns: int, cell: int) -> Image.Image:
    """Lay pictures out in a grid, each fitted into a `cell` x `cell` square with its caption (up to 3 lines) below.

    Args:
        pictures: any mode; transparency is shown on white. captions: one a picture, may be empty.
        columns: pictures a row. cell: side of a square in pixels.

    Returns:
        RGB.
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
    if picture.mode == "RGBA":
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, (255, 255, 255, 255)), picture)
    scale = cell / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def checkerboard(size: tuple[int, int], square: int = 12) -> Image.Image:
    """The grey chequers that stand for transparency, RGB of `size` (width, height)."""
    y, x = np.mgrid[0 : size[1], 0 : size[0]] // square
    return Image.fromarray(np.where((x + y) % 2, 204, 255).astype(np.uint8)).convert("RGB")
