"""What is wrong with photos of a product, in words: each finding says what, why it matters and what to do.

Called by the recipe `finetune.check` with what `check_measures` measured. The thresholds stand here, each with the
measurement it rests on: 48 rendered views of 8 products, our sample sets, 19 real packshots, and spoiled copies of
them ("clean" and "spoiled" below). Reads and writes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from finetune import check_measures as measures
from finetune.check_measures import Exposure
from finetune.core.images import Floats
from finetune.matte import Cutout

Severity = Literal["error", "warning", "note"]

PLACED_SIDE = 512
"""Pixels of product a scene of about 1024 px shows: a cutout with less is enlarged when placed."""
BLURRED = 1.5
"""Blur (px) from which on a photo is soft. Clean: at most 1.0; a Gaussian of 2 px: 1.1 to 2.9; of 3 px: 2.0 to 8."""
SHARP = 0.6
"""Blur of a sharp picture (px): detail is counted in units of it."""
SMALL_SHARE = 0.05
"""A product that covers less of its photo than this wastes the photo's pixels. Smallest clean product: 0.06."""
BLOWN_SHARE, CRUSHED_SHARE = 0.05, 0.25
"""Clipped shares of the product. Clean: at most 0.002 white and 0.029 black (a black jar); 1.8 times the light blows
out 0.04 to 0.8 of a light product."""
DARK_PRODUCT, DARK_PICTURE = 30.0, 60.0
"""L* that 2 % of product and picture exceed at least. Clean: from 41 (a black duffel bag), from 90 (white ground)."""
UNEVEN_LIGHT = 6.0
"""Shift of L* against the other photos. Clean: 0; half or 1.8 times the light: 4.5 to 23."""
CAST = 4.0
"""Shift of a*, b* against the other photos, plainly seen. Clean: 0; red x 1.3 and blue x 0.7: 2.5 to 18."""
STRANGE = 0.12
"""Share of colours the other photos lack. Clean: at most 0.08; siblings in another colour: 0.4; of 308 foreign products
mixed in, 95 % are above. What has the same colours is not seen."""
STRANGE_OF_TWO = 0.35
"""The same for a set of two photos, where front and back may differ as much as two products."""
NEAR_DUPLICATE = 0.13
"""Share of hash bits that differ. Copies scaled by half, re-encoded or on another ground: at most 0.08; different views
of a product that has sides: from 0.165; turned views of one that looks alike all round (a plain can): from 0.05."""
SECOND_PRODUCT = 0.25
"""A piece this large beside the largest is another product, not a part that was torn off."""
MANY_VIEWS = 4
"""Views from which on an adapter has seen the product from enough sides (with fewer, none can be held out whole)."""


@dataclass(frozen=True)
class Finding:
    """One thing to know before training."""

    check: str
    """Which check: `file`, `resolution`, `blur`, `exposure`, `cast`, `duplicate`, `share`, `cut off`, `pieces`,
    `several products`, `views`, `other product`, `label`."""
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


@dataclass(frozen=True)
class Look:
    """A cut-out photo and everything measured on it."""

    name: str
    """File name."""
    content: str
    """Fingerprint of the file's bytes."""
    cutout: Cutout
    blur: float | None
    exposure: Exposure
    picture_highlight: float
    pieces: list[int]
    palette: Floats
    hash: NDArray[np.bool_]


def photo_findings(look: Look, *, size: int, plural: bool) -> list[Finding]:
    """Findings on one photo by itself.

    Args:
        size: side of the training examples in pixels. plural: does the class noun name a pair or a set?
    """
    return [*_resolution(look, size), *_framing(look), *_pieces(look, plural), *_light(look)]


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
    detail = side / max(1.0, (look.blur or 0) / SHARP)
    if look.blur is not None and look.blur > BLURRED and detail < max(size, PLACED_SIDE):
        found.append(
            Finding(
                "blur",
                "warning",
                look.name,
                f"the product is blurred: its edges are {look.blur:.1f} px soft, "
                f"so its {side} px hold the detail of about {detail:.0f}",
                "label and texture are learned and placed as soft as they are here",
                "take it again with focus on the product, or leave the photo out",
            )
        )
    return found


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
    if look.cutout.source == "plain ground" and look.cutout.parts > 1:
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


def set_findings(looks: Sequence[Look]) -> list[Finding]:
    """Findings that need the photos side by side: duplicates, casts, uneven light, other products, views."""
    copies = _duplicates(looks)
    views = count_views(looks)
    found = [*copies, *_colours(looks)]
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
    kept: list[Look] = []
    for look in looks:
        if all(measures.hash_distance(look.hash, other.hash) > NEAR_DUPLICATE for other in kept):
            kept.append(look)
    return len(kept)


def _duplicates(looks: Sequence[Look]) -> list[Finding]:
    found = []
    for index, look in enumerate(looks):
        exact = next((other for other in looks[:index] if other.content == look.content), None)
        near = [(measures.hash_distance(look.hash, other.hash), other.name) for other in looks[:index]]
        distance, name = min(near, default=(1.0, ""))
        if exact is None and distance > NEAR_DUPLICATE:
            continue
        what = f"the same file as {exact.name}" if exact else f"almost the same picture of the product as {name}"
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


def _colours(looks: Sequence[Look]) -> list[Finding]:
    """Casts, uneven light and other products, by each photo's colours against those of all others."""
    found: list[Finding] = []
    limit = STRANGE_OF_TWO if len(looks) == 2 else STRANGE
    for look in looks[1:] if len(looks) == 2 else looks:
        others = [other.palette for other in looks if other is not look]
        if not others:
            return []
        pool = np.concatenate(others)
        shift = measures.colour_shift(look.palette, pool)
        moved = look.palette - np.array(shift, dtype=np.float32) * measures.LIGHTNESS_WEIGHT
        light, tinted = shift[0], math.hypot(shift[1], shift[2])
        strange = _strangeness(look.palette, pool, others)
        if strange > limit and _strangeness(moved, pool, others) > limit / 2:
            found.append(_other_product(look.name, strange, len(looks)))
        elif abs(light) > UNEVEN_LIGHT:
            found.append(_uneven_light(look.name, light))
        elif tinted > CAST:
            found.append(_cast(look.name, shift[1], shift[2]))
    return found


def _strangeness(colours: Floats, pool: Floats, others: Sequence[Floats]) -> float:
    """How much of a photo's colours the others lack, or of theirs the photo lacks: the larger of the two shares.

    The second is taken with the lower median over the others, so that one stranger makes no stranger of the rest.
    """
    lacking = sorted(measures.unexplained(other, colours) for other in others)
    return max(measures.unexplained(colours, pool), lacking[(len(lacking) - 1) // 2])


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
