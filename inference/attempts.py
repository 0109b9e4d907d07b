"""Scenes with a second product in them are rejected while they are painted, and painted with another seed.

Bases were taught by pictures with a product in the middle, and now and then they paint one where only the surroundings
were asked for: a bottle beside the bottle, a second cap above the first. A segmenter looks at two thirds of the steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from finetune.core.console import say, warn
from finetune.core.painting.early_look import EarlyLook, Stopped
from finetune.core.painting.inpainter import Inpainter
from finetune.core.painting.pictures import Painted
from finetune.core.pictures.images import Floats, write_png
from finetune.core.segmentation.products import find_products
from finetune.core.segmentation.second_objects import SecondObject, second_objects
from inference.manifest import rejected_name

SEED_STRIDE = 100_003
"""What another attempt's seed is further on: seeds of neighbouring candidates are not used twice."""
SEEDS = 2**31
"""Seeds are below this."""


@dataclass(frozen=True)
class Rejected:
    """A picture that was not painted to its end."""

    seed: int
    share: float
    """Area of what looked like a second product, over the product's."""
    preview: Image.Image
    """RGB, up to 256 px: what was seen of it."""


@dataclass(frozen=True)
class Attempted:
    """A painted scene, and what was rejected before it."""

    painted: Painted
    seed: int
    """The seed that painted it."""
    rejected: tuple[Rejected, ...] = ()
    second: tuple[SecondObject, ...] = ()
    """What in the finished picture still looks like a second product."""

    @property
    def facts(self) -> dict[str, Any]:
        """The manifest's section."""
        return {
            "rejected": [{"seed": each.seed, "share": round(each.share, 4)} for each in self.rejected],
            "left": [
                {"share": round(each.share, 4), "box": [round(side, 3) for side in each.box]} for each in self.second
            ],
        }


def paint_alone(
    inpainter: Inpainter,
    matte: Floats,
    paint: Callable[[int], Painted],
    *,
    seed: int,
    retries: int,
    more: Callable[[int], object],
) -> Attempted:
    """Paint a scene in which the product stands alone.

    Args:
        inpainter: The base that `paint` uses.
        matte: (H, W) coverage of the product in the delivered picture.
        paint: Makes the picture of a seed.
        seed: Of the first attempt.
        retries: Further seeds that are tried; 0 takes the first picture whatever it shows.
        more: Told of the sampler steps that led to no picture.

    Returns:
        The first picture without a second product; if all had one, the picture of the seed with the smallest.

    Raises:
        OutOfMemory: The device has too little memory.
    """
    rejected: list[Rejected] = []
    for attempt in range(retries + 1 if retries else 0):
        tried = (seed + attempt * SEED_STRIDE) % SEEDS
        try:
            painted = _watched(inpainter, matte, paint, tried)
        except Stopped as stop:
            share = largest(second_objects(find_products(stop.preview), matte))
            more(stop.steps)
            rejected.append(Rejected(tried, share, stop.preview))
            say(f"  seed {tried} is rejected: it paints a second product ({share:.0%} of the product's area)")
            continue
        return Attempted(painted, tried, tuple(rejected), _left(painted, matte))
    best = min(rejected, key=lambda each: each.share, default=None)
    chosen = best.seed if best else seed
    painted = paint(chosen)
    left = _left(painted, matte)
    if best is not None and left:
        warn(
            f"each of {len(rejected)} seeds paints something like a second product; seed {chosen} has the smallest one "
            "(try another --seed or --prompt, --set retries=8, or a --plate)"
        )
    return Attempted(painted, chosen, tuple(each for each in rejected if each is not best), left)


def write_rejected(rejected: Sequence[Rejected], folder: Path, name: str) -> None:
    """Write what was seen of the rejected pictures, beside picture `name`."""
    for each in rejected:
        write_png(each.preview, folder / rejected_name(name, each.seed))


def largest(pieces: list[SecondObject]) -> float:
    """Area of the largest piece over the product's; 0 if there is none."""
    return pieces[0].share if pieces else 0.0


def _watched(inpainter: Inpainter, matte: Floats, paint: Callable[[int], Painted], seed: int) -> Painted:
    inpainter.look = EarlyLook(lambda preview: not second_objects(find_products(preview), matte))
    try:
        return paint(seed)
    finally:
        inpainter.look = None


def _left(painted: Painted, matte: Floats) -> tuple[SecondObject, ...]:
    return tuple(second_objects(find_products(painted.picture), matte))
