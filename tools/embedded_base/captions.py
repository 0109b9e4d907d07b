"""Prompts for a frame: its own caption, or another one built from the record's fields.

Short and long, with and without product, surface, backdrop and light; now and then
with a made-up trigger word before the noun, so that an unknown trigger is harmless.
"""

from __future__ import annotations

import string
from typing import Any

import numpy as np

from . import phrases

OWN_SHARE = 0.3
PLAIN_SHARE = 0.55
TRIGGER_SHARE = 0.25


def choose(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    """One of the options."""
    return options[int(rng.integers(len(options)))]


def trigger(rng: np.random.Generator) -> str:
    """A nonsense word in the manner of trigger tokens: prfm01, zkq7, ohwx."""
    letters = string.ascii_lowercase if rng.random() < 0.5 else "bcdfghjklmnpqrstvwxz"
    word = "".join(letters[int(rng.integers(len(letters)))] for _ in range(int(rng.integers(3, 7))))
    digits = int(rng.integers(0, 3))
    return word + "".join(str(int(rng.integers(10))) for _ in range(digits))


def with_article(words: str, rng: np.random.Generator) -> str:
    """Puts "a" or "an" before a noun phrase, usually."""
    if rng.random() < 0.3:
        return words
    return ("an " if words[0] in "aeiou" else "a ") + words


def product_phrase(record: dict[str, Any], rng: np.random.Generator) -> str:
    """The product in more or fewer words: "red ceramic mug", "a prfm01 perfume bottle"."""
    product = record["product"]
    noun = record["class_noun"]
    if rng.random() > 0.75 and noun in phrases.NOUNS:
        noun = choose(rng, phrases.NOUNS[noun])
        if noun == "red lipstick" and product["colour"] != "red":
            noun = "lipstick"
    words = [noun]
    if product["material"] and rng.random() < 0.4:
        words.insert(0, product["material"])
    if product["colour"] and rng.random() < 0.85:
        words.insert(0, product["colour"])
    for key in ("shape", "size"):
        if product.get(key) and rng.random() < 0.3:
            words.insert(0, product[key])
    if rng.random() < TRIGGER_SHARE:
        place = len(words) - 1 if rng.random() < 0.5 else 0
        words.insert(place, trigger(rng))
    phrase = with_article(" ".join(words), rng)
    if product.get("case") and rng.random() < 0.5:
        phrase += f" in a {product['case']} case"
    elif product.get("parts") and rng.random() < 0.2:
        phrase += f" with a {product['parts']}"
    if record["label_text"] and rng.random() < 0.1:
        phrase += f' with the text "{record["label_text"]}"'
    return phrase


def surface_phrase(record: dict[str, Any], rng: np.random.Generator) -> str:
    """What the product stands on, alone: "black marble", "a wooden table"."""
    surface: str = record["surface"]
    if surface in phrases.SURFACES and rng.random() > PLAIN_SHARE:
        return choose(rng, phrases.SURFACES[surface])
    return surface


def backdrop_phrase(record: dict[str, Any], rng: np.random.Generator) -> str:
    """What is behind: "a brick wall", "window shadows on a mint wall"."""
    backdrop, kind, colour = record["backdrop"], record["backdrop_type"], record["backdrop_colour"]
    if rng.random() < PLAIN_SHARE:
        return with_article(backdrop, rng) if not backdrop.endswith("lights") else str(backdrop)
    if backdrop in phrases.BACKDROPS:
        return choose(rng, phrases.BACKDROPS[backdrop])
    if kind == "studio":
        return choose(rng, phrases.STUDIOS).format(c=colour or backdrop.split()[0])
    if kind == "window light":
        return choose(rng, phrases.WINDOW_WALLS).format(c=colour)
    if colour in ("white", "grey", "cream", "beige") and rng.random() < 0.4:
        return choose(rng, phrases.OFFICE_WALLS)
    return choose(rng, phrases.PLAIN_WALLS).format(c=colour)


def light_phrase(record: dict[str, Any], rng: np.random.Generator) -> str:
    """The light: "soft daylight", "golden hour"."""
    light: str = record["lighting"]
    return light if rng.random() < PLAIN_SHARE else choose(rng, phrases.LIGHTS[light])


def place_phrases(record: dict[str, Any], rng: np.random.Generator) -> list[str]:
    """Surface and backdrop, each named or left out by chance: "on sand", "against a brick wall"."""
    parts: list[str] = []
    studio = record["backdrop_type"] == "studio"
    if rng.random() < (0.4 if studio else 0.85):
        parts.append(choose(rng, phrases.RESTS).format(surface_phrase(record, rng)))
    if rng.random() < (0.9 if studio else 0.6):
        parts.append(choose(rng, phrases.RELATIONS).format(backdrop_phrase(record, rng)))
    return parts


def place_caption(record: dict[str, Any], rng: np.random.Generator) -> str:
    """A prompt for the ground around a kept product: "an empty scene, on sand, sunset sky behind, golden hour".

    It never names the product, so that the ground takes up nothing of it.
    """
    parts = place_phrases(record, rng)
    if not parts or rng.random() < 0.7:
        parts.append(light_phrase(record, rng))
    if rng.random() < 0.12:
        parts.append(choose(rng, phrases.CLOSINGS))
    return ", ".join(["an empty scene", *parts])


def built_caption(record: dict[str, Any], rng: np.random.Generator, product_share: float) -> str:
    """A caption made from the record's fields, each named or left out by chance."""
    named = not record["empty"] and rng.random() < product_share
    joint = ", " if rng.random() < 0.6 else " "
    text = joint.join(place_phrases(record, rng))
    if named:
        text = f"{product_phrase(record, rng)}{joint if rng.random() < 0.3 else ' '}{text}".strip(" ,")
    elif record["empty"] and rng.random() < 0.6:
        text = f"an empty scene, {text}".strip(" ,")
    if text and rng.random() < 0.4:
        opening = choose(rng, phrases.OPENINGS)
        text = f"{opening} {text}" if named else f"{opening.removesuffix(' of')}, {text}"
    if rng.random() < 0.6 or not text:
        light = light_phrase(record, rng)
        text = f"{light}, {text}" if text and rng.random() < 0.15 else f"{text}, {light}".strip(" ,")
    if rng.random() < 0.12:
        text += f", {choose(rng, phrases.CLOSINGS)}"
    return text


def caption_for(record: dict[str, Any], rng: np.random.Generator, product_share: float) -> str:
    """One prompt for the frame; `product_share` is how often a built one names the product."""
    if rng.random() < OWN_SHARE:
        return str(record["caption"])
    return built_caption(record, rng, product_share)
