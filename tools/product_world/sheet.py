"""A contact sheet: random frames of a world with their captions and their masks' outlines."""

from __future__ import annotations

import random
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from .records import read_lines

TEXT_HEIGHT = 44
LINE_COLOUR = (255, 0, 220)


def outlined(picture: Image.Image, mask: Image.Image) -> Image.Image:
    """The picture with the mask's outline drawn one pixel wide."""
    inside = mask.convert("L").point(lambda level: 255 if level > 127 else 0)
    edge = np.asarray(inside) != np.asarray(inside.filter(ImageFilter.MinFilter(3)))
    pixels = np.array(picture.convert("RGB"))
    pixels[edge] = LINE_COLOUR
    return Image.fromarray(pixels)


def tile(folder: Path, line: dict[str, Any], side: int) -> Image.Image:
    """One frame over its caption."""
    with Image.open(folder / line["file_name"]) as picture, Image.open(folder / line["mask"]) as mask:
        frame = outlined(picture, mask).resize((side, side), Image.Resampling.LANCZOS)
    made = Image.new("RGB", (side, side + TEXT_HEIGHT), "white")
    made.paste(frame, (0, 0))
    words = textwrap.wrap(f"{line['index']}: {line['caption']}", width=round(side / 6.2))
    ImageDraw.Draw(made).multiline_text(
        (3, side + 2), "\n".join(words[:4]), "black", ImageFont.load_default(9), spacing=1
    )
    return made


def contact_sheet(folder: Path, count: int, columns: int, side: int, seed: int) -> Image.Image:
    """Random frames in the order of their indices; raises ValueError where there are none."""
    lines = read_lines(folder)
    if not lines:
        raise ValueError(f"no frames in {folder}")
    chosen = random.Random(seed).sample(lines, min(count, len(lines)))
    tiles = [tile(folder, line, side) for line in sorted(chosen, key=lambda line: int(line["index"]))]
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (columns * side, rows * (side + TEXT_HEIGHT)), "white")
    for place, made in enumerate(tiles):
        sheet.paste(made, (place % columns * side, place // columns * (side + TEXT_HEIGHT)))
    return sheet
