"""From insert pictures to numbers: every measure of a fidelity report, by name.

Pictures and views in, floats out; it knows no bars and writes nothing. All products, siblings included, get the same
freedom: the nearest of their views, the same search for the position, the same exposure.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image

from finetune.core.fidelity.anchors import Anchor, Span, make_span
from finetune.core.fidelity.insert_pictures import InsertPair
from finetune.core.fidelity.measures import Embedder, Likeness, View, compare, distance_to, nearest
from finetune.core.fidelity.references import MeasureFrame, References
from finetune.core.fidelity.scores import Better
from finetune.core.fidelity.shape import outline_agreement
from finetune.core.pictures.images import Array, Floats
from finetune.core.pictures.masks import Mask

GREY = 128
"""Ground of the pictures that a vision model compares."""
DRAWN = 0.6
"""Agreement with the packshot's outline from which a product counts as drawn, as a share of the ceiling's."""
SEEN = 0.4
"""The ceiling's agreement under which the segmenter does not know this kind of product."""
LEAST_ASYMMETRY = 0.04
"""Difference between the ceiling's own and mirrored parts from which a mirror image can be told."""
SPANS: dict[str, Better] = {"outline": "higher", "parts": "higher", "palette": "lower", "layout": "lower"}
"""Measures that are told between floor and ceiling."""
Finder = Callable[[Image.Image], Floats]
"""Probability of a product, pixel by pixel, of a picture: `core.segmentation.products.find_products`."""


@dataclass(frozen=True)
class Reading:
    """A picture, compared with the product's views."""

    likeness: Likeness
    """To the nearest view."""
    outline: float
    """Agreement of what a segmenter calls product with a view's outline, IoU 0..1; the best of the views."""

    def value(self, measure: str) -> float | None:
        """A number of `SPANS`; None where the packshot has nothing to compare."""
        return self.outline if measure == "outline" else getattr(self.likeness, measure)

    def as_dict(self) -> dict[str, Any]:
        """Its entry in the fidelity report."""
        values = asdict(self.likeness) | {"distance": self.likeness.distance, "outline": self.outline}
        return {key: round(value, 4) if isinstance(value, float) else value for key, value in values.items()}


@dataclass(frozen=True)
class ScoredPair:
    """A pair of insert pictures, compared."""

    pair: InsertPair
    drawn: Reading
    """With the adapter."""
    base: Reading
    """Without it: the floor."""
    ceiling: Reading
    """The packshot in the same scene, through the base's autoencoder."""
    siblings: dict[str, float]
    """Distance of the picture with the adapter to the nearest view of each sibling and decoy, dE00."""

    def as_dict(self) -> dict[str, Any]:
        """An entry of the section `pictures` of the fidelity report."""
        request = self.pair.request
        return {
            "scene": request.scene,
            "seed": request.seed,
            "prompt": request.insert_prompt,
            "with_adapter": self.drawn.as_dict(),
            "without_adapter": self.base.as_dict(),
            "packshot_in_scene": self.ceiling.as_dict(),
            "siblings": {sku: round(distance, 4) for sku, distance in self.siblings.items()},
        }


def score_pair(
    pair: InsertPair, references: References, frame: MeasureFrame, find: Finder, known: ScoredPair | None = None
) -> ScoredPair:
    """Compare what was drawn with the views of the product and of its siblings.

    Args:
        pair: The pictures.
        references: The views.
        frame: How pictures are cropped and scaled.
        find: Finds products in a picture.
        known: The same request with another adapter: floor and ceiling are its.
    """
    drawn, others = frame.crop(pair.with_adapter), references.siblings | references.decoys
    return ScoredPair(
        pair=pair,
        drawn=read(pair.with_adapter, references.own, frame, find),
        base=known.base if known else read(pair.without, references.own, frame, find),
        ceiling=known.ceiling if known else read(pair.ceiling, references.own, frame, find),
        siblings={
            name: min(distance_to(drawn, view, reach=frame.reach) for view in views) for name, views in others.items()
        },
    )


def read(picture: Image.Image, views: Sequence[View], frame: MeasureFrame, find: Finder) -> Reading:
    """Compare a picture with the views of one product."""
    whole = Image.fromarray(find(picture)).resize(picture.size, Image.Resampling.BILINEAR)
    found = np.asarray(frame.crop(whole), np.float32)
    outline = max(outline_agreement(found, view.silhouette) for view in views)
    return Reading(_nearest(frame.crop(picture), views, frame), outline)


def _nearest(drawn: Array, views: Sequence[View], frame: MeasureFrame) -> Likeness:
    return nearest([compare(drawn, view, reach=frame.reach) for view in views])


def spans_of(scored: Sequence[ScoredPair]) -> dict[str, Span]:
    """The measures that this product has, each between floor and ceiling."""
    scenes = [s.pair.request.scene for s in scored]
    spans = {}
    for name, better in SPANS.items():
        readings: dict[Anchor, list[Reading]] = {
            "floor": [s.base for s in scored],
            "value": [s.drawn for s in scored],
            "ceiling": [s.ceiling for s in scored],
        }
        values = {
            anchor: [value for reading in found if (value := reading.value(name)) is not None]
            for anchor, found in readings.items()
        }
        if all(len(found) == len(scored) for found in values.values()):
            spans[name] = make_span(values, scenes, better)
    return spans


def values_of(scored: Sequence[ScoredPair], spans: Mapping[str, Span]) -> dict[str, float | None]:
    """The measures of all pairs together, by name: means over the pairs, gains from these means.

    Args:
        scored: The pairs.
        spans: From `spans_of`.
    """
    values: dict[str, float | None] = {}
    for name in ("palette", "layout"):
        drawn = statistics.fmean(getattr(s.drawn.likeness, name) for s in scored)
        alone = statistics.fmean(getattr(s.base.likeness, name) for s in scored)
        gain = 100.0 * (alone - drawn) / alone if alone > 0 else 0.0
        values |= {name: drawn, f"{name}_base": alone, f"{name}_gain": gain}
    drawn = statistics.fmean(s.drawn.likeness.structure for s in scored)
    alone = statistics.fmean(s.base.likeness.structure for s in scored)
    values |= {"structure": drawn, "structure_base": alone, "structure_gain": drawn - alone}
    if statistics.fmean(s.ceiling.outline for s in scored) >= SEEN:
        drawn_in = sum(s.drawn.outline >= DRAWN * s.ceiling.outline for s in scored)
        values["drawn"] = 100.0 * drawn_in / len(scored)
    for name, span in spans.items():
        values |= {name: span.value, f"{name}_reached": span.reached}
    values["unmirrored"] = _unmirrored(scored)
    if scored and all(s.siblings for s in scored):
        margins = [min(s.siblings.values()) - s.drawn.likeness.distance for s in scored]
        values["own_nearest"] = 100.0 * sum(margin > 0 for margin in margins) / len(margins)
        values["own_margin"] = statistics.fmean(margins)
    return values


def _unmirrored(scored: Sequence[ScoredPair]) -> float | None:
    """Which way round: 100 as the packshot, -100 its mirror image; None where the two can't be told apart.

    The parts of the packshot less those of its mirror image, over the same difference of the ceiling.
    """

    def margin(readings: Sequence[Reading]) -> float:
        found = [(r.likeness.parts, r.likeness.mirrored) for r in readings]
        return statistics.fmean((own or 0.0) - (other or 0.0) for own, other in found)

    most = margin([s.ceiling for s in scored])
    return 100.0 * margin([s.drawn for s in scored]) / most if most >= LEAST_ASYMMETRY else None


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

    drawn = statistics.fmean(cosine(s.pair.with_adapter, s.drawn.likeness) for s in scored)
    alone = statistics.fmean(cosine(s.pair.without, s.base.likeness) for s in scored)
    return {"embedder": drawn, "embedder_gain": drawn - alone}


def _on_grey(picture: Array, region: Mask) -> Array:
    """The region of a picture in the middle of a grey square."""
    side = max(region.shape)
    square = np.full((side, side, 3), GREY, dtype=np.uint8)
    top, left = (side - region.shape[0]) // 2, (side - region.shape[1]) // 2
    square[top : top + region.shape[0], left : left + region.shape[1]] = np.where(region[..., None], picture, GREY)
    return square
