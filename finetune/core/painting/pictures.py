"""The ways a product gets into a scene, for placing, evaluation and previews alike.

*Preserve*: the scene is painted around the product, whose own pixels are composited over it. *Insert*: the base paints
an empty scene, and the adapter draws the product into a box of it. Nothing here reads or writes a file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

from finetune.core.compositing.finish import add_grain, clear_fringe
from finetune.core.compositing.frame import Size, cut_to_frame, painted_at
from finetune.core.compositing.glass import composite_glass
from finetune.core.compositing.grounding import Grounding, ground_product
from finetune.core.compositing.placement import (
    BOX_MARGIN,
    Placed,
    around_product,
    box_around,
    default_grow,
    whole_frame,
)
from finetune.core.compositing.relight import Relit, relight
from finetune.core.painting.inpainter import Inpainter, Sampling
from finetune.core.pictures.masks import Box


@dataclass(frozen=True)
class Finish:
    """What is done to a painted scene before the product is composited over it; by default nothing but resampling."""

    fringe: float = 0.0
    """Pixels of the base around the product in which its painted, softened edge is replaced by the ground beyond."""
    grain: float = 0.0
    """Standard deviation of the film grain, 8-bit steps."""
    grounding: Grounding | None = None
    """The product's shadow and mirror image on the ground; None for neither."""
    budget: float = 0.0
    """Largest colour change of the product by the scene's light (`relight`); 0 keeps the packshot's pixels."""


class InsertBox(NamedTuple):
    """Where the adapter draws the product."""

    box: Box
    """The product's box in the delivered picture."""
    size: int | Size
    """Width and height of the delivered picture in pixels, or the side of a square one."""
    margin: float = BOX_MARGIN
    """Share of the frame by which the painted box is larger on every side."""


@dataclass(frozen=True)
class Painted:
    """A finished picture, and how much of it was painted."""

    picture: Image.Image
    """RGB at the delivered size."""
    coverage: float
    """Share of the base's picture that was painted, 0..1; at 1 the base was shown nothing of the product."""
    grow: int
    """Latent cells that were painted into the product's edge."""
    relit: Relit | None = None
    """The product in the scene's light, where that was asked for."""


def preserve_picture(
    inpainter: Inpainter,
    placed: Placed,
    prompt: str,
    *,
    sampling: Sampling,
    seed: int,
    grow: int | None = None,
    finish: Finish | None = None,
) -> Painted:
    """The product's own pixels in a painted scene.

    Args:
        inpainter: The base with its adapter.
        placed: The product on the delivered picture's canvas.
        prompt: Resolved; describes the surroundings.
        sampling: How the base is sampled.
        seed: Of the noise the picture starts from, the pre-filled ground and the grain.
        grow: Latent cells painted into the product's edge; None for the base's default.
        finish: What is done to the scene; None for resampling alone.

    Raises:
        OutOfMemory: The device has too little memory.
        Stopped: The inpainter's `look` gave the picture up.
    """
    finish = finish or Finish()
    cells = default_grow(inpainter.size) if grow is None else grow
    job = around_product(placed, inpainter.size, grow=cells, rng=np.random.default_rng([seed, 0]))
    scene = inpainter.paint(job.picture, job.mask, prompt, sampling=sampling, seed=seed)
    ground = np.asarray(cut_to_frame(scene, placed.size))
    enlarged = painted_at(placed.size, inpainter.size).scale
    ground = clear_fringe(ground, placed.solid, finish.fringe * enlarged)
    relit = None
    if finish.grounding is not None:
        if finish.budget > 0:
            relit = relight(placed, ground, finish.grounding.light, budget=finish.budget)
        ground = ground_product(ground, placed, finish.grounding)
    ground = add_grain(ground, finish.grain, np.random.default_rng([seed, 1]))
    whole = composite_glass(relit.rgb if relit else placed.rgb, placed.matte, ground, placed.glass)
    return Painted(Image.fromarray(whole), job.coverage, job.grow, relit)


def whole_picture(
    inpainter: Inpainter, prompt: str, *, sampling: Sampling, seed: int, frame: Size = (1, 1)
) -> Image.Image:
    """A picture from its prompt alone, at the size at which the base paints a frame; square if left out.

    Raises:
        OutOfMemory: The device has too little memory.
    """
    job = whole_frame(painted_at(frame, inpainter.size).size, np.random.default_rng([seed, 0]))
    return inpainter.paint(job.picture, job.mask, prompt, sampling=sampling, seed=seed)


def empty_scene(
    inpainter: Inpainter, prompt: str, *, sampling: Sampling, seed: int, frame: Size = (1, 1)
) -> Image.Image:
    """The scene into which a product is inserted, painted by the base without the adapter.

    Arguments and size as for `whole_picture`.

    Raises:
        OutOfMemory: The device has too little memory.
    """
    with inpainter.without_adapter():
        return whole_picture(inpainter, prompt, sampling=sampling, seed=seed, frame=frame)


def insert_picture(
    inpainter: Inpainter, scene: Image.Image, where: InsertBox, prompt: str, *, sampling: Sampling, seed: int
) -> Painted:
    """The product drawn into a box of a scene; no pixel of the packshot is pasted.

    Args:
        inpainter: The base with its adapter, as strong as it is to draw.
        scene: RGB, from `empty_scene` for the same frame.
        where: Box and size of the delivered picture.
        prompt: Resolved; names the product.
        sampling: How the base is sampled.
        seed: Of the noise the picture starts from.

    Raises:
        OutOfMemory: The device has too little memory.
    """
    job = box_around(scene, where.box, where.size, margin=where.margin)
    drawn = inpainter.paint(job.picture, job.mask, prompt, sampling=sampling, seed=seed)
    return Painted(cut_to_frame(drawn, where.size), job.coverage, job.grow)
