"""Findings on a cutout's matte, each with the place in the photo where it is worst.

The thresholds stand here. They were chosen on the choosing half of `benchmarks/cutout` (16 rendered products, clean and
as studios deliver them); `python -m benchmarks.cutout --only check` judges them on the other half.
"""

from __future__ import annotations

from finetune.checks.matte_facts import Flaw
from finetune.checks.photo_facts import PhotoFacts
from finetune.checks.photo_findings import Finding, photo_findings
from finetune.core.console import count
from finetune.matting.glass_detection import GLASS_NOUNS, GlassMode

UNSEEN = 0.05
"""Share of the outline that may look like the ground: more is hidden from any cutout, and `benchmarks/cutout` measures
none on such photos."""
FRINGE = 0.04
"""Share of the outline with a fringe of the ground's colour. Clean: at most 0.036 (a wire whisk)."""
FRAYED = 0.1
"""Rough pixels beside an outline that the photo does not show, for each pixel of the outline. Clean: at most 0.08."""
FILLED = 0.003
"""Area of regions that look like the ground, as a share of the product's. Clean: at most 0.0025, but for true openings
and for glass that was not found."""


def matte_findings(facts: PhotoFacts) -> list[Finding]:
    """Findings on the matte of one photo.

    Args:
        facts: what was measured on it.
    """
    flaws = {flaw.kind: flaw for flaw in facts.matte.flaws} if facts.matte else {}
    found = []
    if (alike := flaws.get("too alike")) and alike.amount > UNSEEN:
        found.append(_too_alike(facts.name, alike))
    if (fringe := flaws.get("fringe")) and fringe.amount > FRINGE:
        found.append(_fringe(facts.name, fringe))
    if (frayed := flaws.get("frayed")) and frayed.amount > FRAYED:
        found.append(_frayed(facts.name, frayed))
    if (filled := flaws.get("filled")) and filled.amount > FILLED and not _any(found, "too-alike"):
        found.append(_filled(facts.name, filled))  # what is as white as the ground looks like it without being open
    return found


def _any(found: list[Finding], check: str) -> bool:
    return any(finding.check == check for finding in found)


def shown_findings(facts: PhotoFacts) -> list[Finding]:
    """Every finding on one photo by itself that has a place to be shown enlarged."""
    return [f for f in (*photo_findings(facts, size=1, plural=False), *matte_findings(facts)) if f.box is not None]


def glass_findings(facts: list[PhotoFacts], class_noun: str, glass: GlassMode) -> list[Finding]:
    """A note where the class noun suggests glass and no photo of the set shows any.

    Args:
        facts: of every photo of one product.
        class_noun: what the product is.
        glass: `glass` of set.yaml.
    """
    measured = [photo.matte for photo in facts if photo.matte is not None and photo.cutout.source == "plain ground"]
    named = GLASS_NOUNS.search(class_noun)
    if glass != "auto" or named is None or not measured or any(matte.transparent for matte in measured):
        return []
    return [
        Finding(
            "no glass",
            "note",
            "",
            f"the class noun '{class_noun}' suggests glass, and none was found in {count(len(measured), 'photo')}",
            "clear parts that are taken for opaque carry the photo's ground into scenes",
            "set `glass: yes` in set.yaml if parts are clear, or `glass: no` if none is",
        )
    ]


def _too_alike(name: str, flaw: Flaw) -> Finding:
    return Finding(
        "too-alike",
        "warning",
        name,
        f"only {1 - flaw.amount:.0%} of the cutout's outline differs from the ground beside it",
        "product and ground look too much alike there: parts may be missing, or shadow and openings may have stayed",
        "photograph it on a darker or coloured ground, or give a mask (`--mask`)",
        flaw.box,
    )


def _fringe(name: str, flaw: Flaw) -> Finding:
    return Finding(
        "fringe",
        "warning",
        name,
        f"a fringe of the ground's colour lies along {flaw.amount:.0%} of the product's outline",
        "scenes of another colour show it as a line around the product",
        "give a mask that leaves it out (`--mask`), or use the photo without sharpening and with less compression",
        flaw.box,
    )


def _frayed(name: str, flaw: Flaw) -> Finding:
    return Finding(
        "frayed",
        "warning",
        name,
        "the outline of the cutout is frayed where the photo shows no edge",
        "the adapter learns the ragged outline, and scenes show it",
        "photograph it on a darker or coloured ground, or give a mask (`--mask`)",
        flaw.box,
    )


def _filled(name: str, flaw: Flaw) -> Finding:
    regions = f"{count(flaw.places, 'region')} inside the product {'looks' if flaw.places == 1 else 'look'}"
    return Finding(
        "filled",
        "warning",
        name,
        f"{regions} like the ground but stayed in the cutout ({flaw.amount:.1%} of the product)",
        "an opening that was taken for product shows a piece of the photo's ground in every scene",
        "if it is an opening, mark it as ground in a hint (`--hint`) or give a mask (`--mask`); clear parts need "
        "`glass: yes`; a white part or a highlight is right as it is",
        flaw.box,
    )
