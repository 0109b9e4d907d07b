"""Findings on one photo of a product: what is wrong, why it matters and what to do.

The thresholds stand here, each with the measurement it rests on: 48 rendered views of 8 products, our sample sets, 19
real packshots ("clean" below), and degraded copies of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from finetune.checks.lighting import CLIPPED_GROUND
from finetune.checks.matte_facts import Flaw, FlawKind
from finetune.checks.photo_facts import PhotoFacts
from finetune.core.console import count
from finetune.core.pictures.masks import Box

Severity = Literal["error", "warning", "note"]

PLACED_SIDE = 512
"""Pixels of product that a scene of about 1024 px shows: a smaller cutout is enlarged when placed."""
BLURRED = 1.5
"""Blur (px) from which a photo is soft. Clean: at most 1.0; a Gaussian of 2 px: 1.1 to 2.9; of 3 px: 2.0 to 8."""
SMEARED = 2.3
"""Blur (px) of edges facing one direction from which a photo has motion blur. Clean: at most 2.0, real packshots 1.6;
moved by 11 or 15 px: 2.0 to 8.6, real packshots from 2.8."""
SHARP = 0.6
"""Blur of a sharp picture (px), the unit in which detail is counted."""
SMALL_SHARE = 0.05
"""Share of the photo under which a product wastes the photo's pixels. Smallest clean product: 0.06."""
BLOWN_SHARE, CRUSHED_SHARE = 0.05, 0.25
"""Shares of the product clipped to white and to black. Clean: at most 0.002 and 0.029 (a black jar); 1.8 times the
light clips 0.04 to 0.8 of a light product."""
OVEREXPOSED = 0.2
"""Share of the product clipped in some channel, on wholly clipped ground, from which the photo is overexposed. Clean:
at most 0.05, real packshots 0.08; 1.4 to 4 times the light: mostly 0.3 to 1."""
DARK_PRODUCT, DARK_PICTURE = 30.0, 60.0
"""L* that 2 % of the product, and of the picture, should exceed. Clean: from 41 (a black duffel bag) and from 90."""
SECOND_PRODUCT = 0.25
"""Area, as a share of the largest piece's, from which a piece is another product rather than a separated part."""

CRUMBS = 0.001
"""Area of small pieces apart from the product, as a share of it. Clean: at most 0.0004, but for lost wires."""


@dataclass(frozen=True)
class Finding:
    """One thing to know before training."""

    check: str
    """Name of the check: `file`, `reading`, `resolution`, `blur`, `exposure`, `cast`, `duplicate`, `share`, `cut off`,
    `pieces`, `several products`, `views`, `other product`, `label`; of the matte `too-alike`, `fringe`, `frayed`,
    `filled`, `no glass`."""
    severity: Severity
    """`error`: training is impossible; `warning`: the adapter or the scenes will suffer; `note`: for information."""
    photo: str
    """File name; empty if it concerns the whole set."""
    what: str
    """What is wrong."""
    why: str
    """Why it matters."""
    cure: str
    """What to do."""
    box: Box | None = None
    """Where it is in the photo, (left, top, right, bottom) in pixels; None if it has no place."""

    def line(self, sku: str) -> str:
        """The finding in one line."""
        return f"{sku}/{self.photo}: {self.what}" if self.photo else f"{sku}: {self.what}"


def photo_findings(facts: PhotoFacts, *, size: int, plural: bool) -> list[Finding]:
    """Findings on one photo by itself.

    Args:
        facts: what was measured on it.
        size: side of the training examples in pixels.
        plural: whether the class noun names a pair or a set, so that several pieces are one product.
    """
    return [*_remarks(facts), *_resolution(facts, size), *_framing(facts), *_pieces(facts, plural), *_light(facts)]


def _remarks(facts: PhotoFacts) -> list[Finding]:
    return [
        Finding("reading", "warning" if r.serious else "note", facts.name, r.what, r.why, r.cure) for r in facts.remarks
    ]


def _resolution(facts: PhotoFacts, size: int) -> list[Finding]:
    width, height = facts.cutout.box.width, facts.cutout.box.height
    side, found = max(width, height), []
    if side < size:
        found.append(
            Finding(
                "resolution",
                "warning",
                facts.name,
                f"the product is {width}x{height} pixels, under the training size {size}",
                "it is enlarged for training, so the adapter learns a soft product",
                "use a larger photo, or one with less ground around the product",
            )
        )
    elif side < PLACED_SIDE:
        found.append(
            Finding(
                "resolution",
                "note",
                facts.name,
                f"the product is {width}x{height} pixels",
                f"a scene of 1024 px shows the product at about {PLACED_SIDE} px, so it is enlarged when placed",
                "use a larger photo if you need large scenes",
            )
        )
    return found + _softness(facts, side, max(size, PLACED_SIDE))


def _softness(facts: PhotoFacts, side: int, wanted: int) -> list[Finding]:
    """Blur and motion blur that leave less detail than `wanted` pixels hold.

    Args:
        facts: of the photo.
        side: longer side of the product in pixels.
        wanted: pixels of detail that training and placing need.
    """
    why, soft = "the adapter learns the label and texture as soft as they are here", facts.blur or 0
    if soft > BLURRED and (detail := side * SHARP / soft) < wanted:
        what = f"the product is blurred: its edges are {soft:.1f} px soft, "
        what += f"so its {side} px hold only the detail of about {detail:.0f} px"
        cure = "retake the photo with the product in focus, or remove it from the set"
        return [Finding("blur", "warning", facts.name, what, why, cure)]
    smear = facts.smear or 0
    if smear > SMEARED and (detail := side * SHARP / smear) < wanted:
        what = f"the product has motion blur: edges across the motion are {smear:.1f} px soft, "
        what += f"the others {soft:.1f} px, so {side} px hold only the detail of about {detail:.0f} px there"
        cure = "retake the photo from a tripod or with a shorter exposure"
        return [Finding("blur", "warning", facts.name, what, why, cure)]
    return []


def _framing(facts: PhotoFacts) -> list[Finding]:
    cutout, found = facts.cutout, []
    width, height = cutout.photo_size
    trimmed = cutout.source == "alpha" and (cutout.box.width, cutout.box.height) == (width, height)
    if cutout.touches_border and not trimmed:
        found.append(
            Finding(
                "cut off",
                "warning",
                facts.name,
                "the product touches the picture's border and may be cut off",
                "the adapter learns the straight cut, and scenes show it",
                "retake the photo with ground on all sides, or remove it from the set",
                _place(facts, "cut off"),
            )
        )
    if cutout.share < SMALL_SHARE:
        found.append(
            Finding(
                "share",
                "warning",
                facts.name,
                f"the product covers only {cutout.share:.1%} of the picture",
                "most of the photo's pixels are ground, so the product has little detail and is enlarged",
                "move closer, or crop the photo; if the product is not small, check the cutout",
            )
        )
    return found


def _pieces(facts: PhotoFacts, plural: bool) -> list[Finding]:
    areas = facts.pieces
    fallen = facts.cutout.source == "plain ground" and facts.cutout.parts > 1
    if fallen and _too_light(facts):
        return [_overexposed(facts)]
    large = sum(area >= SECOND_PRODUCT * areas[0] for area in areas) if areas else 0
    if large > 1:
        return [
            Finding(
                "several products",
                "note" if plural else "warning",
                facts.name,
                f"the picture shows {large} things of similar size",
                "they are treated as one product, so they are learned and placed together",
                "show one product per photo, or mask the right one; nothing to do if they belong together",
            )
        ]
    if fallen:
        return [
            Finding(
                "pieces",
                "warning",
                facts.name,
                f"the cutout is in {facts.cutout.parts} pieces; clear or white parts may be missing",
                "parts missing from the cutout are neither learned nor placed",
                "check the cutout, and add a mask in masks/ if it is wrong",
                _place(facts, "island"),
            )
        ]
    island = _flaw(facts, "island")
    if island and island.amount > CRUMBS and not plural:
        return [
            Finding(
                "pieces",
                "warning",
                facts.name,
                f"{count(island.places, 'small piece')} of the cutout {'lies' if island.places == 1 else 'lie'} apart "
                f"from the product, {island.amount:.1%} of it",
                "they are dirt on the ground, or what is left of thin parts that are missing",
                "check the cutout; mark dirt as ground in a hint (`--hint`), or give a mask (`--mask`)",
                island.box,
            )
        ]
    return []


def _flaw(facts: PhotoFacts, kind: FlawKind) -> Flaw | None:
    """A flaw of the matte; None if it has none of this kind."""
    flaws = facts.matte.flaws if facts.matte else ()
    return next((flaw for flaw in flaws if flaw.kind == kind), None)


def _place(facts: PhotoFacts, kind: FlawKind) -> Box | None:
    """Where a flaw of the matte is."""
    flaw = _flaw(facts, kind)
    return flaw.box if flaw else None


def _too_light(facts: PhotoFacts) -> bool:
    """Whether much of the product is clipped and the ground is wholly white."""
    white = facts.ground is not None and bool((facts.ground > CLIPPED_GROUND).all())
    return white and facts.exposure.clipped > OVEREXPOSED


def _overexposed(facts: PhotoFacts) -> Finding:
    return Finding(
        "exposure",
        "warning",
        facts.name,
        f"the photo is overexposed: {facts.exposure.clipped:.0%} of the product is clipped, light parts are as white "
        f"as the ground, and the cutout is in {facts.cutout.parts} pieces",
        "parts as white as the ground are missing from the cutout, and clipped colours are wrong",
        "retake the photo with less exposure so that nothing of the product clips, or remove it from the set",
    )


def _light(facts: PhotoFacts) -> list[Finding]:
    light = facts.exposure
    faults = []
    if light.blown > BLOWN_SHARE:
        faults.append(f"{light.blown:.0%} of the product is clipped to pure white")
    if light.crushed > CRUSHED_SHARE:
        faults.append(f"{light.crushed:.0%} of the product is clipped to pure black")
    dark_ground = facts.cutout.source == "plain ground" and facts.picture_highlight < DARK_PICTURE
    if light.highlight < DARK_PRODUCT or dark_ground:
        brightest = light.highlight if light.highlight < DARK_PRODUCT else facts.picture_highlight
        faults.append(f"the photo is dark: hardly anything is brighter than L* {brightest:.0f} of 100")
    why = "lost detail cannot be learned, and the product is placed as it is lit here"
    cure = "adjust the exposure so that white ground comes out light grey to white and nothing of the product clips"
    return [Finding("exposure", "warning", facts.name, fault, why, cure) for fault in faults]
