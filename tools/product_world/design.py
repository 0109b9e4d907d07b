"""What a product is: the words that name it, the numbers that shape it, the print on it.

Drawn here without Blender; `bottles.py` and `packs.py` hold the kinds, `build_bottles.py` and
`build_packs.py` make them. Lengths are decimetres.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from . import names
from .draws import Draws

PAPERS = {"white": 4.0, "cream": 2.0, "black": 2.0, "beige": 1.0, "gold": 0.5} | dict.fromkeys(
    (c for c in names.PAINTS if c not in ("white", "cream", "black", "beige")), 0.45
)
DARK_INKS = ("black", "navy", "brown", "red", "green", "purple", "blue")
LIGHT_INKS = ("white", "cream", "gold", "yellow")
FACES = ("serif", "serif-semibold", "serif-italic", "sans-bold", "slab")
BOLD_FACES = ("serif-semibold", "sans-bold", "slab")  # for ink without paper
SMALL_FACES = ("sans", "sans-bold", "serif")
LAYOUTS = {"plain": 3.0, "framed": 1.2, "mark above": 3.0, "mark behind": 1.4}
MARKS = ("disc", "ring", "diamond", "triangle", "sun", "waves", "bars", "sprig", "mountains", "petals")
PATTERNS = {"none": 5.0, "band": 2.0, "foot": 1.5, "stripes": 1.0, "dots": 0.7}


@dataclass(frozen=True)
class Label:
    """The print: `kind` is "label" (paper on the body), "print" (ink on the body) or "wrap" (all around)."""

    kind: str
    brand: str
    line: str
    paper: str
    ink: str
    accent: str
    layout: str
    mark: str
    pattern: str
    face: str
    small_face: str

    @property
    def text(self) -> str:
        """All that is to be read."""
        return f"{self.brand} {self.line}".strip()

    @property
    def colour(self) -> str:
        """The colour one sees first: of the paper, or of the ink where there is none."""
        return self.ink if self.kind == "print" else self.paper


@dataclass(frozen=True)
class Design:
    """One product. `shape`, `size`, `parts`, `case` are words of captions; "" where nothing is to be said."""

    family: str
    noun: str
    material: str
    colour: str
    shape: str = ""
    size: str = ""
    parts: str = ""
    case: str = ""
    glass: str = ""  # of a candle
    lit: bool = False
    label: Label | None = None
    sizes: dict[str, float] = field(default_factory=dict)
    looks: dict[str, str] = field(default_factory=dict)

    def has(self, look: str) -> bool:
        """True where a part that may be missing is there."""
        return bool(self.looks.get(look))


def contrasting(ground: str, candidates: Iterable[str], least: float) -> tuple[str, ...]:
    """The candidates that stand out from a ground."""
    light = names.brightness(ground)
    return tuple(c for c in candidates if c != ground and abs(names.brightness(c) - light) > least)


def invent_brand(draws: Draws) -> str:
    """A brand of the list, or two syllables put together."""
    if not draws.chance("invented", names.INVENTED_SHARE):
        return draws.one_of("brand", names.BRANDS)
    return draws.one_of("first", names.FIRST_SYLLABLES) + draws.one_of("last", names.LAST_SYLLABLES)


def draw_label(draws: Draws, noun: str, kind: str, body: str) -> Label:
    """The print of a product whose body has the colour `body`."""
    paper = draws.weighted("paper", PAPERS) if kind == "label" else body
    inks = DARK_INKS if names.brightness(paper) > 0.5 else LIGHT_INKS
    layouts = {k: w for k, w in LAYOUTS.items() if kind == "label" or k != "framed"}
    patterns = PATTERNS if kind != "print" else {"none": 1.0}
    return Label(
        kind=kind,
        brand=invent_brand(draws),
        line=draws.one_of("line", names.SECOND_LINES[noun]),
        paper=paper,
        ink=draws.one_of("ink", contrasting(paper, inks, 0.28)),
        accent=draws.one_of("accent", contrasting(paper, (*names.PAINTS, "gold"), 0.22)),
        layout=draws.weighted("layout", layouts),
        mark=draws.one_of("mark", MARKS),
        pattern=draws.weighted("pattern", patterns),
        face=draws.one_of("face", BOLD_FACES if kind == "print" else FACES),
        small_face=draws.one_of("small face", SMALL_FACES),
    )
