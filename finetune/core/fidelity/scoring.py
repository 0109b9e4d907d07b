"""From drawings to numbers: every measure of a fidelity report, by name.

Called by `inference.evaluate`, and by training where it chooses among its candidates.

Pictures and views in, floats out; knows no bars and writes nothing. All products, siblings too, get the same freedom:
the nearest of their views, the same search for the place, the same exposure.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image

from finetune.core.fidelity.insert_pictures import Drawing
from finetune.core.fidelity.measures import Embedder, Likeness, View, compare, nearest
from finetune.core.fidelity.references import Frame, Gallery
from finetune.core.pictures.images import Array
from finetune.core.pictures.masks import Mask

GREY = 128


@dataclass(frozen=True)
class Judged:
    """One drawing, compared."""

    drawing: Drawing
    likeness: Likeness
    """With the adapter, to the product's nearest view."""
    likeness_base: Likeness
    """Without the adapter."""
    siblings: dict[str, float]
    """Distance of the picture with the adapter to each sibling's nearest view, dE00."""

    def as_dict(self) -> dict[str, Any]:
        """What the report says of a picture."""
        request = self.drawing.request
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


def judge_drawing(drawing: Drawing, gallery: Gallery, frame: Frame) -> Judged:
    """Compare what was drawn with the product's views, and with its siblings'."""
    drawn, alone = frame.crop(drawing.with_adapter), frame.crop(drawing.without)
    return Judged(
        drawing=drawing,
        likeness=_nearest(drawn, gallery.own, frame),
        likeness_base=_nearest(alone, gallery.own, frame),
        siblings={sku: _nearest(drawn, views, frame).distance for sku, views in gallery.siblings.items()},
    )


def _nearest(drawn: Array, views: Sequence[View], frame: Frame) -> Likeness:
    return nearest([compare(drawn, view, reach=frame.reach) for view in views])


def values_of(judged: Sequence[Judged]) -> dict[str, float | None]:
    """The measures of all pictures together, by name: means over the pictures, gains from these means."""
    values: dict[str, float | None] = {}
    for name in ("palette", "layout"):
        drawn = statistics.fmean(getattr(j.likeness, name) for j in judged)
        alone = statistics.fmean(getattr(j.likeness_base, name) for j in judged)
        gain = 100.0 * (alone - drawn) / alone if alone > 0 else 0.0
        values |= {name: drawn, f"{name}_base": alone, f"{name}_gain": gain}
    drawn = statistics.fmean(j.likeness.structure for j in judged)
    alone = statistics.fmean(j.likeness_base.structure for j in judged)
    values |= {"structure": drawn, "structure_base": alone, "structure_gain": drawn - alone}
    if judged and all(j.siblings for j in judged):
        margins = [min(j.siblings.values()) - j.likeness.distance for j in judged]
        values["own_nearest"] = 100.0 * sum(margin > 0 for margin in margins) / len(margins)
        values["own_margin"] = statistics.fmean(margins)
    return values


def embedder_values(judged: Sequence[Judged], gallery: Gallery, frame: Frame, embedder: Embedder) -> dict[str, float]:
    """Mean cosine of product crops with their view, and its gain; the ground is grey on both sides."""
    views = {view.name: view for view in gallery.own}

    def cosine(picture: Image.Image, likeness: Likeness) -> float:
        view = views[likeness.view]
        top, left = (frame.reach + offset for offset in likeness.shift)
        drawn = frame.crop(picture)[top : top + frame.height, left : left + frame.width]
        first, second = embedder.embed([_on_grey(drawn, view.region), _on_grey(view.rgb, view.region)])
        return float(first @ second)

    drawn = statistics.fmean(cosine(j.drawing.with_adapter, j.likeness) for j in judged)
    alone = statistics.fmean(cosine(j.drawing.without, j.likeness_base) for j in judged)
    return {"embedder": drawn, "embedder_gain": drawn - alone}


def _on_grey(picture: Array, region: Mask) -> Array:
    """The region of a picture in the middle of a grey square."""
    side = max(region.shape)
    square = np.full((side, side, 3), GREY, dtype=np.uint8)
    top, left = (side - region.shape[0]) // 2, (side - region.shape[1]) // 2
    square[top : top + region.shape[0], left : left + region.shape[1]] = np.where(region[..., None], picture, GREY)
    return square
