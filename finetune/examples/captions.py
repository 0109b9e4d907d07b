"""Captions of training examples: trigger token, class noun, and words for the ground that is really there.

Naming the ground keeps it from being learned as part of the product.
"""

from __future__ import annotations

import numpy as np
from skimage.color import rgb2lab

TEMPLATES = (
    "a photo of {subject} {ground}, {light}",
    "a product photo of {subject} {ground}, {light}",
    "{subject} {ground}, {light}",
    "{light}, {subject} {ground}",
)
CLOSE_UP = "close-up of {subject} {ground}, {light}"
BRAND_TEMPLATE = "a photo in {token} style, {words}"

COLOURS: dict[str, tuple[int, int, int]] = {
    "white": (243, 243, 242),
    "light grey": (205, 206, 208),
    "grey": (140, 141, 144),
    "black": (24, 24, 26),
    "beige": (222, 204, 178),
    "cream": (244, 233, 208),
    "brown": (112, 74, 48),
    "red": (186, 40, 38),
    "pink": (236, 170, 180),
    "orange": (226, 124, 46),
    "yellow": (236, 198, 72),
    "green": (74, 128, 78),
    "mint": (174, 220, 198),
    "teal": (32, 118, 122),
    "blue": (72, 122, 188),
    "navy": (28, 42, 84),
    "lavender": (190, 178, 222),
    "purple": (104, 62, 132),
}
"""Names of colours as sRGB: the words the sample sets use for walls and studio surfaces."""


def caption(token: str, class_noun: str, ground: str, light: str, seed: int, *, close_up: bool = False) -> str:
    """One caption from a template: `a photo of prfm01 perfume bottle on a plain beige surface, soft light`.

    Args:
        token: the trigger word.
        class_noun: what the product is.
        ground: words for what is really there; empty if unknown.
        light: words for the light; empty if unknown.
        seed: chooses the template.
        close_up: whether the caption may call the picture a close-up.
    """
    choice = (*TEMPLATES, CLOSE_UP) if close_up else TEMPLATES
    template = choice[int(np.random.default_rng([seed, 1]).integers(len(choice)))]
    text = template.format(subject=f"{token} {class_noun}", ground=ground, light=light)
    return " ".join(text.replace(" ,", ",").split()).strip(", ")


def own_caption(token: str, class_noun: str, words: str) -> str:
    """A user's own caption with `{token}` and `{class_noun}` filled in; both are prepended if it lacks the token.

    Args:
        token: the trigger word.
        class_noun: what the product is.
        words: the user's caption.
    """
    text = " ".join(words.split()).replace("{token}", token).replace("{class_noun}", class_noun)
    return text if token in text.lower().split() else f"a photo of {token} {class_noun}, {text}"


def brand_caption(token: str, words: str) -> str:
    """Caption of a brand set's picture: its trigger word and what it shows."""
    return BRAND_TEMPLATE.format(token=token, words=" ".join(words.split()))


def colour_name(colour: tuple[int, int, int]) -> str:
    """The nearest colour word to an sRGB colour, by distance in CIELAB."""
    named, asked = (rgb2lab(np.array(colours, dtype=np.uint8)) for colours in (list(COLOURS.values()), [colour]))
    return list(COLOURS)[int(np.linalg.norm(named - asked, axis=1).argmin())]
