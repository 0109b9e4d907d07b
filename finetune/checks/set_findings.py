"""What is found with the photos of a set side by side: copies, casts, uneven light, other products, views.

Called by the recipe `finetune.check` with what it measured on each photo. The thresholds stand here, with the
measurements they rest on ("clean" and "spoiled" as in `findings`). Reads and writes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from finetune.checks import lighting, measures
from finetune.checks.photo_facts import Look
from finetune.checks.photo_findings import Finding
from finetune.core import fingerprint
from finetune.core.pictures.images import Floats

UNEVEN_LIGHT = 6.0
"""Shift of L* against the other photos. Clean: 0; half or 1.8 times the light: 4.5 to 23."""
CAST = 4.0
"""Shift of a*, b* against the other photos, plainly seen. Clean: 0; red x 1.3 and blue x 0.7: 2.5 to 18."""
STRANGE = 0.12
"""Share of colours the other photos lack. Clean: at most 0.08; siblings in another colour: 0.4; of 308 foreign products
mixed in, 95 % are above. What has the same colours is not seen."""
STRANGE_OF_TWO = 0.35
"""The same for a set of two photos, where front and back may differ as much as two products."""
SAME_PICTURE = 0.03
"""Share of the bits of whole photos' hashes that differ. Copies scaled, re-encoded, blurred or tinted: at most 0.04;
views of a can that looks alike all round: from 0.04, of other products: from 0.07."""
NEAR_DUPLICATE, ON_ONE_GROUND = 0.13, 0.05
"""The same of cutouts: copies on another ground (at most 0.08, if cut out alike), and on the same ground, where a copy
is mostly found by its whole photo. Different views of a product that has sides: from 0.165; turned views of one that
looks alike all round: from 0.05."""
SAME_GROUND = 0.05
"""Difference of linear level up to which two plain grounds are the same."""
MANY_VIEWS = 4
"""Views from which on an adapter has seen the product from enough sides (with fewer, none can be held out whole)."""


COMPARED = 8
"""Photos that each is compared with, at most: more say hardly more of a product's colours, and take longer."""
FORMAT = 2
"""Raised when the same looks would be judged otherwise."""

Comparisons = dict[str, dict[str, str] | None]
"""What comparisons of colours came to, by the fingerprint of what was compared."""


def set_findings(looks: Sequence[Look], known: Comparisons | None = None) -> list[Finding]:
    """Findings that need the photos side by side: duplicates, casts, uneven light, other products, views.

    Args:
        known: of an earlier call; comparisons found there are not made again. Afterwards it holds those of this call.
    """
    copies = _duplicates(looks)
    views = count_views(looks)
    found = [*copies, *_colours(looks, {} if known is None else known)]
    if looks and views < MANY_VIEWS:
        found.append(
            Finding(
                "views",
                "note",
                "",
                f"{views} view{'s' if views > 1 else ''} of the product in {len(looks)} "
                f"photo{'s' if len(looks) > 1 else ''}",
                "the adapter draws well only the sides it has seen; placing shows the photographed side anyway",
                f"{MANY_VIEWS} to 8 views are better: front, left, right, from above",
            )
        )
    return found


def count_views(looks: Sequence[Look]) -> int:
    """How many photos are left when near duplicates count once."""
    alike, kept = _alike(looks), list[int]()
    for index in range(len(looks)):
        if not alike[index, kept].any():
            kept.append(index)
    return len(kept)


def _duplicates(looks: Sequence[Look]) -> list[Finding]:
    alike, found = _alike(looks), []
    distances = measures.hash_distances([look.hash for look in looks])
    for index, look in enumerate(looks):
        exact = next((other for other in looks[:index] if other.content == look.content), None)
        near = np.flatnonzero(alike[index, :index])
        if exact is None and not len(near):
            continue
        nearest = looks[near[distances[index, near].argmin()]] if len(near) else None
        what = f"almost the same picture of the product as {nearest.name}" if nearest else ""
        what = f"the same file as {exact.name}" if exact else what
        found.append(
            Finding(
                "duplicate",
                "warning",
                look.name,
                what,
                "it adds nothing, and this view counts twice in training",
                "leave one of the two out, unless the product looks alike from there",
            )
        )
    return found


def _alike(looks: Sequence[Look]) -> NDArray[np.bool_]:
    """(N, N): are two photos the same shot, or as good as that?"""
    grounds = np.array([np.full(3, np.nan) if look.ground is None else look.ground for look in looks]).reshape(-1, 3)
    on_one = (np.abs(grounds[:, None] - grounds[None]) < SAME_GROUND).all(axis=-1)  # False where one is unknown
    whole = measures.hash_distances([look.picture_hash for look in looks]) <= SAME_PICTURE
    limit = np.where(on_one, ON_ONE_GROUND, NEAR_DUPLICATE)
    return np.asarray(whole | (measures.hash_distances([look.hash for look in looks]) <= limit))


def _colours(looks: Sequence[Look], known: Comparisons) -> list[Finding]:
    """Casts, uneven light and other products, by each photo's colours against those of others."""
    judged = looks[1:] if len(looks) == 2 else looks if len(looks) > 1 else []  # of two, who is the stranger?
    colours = [_fingerprint(look) for look in looks]
    ranked = sorted(range(len(looks)), key=lambda index: (colours[index], index))  # an order that an edit hardly moves
    earlier, found = dict(known), []
    known.clear()
    for index in range(len(looks) - len(judged), len(looks)):
        others = sorted([other for other in ranked if other != index][:COMPARED])
        key = fingerprint.of_value([FORMAT, looks[index].name, *(colours[number] for number in (index, *others))])
        if key in earlier:
            known[key] = earlier[key]
        else:
            finding = _colour(looks[index], [looks[other] for other in others])
            known[key] = asdict(finding) if finding else None
        if data := known[key]:
            found.append(Finding(**data))  # type: ignore[arg-type]
    return found


def _fingerprint(look: Look) -> str:
    ground = b"" if look.ground is None else look.ground.tobytes()
    return fingerprint.of_bytes(look.palette.tobytes() + ground)


def _colour(look: Look, others: Sequence[Look]) -> Finding | None:
    palettes = [other.palette for other in others]
    limit = STRANGE if len(others) > 1 else STRANGE_OF_TWO
    light, a, b, expected = _lighting(look, others)
    strange = _strangeness(look.palette, palettes)
    if strange > limit and _strangeness(look.palette, expected) > limit / 2:
        return _other_product(look.name, strange, len(others) + 1)
    tinted = math.hypot(a, b)
    if abs(light) > UNEVEN_LIGHT and abs(light) > tinted / 2:
        return _uneven_light(look.name, light)
    return _cast(look.name, a, b) if tinted > CAST else None


def _lighting(look: Look, others: Sequence[Look]) -> tuple[float, float, float, list[Floats]]:
    """How differently a photo is lit, as a shift of L*, a*, b*, and what the others' palettes would be in its light.

    By its ground where that explains the product as well; not at all where the grounds are equally lit; otherwise by
    the product's colours alone.
    """
    palettes = [other.palette for other in others]
    pool = np.concatenate(palettes)
    grounds = [other.ground for other in others if other.ground is not None]
    gains, clipped = None, np.zeros(3, dtype=bool)
    if look.ground is not None and grounds:
        clipped = look.ground > lighting.CLIPPED_GROUND
        gains = lighting.light_gains(look.palette, look.ground, pool, np.stack(grounds))
        if gains is None and lighting.equally_lit(look.ground, np.stack(grounds)):
            return 0.0, 0.0, 0.0, palettes
    if gains is None:
        gains = lighting.colour_gains(look.palette, pool)
    if gains is None:
        return 0.0, 0.0, 0.0, palettes
    light, a, b = np.median((lighting.relit(pool, gains) - pool) / measures.LIGHTNESS_WEIGHT, axis=0)
    return float(light), float(a), float(b), [lighting.seen_in(each, gains, clipped) for each in palettes]


def _strangeness(colours: Floats, others: Sequence[Floats]) -> float:
    """How much of a photo's colours the others lack, or of theirs the photo lacks: the larger of the two shares.

    The second is taken with the lower median over the others, so that one stranger makes no stranger of the rest.
    """
    lacking = sorted(measures.unexplained(other, colours) for other in others)
    return max(measures.unexplained(colours, np.concatenate(others)), lacking[(len(lacking) - 1) // 2])


def _other_product(name: str, strange: float, photos: int) -> Finding:
    return Finding(
        "other product",
        "warning",
        name,
        f"it seems to show another product than {'the other photo' if photos == 2 else 'the rest'}: "
        f"{strange:.0%} of the colours do not go together",
        "one adapter would learn two products as one, and draw a mixture",
        "move the photo to its own set; if it is the same product, take it again in the same light",
    )


def _uneven_light(name: str, light: float) -> Finding:
    word = "darker" if light < 0 else "lighter"
    return Finding(
        "exposure",
        "warning",
        name,
        f"the product is {word} than on the other photos by {abs(light):.0f} of 100 (L*)",
        "the adapter learns both as the product's colour",
        "develop all photos of a product with the same exposure",
    )


def _cast(name: str, a: float, b: float) -> Finding:
    words = [word for word in (_word(a, "red", "green"), _word(b, "yellow", "blue")) if word]
    return Finding(
        "cast",
        "warning",
        name,
        f"the colours lean towards {' and '.join(words)} against the other photos (a* {a:+.0f}, b* {b:+.0f})",
        "the adapter learns a mixture, and the product's colour will not be the brand's",
        "set the same white balance on all photos of a product",
    )


def _word(value: float, positive: str, negative: str) -> str:
    if abs(value) < CAST / 2:
        return ""
    return positive if value > 0 else negative
