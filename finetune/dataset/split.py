"""Which examples are kept for validation. A pure function of names and seed, so that it hardly moves when a set grows.

Every photo (or example) has a rank of its own, drawn from the seed and its name alone; the lowest is kept. An added
photo changes the choice only where it ranks lower itself, a removed one only where it was the choice. Called by the
recipe `prepare`.
"""

from __future__ import annotations

from collections.abc import Sequence

from finetune.examples.composite import derive_seed

HELD_OUT_VARIANTS = 4
"""Examples kept for validation where there are too few photos to keep a whole one."""
MANY_PHOTOS = 4
"""Photos from which on a whole one is kept for validation."""


def held_out(stems: Sequence[str], variants: int, seed: int) -> set[tuple[str, int]]:
    """(photo, variant) pairs of one product that are kept for validation.

    With 4 or more photos one of them whole, but never the first (most often the front view); otherwise 4 examples, and
    never more than a third of all.

    Args:
        stems: of its photos, in their order.
    """
    if len(stems) >= MANY_PHOTOS:
        chosen = min(stems[1:], key=lambda stem: derive_seed(seed, "held out", stem))
        return {(chosen, variant) for variant in range(variants)}
    every = [(stem, variant) for stem in stems for variant in range(variants)]
    every.sort(key=lambda pair: derive_seed(seed, "held out", *pair))
    return set(every[: min(HELD_OUT_VARIANTS, len(every) // 3)])
