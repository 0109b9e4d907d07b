"""Between which two anchors a measure stands: the base without an adapter, and the packshot itself.

A number such as "SSIM .62" says nothing by itself: one base draws letters, another cannot. So each measure is told
between a *floor*, what the base draws of the prompt without an adapter, and a *ceiling*, the packshot pasted into the
same empty scene and put through the base's autoencoder: better than that no adapter can draw. What an adapter reaches
of that span means the same on every base. Where the span is no larger than chance, the base cannot show the measure,
and it is not judged.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from finetune.core.fidelity.scores import Better

LEAST_SPAN = 3.0
"""Span, in seed-to-seed standard deviations, from which a measure is judged."""


@dataclass(frozen=True)
class Span:
    """A measure between its anchors, each a mean over the pictures."""

    floor: float
    value: float
    ceiling: float
    spread: float
    """Standard deviation of the floor between the seeds of one scene, pooled over the scenes: chance, on this base.
    That of the adapter's own pictures does not count, or an erratic adapter could not be judged."""
    better: Better

    @property
    def width(self) -> float:
        """How much better the ceiling is than the floor; negative where it is worse."""
        return self.ceiling - self.floor if self.better == "higher" else self.floor - self.ceiling

    @property
    def judged(self) -> bool:
        """Whether this base can show the measure at all."""
        return self.width > LEAST_SPAN * self.spread and self.width > 0

    @property
    def reached(self) -> float | None:
        """Per cent of the span: 0 the base alone, 100 the packshot; None where there is no span."""
        if self.width <= 0:
            return None
        gained = self.value - self.floor if self.better == "higher" else self.floor - self.value
        return 100.0 * gained / self.width

    def as_dict(self) -> dict[str, float | bool | None]:
        """Its entry in the fidelity report."""
        numbers = {"floor": self.floor, "value": self.value, "ceiling": self.ceiling, "spread": self.spread}
        reached = self.reached
        rounded = {name: round(number, 4) for name, number in numbers.items()}
        return rounded | {"reached": None if reached is None else round(reached, 2), "judged": self.judged}


Anchor = Literal["floor", "value", "ceiling"]


def make_span(values: Mapping[Anchor, Sequence[float]], scenes: Sequence[str], better: Better) -> Span:
    """A measure's span from its values, picture by picture.

    Args:
        values: By anchor, one number a picture, in the same order.
        scenes: Of each picture: pictures of one scene differ by their seed alone.
        better: Which direction is better.
    """
    floor, value, ceiling = (statistics.fmean(values[name]) for name in ("floor", "value", "ceiling"))
    return Span(floor, value, ceiling, seed_spread(values["floor"], scenes), better)


def seed_spread(values: Sequence[float], scenes: Sequence[str]) -> float:
    """Standard deviation between the seeds of one scene, pooled: sqrt(sum (x - mean of its scene)^2 / (n - scenes)).

    Returns:
        0 where every scene was drawn with one seed.
    """
    groups: dict[str, list[float]] = {}
    for scene, value in zip(scenes, values, strict=True):
        groups.setdefault(scene, []).append(value)
    freedom = len(values) - len(groups)
    if freedom <= 0:
        return 0.0
    squares = sum((value - statistics.fmean(group)) ** 2 for group in groups.values() for value in group)
    return float((squares / freedom) ** 0.5)
