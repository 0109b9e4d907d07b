"""The split of a set into training and validation examples.

A pure function of names and seed. Every photo (or example) has a rank drawn from the seed and its name alone, and the
lowest is held out. So an added photo changes the split only if it ranks lowest itself, a removed one only if it was
held out.
"""

from __future__ import annotations

from collections.abc import Sequence

from finetune.examples.composite import derive_seed

HELD_OUT_VARIANTS = 4
"""Examples held out if there are too few photos to hold out a whole one."""
MANY_PHOTOS = 4
"""Photos from which a whole one is held out."""


def held_out(stems: Sequence[str], variants: int, seed: int) -> set[tuple[str, int]]:
    """Choose the (photo, variant) pairs of one product that are held out for validation.

    With 4 or more photos all examples of one of them, but never of the first (most often the front view); otherwise 4
    examples, and never more than a third of all.

    Args:
        stems: of its photos, in their order.
        variants: examples per photo.
        seed: of the set.
    """
    if len(stems) >= MANY_PHOTOS:
        chosen = min(stems[1:], key=lambda stem: derive_seed(seed, "held out", stem))
        return {(chosen, variant) for variant in range(variants)}
    every = [(stem, variant) for stem in stems for variant in range(variants)]
    every.sort(key=lambda pair: derive_seed(seed, "held out", *pair))
    return set(every[: min(HELD_OUT_VARIANTS, len(every) // 3)])
