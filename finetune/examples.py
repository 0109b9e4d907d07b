"""Training examples: a cutout on a backdrop, or the photo on its own ground, with masks and caption.

Called by `finetune.prepare` (making) and by training (`inpainting_mask`). Everything is deterministic from
(seed, photo, variant); nothing is written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from finetune.backdrops import Backdrop, make_backdrop
from finetune.captions import caption, colour_name, described
from finetune.core.glass import composite_glass
from finetune.core.images import Array, Floats, resize_rgba
from finetune.core.masks import Box, Mask, bounding_box, box_mask, dilate
from finetune.core.shadow import contact_shadow, darken, shadow_behind
from finetune.matte import Cutout

SMALLEST, LARGEST = 0.35, 0.80
"""Height of the product as a share of the frame's."""
WIDEST = 0.88
"""Width of the product as a share of the frame's, at most."""
TILT_SHARE, TILT = 0.3, 5.0
"""Share of the examples that are rotated, and by how many degrees at most."""
SHADOW_STRENGTH, SHADOW_SOFTNESS = (0.3, 0.9), (0.2, 0.9)
"""Ranges of the contact shadow: a scene is placed with its defaults somewhere inside."""


@dataclass(frozen=True)
class Plan:
    """What one variant of a photo will be, fixed before any picture is made."""

    variant: int
    original: bool
    mask_kind: str
    seed: int


@dataclass(frozen=True)
class Example:
    """One training example of size x size pixels."""

    image: Image.Image
    """RGB."""
    product: Mask
    """(size, size): the product, alpha >= 0.5."""
    matte: Floats
    """(size, size) in 0..1."""
    caption: str
    plan: Plan
    original_size: tuple[int, int]
    """(width, height) of the frame at the photo's own resolution: SDXL's size conditioning."""
    crop_top_left: tuple[int, int]
    """(top, left): the product is never cropped, so (0, 0)."""


def derive_seed(*parts: object) -> int:
    """A number under 2**31 from anything printable, the same on every machine."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def plan_variants(
    stem: str, *, seed: int, variants: int, keep_original: float, mask_shares: Mapping[str, float]
) -> tuple[Plan, ...]:
    """Decide for every variant of a photo whether it is the original and which inpainting mask it trains with.

    Both are drawn by systematic sampling: of n variants a share s gets floor(n s) or ceil(n s), the rounding differs
    from photo to photo, so that shares hold over a set however small.
    """
    rng = np.random.default_rng(derive_seed(seed, stem, "plan"))
    kinds = list(mask_shares)
    edges = np.cumsum([mask_shares[kind] for kind in kinds])
    steps = (np.arange(variants) + rng.random()) / variants
    chosen = [kinds[min(int(np.searchsorted(edges, step, side="right")), len(kinds) - 1)] for step in steps]
    rng.shuffle(chosen)
    count = int(np.floor(variants * keep_original + rng.random()))
    originals = set(rng.permutation(variants)[:count].tolist())
    return tuple(
        Plan(number, number in originals, kind, derive_seed(seed, stem, number)) for number, kind in enumerate(chosen)
    )


def make_example(
    photo: Image.Image,
    cutout: Cutout,
    plan: Plan,
    *,
    size: int,
    token: str,
    class_noun: str,
    description: str = "",
    mirror: bool = False,
    photographs: Sequence[Path] = (),
) -> Example:
    """Make one example.

    Args:
        photo: the oriented sRGB photo the cutout came from.
        cutout: the product; shrink it first with `shrunk` where many variants are made.
        size: side of the square example in pixels.
        description: the user's own words for the photo; used for originals.
        mirror: may the product be mirrored?
        photographs: pictures for blurred backdrops.
    """
    rng = np.random.default_rng(plan.seed)
    if plan.original:
        return _original(photo, cutout, plan, size, token, class_noun, description, rng)
    backdrop = make_backdrop(size, rng, photographs)
    layers, scale = _placed([cutout.rgba, cutout.glass], size, rng, backdrop.horizon, mirror)
    pixels, glass = layers
    assert pixels is not None
    matte = (pixels[..., 3] / 255).astype(np.float32)
    under = _shaded(backdrop, matte, rng)
    image = composite_glass(np.ascontiguousarray(pixels[..., :3]), matte, under, glass)
    text = caption(token, class_noun, backdrop.words, backdrop.light, rng)
    frame = max(1, round(size / (scale * cutout_scale(cutout))))
    return Example(Image.fromarray(image), matte >= 0.5, matte, text, plan, (frame, frame), (0, 0))


def shrunk(cutout: Cutout, size: int) -> Cutout:
    """The cutout at no more than twice the resolution examples of `size` need; sizes in the photo stay known."""
    limit = 2 * LARGEST * size
    scale = limit / max(cutout.rgba.size)
    if scale >= 1:
        return cutout
    small = (max(1, round(cutout.rgba.width * scale)), max(1, round(cutout.rgba.height * scale)))
    glass = resize_rgba(cutout.glass, small) if cutout.glass else None
    return replace(cutout, rgba=resize_rgba(cutout.rgba, small), glass=glass)


def cutout_scale(cutout: Cutout) -> float:
    """Pixels of the cutout's picture per pixel of the photo: 1 unless it was shrunk."""
    return cutout.rgba.height / cutout.box.height


def _placed(
    layers: Sequence[Image.Image | None], size: int, rng: np.random.Generator, horizon: float | None, mirror: bool
) -> tuple[list[Array | None], float]:
    """The product in a transparent frame, whole, and its scale in frame pixels per cutout pixel.

    Args:
        layers: the cutout and what goes with it, RGBA of one size; each gets the same place, or stays None.
    """
    tilt = float(rng.uniform(-TILT, TILT)) if rng.random() < TILT_SHARE else 0.0
    share, across, down, flip = rng.uniform(SMALLEST, LARGEST), rng.random(), rng.random(), rng.random() < 0.5
    pictures = [layer for layer in layers if layer is not None]
    if mirror and flip:
        pictures = [ImageOps.mirror(picture) for picture in pictures]
    if tilt:
        pictures = [picture.rotate(tilt, Image.Resampling.BICUBIC, expand=True) for picture in pictures]
        held = pictures[0].getchannel("A").getbbox()
        pictures = [picture.crop(held) for picture in pictures]
    rgba = pictures[0]
    scale = min(share * size / rgba.height, WIDEST * size / rgba.width)
    target = (max(1, round(rgba.width * scale)), max(1, round(rgba.height * scale)))
    margin = round(0.03 * size)
    left = margin + round(across * (size - target[0] - 2 * margin))
    highest = margin
    if horizon is not None:  # the foot stands on the surface, not on the wall
        highest = max(margin, round((horizon + 0.06) * size) - target[1])
    top = highest + round(down * max(0, size - margin - target[1] - highest))
    placed = []
    for picture in pictures:
        frame = Image.new("RGBA", (size, size), (0, 0, 0, 0))
        frame.paste(resize_rgba(picture, target), (max(0, left), max(0, top)))
        placed.append(np.asarray(frame))
    following = iter(placed)
    return [None if layer is None else next(following) for layer in layers], scale


def _shaded(backdrop: Backdrop, matte: Floats, rng: np.random.Generator) -> Array:
    falling = shadow_behind if backdrop.horizon is None else contact_shadow
    light = falling(matte, strength=float(rng.uniform(*SHADOW_STRENGTH)), softness=float(rng.uniform(*SHADOW_SOFTNESS)))
    return darken(backdrop.picture, light)


def _original(
    photo: Image.Image,
    cutout: Cutout,
    plan: Plan,
    size: int,
    token: str,
    class_noun: str,
    description: str,
    rng: np.random.Generator,
) -> Example:
    """The photo itself, letterboxed on the colour of its own border."""
    image, ground = letterboxed(photo, size)
    scale = size / max(photo.size)
    whole = Image.fromarray((cutout.full_alpha() * 255 + 0.5).astype(np.uint8))
    small = whole.resize(
        (max(1, round(photo.width * scale)), max(1, round(photo.height * scale))), Image.Resampling.LANCZOS
    )
    frame = Image.new("L", (size, size), 0)
    frame.paste(small, ((size - small.width) // 2, (size - small.height) // 2))
    matte = (np.asarray(frame) / 255).astype(np.float32)
    words = f"on a plain {colour_name(ground)} background" if _has_plain_border(image, ground) else ""
    text = (
        described(token, class_noun, description)
        if description
        else caption(token, class_noun, words, "studio light", rng)
    )
    return Example(image, matte >= 0.5, matte, " ".join(text.replace(" ,", ",").split()), plan, photo.size, (0, 0))


def _has_plain_border(image: Image.Image, ground: tuple[int, int, int]) -> bool:
    """Is nearly the whole border of about one colour, so that a caption may call the ground plain?"""
    pixels = np.asarray(image).astype(np.int16)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return bool((np.abs(border - np.array(ground)).max(axis=1) < 24).mean() > 0.85)


def letterboxed(photo: Image.Image, size: int) -> tuple[Image.Image, tuple[int, int, int]]:
    """A photo fitted whole into a square, the rest in the median colour of its border; that colour too."""
    if photo.mode == "RGBA":
        photo = Image.alpha_composite(Image.new("RGBA", photo.size, (255, 255, 255, 255)), photo)
    pixels = np.asarray(photo.convert("RGB"))
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    red, green, blue = (int(v) for v in np.median(border, axis=0))
    scale = size / max(photo.size)
    fitted = photo.convert("RGB").resize(
        (max(1, round(photo.width * scale)), max(1, round(photo.height * scale))), Image.Resampling.LANCZOS
    )
    frame = Image.new("RGB", (size, size), (red, green, blue))
    frame.paste(fitted, ((size - fitted.width) // 2, (size - fitted.height) // 2))
    return frame, (red, green, blue)


def inpainting_mask(product: Mask, kind: str, rng: np.random.Generator) -> Mask:
    """The mask an example is trained with; True is what the model paints.

    `background`: everything but the product, its edge moved a little in or out; `product`: the silhouette, grown;
    `box`: a box around it, grown unevenly; `full`: everything. Where there is no product everything is painted.

    Args:
        product: (H, W) product mask. kind: one of the four. rng: seeded by the row's `seed` column.
    """
    height, width = product.shape
    box = bounding_box(product)
    unit = min(height, width) / 256
    if kind == "full" or box is None:
        return np.ones_like(product)
    if kind == "background":
        return ~dilate(product, rng.uniform(-3, 2) * unit)
    if kind == "product":
        return dilate(product, rng.uniform(2, 12) * unit)
    if kind == "box":
        left, top, right, bottom = (round(g * unit) for g in rng.uniform(3, 20, 4))
        grown = Box(
            max(0, box.left - left),
            max(0, box.top - top),
            min(width, box.right + right),
            min(height, box.bottom + bottom),
        )
        return box_mask(grown, (width, height))
    raise ValueError(f"unknown mask kind {kind!r}")
