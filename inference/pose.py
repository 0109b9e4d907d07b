"""How a product rests in a scene, and how tall it usually is: by its class noun."""

from __future__ import annotations

import re

import numpy as np

from finetune.core.compositing.volume import Pose
from finetune.core.pictures.images import Floats
from finetune.core.pictures.masks import bounding_box

LYING = (
    r"sun ?glasses|spectacles|eye ?glasses|glasses|watch(?:es)?|belt|necklace|bracelet|ear ?rings?|ring|key ?ring|"
    r"scarf|tie|t-?shirt|shirt|top|sweater|trousers|jeans|dress|socks?|gloves?|towel|blanket|rug|scissors|pliers|"
    r"wrench|knife|fork|spoon|cutlery|pen|pencil|brush|comb|rope|phone|tablet|card|envelope|notebook|magazine"
)
"""Class nouns of what is photographed lying on a table, as a pattern."""
EITHER = r"(?:wrist |sports? |smart)?watch(?:es)?|phone|tablet|card|book|notebook|envelope"
"""Of them, what may stand too: on its closed strap, or leaning."""
FOOT, FOOT_WIDTH = 0.05, 0.22
"""Height of the lowest part of a silhouette and its least width to stand on, shares of height and width."""
HANGING = r"coat ?hanger|wall clock|picture frame|poster|pendant lamp|wall lamp|mirror|wreath|curtain|towel rail"
"""Class nouns of what hangs on a wall, as a pattern."""

HEIGHTS_MM: tuple[tuple[str, float], ...] = (
    (r"lip ?stick|lip balm|nail polish", 75),
    (r"perfume|fragrance|cologne|serum", 110),
    (r"wine|champagne", 310),
    (r"(?:water|sports?) bottle|thermos|flask", 240),
    (r"bottle|shampoo|lotion|pump|detergent|spray", 200),
    (r"mug|cup", 95),
    (r"tumbler|glass", 110),
    (r"can\b", 122),
    (r"jar|candle", 90),
    (r"tube", 150),
    (r"tea ?pot|kettle(?!bell)|coffee", 180),
    (r"kettle ?bell", 280),
    (r"sun ?glasses|spectacles|eye ?glasses", 50),
    (r"watch", 240),
    (r"ear ?rings?|ring", 40),
    (r"necklace", 250),
    (r"back ?pack", 450),
    (r"duffel|suitcase|luggage", 320),
    (r"hand ?bag|tote|bag|purse", 280),
    (r"sneakers?|shoes?|loafers?|boots?|sandals?", 115),
    (r"carton|box|packet|packaging", 180),
    (r"book|notebook", 230),
    (r"lamp", 400),
    (r"clock", 120),
    (r"vase|plant", 260),
    (r"chair|stool", 750),
)
"""Usual heights in millimetres by class noun, as patterns; the first that fits counts."""
USUAL_MM = 160.0
"""Height of a product of which nothing is known."""


def pose_of(class_noun: str, matte: Floats | None = None) -> Pose:
    """How a product rests, by what it is and, where it may do either, by its silhouette.

    Args:
        class_noun: As in set.yaml.
        matte: (H, W) in 0..1, its cutout; None judges by the noun alone.

    Returns:
        `lying`, `hanging` or `standing`; never `floating`, which is a wish.
    """
    if re.search(rf"\b(?:{HANGING})\b", class_noun, flags=re.IGNORECASE):
        return "hanging"
    if not re.search(rf"\b(?:{LYING})s?\b", class_noun, flags=re.IGNORECASE) or _holds(class_noun):
        return "standing"
    either = re.search(rf"\b(?:{EITHER})\b", class_noun, flags=re.IGNORECASE) is not None
    return "standing" if either and matte is not None and _has_a_foot(matte) else "lying"


def _has_a_foot(matte: Floats) -> bool:
    """Whether a silhouette rests on a good part of its width: a watch on its closed strap, not one laid out."""
    solid = np.asarray(matte >= 0.5)
    box = bounding_box(solid)
    if box is None:
        return False
    foot = solid[box.bottom - max(1, round(FOOT * box.height)) : box.bottom]
    return float(foot.any(axis=0).sum()) >= FOOT_WIDTH * box.width


def _holds(class_noun: str) -> bool:
    """Things named after what they hold: a watch box, a pencil case, a ring holder."""
    return re.search(r"\b(?:box|case|holder|stand|bag|bottle|jar|tin|pouch|set)$", class_noun.strip()) is not None


def usual_height(class_noun: str) -> float:
    """Usual height of a product in millimetres, for one whose set.yaml gives none."""
    for pattern, height in HEIGHTS_MM:
        if re.search(rf"\b(?:{pattern})", class_noun, flags=re.IGNORECASE):
            return height
    return USUAL_MM
