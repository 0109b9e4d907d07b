"""Is the label legible: words read off the cutouts against `label_text`. Called by the recipe `finetune.check`.

Reading needs the extra `ocr` (rapidocr: weights in its wheel, no network). Without it the check says that it was not
made; it never passes in silence. Reads pictures it is given, writes nothing.
"""

from __future__ import annotations

import difflib
import functools
import logging
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from PIL import Image

from finetune.checks.photo_findings import Finding
from finetune.core.environment import version_of

Reader = Callable[[Image.Image], Sequence[str]]
"""From a picture (RGB) to the lines of words on it."""
LEGIBLE = 0.8
"""Similarity (difflib's ratio, letters and digits only) from which on a line counts as read: one letter in five may be
wrong, as with `1.7 fl. oz` read `1.7fl.0z`."""
LEAST_READ = 480
"""Longer side a cutout is enlarged to before reading; the detector misses smaller print."""


def open_reader() -> Reader | None:
    """The reader of the extra `ocr`, loaded when it first reads; None where the extra is not installed."""
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


@dataclass(frozen=True)
class Labelled:
    """A cutout that words may be read on."""

    key: str
    """Fingerprint of all that the cutout depends on."""
    open: Callable[[], Image.Image]
    """Gives the cutout, RGBA."""


def label_findings(
    label_text: Sequence[str], cutouts: Iterable[Labelled], reader: Reader | None, known: dict[str, list[str]]
) -> list[Finding]:
    """Findings on the label.

    Args:
        label_text: what is printed on the product. cutouts: of each photo, in the order they are read.
        reader: from `open_reader`; None says the check was not made.
        known: words read on cutouts at an earlier call; those found there are not opened. Afterwards it holds the
            words of `cutouts` alone.
    """
    earlier = dict(known)
    known.clear()
    if not label_text:
        return []
    why = "a label that is not sharp in any photo is neither learned nor placed legibly"
    if reader is None:
        what = f"label not checked: reading {_quoted(label_text)} needs the extra `ocr`"
        return [Finding("label", "note", "", what, why, "pip install 'packshot[ocr]'")]
    missing, lines = list(label_text), list[str]()
    for cutout in cutouts:
        key = f"{_version()} {cutout.key}"
        if key in earlier:
            known[key] = earlier[key]
        elif missing:  # reading takes a second a photo: stop when everything has been read once
            known[key] = list(reader(_on_grey(cutout.open())))
        if missing:
            missing = [text for text in missing if not is_read(text, known[key])]
            lines += known[key]
    if not missing:
        return []
    what = f"{_quoted(missing)} cannot be read on any photo"
    what += f"; read was {_quoted(list(dict.fromkeys(lines))[:8])}" if lines else "; no words were read at all"
    cure = "take the label sharp and from the front, or correct label_text in set.yaml"
    return [Finding("label", "warning", "", what, why, cure)]


def _version() -> str:
    """Of the reader: another one may read other words."""
    return version_of("rapidocr")


def is_read(text: str, lines: Sequence[str]) -> bool:
    """Do the lines, one alone or neighbours together, hold the text with at most one letter in five wrong?"""
    wanted = _plain(text)
    read = [_plain(line) for line in lines]
    candidates = [*read, *("".join(read[i : i + n]) for n in (2, 3, 4) for i in range(len(read)))]
    return any(_holds(wanted, candidate) for candidate in candidates)


def _holds(wanted: str, read: str) -> bool:
    if wanted in read:
        return True
    long = len(wanted)
    windows = [read[i : i + long] for i in range(max(1, len(read) - long + 1))]
    return any(difflib.SequenceMatcher(None, wanted, window, autojunk=False).ratio() >= LEGIBLE for window in windows)


def _plain(text: str) -> str:
    """Small letters and digits only, accents off."""
    bare = unicodedata.normalize("NFKD", text).casefold()
    return re.sub(r"[\W_]", "", "".join(sign for sign in bare if not unicodedata.combining(sign)))


def _quoted(texts: Sequence[str]) -> str:
    return ", ".join(f"'{text}'" for text in texts)


def _on_grey(rgba: Image.Image) -> Image.Image:
    scale = max(1.0, LEAST_READ / max(rgba.size))
    if scale > 1:
        rgba = rgba.resize((round(rgba.width * scale), round(rgba.height * scale)), Image.Resampling.BICUBIC)
    ground = Image.new("RGBA", rgba.size, (128, 128, 128, 255))
    return Image.alpha_composite(ground, rgba).convert("RGB")
