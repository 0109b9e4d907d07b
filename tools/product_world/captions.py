"""The sentence that describes a frame, in words the trained tokenizer knows."""

from __future__ import annotations

from . import names
from .design import Design
from .draws import Draws
from .scenes import Scene

ON_SURFACE = (
    "a photo of {a product}{extra} on {surface}, {backdrop} behind, {light}",
    "a product photo of {a product}{extra} standing on {surface} in front of {a backdrop}, {light}",
    "{a product}{extra} on {surface}, {light}",
    "{product} on {surface}, {backdrop}, {light}",
    "close-up of {a product}{extra} on {surface} with {a backdrop} in the background",
    "{light}, {a product}{extra} placed on {surface}, {backdrop} behind it",
    "advertising photo: {a product}{extra}, {surface}, {backdrop}, {light}",
    "a product shot of {a product}{extra} on {surface} against {a backdrop}",
)
SEAMLESS = (
    "a photo of {a product}{extra} on {a backdrop}, {light}",
    "a studio photo of {a product}{extra}, seamless {colour} background, {light}",
    "{a product}{extra} on a seamless {colour} backdrop, {light}",
    "product photo of {a product}{extra}, {colour} studio background",
    "{product}, {colour} studio backdrop, {light}",
    "packshot style photo of {a product}{extra} against {a backdrop}",
    "{light}, {a product}{extra} in front of {a backdrop}",
)
EMPTY = (
    "an empty {surface}, {backdrop} behind, {light}",
    "empty {surface} with {a backdrop} in the background, {light}",
    "an empty scene, {surface}, {backdrop}, {light}",
    "no product, just {surface} and {a backdrop}, {light}",
    "a photo of an empty {surface} in front of {a backdrop}, {light}",
)
EMPTY_SEAMLESS = (
    "an empty {backdrop}, {light}",
    "an empty {colour} studio background, {light}",
    "a photo of an empty seamless {backdrop}, {light}",
    "no product, just {a backdrop}, {light}",
)


def with_article(words: str) -> str:
    """Puts "a" or "an" before a noun phrase, unless it is a plural."""
    if words.endswith("lights"):
        return words
    return ("an " if words[0].lower() in "aeiou" else "a ") + words


def product_words(design: Design, draws: Draws) -> str:
    """The product without an article: "tall red metal sports bottle", "lit white candle in amber glass"."""
    if design.noun == "candle":
        glass = "glass" if design.glass == "clear" else f"{design.glass} glass"
        core = f"{'lit ' if design.lit else ''}{design.colour} candle in {glass}"
    elif design.noun == "lipstick":
        core = f"{design.colour} lipstick in {with_article(design.case)} case"
    elif design.noun == "perfume bottle" or draws.chance("material", 0.72):
        core = f"{design.colour} {design.material} {design.noun}"
    else:
        core = f"{design.colour} {design.noun}"
    adjectives = [word for word in (design.size, design.shape) if word]
    if adjectives and draws.chance("adjective", 0.6):
        return f"{draws.one_of('which adjective', adjectives)} {core}"
    return core


def extra_words(design: Design, draws: Draws) -> str:
    """The brand, the label's colour, the cap, or nothing."""
    share = draws.number("extra", 0.0, 1.0)
    if design.label and share < 0.3:
        return f' with the text "{design.label.brand}"'
    if design.label and design.label.kind == "label" and share < 0.48:
        return f" with {with_article(design.label.colour)} label"
    if design.parts and share < 0.66 and design.noun not in ("candle", "lipstick"):
        return f" with {with_article(design.parts)}"
    return ""


def caption(scene: Scene, design: Design | None, draws: Draws) -> str:
    """One sentence about the frame."""
    surface = scene.surface_words
    if design is None:
        ending = " ground" if scene.surface in names.OUTDOOR else " table top"
        surface += draws.one_of("ending", (" surface", "", ending))
    words = {
        "surface": surface,
        "backdrop": scene.backdrop_words,
        "a backdrop": with_article(scene.backdrop_words),
        "colour": scene.colour,
        "light": scene.light,
    }
    if design is None:
        return draws.one_of("form", EMPTY_SEAMLESS if scene.is_seamless else EMPTY).format(**words)
    product = product_words(design, draws)
    words |= {"product": product, "a product": with_article(product), "extra": extra_words(design, draws)}
    return draws.one_of("form", SEAMLESS if scene.is_seamless else ON_SURFACE).format(**words)
