# SPDX-License-Identifier: GPL-3.0-or-later
"""The print of a product, drawn with Pillow: brand, a second line, a mark, a pattern."""

from __future__ import annotations

import math

from PIL import Image, ImageDraw

from . import names
from .blender import labels
from .design import Label

Ink = tuple[int, int, int, int]
LONG_SIDE = 900


def solid(name: str) -> Ink:
    """A colour's name as an opaque ink."""
    return (*names.rgb_of(name), 255)


def fitted(face: str, text: str, width: float, height: float) -> float:
    """The type size at which a line fits."""
    length = labels.font(face, 100).getlength(text)
    return float(min(height, 100 * width / max(length, 1.0)))


def write(
    pen: ImageDraw.ImageDraw, middle: tuple[float, float], text: str, face: str, room: tuple[float, float], ink: Ink
) -> None:
    """One line, as large as the room (width, height) allows."""
    if text:
        labels.spaced(pen, middle, text, face, max(8.0, fitted(face, text, *room)), ink)


def rays(pen: ImageDraw.ImageDraw, middle: tuple[float, float], radius: float, ink: Ink, line: int) -> None:
    """A sun: a disc with rays."""
    x, y = middle
    pen.ellipse((x - 0.55 * radius, y - 0.55 * radius, x + 0.55 * radius, y + 0.55 * radius), fill=ink)
    for step in range(12):
        east, south = math.cos(step * math.pi / 6), math.sin(step * math.pi / 6)
        start, end = 0.7 * radius, radius
        pen.line((x + start * east, y + start * south, x + end * east, y + end * south), fill=ink, width=line)


def waves(pen: ImageDraw.ImageDraw, middle: tuple[float, float], radius: float, ink: Ink, line: int) -> None:
    """Three wavy lines."""
    x, y = middle
    for row in (-1, 0, 1):
        points = [
            (x - 1.3 * radius + 2.6 * radius * t / 24, y + 0.5 * row * radius + 0.18 * radius * math.sin(0.9 * t))
            for t in range(25)
        ]
        pen.line(points, fill=ink, width=line)


def petals(pen: ImageDraw.ImageDraw, middle: tuple[float, float], radius: float, ink: Ink) -> None:
    """Six discs around a middle."""
    size = 0.4 * radius
    for step in range(6):
        x = middle[0] + 0.58 * radius * math.cos(step * math.pi / 3)
        y = middle[1] + 0.58 * radius * math.sin(step * math.pi / 3)
        pen.ellipse((x - size, y - size, x + size, y + size), fill=ink)


def draw_mark(
    pen: ImageDraw.ImageDraw, mark: str, middle: tuple[float, float], radius: float, ink: Ink, vein: Ink
) -> None:
    """One of `design.MARKS`."""
    x, y = middle
    line = max(2, round(0.09 * radius))
    round_box = (x - radius, y - radius, x + radius, y + radius)
    if mark == "disc":
        pen.ellipse(round_box, fill=ink)
    elif mark == "ring":
        pen.ellipse(round_box, outline=ink, width=line)
    elif mark == "diamond":
        pen.polygon([(x, y - radius), (x + 0.7 * radius, y), (x, y + radius), (x - 0.7 * radius, y)], fill=ink)
    elif mark == "triangle":
        pen.polygon([(x, y - radius), (x + radius, y + 0.75 * radius), (x - radius, y + 0.75 * radius)], fill=ink)
    elif mark == "bars":
        for row in range(3):
            top = y - radius + 0.75 * row * radius
            pen.rectangle((x - radius, top, x + radius * (1 - 0.25 * row), top + 0.4 * radius), fill=ink)
    elif mark == "sun":
        rays(pen, middle, radius, ink, line)
    elif mark == "waves":
        waves(pen, middle, radius, ink, line)
    elif mark == "petals":
        petals(pen, middle, radius, ink)
    elif mark == "sprig":
        labels.sprig(pen, (x, y + radius), 2 * radius, ink, vein)
    else:
        labels.mountain_mark(pen, middle, radius, ink)


def draw_pattern(pen: ImageDraw.ImageDraw, pattern: str, size: tuple[int, int], ink: Ink) -> None:
    """Bands and dots along the print's edges."""
    width, height = size
    if pattern == "band":
        pen.rectangle((0, 0.86 * height, width, 0.94 * height), fill=ink)
    elif pattern == "foot":
        pen.rectangle((0, 0.84 * height, width, height), fill=ink)
    elif pattern == "stripes":
        for top in (0.03, 0.075, 0.9, 0.945):
            pen.rectangle((0, top * height, width, (top + 0.022) * height), fill=ink)
    elif pattern == "dots":
        step = 0.12 * height
        for place in range(int(width / step) + 1):
            for y in (0.06 * height, 0.94 * height):
                x = (place + 0.5) * step
                pen.ellipse((x - 0.026 * height, y - 0.026 * height, x + 0.026 * height, y + 0.026 * height), fill=ink)


def draw_front(pen: ImageDraw.ImageDraw, label: Label, middle: float, room: tuple[float, float]) -> None:
    """Mark and writing of one front, in a room (width, height) around a middle."""
    width, height = room
    ink, accent = solid(label.ink), solid(label.accent)
    brand_at, brand_high, line_at, line_high = 0.44, 0.30, 0.68, 0.12
    if label.layout == "mark above":
        radius = min(0.17 * height, 0.3 * width)
        draw_mark(pen, label.mark, (middle, 0.27 * height), radius, accent, solid(label.paper))
        brand_at, brand_high, line_at, line_high = 0.59, 0.21, 0.755, 0.1
    elif label.layout == "mark behind":
        radius = min(0.36 * height, 0.47 * width)
        box = (middle - radius, 0.46 * height - radius, middle + radius, 0.46 * height + radius)
        pen.ellipse(box, fill=accent)
        light = solid("white" if names.brightness(label.accent) < 0.5 else "black")
        write(pen, (middle, 0.42 * height), label.brand, label.face, (1.6 * radius, 0.6 * radius), light)
        write(pen, (middle, 0.42 * height + 0.5 * radius), label.line, label.small_face, (radius, 0.3 * radius), light)
        return
    elif label.line:
        y = 0.58 * height
        pen.line((middle - 0.25 * width, y, middle + 0.25 * width, y), fill=accent, width=max(2, round(0.012 * height)))
    brand_at += 0.0 if label.line else 0.06
    write(pen, (middle, brand_at * height), label.brand, label.face, (0.92 * width, brand_high * height), ink)
    write(pen, (middle, line_at * height), label.line, label.small_face, (0.74 * width, line_high * height), ink)


def draw_print(label: Label, width: float, height: float, fronts: int = 1) -> Image.Image:
    """The drawing for a sheet of the given proportions; around a can the front comes twice.

    Ink alone stands on a transparent ground.
    """
    scale = LONG_SIDE / max(width / fronts, height)
    size = (max(32, round(width * scale)), max(32, round(height * scale)))
    ground = (*names.rgb_of(label.paper), 255) if label.kind != "print" else (*names.rgb_of(label.ink), 0)
    image = Image.new("RGBA", size, ground)
    pen = ImageDraw.Draw(image)
    draw_pattern(pen, label.pattern, size, solid(label.accent))
    share = size[0] / fronts
    room = (min(share * (0.88 if fronts == 1 else 0.6), 1.7 * size[1]), float(size[1]))
    for number in range(fronts + 1 if fronts > 1 else 1):
        middle = number * share if fronts > 1 else share / 2
        draw_front(pen, label, middle, room)
    if label.layout == "framed":
        inset = 0.035 * min(size)
        labels.frame(pen, size, inset, max(2, round(0.3 * inset)), solid(label.ink))
    return image
