"""From insert pictures to numbers: every measure of a fidelity report, by name.

Pictures and views in, floats out; it knows no bars and writes nothing. All products, siblings included, get the same
freedom: the nearest of their views, the same search for the position, the same exposure.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image

from finetune.core.fidelity.insert_pictures import InsertPair
from finetune.core.fidelity.measures import Embedder, Likeness, View, compare, nearest
from finetune.core.fidelity.references import MeasureFrame, References
from finetune.core.pictures.images import Array
from finetune.core.pictures.masks import Mask

GREY = 128
"""Ground of the pictures that a vision model compares."""


@dataclass(frozen=True)
class ScoredPair:
    """A pair of insert pictures, compared."""

    pair: InsertPair
    likeness: Likeness
    """With the adapter, to the product's nearest view."""
    likeness_base: Likeness
    """Without the adapter."""
    siblings: dict[str, float]
    """Distance of the picture with the adapter to each sibling's nearest view, dE00."""

    def as_dict(self) -> dict[str, Any]:
        """An entry of the section `pictures` of the fidelity report."""
        request = self.pair.request
        return {
            "scene": request.scene,
            "seed": request.seed,
            "prompt": request.insert_prompt,
            "with_adapter": _plain(self.likeness),
            "without_adapter": _plain(self.likeness_base),
            "siblings": {sku: round(distance, 4) for sku, distance in self.siblings.items()},
        }


def _plain(likeness: Likeness) -> dict[str, Any]:
    values = asdict(likeness) | {"distance": likeness.distance}
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in values.items()}


def score_pair(pair: InsertPair, references: References, frame: MeasureFrame) -> ScoredPair:
    """Compare what was drawn with the views of the product and of its siblings."""
    drawn, alone = frame.crop(pair.with_adapter), frame.crop(pair.without)
    return ScoredPair(
        pair=pair,
        likeness=_nearest(drawn, references.own, frame),
        likeness_base=_nearest(alone, references.own, frame),
        siblings={sku: _nearest(drawn, views, frame).distance for sku, views in references.siblings.items()},
    )


def _nearest(drawn: Array, views: Sequence[View], frame: MeasureFrame) -> Likeness:
    return nearest([compare(drawn, view, reach=frame.reach) for view in views])


def values_of(scored: Sequence[ScoredPair]) -> dict[str, float | None]:
    """The measures of all pairs together, by name: means over the pairs, gains from these means."""
    values: dict[str, float | None] = {}
    for name in ("palette", "layout"):
        drawn = statistics.fmean(getattr(s.likeness, name) for s in scored)
        alone = statistics.fmean(getattr(s.likeness_base, name) for s in scored)
        gain = 100.0 * (alone - drawn) / alone if alone > 0 else 0.0
        values |= {name: drawn, f"{name}_base": alone, f"{name}_gain": gain}
    drawn = statistics.fmean(s.likeness.structure for s in scored)
    alone = statistics.fmean(s.likeness_base.structure for s in scored)
    values |= {"structure": drawn, "structure_base": alone, "structure_gain": drawn - alone}
    if scored and all(s.siblings for s in scored):
        margins = [min(s.siblings.values()) - s.likeness.distance for s in scored]
        values["own_nearest"] = 100.0 * sum(margin > 0 for margin in margins) / len(margins)
        values["own_margin"] = statistics.fmean(margins)
    return values


def embedder_values(
    scored: Sequence[ScoredPair], references: References, frame: MeasureFrame, embedder: Embedder
) -> dict[str, float]:
    """Mean cosine of product crops with their view, and its gain; the ground is grey on both sides."""
    views = {view.name: view for view in references.own}

    def cosine(picture: Image.Image, likeness: Likeness) -> float:
        view = views[likeness.view]
        top, left = (frame.reach + offset for offset in likeness.shift)
        drawn = frame.crop(picture)[top : top + frame.height, left : left + frame.width]
        first, second = embedder.embed([_on_grey(drawn, view.region), _on_grey(view.rgb, view.region)])
        return float(first @ second)

    drawn = statistics.fmean(cosine(s.pair.with_adapter, s.likeness) for s in scored)
    alone = statistics.fmean(cosine(s.pair.without, s.likeness_base) for s in scored)
    return {"embedder": drawn, "embedder_gain": drawn - alone}


def _on_grey(picture: Array, region: Mask) -> Array:
    """The region of a picture in the middle of a grey square."""
    side = max(region.shape)
    square = np.full((side, side, 3), GREY, dtype=np.uint8)
    top, left = (side - region.shape[0]) // 2, (side - region.shape[1]) // 2
    square[top : top + region.shape[0], left : left + region.shape[1]] = np.where(region[..., None], picture, GREY)
    return square
