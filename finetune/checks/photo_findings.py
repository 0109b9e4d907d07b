"""What is wrong with photos of a product, in words: each finding says what, why it matters and what to do.

Called by the recipe `finetune.check` with what `check_measures` measured; `set_findings` has
what needs photos side by side. The thresholds stand here, each with the
measurement it rests on: 48 rendered views of 8 products, our sample sets, 19 real packshots, and spoiled copies of
them ("clean" and "spoiled" below). Reads and writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from finetune.checks.lighting import CLIPPED_GROUND
from finetune.checks.photo_facts import Look

Severity = Literal["error", "warning", "note"]

PLACED_SIDE = 512
"""Pixels of product a scene of about 1024 px shows: a cutout with less is enlarged when placed."""
BLURRED = 1.5
"""Blur (px) from which on a photo is soft. Clean: at most 1.0; a Gaussian of 2 px: 1.1 to 2.9; of 3 px: 2.0 to 8."""
SMEARED = 2.3
"""Blur (px) of edges facing one direction from which on a photo is smeared. Clean: at most 2.0, real packshots 1.6;
moved by 11 or 15 px: 2.0 to 8.6, real packshots from 2.8."""
SHARP = 0.6
"""Blur of a sharp picture (px): detail is counted in units of it."""
SMALL_SHARE = 0.05
"""A product that covers less of its photo than this wastes the photo's pixels. Smallest clean product: 0.06."""
BLOWN_SHARE, CRUSHED_SHARE = 0.05, 0.25
"""Clipped shares of the product. Clean: at most 0.002 white and 0.029 black (a black jar); 1.8 times the light blows
out 0.04 to 0.8 of a light product."""
OVEREXPOSED = 0.2
"""Share of the product that is clipped in a colour channel, on wholly clipped ground, that is put down to too much
light. Clean: at most 0.05, real packshots 0.08; 1.4 to 4 times the light: mostly 0.3 to 1."""
DARK_PRODUCT, DARK_PICTURE = 30.0, 60.0
"""L* that 2 % of product and picture exceed at least. Clean: from 41 (a black duffel bag), from 90 (white ground)."""
SECOND_PRODUCT = 0.25
"""A piece this large beside the largest is another product, not a part that was torn off."""


@dataclass(frozen=True)
class Finding:
    """One thing to know before training."""

    check: str
    """Which check: `file`, `reading`, `resolution`, `blur`, `exposure`, `cast`, `duplicate`, `share`, `cut off`,
    `pieces`, `several products`, `views`, `other product`, `label`."""
    severity: Severity
    """`error`: nothing can be trained; `warning`: the adapter or the scenes will suffer; `note`: good to know."""
    photo: str
    """File name; empty where it concerns the whole set."""
    what: str
    why: str
    cure: str

    def line(self, sku: str) -> str:
        """The finding in one line."""
        return f"{sku}/{self.photo}: {self.what}" if self.photo else f"{sku}: {self.what}"


def photo_findings(look: Look, *, size: int, plural: bool) -> list[Finding]:
    """Findings on one photo by itself.

    Args:
        size: side of the training examples in pixels. plural: does the class noun name a pair or a set?
    """
    return [*_remarks(look), *_resolution(look, size), *_framing(look), *_pieces(look, plural), *_light(look)]


def _remarks(look: Look) -> list[Finding]:
    return [
        Finding("reading", "warning" if r.serious else "note", look.name, r.what, r.why, r.cure) for r in look.remarks
    ]


def _resolution(look: Look, size: int) -> list[Finding]:
    width, height = look.cutout.box.width, look.cutout.box.height
    side, found = max(width, height), []
    if side < size:
        found.append(
            Finding(
                "resolution",
                "warning",
                look.name,
                f"the product is {width}x{height} pixels, under the training size {size}",
                "it is enlarged for training, and the adapter learns the softness",
                "give a larger photo, or one with less ground around the product",
            )
        )
    elif side < PLACED_SIDE:
        found.append(
            Finding(
                "resolution",
                "note",
                look.name,
                f"the product is {width}x{height} pixels",
                f"a scene of 1024 px shows about {PLACED_SIDE} px of product: placed that large it is enlarged",
                "give a larger photo if scenes are to be large",
            )
        )
    return found + _softness(look, side, max(size, PLACED_SIDE))


def _softness(look: Look, side: int, wanted: int) -> list[Finding]:
    """Blur and smear, where they leave less detail than the `wanted` pixels."""
    why, soft = "label and texture are learned and placed as soft as they are here", look.blur or 0
    if soft > BLURRED and (detail := side * SHARP / soft) < wanted:
        what = f"the product is blurred: its edges are {soft:.1f} px soft, "
        what += f"so its {side} px hold the detail of about {detail:.0f}"
        cure = "take it again with focus on the product, or leave the photo out"
        return [Finding("blur", "warning", look.name, what, why, cure)]
    smear = look.smear or 0
    if smear > SMEARED and (detail := side * SHARP / smear) < wanted:
        what = f"the product is smeared in one direction: edges facing it are {smear:.1f} px soft, the others "
        what += f"{soft:.1f}; {side} px hold the detail of about {detail:.0f} there"
        cure = "the camera or the product moved: take it again from a tripod or with a shorter exposure"
        return [Finding("blur", "warning", look.name, what, why, cure)]
    return []


def _framing(look: Look) -> list[Finding]:
    cutout, found = look.cutout, []
    width, height = cutout.photo_size
    trimmed = cutout.source == "alpha" and (cutout.box.width, cutout.box.height) == (width, height)
    if cutout.touches_border and not trimmed:
        found.append(
            Finding(
                "cut off",
                "warning",
                look.name,
                "the product touches the picture's border and may be cut off",
                "a product that ends at the frame is learned, and placed, with a straight cut",
                "take it again with ground all around, or leave the photo out",
            )
        )
    if cutout.share < SMALL_SHARE:
        found.append(
            Finding(
                "share",
                "warning",
                look.name,
                f"the product covers only {cutout.share:.1%} of the picture",
                "most of the photo's pixels are ground; what little shows the product is enlarged",
                "go nearer, or crop the photo; if it is no small product, look whether the cutout is right",
            )
        )
    return found


def _pieces(look: Look, plural: bool) -> list[Finding]:
    areas = look.pieces
    fallen = look.cutout.source == "plain ground" and look.cutout.parts > 1
    if fallen and _too_light(look):
        return [_overexposed(look)]
    large = sum(area >= SECOND_PRODUCT * areas[0] for area in areas) if areas else 0
    if large > 1:
        return [
            Finding(
                "several products",
                "note" if plural else "warning",
                look.name,
                f"{large} things of similar size are in the picture",
                "all of them are taken for the one product, and are learned and placed together",
                "show one product a photo, or mask the right one; if they belong together, all is well",
            )
        ]
    if fallen:
        return [
            Finding(
                "pieces",
                "warning",
                look.name,
                f"the product falls into {look.cutout.parts} pieces; if clear or white parts are missing, give a mask",
                "what the cutout lacks is neither learned nor placed",
                "look at the cutout; give a mask in masks/ where it is wrong",
            )
        ]
    return []


def _too_light(look: Look) -> bool:
    """Is much of the product clipped, and its ground all white?"""
    white = look.ground is not None and bool((look.ground > CLIPPED_GROUND).all())
    return white and look.exposure.clipped > OVEREXPOSED


def _overexposed(look: Look) -> Finding:
    return Finding(
        "exposure",
        "warning",
        look.name,
        f"the photo is overexposed: {look.exposure.clipped:.0%} of the product is clipped, light parts are as white as "
        f"the ground, and its cutout falls into {look.cutout.parts} pieces",
        "what has become as white as the ground is not cut out, and its colours are not the product's",
        "expose it again so that nothing of the product clips; or leave the photo out",
    )


def _light(look: Look) -> list[Finding]:
    light = look.exposure
    faults = []
    if light.blown > BLOWN_SHARE:
        faults.append(f"{light.blown:.0%} of the product is clipped to pure white")
    if light.crushed > CRUSHED_SHARE:
        faults.append(f"{light.crushed:.0%} of the product is clipped to pure black")
    dark_ground = look.cutout.source == "plain ground" and look.picture_highlight < DARK_PICTURE
    if light.highlight < DARK_PRODUCT or dark_ground:
        brightest = light.highlight if light.highlight < DARK_PRODUCT else look.picture_highlight
        faults.append(f"the photo is dark: hardly anything is brighter than {brightest:.0f} of 100 (L*)")
    why = "detail that is not in the photo cannot be learned, and the product is placed as it was lit here"
    cure = "expose it again so that white ground comes out light grey to white and nothing of the product clips"
    return [Finding("exposure", "warning", look.name, fault, why, cure) for fault in faults]
