"""Reading the words on a product's label, and comparing them with the words that should be there.

Reading needs the extra `ocr` (rapidocr: its weights are in the wheel, no network).
"""

from __future__ import annotations

import difflib
import functools
import logging
import re
import unicodedata
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
from PIL import Image

from finetune.core.environment import version_of
from finetune.core.pictures.images import over

Reader = Callable[[Image.Image], Sequence[str]]
"""From a picture (RGB) to the lines of text on it."""
LEGIBLE = 0.8
"""Similarity (difflib's ratio, letters and digits only) from which a line counts as read: one letter in five may be
wrong, as with `1.7 fl. oz` read `1.7fl.0z`."""
LEAST_READ = 480
"""Longer side in pixels to which a smaller cutout is enlarged before reading; the detector misses smaller print."""
GREY = (128, 128, 128)
"""Ground on which a cutout is read: dark and light print both stand out."""


def open_reader() -> Reader | None:
    """The reader of the extra `ocr`, which loads when it first reads; None if the extra is not installed."""
    if not all(find_spec(name) for name in ("rapidocr", "onnxruntime")):
        return None
    engine = functools.lru_cache(maxsize=1)(_engine)

    def read(picture: Image.Image) -> Sequence[str]:
        pixels = np.ascontiguousarray(np.asarray(picture.convert("RGB"))[..., ::-1])  # rapidocr takes BGR
        return [str(text) for text in engine()(pixels).txts or ()]

    return read


def _engine() -> Any:
    from rapidocr import RapidOCR

    engine = RapidOCR(params={"Global.log_level": "critical"})
    logging.getLogger("RapidOCR").setLevel(logging.CRITICAL)
    return engine


def reader_version() -> str:
    """Version of the installed reader, empty if there is none: another version may read other words."""
    return version_of("rapidocr")


def read_label(reader: Reader, cutout: Image.Image) -> list[str]:
    """Read the lines of text on a product.

    Args:
        reader: from `open_reader`.
        cutout: RGBA; one with a longer side under 480 px is enlarged first.
    """
    scale = max(1.0, LEAST_READ / max(cutout.size))
    if scale > 1:
        size = (round(cutout.width * scale), round(cutout.height * scale))
        cutout = cutout.resize(size, Image.Resampling.BICUBIC)
    return list(reader(over(cutout, GREY)))


def is_read(text: str, lines: Sequence[str]) -> bool:
    """Whether lines, one alone or up to four neighbours joined, contain a text with at most one letter in five wrong.

    Args:
        text: what should be read.
        lines: what was read, in order.
    """
    wanted = _letters_and_digits(text)
    read = [_letters_and_digits(line) for line in lines]
    candidates = [*read, *("".join(read[i : i + n]) for n in (2, 3, 4) for i in range(len(read)))]
    return any(_contains(candidate, wanted) for candidate in candidates)


def _contains(read: str, wanted: str) -> bool:
    if wanted in read:
        return True
    long = len(wanted)
    windows = [read[i : i + long] for i in range(max(1, len(read) - long + 1))]
    return any(difflib.SequenceMatcher(None, wanted, window, autojunk=False).ratio() >= LEGIBLE for window in windows)


def _letters_and_digits(text: str) -> str:
    """Lower-case letters and digits only, accents removed."""
    bare = unicodedata.normalize("NFKD", text).casefold()
    return re.sub(r"[\W_]", "", "".join(sign for sign in bare if not unicodedata.combining(sign)))
