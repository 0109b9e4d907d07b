"""The designs of what is poured and sprayed: perfume, pump bottle, wine and beer, sports bottle, spray can."""

from __future__ import annotations

from . import names
from .design import Design, draw_label
from .draws import Draws

CLEAR_GLASSES = ("clear", "blue", "green", "pink", "amber", "purple", "teal", "red", "yellow", "orange", "navy")
PALE_GLASSES = ("clear", "yellow", "pink", "white", "cream")


def ground_of(colour: str) -> str:
    """What print on a glass body stands out from."""
    if colour in PALE_GLASSES:
        return "white"
    return "orange" if colour == "amber" else colour


def perfume(draws: Draws) -> Design:
    """A flacon: rectangular, round or hexagonal; tinted glass or lacquered."""
    form = draws.weighted("form", {"rectangular": 5.0, "round": 3.0, "hexagonal": 1.5})
    height, half = draws.number("height", 0.75, 1.35), draws.number("half width", 0.3, 0.5)
    colour, lacquered = draws.one_of("colour", CLEAR_GLASSES), draws.chance("lacquered", 0.18)
    if lacquered:
        colour = {"clear": "white", "amber": "gold"}.get(colour, colour)
    half *= {"rectangular": 1.0, "round": 0.85, "hexagonal": 0.85}[form]
    cap = draws.weighted("cap", {"gold": 3, "silver": 3, "black": 2, "white": 1, "wood": 1, "rose gold": 1})
    kind = "print" if draws.chance("print", 0.45) else "label"
    width = {"rectangular": 2.0, "round": 1.9, "hexagonal": 1.15}[form] * half * draws.number("label width", 0.62, 0.85)
    return Design(
        "perfume",
        "perfume bottle",
        "lacquered glass" if lacquered else "glass",
        colour,
        shape=form,
        size="tall" if height / half > 2.9 else "small" if height < 0.85 else "",
        parts=f"{cap} cap",
        label=draw_label(draws.part("label"), "perfume bottle", kind, ground_of(colour)),
        sizes={
            "height": height,
            "half": half,
            "depth": half * draws.number("depth", 0.42, 0.8) if form == "rectangular" else half,
            "corner": draws.number("corner", 0.03, 0.12),
            "shoulder": draws.number("shoulder", 0.02, 0.12),
            "wall": draws.number("wall", 0.035, 0.06),
            "base": draws.number("base", 0.06, 0.14),
            "level": draws.number("level", 0.78, 0.92),
            "cap": draws.number("cap height", 0.2, 0.42),
            "cap width": draws.number("cap width", 1.25, 1.8),
            "label width": width,
            "label height": min(width * draws.number("label form", 0.6, 1.0), height * 0.6),
            "label centre": height * draws.number("label place", 0.4, 0.48),
        },
        looks={"cap": cap, "cap form": draws.weighted("cap form", {"round": 3, "block": 3, "ball": 1})},
    )


def pump(draws: Draws) -> Design:
    """A soap or lotion bottle with a pump."""
    is_round = draws.chance("round", 0.65)
    half, height = draws.number("half width", 0.28, 0.4), draws.number("height", 1.1, 1.75)
    material = draws.weighted("material", {"plastic": 4, "glass": 2, "frosted plastic": 1})
    colour = draws.one_of("paint", names.PAINTS)
    if material != "plastic":
        colour = draws.one_of("glass", ("amber", "green", "blue", "clear", "pink", "teal"))
    head = draws.weighted("pump", {"white": 3.0, "black": 3.0, "silver": 2.0, "gold": 1.5})
    kind = "print" if draws.chance("print", 0.35) else "label"
    body = colour if material == "plastic" else ground_of(colour)
    return Design(
        "pump",
        "pump bottle",
        material,
        colour,
        shape="round" if is_round else "rectangular",
        size="tall" if height / half > 4.4 else "",
        parts=f"{head} pump",
        label=draw_label(draws.part("label"), "pump bottle", kind, body),
        sizes={
            "height": height,
            "half": half,
            "depth": half if is_round else half * draws.number("depth", 0.6, 0.9),
            "corner": draws.number("corner", 0.06, 0.16),
            "shoulder": draws.number("shoulder", 0.08, 0.2),
            "roughness": draws.number("roughness", 0.2, 0.45),
            "level": draws.number("level", 0.6, 0.85),
            "spout": draws.one_of("side", (-1.0, 1.0)) * draws.number("spout", 0.28, 0.4),
            "label low": draws.number("label low", 0.12, 0.25),
            "label high": draws.number("label high", 0.72, 0.85),
            "label width": draws.number("label width", 0.6, 0.8),
        },
        looks={"pump": head, "liquid": draws.one_of("liquid", ("mint", "pink", "yellow", "lavender"))},
    )


def poured(draws: Draws) -> Design:
    """A wine bottle with a capsule or a beer bottle with a crown cap."""
    wine = draws.chance("wine", 0.54)
    noun = "wine bottle" if wine else "beer bottle"
    glasses = {"green": 3.0, "amber": 3.0, "clear": 1.5, "blue": 0.6, "black": 0.8}
    if not wine:
        glasses = {"amber": 4.0, "green": 2.0, "clear": 1.0, "blue": 0.5}
    height = draws.number("wine height", 2.7, 3.1) if wine else draws.number("beer height", 1.9, 2.4)
    cap = draws.one_of("cap", ("red", "black", "gold", "navy", "silver", "white", "green"))
    return Design(
        "bottle",
        noun,
        "glass",
        draws.weighted("glass", glasses),
        size=draws.one_of("size", ("tall", "", "")),
        parts=f"{cap} cap",
        label=draw_label(draws.part("label"), noun, "label", "white"),
        sizes={
            "height": height,
            "half": (0.37 if wine else 0.31) * draws.number("girth", 0.9, 1.08),
            "body": height * draws.number("body", 0.52, 0.62),
            "slope": height * draws.number("slope", 0.12, 0.28),
            "neck": 0.135 if wine else 0.125,
            "foil": height * draws.number("foil", 0.76, 0.84),
            "label low": draws.number("label low", 0.12, 0.22),
            "label high": draws.number("label high", 0.72, 0.88),
            "label width": draws.number("label width", 1.5, 2.2),
        },
        looks={
            "cap": cap,
            "capsule": "capsule" if wine else "",
            "liquid": draws.one_of("liquid", ("red wine", "white wine")) if wine else "beer",
        },
    )


def sports(draws: Draws) -> Design:
    """A drinking bottle of metal or plastic, sometimes with a waist."""
    half, height = draws.number("half width", 0.3, 0.38), draws.number("height", 1.5, 2.1)
    material = draws.weighted("material", {"metal": 2.0, "plastic": 2.0, "translucent plastic": 1.0})
    colour = draws.one_of("paint", names.PAINTS)
    lid = draws.weighted("lid", {"black": 3.0, "white": 2.0, "grey": 1.0, "silver": 1.0} | {colour: 1.5})
    kind = "print" if draws.chance("print", 0.75) else "label"
    return Design(
        "sports",
        "sports bottle",
        material,
        colour,
        size="tall" if height / half > 5.5 else "",
        parts=f"{lid} lid",
        label=draw_label(draws.part("label"), "sports bottle", kind, colour),
        sizes={
            "height": height,
            "half": half,
            "waist": height * draws.number("waist", 0.66, 0.74),
            "waist half": half * draws.number("waist half", 0.84, 0.92),
            "neck": half * draws.number("neck", 0.6, 0.8),
            "lid": draws.number("lid height", 0.2, 0.32),
            "label width": half * draws.number("label width", 1.1, 1.7),
        },
        looks={
            "lid": lid,
            "waist": "waist" if draws.chance("has waist", 0.5) else "",
            "top": draws.weighted("top", {"spout": 2, "loop": 2, "plain": 1}),
            "spout": draws.one_of("spout", ("white", "grey", "black", "red")),
        },
    )


def spray(draws: Draws) -> Design:
    """A spray can under its cap, or with the cap off and the nozzle showing."""
    half, height = draws.number("half width", 0.2, 0.28), draws.number("height", 1.15, 1.7)
    colour = draws.one_of("paint", (*names.PAINTS, "silver"))
    cap = draws.weighted("cap", {"white": 2.0, "black": 2.0, "silver": 0.6} | {colour: 2.0})
    return Design(
        "spray",
        "spray can",
        "metal",
        colour,
        size="tall" if height / half > 6.4 else "",
        parts=f"{cap} cap",
        label=draw_label(draws.part("label"), "spray can", "wrap", colour),
        sizes={
            "height": height,
            "half": half,
            "dome": half * draws.number("dome", 0.5, 0.8),
            "cap": draws.number("cap height", 0.25, 0.4),
            "cap half": half * draws.number("cap half", 0.9, 1.0),
            "cap round": draws.number("cap round", 0.04, 0.13),
        },
        looks={"cap": cap, "covered": "covered" if draws.chance("covered", 0.65) else ""},
    )
