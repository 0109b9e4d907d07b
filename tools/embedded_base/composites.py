"""Products of some frames on the grounds of others: combinations the renderer never drew, made before training.

A product and a ground are joined only if both are lit by the same light; the ground is an empty frame, or one whose own
product the new one covers. The product is cut out by its true mask, with its edge colours unmixed, gets the contact
shadow that Packshot draws, and is laid over in linear light. Mirrors are left out as grounds, since the reflection
would be missing, and hard sun, since its shadow would. Composites join the denoiser's frames; the held-out part of a
world has none.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from finetune.core.compositing.cast_shadow import darken
from finetune.core.errors import PackshotError
from finetune.core.pictures.images import Array, composite, resize_rgba
from finetune.core.pictures.masks import bounding_box
from finetune.examples.contact_shadow import contact_shadow
from finetune.matting.matte import Cutout, cut_out

from .world import World, may_mirror

HARD = "hard midday sun"
"""A light whose sharp shadow a contact shadow does not stand for."""
MIRRORS = ("glossy black acrylic", "black marble", "wet stone")
LARGEST, SMALLEST = 1.5, 0.6
"""How much a product may be scaled."""
MARGIN = 3
"""Pixels of a frame's border a product keeps clear of."""
TRIES = 12
GROUND_KEYS = ("surface", "backdrop", "backdrop_type", "backdrop_colour", "lighting")


def with_composites(world: World, share: float, seed: int) -> World:
    """A world with up to `share` times as many composites as it has frames, behind its own.

    Args:
        share: 0 leaves the world as it is; 0.5 adds half as many pictures again, fewer where no partners are found.
        seed: fixes which products meet which grounds.
    """
    rng = np.random.default_rng((seed, 71))
    products = [i for i, record in enumerate(world.records) if _is_product(record)]
    grounds = _grounds_by_light(world)
    made: list[tuple[Array, Array, dict[str, Any]]] = []
    cutouts: dict[int, Cutout | None] = {}
    for _ in range(round(share * len(world)) if products else 0):
        index = products[int(rng.integers(len(products)))]
        if index not in cutouts:
            cutouts[index] = _cut(world, index)
        cutout = cutouts[index]
        if cutout is not None and (joined := _join(world, index, cutout, grounds, rng)):
            made.append(joined)
    if not made:
        return world
    frames, masks, records = zip(*made, strict=True)
    return World(
        [*world.records, *records],
        np.concatenate([world.frames, np.stack(frames)]),
        np.concatenate([world.masks, np.stack(masks)]),
    )


def _is_product(record: dict[str, Any]) -> bool:
    """Opaque products of some size in soft light: glass would carry its old ground along."""
    if record["empty"] or record["product"]["material"] == "glass" or record["lighting"] == HARD:
        return False
    return bool(0.03 < record["mask_area"] < 0.4)


def _grounds_by_light(world: World) -> dict[str, list[int]]:
    lights: dict[str, list[int]] = {}
    for index, record in enumerate(world.records):
        if record["surface"] not in MIRRORS:
            lights.setdefault(record["lighting"], []).append(index)
    return lights


def _cut(world: World, index: int) -> Cutout | None:
    """The product of a frame; None when the picture's border cuts it off."""
    mask = np.where(world.masks[index] < 24, 0, world.masks[index]).astype(np.uint8)
    try:
        cutout = cut_out(Image.fromarray(world.frames[index]), Image.fromarray(mask))
    except PackshotError:
        return None
    return None if cutout.touches_border else cutout


def _join(
    world: World, index: int, cutout: Cutout, grounds: dict[str, list[int]], rng: np.random.Generator
) -> tuple[Array, Array, dict[str, Any]] | None:
    """Frame, mask and record of one composite; None when no ground of a few tries fits."""
    record = world.records[index]
    partners = grounds.get(record["lighting"], [])
    for _ in range(TRIES if partners else 0):
        other = partners[int(rng.integers(len(partners)))]
        if other == index:
            continue
        layer = _placed(cutout, world.masks[other], may_mirror(record), rng)
        if layer is None:
            continue
        pixels = np.asarray(layer)
        matte = (pixels[..., 3] / 255).astype(np.float32)
        if (world.masks[other] > 24)[matte < 0.95].any():
            continue
        strength, softness = float(rng.uniform(0.45, 0.85)), float(rng.uniform(0.3, 0.8))
        under = darken(world.frames[other], contact_shadow(matte, strength=strength, softness=softness))
        frame = composite(np.ascontiguousarray(pixels[..., :3]), matte, under)
        return frame, np.ascontiguousarray(pixels[..., 3]), _joint_record(record, world.records[other], matte)
    return None


def _placed(cutout: Cutout, theirs: NDArray[np.uint8], mirror: bool, rng: np.random.Generator) -> Image.Image | None:
    """The product where it stood in its own frame, or over the product of the other frame; None when it can't."""
    height, width = theirs.shape
    rgba = cutout.rgba
    if mirror and rng.random() < 0.5:
        rgba = rgba.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    box = bounding_box(theirs > 24)
    if box is None:
        scale = float(rng.uniform(0.85, 1.1))
        centre, foot = (cutout.box.left + cutout.box.right) / 2 + rng.uniform(-20, 20), cutout.box.bottom
    else:
        scale = 1.06 * max(box.width / rgba.width, box.height / rgba.height)
        centre, foot = (box.left + box.right) / 2, box.bottom + 2
    if not SMALLEST <= scale <= LARGEST:
        return None
    size = (max(1, round(rgba.width * scale)), max(1, round(rgba.height * scale)))
    left, top = round(centre - size[0] / 2), round(foot - size[1])
    if min(left, top) < MARGIN or left + size[0] > width - MARGIN or foot > height - MARGIN:
        return None
    frame = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    frame.paste(resize_rgba(rgba, size), (left, top))
    return frame


def _joint_record(product: dict[str, Any], ground: dict[str, Any], matte: NDArray[np.float32]) -> dict[str, Any]:
    """The product's words with the ground's."""
    joint = product | {key: ground[key] for key in GROUND_KEYS}
    words = " ".join(w for w in (joint["product"]["colour"], joint["class_noun"]) if w)
    article = "an" if words[0] in "aeiou" else "a"
    paper = str(joint["surface"]).endswith("studio surface")  # the backdrop's own, bent
    place = f"on a {joint['backdrop']}" if paper else f"on {joint['surface']}, {joint['backdrop']}"
    joint["caption"] = f"a photo of {article} {words} {place}, {joint['lighting']}"
    return joint | {"mask_area": float(matte.mean()), "composite": True}
