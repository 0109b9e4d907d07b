"""Captions of training examples: trigger token, class noun, and words for the ground that is really there.

Naming the ground keeps it from being learned as part of the product. Called by `finetune.examples.composite`; pure text.
"""

from __future__ import annotations

import numpy as np

from finetune.core.pictures.images import Array, to_linear

TEMPLATES = (
    "a photo of {subject} {ground}, {light}",
    "a product photo of {subject} {ground}, {light}",
    "{subject} {ground}, {light}",
    "{light}, {subject} {ground}",
)
CLOSE_UP = "close-up of {subject} {ground}, {light}"
BRAND_TEMPLATE = "a photo in {token} style, {words}"

# Names of colours as sRGB, the words the sample world uses for walls and studio surfaces.
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


def caption(token: str, class_noun: str, ground: str, light: str, seed: int, *, close_up: bool = False) -> str:
    """One caption from a template: `a photo of prfm01 perfume bottle on a plain beige surface, soft light`.

    Args:
        ground, light: words for what is really there; empty where nothing can be said. seed: chooses the template.
        close_up: may the product be said to be seen close up?
    """
    choice = (*TEMPLATES, CLOSE_UP) if close_up else TEMPLATES
    template = choice[int(np.random.default_rng([seed, 1]).integers(len(choice)))]
    text = template.format(subject=f"{token} {class_noun}", ground=ground, light=light)
    return " ".join(text.replace(" ,", ",").split()).strip(", ")


def described(token: str, class_noun: str, words: str) -> str:
    """A user's own caption (a sidecar photos/<stem>.txt); token and noun are put before it unless it names the token.

    `{token}` and `{class_noun}` in it are filled in.
    """
    text = " ".join(words.split()).replace("{token}", token).replace("{class_noun}", class_noun)
    return text if token in text.lower().split() else f"a photo of {token} {class_noun}, {text}"


def brand_caption(token: str, words: str) -> str:
    """Caption of a brand set's picture: its style word and what it shows."""
    return BRAND_TEMPLATE.format(token=token, words=" ".join(words.split()))


def colour_name(colour: tuple[int, int, int]) -> str:
    """The nearest colour word, by distance in CIELAB."""
    named = np.array([COLOURS[name] for name in COLOURS], dtype=np.uint8)
    distance = np.linalg.norm(_lab(named) - _lab(np.array([colour], dtype=np.uint8)), axis=1)
    return list(COLOURS)[int(distance.argmin())]


def _lab(colours: Array) -> np.ndarray:
    """(N, 3) sRGB uint8 -> CIELAB (D65), CIE 15:2004."""
    to_xyz = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    )
    xyz = to_linear(colours) @ to_xyz.T / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)
