"""Frames: a picture of any size, and the size at which a base paints it.

A base is trained on pictures of about one area, so a frame is painted at the training bucket whose shape is nearest
(`core.pictures.buckets`). What is painted covers the frame and is cut to it: nothing is stretched.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from PIL import Image

from finetune.core.pictures.buckets import bucket_sizes, nearest

Size = tuple[int, int]
"""Width and height in pixels."""
SMALLEST, LARGEST = 64, 4096
"""Shortest and longest side of a delivered picture, pixels."""
MOST_SLENDER = 4.0
"""Longer side over the shorter one, at most: of a more slender frame most of what is painted would be cut away."""


def as_size(size: int | Size) -> Size:
    """The size of a square picture that is given by its side; any other unchanged."""
    return (size, size) if isinstance(size, int) else size


def read_size(text: str) -> Size:
    """The size that `1080x1350` or `1024` stands for.

    Raises:
        ValueError: It is neither, or a side is out of range.
    """
    found = re.fullmatch(r"\s*(\d{1,6})\s*(?:[x×]\s*(\d{1,6})\s*)?", text)
    if not found:
        raise ValueError(f"'{text}' is not a size: give one side, as in 1024, or 1080x1350")
    width = int(found[1])
    return checked(width, int(found[2] or width))


def read_ratio(text: str, longer: int) -> Size:
    """The size of a ratio such as `4:5` whose longer side is given.

    Raises:
        ValueError: It is no ratio, or too slender.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*[:/]\s*(\d+(?:\.\d+)?)\s*", text)
    if not found or not float(found[1]) or not float(found[2]):
        raise ValueError(f"'{text}' is not a ratio: give width:height, as in 4:5")
    ratio = float(found[1]) / float(found[2])
    width, height = (longer, round(longer / ratio)) if ratio >= 1 else (round(longer * ratio), longer)
    return checked(width, height)


def checked(width: int, height: int) -> Size:
    """A size whose sides and shape are within the limits; raises ValueError for any other."""
    for side in (width, height):
        if not SMALLEST <= side <= LARGEST:
            raise ValueError(f"a side of {side} pixels is out of range ({SMALLEST} to {LARGEST})")
    if max(width, height) > MOST_SLENDER * min(width, height):
        raise ValueError(f"{width}x{height} is too slender: one side may be at most {MOST_SLENDER:g} times the other")
    return width, height


class Painted(NamedTuple):
    """How a frame is painted."""

    size: Size
    """Of the base's picture; multiples of its step."""
    cover: Size
    """Size of that picture in the frame's pixels: at least the frame's."""
    scale: float
    """Pixels of the frame to one of the base's picture."""

    def offset(self, frame: Size) -> Size:
        """Left and top of the frame within `cover`."""
        return (self.cover[0] - frame[0]) // 2, (self.cover[1] - frame[1]) // 2


def painted_at(frame: int | Size, side: int) -> Painted:
    """The size at which a base paints a frame.

    Args:
        frame: Size of the delivered picture.
        side: Of the square pictures the base is trained on, pixels.
    """
    width, height = as_size(frame)
    if width == height:
        return covering((side, side), frame)
    return covering(nearest(width / height, bucket_sizes(side, aspect=True)), frame)


def covering(size: Size, frame: int | Size) -> Painted:
    """How a picture of `size` covers a frame: as small as it can be without leaving anything of the frame bare."""
    width, height = as_size(frame)
    scale = max(width / size[0], height / size[1])
    return Painted(size, (max(width, round(size[0] * scale)), max(height, round(size[1] * scale))), scale)


def onto_cover(canvas: Image.Image, how: Painted) -> Image.Image:
    """A canvas of the frame's size in the middle of one of `how.cover`, transparent around it."""
    if canvas.size == how.cover:
        return canvas
    whole = Image.new(canvas.mode, how.cover)
    whole.paste(canvas, how.offset(canvas.size))
    return whole


def cut_to_frame(picture: Image.Image, frame: int | Size) -> Image.Image:
    """What was painted, resampled (Lanczos) to cover the frame and cut to it; itself if it is of that size."""
    size = as_size(frame)
    cover = covering(picture.size, frame).cover
    if picture.size != cover:
        picture = picture.resize(cover, Image.Resampling.LANCZOS)
    left, top = (cover[0] - size[0]) // 2, (cover[1] - size[1]) // 2
    return picture if picture.size == size else picture.crop((left, top, left + size[0], top + size[1]))
