"""The designs of what holds and wraps: jar, can, mug, carton, candle, lipstick, tin."""

from __future__ import annotations

from . import names
from .bottles import ground_of
from .design import Design, draw_label
from .draws import Draws

METAL_CASES = ("gold", "silver", "rose gold")
WAXES = (
    *("white", "cream", "beige", "pink", "lavender", "mint"),
    *("red", "brown", "yellow", "green", "teal", "blue"),
)


def jar(draws: Draws) -> Design:
    """A cream jar with a wide lid."""
    half = draws.number("half width", 0.3, 0.45)
    height = half * draws.number("height", 0.85, 1.35)
    finish = draws.weighted("finish", {"plastic": 3, "ceramic": 2, "frosted glass": 2, "amber glass": 1})
    colour = "amber" if finish == "amber glass" else draws.one_of("paint", names.PAINTS)
    body = ground_of(colour)
    lid = draws.weighted("lid", {"white": 2.0, "black": 2.0, "gold": 2.0, "silver": 2.0, "wood": 1.5} | {body: 1.5})
    is_round = draws.chance("round", 0.85)
    kind = "print" if draws.chance("print", 0.4) else "label"
    return Design(
        "jar",
        "cream jar",
        "glass" if finish == "amber glass" else finish,
        colour,
        shape="round" if is_round else "square",
        size="short" if height < half else "",
        parts=f"{lid} lid",
        label=draw_label(draws.part("label"), "cream jar", kind, colour if finish in ("plastic", "ceramic") else body),
        sizes={
            "height": height,
            "half": half,
            "foot": draws.number("foot", 0.03, 0.12),
            "lid": draws.number("lid height", 0.14, 0.3),
            "lid half": half * draws.number("lid half", 0.97, 1.04),
        },
        looks={"lid": lid},
    )


def can(draws: Draws) -> Design:
    """A drink can, usual or slim."""
    slim = draws.chance("slim", 0.37)
    colour = draws.one_of("paint", (*names.PAINTS, "silver", "gold"))
    return Design(
        "can",
        "soda can",
        "aluminium",
        colour,
        shape="slim" if slim else "",
        size="tall" if slim else "",
        label=draw_label(draws.part("label"), "soda can", "wrap", colour),
        sizes={
            "height": draws.number("slim height", 1.4, 1.65) if slim else draws.number("height", 1.15, 1.25),
            "half": 0.27 if slim else 0.33,
            "roughness": draws.number("roughness", 0.22, 0.4),
        },
    )


def mug(draws: Draws) -> Design:
    """A mug, glazed inside in its own colour or white, with or without coffee and print."""
    half, height = draws.number("half width", 0.38, 0.46), draws.number("height", 0.8, 1.05)
    colour = draws.one_of("paint", names.PAINTS)
    printed = draws.chance("printed", 0.72)
    return Design(
        "mug",
        "mug",
        "ceramic",
        colour,
        size="tall" if height / half > 2.5 else "",
        label=draw_label(draws.part("label"), "mug", "print", colour) if printed else None,
        sizes={
            "height": height,
            "half": half,
            "taper": draws.number("taper", -0.05, 0.07),
            "roughness": draws.number("roughness", 0.12, 0.35),
            "handle": draws.one_of("side", (-1.0, 1.0)),
            "reach": draws.number("reach", 0.2, 0.29),
        },
        looks={
            "inside": draws.one_of("inside", ("white", colour, colour)),
            "coffee": "coffee" if draws.chance("coffee", 0.5) else "",
        },
    )


def box(draws: Draws) -> Design:
    """A carton, printed on its front."""
    width, depth = draws.number("width", 0.6, 1.2), draws.number("depth", 0.32, 0.9)
    height = max(0.45, min(1.7, width * draws.number("height", 0.7, 1.5)))
    colour = draws.one_of("paint", names.PAINTS)
    return Design(
        "box",
        "carton box",
        "cardboard",
        colour,
        size="tall" if height > 1.5 * width else "",
        label=draw_label(draws.part("label"), "carton box", "wrap", colour),
        sizes={"height": height, "width": width, "depth": min(depth, width)},
    )


def candle(draws: Draws) -> Design:
    """Wax in a glass; its colour is the wax's."""
    half, height = draws.number("half width", 0.32, 0.45), draws.number("height", 0.7, 1.1)
    lit = draws.chance("lit", 0.45)
    return Design(
        "candle",
        "candle",
        "glass",
        draws.one_of("wax", WAXES),
        size="tall" if height / half > 2.6 else "",
        parts="lit flame" if lit else "",
        glass=draws.weighted("glass", {"clear": 3.0, "amber": 1.5, "pink": 0.6, "green": 0.6, "blue": 0.6}),
        lit=lit,
        label=draw_label(draws.part("label"), "candle", "label", "white"),
        sizes={
            "height": height,
            "half": half,
            "level": height * draws.number("level", 0.65, 0.82),
            "label width": half * draws.number("label width", 1.1, 1.6),
        },
    )


def lipstick(draws: Draws) -> Design:
    """An open lipstick, often with its cap beside it; its colour is the stick's."""
    half, square = draws.number("half width", 0.09, 0.11), draws.chance("square", 0.4)
    case = draws.one_of("case", ("black", "gold", "silver", "white", "navy", "rose gold", "pink", "red"))
    beside = draws.chance("cap beside", 0.6)
    body = {"gold": "beige", "silver": "grey", "rose gold": "pink"}.get(case, case)
    return Design(
        "lipstick",
        "lipstick",
        "metal" if case in METAL_CASES else "plastic",
        draws.one_of("stick", ("red", "pink", "brown", "purple", "orange")),
        shape="square" if square else "round",
        parts="cap beside it" if beside else "",
        case=case,
        label=draw_label(draws.part("label"), "lipstick", "print", body) if draws.chance("printed", 0.6) else None,
        sizes={
            "half": half,
            "case": draws.number("case height", 0.28, 0.36),
            "inner": draws.number("inner height", 0.12, 0.17),
            "stick": draws.number("stick height", 0.17, 0.24),
            "cap place": draws.one_of("side", (-1.0, 1.0)) * draws.number("cap place", 0.28, 0.36),
        },
        looks={"inner": draws.one_of("inner", ("gold", "silver"))},
    )


def tin(draws: Draws) -> Design:
    """A tea tin, round or square, printed all over or labelled."""
    is_round = draws.chance("round", 0.55)
    half, height = draws.number("half width", 0.34, 0.45), draws.number("height", 0.75, 1.3)
    colour = draws.one_of("paint", (*names.PAINTS, "gold", "silver"))
    kind = "wrap" if draws.chance("printed all over", 0.5) else "label"
    return Design(
        "tin",
        "tea tin",
        "metal",
        colour,
        shape="round" if is_round else "square",
        size="tall" if height > half * 2.7 else "",
        label=draw_label(draws.part("label"), "tea tin", kind, colour),
        sizes={
            "height": height,
            "half": half,
            "depth": half if is_round else half * draws.number("depth", 0.7, 1.0),
            "corner": draws.number("corner", 0.04, 0.1),
            "lid": draws.number("lid height", 0.16, 0.28),
        },
        looks={
            "lid": draws.weighted("lid", {"gold": 2.0, "silver": 2.0, "black": 1.0} | {colour: 3.0}),
            "knob": "knob" if draws.chance("knob", 0.2) else "",
        },
    )
