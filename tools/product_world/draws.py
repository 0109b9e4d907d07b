"""Random numbers that depend on a seed and on their own name only.

Used wherever a frame is decided. A draw added later does not change the others, and the same
seed gives the same world on every machine.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Draws:
    """Named draws under one seed."""

    seed: str

    def source(self, name: str) -> random.Random:
        """The generator behind one name."""
        return random.Random(f"{self.seed}:{name}")

    def number(self, name: str, low: float, high: float) -> float:
        """Even between `low` and `high`, to four places."""
        return round(self.source(name).uniform(low, high), 4)

    def near(self, name: str, centre: float, spread: float, limit: float) -> float:
        """Normal around `centre`, kept within `limit` of it."""
        off = self.source(name).gauss(0.0, spread)
        return round(centre + max(-limit, min(limit, off)), 4)

    def one_of(self, name: str, options: Sequence[T]) -> T:
        """One of the options, all alike."""
        return self.source(name).choice(options)

    def weighted(self, name: str, weights: Mapping[T, float]) -> T:
        """One of the keys, as often as its weight says."""
        return self.source(name).choices(list(weights), weights=list(weights.values()))[0]

    def chance(self, name: str, share: float) -> bool:
        """True in `share` of the cases."""
        return self.source(name).random() < share

    def part(self, name: str) -> Draws:
        """Draws of a part, independent of these."""
        return Draws(f"{self.seed}:{name}")
