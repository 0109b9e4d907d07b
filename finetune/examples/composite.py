"""Training examples: a cutout on a backdrop, or the photo on its own ground, with masks and caption.

Called by `finetune.prepare` (making) and by training (`inpainting_mask`). Everything is deterministic from
(seed, photo, variant); nothing is written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageOps

from finetune.core.compositing.contact_shadow import contact_shadow, darken
from finetune.core.compositing.glass import composite_glass
from finetune.core.pictures.images import Array, Floats, resize_rgba
from finetune.core.pictures.masks import Box, Mask, bounding_box, box_mask, dilate
from finetune.examples.backdrops import Backdrop, Photographs, framed, make_backdrop
from finetune.examples.buckets import Frame, for_product, nearest
from finetune.examples.captions import colour_name
from finetune.matting.matte import Cutout

SMALLEST, LARGEST = 0.35, 0.80
"""Height of the product as a share of the frame's."""
WIDEST = 0.88
"""Width of the product as a share of the frame's, at most."""
TILT_SHARE, TILT = 0.3, 1.5
"""Share of the examples that are rotated, and by how many degrees at most: what stands leans but little."""
FOOT = 0.1
"""How far below the horizon the foot stands at least, share of the frame's height."""
CLOSE = 0.72
"""Share of the frame's height or width from which on a product is seen close up."""
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
    """One training example; its frame is the picture's size."""

    image: Image.Image
    """RGB."""
    product: Mask
    """(H, W): the product, alpha >= 0.5."""
    matte: Floats
    """(H, W) in 0..1."""
    words: str
    """The ground, for the caption: `on white marble in front of a plain grey wall`; empty where unknown."""
    light: str
    """Words for the light; empty where unknown."""
    plan: Plan
    original_size: tuple[int, int]
    """(width, height) of the frame at the photo's own resolution: SDXL's size conditioning."""
    crop_top_left: tuple[int, int]
    """(top, left): the product is never cropped, so (0, 0)."""

    @property
    def close_up(self) -> bool:
        """Does the product fill so much of the frame that a caption may say so?"""
        box = bounding_box(self.product)
        return box is not None and max(box.width / self.image.width, box.height / self.image.height) >= CLOSE


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
    frames: Sequence[Frame],
    mirror: bool = False,
    photographs: Photographs | None = None,
) -> Example:
    """Make one example.

    Args:
        photo: the oriented sRGB photo the cutout came from.
        cutout: the product; shrink it first with `shrunk` where many variants are made.
        frames: sizes (width, height) to choose from, multiples of 32 px; the product decides.
        mirror: may the product be mirrored?
        photographs: pictures for blurred backdrops.
    """
    if plan.original:
        return _original(photo, cutout, plan, nearest(photo.width / photo.height, frames))
    rng = np.random.default_rng(plan.seed)
    width, height = for_product(cutout.rgba.width / cutout.rgba.height, frames, rng)
    backdrop = framed(make_backdrop(max(width, height), rng, photographs), width, height)
    layers, scale = _placed([cutout.rgba, cutout.glass], (width, height), rng, backdrop.horizon, mirror)
    pixels, glass = layers
    assert pixels is not None
    matte = (pixels[..., 3] / 255).astype(np.float32)
    under = _shaded(backdrop, matte, rng)
    image = composite_glass(np.ascontiguousarray(pixels[..., :3]), matte, under, glass)
    words, light = backdrop.words, backdrop.light
    whole = at_photo_scale((width, height), scale * cutout_scale(cutout))
    return Example(Image.fromarray(image), matte >= 0.5, matte, words, light, plan, whole, (0, 0))


def at_photo_scale(frame: Frame, scale: float) -> tuple[int, int]:
    """A frame's size in the photo's own pixels; `scale` is frame pixels per photo pixel."""
    return max(1, round(frame[0] / scale)), max(1, round(frame[1] / scale))


def shrunk(cutout: Cutout, side: int) -> Cutout:
    """The cutout at no more than twice the resolution that frames up to `side` need; sizes in the photo stay known."""
    limit = 2 * LARGEST * side
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
    layers: Sequence[Image.Image | None], frame: Frame, rng: np.random.Generator, horizon: float, mirror: bool
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
    width, height = frame
    scale = min(share * height / rgba.height, WIDEST * width / rgba.width)
    target = (max(1, round(rgba.width * scale)), max(1, round(rgba.height * scale)))
    margin = round(0.03 * min(frame))
    left = margin + round(across * (width - target[0] - 2 * margin))
    highest = max(margin, round((horizon + FOOT) * height) - target[1])  # on the surface, not on the wall or its edge
    top = highest + round(down * max(0, height - margin - target[1] - highest))
    placed = []
    for picture in pictures:
        layer = Image.new("RGBA", frame, (0, 0, 0, 0))
        layer.paste(resize_rgba(picture, target), (max(0, left), max(0, top)))
        placed.append(np.asarray(layer))
    following = iter(placed)
    return [None if layer is None else next(following) for layer in layers], scale


def _shaded(backdrop: Backdrop, matte: Floats, rng: np.random.Generator) -> Array:
    strength, softness = float(rng.uniform(*SHADOW_STRENGTH)), float(rng.uniform(*SHADOW_SOFTNESS))
    return darken(backdrop.picture, contact_shadow(matte, strength=strength, softness=softness))


def _original(photo: Image.Image, cutout: Cutout, plan: Plan, frame: Frame) -> Example:
    """The photo itself, letterboxed on the colour of its own border."""
    image, ground, box = letterboxed(photo, frame)
    whole = Image.fromarray((cutout.full_alpha() * 255 + 0.5).astype(np.uint8))
    layer = Image.new("L", frame, 0)
    layer.paste(whole.resize((box.width, box.height), Image.Resampling.LANCZOS), (box.left, box.top))
    matte = (np.asarray(layer) / 255).astype(np.float32)
    words = f"on a plain {colour_name(ground)} background" if _has_plain_border(image, ground) else ""
    size = at_photo_scale(frame, box.width / photo.width)
    light = "studio light" if words else ""
    return Example(image, matte >= 0.5, matte, words, light, plan, size, (0, 0))


def _has_plain_border(image: Image.Image, ground: tuple[int, int, int]) -> bool:
    """Is nearly the whole border of about one colour, so that a caption may call the ground plain?"""
    pixels = np.asarray(image).astype(np.int16)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return bool((np.abs(border - np.array(ground)).max(axis=1) < 24).mean() > 0.85)


def letterboxed(photo: Image.Image, frame: Frame) -> tuple[Image.Image, tuple[int, int, int], Box]:
    """A photo fitted whole into a frame, the rest in the median colour of its border.

    Returns:
        The picture, that colour, and where the photo stands in it.
    """
    if photo.mode == "RGBA":
        photo = Image.alpha_composite(Image.new("RGBA", photo.size, (255, 255, 255, 255)), photo)
    pixels = np.asarray(photo.convert("RGB"))
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    red, green, blue = (int(v) for v in np.median(border, axis=0))
    scale = min(frame[0] / photo.width, frame[1] / photo.height)
    width, height = max(1, round(photo.width * scale)), max(1, round(photo.height * scale))
    left, top = (frame[0] - width) // 2, (frame[1] - height) // 2
    picture = Image.new("RGB", frame, (red, green, blue))
    picture.paste(photo.convert("RGB").resize((width, height), Image.Resampling.LANCZOS), (left, top))
    return picture, (red, green, blue), Box(left, top, left + width, top + height)


def inpainting_mask(product: Mask, kind: str, rng: np.random.Generator) -> Mask:
    """The mask an example is trained with; True is what the model paints.

    `background`: everything but the product, its edge moved a little in or out; `product`: the silhouette, grown;
    `box`: a box around it, grown unevenly; `full`: everything. Where there is no product, or nothing but product and so
    nothing left to paint around it, everything is painted.

    Args:
        product: (H, W) product mask. kind: one of the four. rng: seeded by the row's `seed` column.
    """
    height, width = product.shape
    box = bounding_box(product)
    unit = min(height, width) / 256
    if kind == "full" or box is None:
        return np.ones_like(product)
    if kind == "background":
        around = ~dilate(product, rng.uniform(-3, 2) * unit)
        return around if around.any() and not product.all() else np.ones_like(product)
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
