# SPDX-License-Identifier: GPL-3.0-or-later
"""Printed matter of the sample products, drawn with Pillow. All brands are invented.

The fonts come from the ``font-*`` distributions (open font licences), found by import name.
"""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

Ink = tuple[int, int, int]

FONTS = {
    "serif": ("font_source_serif_pro", "SourceSerifPro-Regular.otf"),
    "serif-semibold": ("font_source_serif_pro", "SourceSerifPro-Semibold.otf"),
    "serif-italic": ("font_source_serif_pro", "SourceSerifPro-It.otf"),
    "sans": ("font_hanken_grotesk", "HankenGrotesk-Medium.otf"),
    "sans-bold": ("font_hanken_grotesk", "HankenGrotesk-Bold.otf"),
    "slab": ("font_fjallaone", "FjallaOne-Regular.ttf"),
}


def font(face: str, size: float) -> ImageFont.FreeTypeFont:
    """A font of ``FONTS`` in pixels."""
    package, file_name = FONTS[face]
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise SystemExit(f"font package missing: pip install {package.replace('_', '-')}")
    path = next(Path(found.submodule_search_locations[0]).rglob(file_name))
    return ImageFont.truetype(str(path), round(size))


def spaced(
    draw: ImageDraw.ImageDraw,
    centre: tuple[float, float],
    text: str,
    face: str,
    size: float,
    ink: Ink,
    *,
    spacing: float = 0.0,
    left: bool = False,
) -> float:
    """Write one line with letter spacing (in ems), centred on a point or from its left; returns the width."""
    cut = font(face, size)
    gap = spacing * size
    width = sum(cut.getlength(letter) for letter in text) + gap * (len(text) - 1)
    x = centre[0] if left else centre[0] - width / 2
    for letter in text:
        draw.text((x, centre[1]), letter, font=cut, fill=ink, anchor="lm")
        x += cut.getlength(letter) + gap
    return width


def frame(draw: ImageDraw.ImageDraw, size: tuple[int, int], inset: float, width: int, ink: Ink) -> None:
    """Thin rectangular border."""
    draw.rectangle((inset, inset, size[0] - 1 - inset, size[1] - 1 - inset), outline=ink, width=width)


def perfume_label(size: tuple[int, int], paper: Ink, ink: Ink, foil: Ink, number: str) -> Image.Image:
    """Front label of the perfumes: brand, number, kind, contents, double border."""
    image = Image.new("RGB", size, paper)
    draw = ImageDraw.Draw(image)
    width, height = size
    frame(draw, size, 0.042 * width, round(0.0085 * width), foil)
    frame(draw, size, 0.066 * width, round(0.0045 * width), foil)
    middle = width / 2
    spaced(draw, (middle, 0.275 * height), "NOIRE", "serif-semibold", 0.196 * width, ink, spacing=0.09)
    draw.line((0.30 * width, 0.43 * height, 0.70 * width, 0.43 * height), fill=foil, width=round(0.0085 * width))
    spaced(draw, (middle, 0.58 * height), number, "serif", 0.205 * width, ink, spacing=0.02)
    spaced(draw, (middle, 0.765 * height), "EAU DE PARFUM", "sans-bold", 0.064 * width, ink, spacing=0.12)
    spaced(draw, (middle, 0.86 * height), "50 ml  1.7 fl. oz", "sans", 0.05 * width, ink, spacing=0.03)
    return image


def mountain_mark(draw: ImageDraw.ImageDraw, centre: tuple[float, float], radius: float, ink: Ink) -> None:
    """Ring with a sun over two peaks."""
    x, y = centre
    line = max(2, round(radius * 0.085))
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=ink, width=line)
    sun = radius * 0.2
    east, north = x + 0.22 * radius, y - 0.42 * radius
    draw.ellipse((east - sun, north - sun, east + sun, north + sun), fill=ink)
    for points in (
        [(-0.80, 0.46), (-0.26, -0.36), (0.10, 0.18), (-0.08, 0.46)],
        [(0.06, 0.46), (0.40, -0.08), (0.80, 0.46)],
    ):
        draw.polygon([(x + a * radius, y + b * radius) for a, b in points], fill=ink)


def mug_print(size: tuple[int, int], ink: Ink) -> Image.Image:
    """Logo of the mug on a transparent ground."""
    image = Image.new("RGBA", size, (*ink, 0))
    draw = ImageDraw.Draw(image)
    width, height = size
    solid = (*ink, 255)
    mountain_mark(draw, (width / 2, 0.29 * height), 0.25 * height, solid)  # type: ignore[arg-type]
    spaced(draw, (width / 2, 0.70 * height), "NORDA", "slab", 0.27 * height, solid, spacing=0.1)  # type: ignore[arg-type]
    spaced(draw, (width / 2, 0.92 * height), "COFFEE ROASTERS", "sans-bold", 0.088 * height, solid, spacing=0.14)  # type: ignore[arg-type]
    return image


def sprig(draw: ImageDraw.ImageDraw, base: tuple[float, float], length: float, ink: Ink, vein: Ink) -> None:
    """Stem with paired leaves, growing upwards from ``base``."""
    x, y = base
    draw.line((x, y, x, y - length), fill=ink, width=max(2, round(length * 0.016)))
    for row in range(6):
        start = y - length * (0.12 + 0.145 * row)
        reach = length * (0.34 - 0.036 * row)
        for side in (-1, 1):
            tilt = math.radians(38)
            points = []
            for step in range(25):
                t = step / 24 if step <= 12 else (24 - step) / 24
                along = reach * 2 * t
                out = reach * 0.24 * math.sin(math.pi * 2 * t) ** 0.8 * (1 if step <= 12 else -1)
                points.append(
                    (
                        x + side * (along * math.cos(tilt) + out * math.sin(tilt)),
                        start - along * math.sin(tilt) + out * math.cos(tilt),
                    )
                )
            draw.polygon(points, fill=ink)
            draw.line(
                (x, start, x + side * reach * 0.8 * math.cos(tilt), start - reach * 0.8 * math.sin(tilt)),
                fill=vein,
                width=max(1, round(length * 0.006)),
            )


def carton_front(size: tuple[int, int], ground: Ink, ink: Ink, accent: Ink, leaf: Ink) -> Image.Image:
    """Front of the tea carton."""
    image = Image.new("RGB", size, ground)
    draw = ImageDraw.Draw(image)
    width, height = size
    middle = width / 2
    frame(draw, size, 0.05 * width, round(0.006 * width), ink)
    spaced(draw, (middle, 0.125 * height), "SORREL", "serif-semibold", 0.172 * width, ink, spacing=0.06)
    spaced(draw, (middle, 0.195 * height), "HERBAL TEA HOUSE", "sans-bold", 0.046 * width, accent, spacing=0.16)
    draw.ellipse((0.16 * width, 0.25 * height, 0.84 * width, 0.25 * height + 0.68 * width), fill=accent)
    sprig(draw, (middle, 0.25 * height + 0.62 * width), 0.54 * width, leaf, ground)
    spaced(draw, (middle, 0.735 * height), "Lemon & Sage", "serif-italic", 0.122 * width, ink)
    spaced(draw, (middle, 0.80 * height), "CALMING INFUSION", "sans-bold", 0.052 * width, ink, spacing=0.12)
    draw.line((0.36 * width, 0.845 * height, 0.64 * width, 0.845 * height), fill=accent, width=round(0.008 * width))
    spaced(draw, (middle, 0.885 * height), "20 tea bags", "sans", 0.05 * width, ink, spacing=0.02)
    spaced(draw, (middle, 0.925 * height), "40 g  e  1.4 oz", "sans", 0.044 * width, ink, spacing=0.02)
    return image


SIDE_TEXT = (
    ("sans-bold", "INGREDIENTS"),
    ("sans", "Lemon verbena 42 %, sage 31 %,"),
    ("sans", "lemon peel 15 %, chamomile,"),
    ("sans", "liquorice root, natural aroma."),
    ("sans-bold", "TO BREW"),
    ("sans", "Pour 200 ml of freshly boiled"),
    ("sans", "water over one bag. Let it stand"),
    ("sans", "for five to seven minutes."),
    ("sans-bold", "STORE"),
    ("sans", "Keep dry, away from light."),
    ("sans", "Best before: see the base."),
)


def barcode(draw: ImageDraw.ImageDraw, box: tuple[float, float, float, float], ink: Ink) -> None:
    """Bars that look like a code and encode nothing."""
    left, top, right, bottom = box
    draw.rectangle(box, fill=(255, 255, 255))
    pattern = "1011001110100110101110010110011010111001011010011101100101"
    step = (right - left) * 0.86 / len(pattern)
    for index, bit in enumerate(pattern):
        if bit == "1":
            x = left + (right - left) * 0.07 + index * step
            draw.rectangle((x, top + 0.1 * (bottom - top), x + step - 1, bottom - 0.12 * (bottom - top)), fill=ink)


def carton_side(size: tuple[int, int], ground: Ink, ink: Ink, accent: Ink) -> Image.Image:
    """Side of the tea carton with small print and a bar code."""
    image = Image.new("RGB", size, ground)
    draw = ImageDraw.Draw(image)
    width, height = size
    spaced(draw, (width / 2, 0.085 * height), "SORREL", "serif-semibold", 0.13 * width, ink, spacing=0.06)
    draw.line((0.1 * width, 0.135 * height, 0.9 * width, 0.135 * height), fill=accent, width=round(0.01 * width))
    y = 0.185 * height
    for face, line in SIDE_TEXT:
        heading = face == "sans-bold"
        y += 0.022 * height if heading else 0
        spaced(draw, (0.1 * width, y), line, face, (0.066 if heading else 0.0585) * width, ink, left=True)
        y += 0.042 * height
    barcode(draw, (0.2 * width, 0.8 * height, 0.8 * width, 0.94 * height), (20, 20, 20))
    return image


def carton_top(size: tuple[int, int], ground: Ink, ink: Ink, line: Ink) -> Image.Image:
    """Lid of the tea carton: brand and the seam of the tuck flap."""
    image = Image.new("RGB", size, ground)
    draw = ImageDraw.Draw(image)
    width, height = size
    spaced(draw, (width / 2, 0.5 * height), "SORREL", "serif-semibold", 0.105 * width, ink, spacing=0.1)
    draw.line((0, 0.965 * height, width, 0.965 * height), fill=line, width=round(0.004 * width))
    return image
