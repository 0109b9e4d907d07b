"""The main light of a scene: where it comes from, how large it is, what remains in its shadow.

Directions are seen from above with the product in the middle: 0 degrees is the camera (front light), 90 the right, 180
behind the product, 270 the left.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.core.errors import ConfigError, did_you_mean

DIRECTIONS = {
    "front": 0.0,
    "front-right": 45.0,
    "right": 90.0,
    "back-right": 135.0,
    "back": 180.0,
    "back-left": 225.0,
    "left": 270.0,
    "front-left": 315.0,
}
HEIGHTS = {"low": 22.0, "mid": 42.0, "high": 68.0}
KINDS = {"hard": 0.04, "soft": 0.5, "overcast": 1.0}
SHADES = {"hard": 0.28, "soft": 0.45, "overcast": 0.8}
"""Share of the ground's light that remains in full shadow: sky and walls light it too."""
WIDEST = 60.0
"""Angular diameter of a light of softness 1, degrees; the sun has 0.5, a window at arm's length 30 to 60."""
GOLDEN = math.pi * (3 - math.sqrt(5))

WORDS: tuple[tuple[str, str], ...] = (
    (r"back[- ]?lit|back[- ]?light(?:ing|s)?|rim[- ]?light(?:ing|s)?|from behind|contre-jour", "back"),
    (r"from the (?:front left|left front)", "front-left"),
    (r"from the (?:front right|right front)", "front-right"),
    (r"from the (?:back left|left back)", "back-left"),
    (r"from the (?:back right|right back)", "back-right"),
    (r"from the left|left[- ]?side light", "left"),
    (r"from the right|right[- ]?side light", "right"),
    (r"from the front|front(?:al)? light|on-camera flash", "front"),
    (r"sunrise|sunset|golden hour|low sun|morning (?:sun|light)|evening (?:sun|light)|dusk|dawn|candle ?light", "low"),
    (r"noon|midday|overhead|from above|high sun", "high"),
    (r"overcast|cloudy|fog(?:gy)?|mist(?:y)?|shadow ?less|diffuse[d]?", "overcast"),
    (r"hard|harsh|direct sun(?:light)?|spot ?light|sharp shadows?|crisp shadows?", "hard"),
    (r"soft|window light|soft ?box|day ?light|candle ?light", "soft"),
)
"""Words of a prompt, as patterns, and what they say of the light; the first of a kind counts."""


@dataclass(frozen=True)
class Light:
    """A main light over a ground that sky and surroundings light too."""

    azimuth: float = 330.0
    """Degrees, seen from above: 0 from the camera, 90 the right, 180 from behind the product, 270 the left."""
    height: float = 62.0
    """Degrees above the ground, 0 to 90."""
    softness: float = 0.5
    """0 a point, 1 as wide as 60 degrees; how wide the shadow's edge grows."""
    shade: tuple[float, float, float] = (0.45, 0.45, 0.45)
    """Linear light of the ground in full shadow over that in the light: red, green, blue, 0..1."""

    @property
    def text(self) -> str:
        """The light in words, for messages."""
        name = min(DIRECTIONS, key=lambda n: abs((DIRECTIONS[n] - self.azimuth + 180) % 360 - 180))
        kind = min(KINDS, key=lambda n: abs(math.log(KINDS[n] / max(self.softness, 0.01))))
        return f"{kind}, from the {name}, {self.height:.0f} degrees high"

    def main_directions(self, count: int) -> NDArray[np.float64]:
        """Directions to points spread evenly over the light's disc, (count, 3): right, towards the camera, up."""
        radius = math.radians(WIDEST * self.softness) / 2
        order = np.arange(count) + 0.5
        off, turn = radius * np.sqrt(order / count), GOLDEN * order
        height = np.clip(math.radians(self.height) + off * np.sin(turn), math.radians(8), math.radians(89))
        azimuth = math.radians(self.azimuth) + off * np.cos(turn) / max(math.cos(math.radians(self.height)), 0.2)
        return _vectors(azimuth, height)


def sky_directions(count: int) -> NDArray[np.float64]:
    """Directions over the upper half of the sky as a matt ground sees it, (count, 3): weighted by their cosine."""
    order = np.arange(count) + 0.5
    height = np.arcsin(np.sqrt(1 - order / count))
    return _vectors(GOLDEN * order, np.maximum(height, math.radians(18)))


def _vectors(azimuth: NDArray[np.floating[Any]], height: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    flat = np.cos(height)
    parts = [flat * np.sin(azimuth), flat * np.cos(azimuth), np.sin(height)]
    return np.stack(parts, axis=-1).astype(np.float64)


def read_light(text: str) -> Light:
    """A light as an option gives it: `DIRECTION[,HEIGHT][,KIND]`, as in `back-left,low,hard`.

    Raises:
        ConfigError: A word is none of them, or two say the same thing differently.
    """
    words = [word.strip().lower() for word in text.split(",") if word.strip()]
    if not words:
        raise ConfigError("--light is empty", _usage())
    light, told = Light(), set()
    for word in words:
        kind = next((k for k, known in enumerate((DIRECTIONS, HEIGHTS, KINDS)) if word in known), None)
        if kind is None:
            known = [*DIRECTIONS, *HEIGHTS, *KINDS]
            raise ConfigError(f"--light does not know '{word}'", did_you_mean(word, known) or _usage())
        if kind in told:
            raise ConfigError(f"--light '{text}' names two lights that contradict each other", _usage())
        told.add(kind)
        light = _said(light, word)
    return light


def _usage() -> str:
    return f"--light DIRECTION[,HEIGHT][,KIND]: {', '.join(DIRECTIONS)}; {', '.join(HEIGHTS)}; {', '.join(KINDS)}"


def light_of_prompt(prompt: str) -> tuple[Light, tuple[str, ...]]:
    """The light that a prompt's words describe, and these words; what it leaves open is high, soft and from the front.

    Args:
        prompt: Where the product stands, as in "on slate, hard morning light from the left".
    """
    light, found, told = Light(), [], set()
    for pattern, word in WORDS:
        kind = next(k for k, known in enumerate((DIRECTIONS, HEIGHTS, KINDS)) if word in known)
        hit = re.search(rf"\b(?:{pattern})\b", prompt, flags=re.IGNORECASE)
        if hit and kind not in told:
            told.add(kind)
            found.append(hit.group(0).lower())
            light = _said(light, word)
    return light, tuple(dict.fromkeys(found))


def _said(light: Light, word: str) -> Light:
    """`light` with what one word says of it."""
    if word in DIRECTIONS:
        return replace(light, azimuth=DIRECTIONS[word])
    if word in HEIGHTS:
        return replace(light, height=HEIGHTS[word])
    shade = SHADES[word]
    return replace(light, softness=KINDS[word], shade=(shade, shade, shade))
