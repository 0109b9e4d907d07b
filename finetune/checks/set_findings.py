"""Findings that need the photos of a set side by side: copies, casts, uneven light, other products, views.

The thresholds stand here, with the measurements they rest on ("clean" as in `photo_findings`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from finetune.checks import lighting, measures
from finetune.checks.photo_facts import PhotoFacts
from finetune.checks.photo_findings import Finding
from finetune.core import fingerprint
from finetune.core.console import count
from finetune.core.pictures.images import Floats

UNEVEN_LIGHT = 6.0
"""Shift of L* relative to the other photos. Clean: 0; half or 1.8 times the light: 4.5 to 23."""
CAST = 4.0
"""Shift of a*, b* relative to the other photos that is clearly visible. Clean: 0; red x 1.3, blue x 0.7: 2.5 to 18."""
STRANGE = 0.12
"""Share of colours that the other photos lack. Clean: at most 0.08; siblings in another colour: 0.4; 95 % of 308
foreign products are above. A foreign product of the same colours is not recognised."""
STRANGE_OF_TWO = 0.35
"""The same for a set of two photos, where front and back may differ as much as two products."""
SAME_PICTURE = 0.03
"""Share of differing bits in the hashes of whole photos. Copies scaled, re-encoded, blurred or tinted: at most 0.04;
views of a can that looks alike all round: from 0.04, of other products: from 0.07."""
NEAR_DUPLICATE, ON_ONE_GROUND = 0.13, 0.05
"""The same for cutouts: of copies on another ground (at most 0.08 if cut out alike), and on the same ground, where most
copies are found by the whole photo. Different views of a product that has sides: from 0.165; turned views of one that
looks alike all round: from 0.05."""
SAME_GROUND = 0.05
"""Difference in linear level up to which two plain grounds are the same."""
MANY_VIEWS = 4
"""Views from which an adapter has seen the product from enough sides; with fewer, no whole photo can be held out."""
COMPARED = 8
"""Photos that each photo is compared with, at most: more add few colours and take longer."""
FORMAT = 4
"""Raise it when the same photos would get other findings, or the findings other words."""

Comparisons = dict[str, dict[str, str] | None]
"""Results of comparing colours, by the fingerprint of what was compared; None for no finding."""


def set_findings(
    photos: Sequence[PhotoFacts], known: Mapping[str, dict[str, str] | None]
) -> tuple[list[Finding], Comparisons]:
    """Find duplicates, casts, uneven light, other products, and too few views.

    Args:
        photos: facts of every photo of the set.
        known: comparisons made earlier; these are not repeated.

    Returns:
        The findings, and this call's comparisons, for the next call's `known`.
    """
    colours, comparisons = _colours(photos, known)
    views = count_views(photos)
    found = [*_duplicates(photos), *colours]
    if photos and views < MANY_VIEWS:
        found.append(
            Finding(
                "views",
                "note",
                "",
                f"the set has {count(views, 'view')} of the product in {count(len(photos), 'photo')}",
                "the adapter draws only sides it has seen; placing shows the photographed side anyway",
                f"take {MANY_VIEWS} to 8 views: front, left, right, from above",
            )
        )
    return found, comparisons


def count_views(photos: Sequence[PhotoFacts]) -> int:
    """Count the photos, near duplicates once."""
    alike, kept = _alike(photos), list[int]()
    for index in range(len(photos)):
        if not alike[index, kept].any():
            kept.append(index)
    return len(kept)


def _duplicates(photos: Sequence[PhotoFacts]) -> list[Finding]:
    alike, found = _alike(photos), []
    distances = measures.hash_distances([photo.hash for photo in photos])
    for index, photo in enumerate(photos):
        exact = next((other for other in photos[:index] if other.content == photo.content), None)
        near = np.flatnonzero(alike[index, :index])
        if exact is None and not len(near):
            continue
        nearest = photos[near[distances[index, near].argmin()]] if len(near) else None
        what = f"the picture is almost the same as {nearest.name}" if nearest else ""
        what = f"the file is the same as {exact.name}" if exact else what
        found.append(
            Finding(
                "duplicate",
                "warning",
                photo.name,
                what,
                "it adds nothing, and this view counts twice in training",
                "remove one of the two, unless the product really looks alike from two sides",
            )
        )
    return found


def _alike(photos: Sequence[PhotoFacts]) -> NDArray[np.bool_]:
    """Whether each two of N photos are the same shot, or nearly so: (N, N)."""
    unknown = np.full(3, np.nan)
    grounds = np.array([unknown if photo.ground is None else photo.ground for photo in photos]).reshape(-1, 3)
    on_one = (np.abs(grounds[:, None] - grounds[None]) < SAME_GROUND).all(axis=-1)  # False where one is unknown
    whole = measures.hash_distances([photo.picture_hash for photo in photos]) <= SAME_PICTURE
    limit = np.where(on_one, ON_ONE_GROUND, NEAR_DUPLICATE)
    return np.asarray(whole | (measures.hash_distances([photo.hash for photo in photos]) <= limit))


def _colours(
    photos: Sequence[PhotoFacts], known: Mapping[str, dict[str, str] | None]
) -> tuple[list[Finding], Comparisons]:
    """Casts, uneven light and other products, by comparing each photo's colours with those of others."""
    first = 1 if len(photos) < 3 else 0  # two photos are compared once
    colours = [_fingerprint(photo) for photo in photos]
    # an order that one edited photo hardly changes, so that most comparisons stay known
    ranked = sorted(range(len(photos)), key=lambda index: (colours[index], index))
    found, comparisons = [], Comparisons()
    for index in range(first, len(photos)):
        others = sorted([other for other in ranked if other != index][:COMPARED])
        names = [photos[number].name for number in ((index, *others) if len(photos) == 2 else (index,))]
        key = fingerprint.of_value([FORMAT, *names, *(colours[number] for number in (index, *others))])
        if key in known:
            comparisons[key] = known[key]
        else:
            finding = _colour(photos[index], [photos[other] for other in others])
            comparisons[key] = _as_words(finding) if finding else None
        if data := comparisons[key]:
            found.append(Finding(**data))  # type: ignore[arg-type]
    return found, comparisons


def _as_words(finding: Finding) -> dict[str, str]:
    """The fields of a finding that has no place."""
    return {name: value for name, value in asdict(finding).items() if name != "box"}


def _fingerprint(photo: PhotoFacts) -> str:
    ground = b"" if photo.ground is None else photo.ground.tobytes()
    return fingerprint.of_bytes(photo.colour_sample.tobytes() + ground)


def _colour(photo: PhotoFacts, others: Sequence[PhotoFacts]) -> Finding | None:
    samples = [other.colour_sample for other in others]
    limit = STRANGE if len(others) > 1 else STRANGE_OF_TWO
    light, a, b, expected = _lighting(photo, others)
    strange = _strangeness(photo.colour_sample, samples)
    if strange > limit and _strangeness(photo.colour_sample, expected) > limit / 2:
        return (
            _other_product(photo.name, strange) if len(others) > 1 else _not_alike(others[0].name, photo.name, strange)
        )
    tinted = math.hypot(a, b)
    if abs(light) > UNEVEN_LIGHT and abs(light) > tinted / 2:
        return _uneven_light(photo.name, light)
    return _cast(photo.name, a, b) if tinted > CAST else None


def _lighting(photo: PhotoFacts, others: Sequence[PhotoFacts]) -> tuple[float, float, float, list[Floats]]:
    """The shift of L*, a*, b* by which a photo is lit differently, and the others' colour samples in its light.

    By its ground if that explains the product as well; no shift if the grounds are equally lit; otherwise by the
    product's colours alone.
    """
    samples = [other.colour_sample for other in others]
    pool = np.concatenate(samples)
    grounds = [other.ground for other in others if other.ground is not None]
    gains, clipped = None, np.zeros(3, dtype=bool)
    if photo.ground is not None and grounds:
        clipped = photo.ground > lighting.CLIPPED_GROUND
        gains = lighting.light_gains(photo.colour_sample, photo.ground, pool, np.stack(grounds))
        if gains is None and lighting.equally_lit(photo.ground, np.stack(grounds)):
            return 0.0, 0.0, 0.0, samples
    if gains is None:
        gains = lighting.colour_gains(photo.colour_sample, pool)
    if gains is None:
        return 0.0, 0.0, 0.0, samples
    light, a, b = np.median((lighting.relit(pool, gains) - pool) / measures.LIGHTNESS_WEIGHT, axis=0)
    return float(light), float(a), float(b), [lighting.seen_in(each, gains, clipped) for each in samples]


def _strangeness(colours: Floats, others: Sequence[Floats]) -> float:
    """The share of a photo's colours that the others lack, or the share of theirs that it lacks: the larger of the two.

    The second is the lower median over the others, so that one foreign photo does not make the rest look foreign.
    """
    lacking = sorted(measures.unexplained(other, colours) for other in others)
    return max(measures.unexplained(colours, np.concatenate(others)), lacking[(len(lacking) - 1) // 2])


def _not_alike(first: str, second: str, strange: float) -> Finding:
    """Of two photos nobody can tell which one is the stranger."""
    return Finding(
        "other product",
        "warning",
        "",
        f"{first} and {second} do not look alike: {strange:.0%} of the colours do not match",
        "one adapter would learn two products as one and draw a mixture",
        "give each product a set of its own; if it is the same product, retake one photo in the same light",
    )


def _other_product(name: str, strange: float) -> Finding:
    return Finding(
        "other product",
        "warning",
        name,
        f"the photo seems to show another product than the rest: {strange:.0%} of the colours do not match",
        "one adapter would learn two products as one and draw a mixture",
        "move the photo to a set of its own; if it is the same product, retake it in the same light",
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
        f"the colours lean towards {' and '.join(words)} compared with the other photos (a* {a:+.0f}, b* {b:+.0f})",
        "the adapter learns a mixture, so the product's colour will not be the brand's",
        "set the same white balance on all photos of a product",
    )


def _word(value: float, positive: str, negative: str) -> str:
    if abs(value) < CAST / 2:
        return ""
    return positive if value > 0 else negative
