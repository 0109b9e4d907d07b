"""Making training examples: a cutout on a backdrop, or the photo on its own ground, and their inpainting masks.

Everything is deterministic from (seed, photo, variant).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageOps

from finetune.core.compositing.cast_shadow import darken
from finetune.core.compositing.glass import composite_glass
from finetune.core.pictures.buckets import Bucket, nearest
from finetune.core.pictures.images import Array, Floats, over, resize_rgba
from finetune.core.pictures.masks import Box, Mask, bounding_box, box_mask, dilate
from finetune.examples.backdrops import Backdrop, Photographs, framed, make_backdrop
from finetune.examples.buckets import for_product
from finetune.examples.captions import colour_name
from finetune.examples.contact_shadow import contact_shadow
from finetune.examples.facts import ExampleFacts
from finetune.matting.matte import Cutout

SMALLEST, LARGEST = 0.35, 0.80
"""Range of the product's height as a share of the picture's."""
WIDEST = 0.88
"""Greatest width of the product as a share of the picture's."""
TILT_SHARE, TILT = 0.3, 1.5
"""Share of the examples that are rotated, and the greatest angle in degrees: a standing product hardly leans."""
FOOT = 0.1
"""Least distance of the foot below the horizon, as a share of the picture's height."""
CLOSE = 0.72
"""Share of the picture's height or width from which a product is seen close up."""
SHADOW_STRENGTH, SHADOW_SOFTNESS = (0.3, 0.9), (0.2, 0.9)
"""Ranges of the contact shadow; the defaults of placing lie inside them."""


@dataclass(frozen=True)
class Variant:
    """What one example of a photo will be, decided before any picture is made. Fields as in `ExampleFacts`."""

    variant: int
    original: bool
    mask_kind: str
    seed: int


@dataclass(frozen=True)
class Example:
    """One training example."""

    image: Image.Image
    """RGB."""
    product: Mask
    """(H, W): the product, alpha >= 0.5."""
    matte: Floats
    """(H, W) in 0..1."""
    facts: ExampleFacts


def example_of(
    variant: Variant, image: Image.Image, matte: Floats, photo_scale: float, words: str = "", light: str = ""
) -> Example:
    """An example with its facts.

    Args:
        variant: what was to be made.
        image: RGB.
        matte: (H, W) in 0..1.
        photo_scale: pixels of the image per pixel of the photo.
        words: for the ground; empty if unknown.
        light: for the light; empty if unknown.
    """
    product = matte >= 0.5
    box = bounding_box(product)
    facts = ExampleFacts(
        variant=variant.variant,
        original=variant.original,
        mask_kind=variant.mask_kind,
        seed=variant.seed,
        words=words,
        light=light,
        close_up=box is not None and max(box.width / image.width, box.height / image.height) >= CLOSE,
        original_width=max(1, round(image.width / photo_scale)),
        original_height=max(1, round(image.height / photo_scale)),
        target_width=image.width,
        target_height=image.height,
    )
    return Example(image, product, matte, facts)


def derive_seed(*parts: object) -> int:
    """A number under 2**31 from anything printable, the same on every machine."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def plan_variants(
    stem: str, *, seed: int, variants: int, keep_original: float, mask_shares: Mapping[str, float]
) -> tuple[Variant, ...]:
    """Decide for every example of a photo whether it shows the original, and which inpainting mask it trains with.

    Both are drawn by systematic sampling: of n variants a share s gets floor(n s) or ceil(n s). The rounding differs
    from photo to photo, so that shares hold over a set however small.

    Args:
        stem: the photo, as `<sku>/<stem>`.
        seed: of the set.
        variants: examples per photo.
        keep_original: share of the examples that show the photo itself.
        mask_shares: share of each kind of mask.
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
        Variant(number, number in originals, kind, derive_seed(seed, stem, number))
        for number, kind in enumerate(chosen)
    )


def make_example(
    photo: Image.Image,
    cutout: Cutout,
    variant: Variant,
    *,
    buckets: Sequence[Bucket],
    mirror: bool = False,
    photographs: Photographs | None = None,
) -> Example:
    """Make one example.

    Args:
        photo: the oriented sRGB photo the cutout came from.
        cutout: the product; shrink it first with `shrunk` if many variants are made.
        variant: what to make.
        buckets: sizes (width, height) to choose from, multiples of 32 px; the product decides.
        mirror: whether the product may be mirrored.
        photographs: pictures for blurred backdrops.
    """
    if variant.original:
        return _original(photo, cutout, variant, nearest(photo.width / photo.height, buckets))
    rng = np.random.default_rng(variant.seed)
    width, height = for_product(cutout.rgba.width / cutout.rgba.height, buckets, rng)
    backdrop = framed(make_backdrop(max(width, height), rng, photographs), width, height)
    layers, scale = _placed([cutout.rgba, cutout.glass], (width, height), rng, backdrop.horizon, mirror)
    pixels, glass = layers
    assert pixels is not None
    matte = (pixels[..., 3] / 255).astype(np.float32)
    under = _shaded(backdrop, matte, rng)
    image = Image.fromarray(composite_glass(np.ascontiguousarray(pixels[..., :3]), matte, under, glass))
    return example_of(variant, image, matte, scale * cutout_scale(cutout), backdrop.words, backdrop.light)


def shrunk(cutout: Cutout, side: int) -> Cutout:
    """The cutout at no more than twice the resolution needed for pictures of up to `side` pixels."""
    limit = 2 * LARGEST * side
    scale = limit / max(cutout.rgba.size)
    if scale >= 1:
        return cutout
    small = (max(1, round(cutout.rgba.width * scale)), max(1, round(cutout.rgba.height * scale)))
    glass = resize_rgba(cutout.glass, small) if cutout.glass else None
    return replace(cutout, rgba=resize_rgba(cutout.rgba, small), glass=glass)


def cutout_scale(cutout: Cutout) -> float:
    """Pixels of the cutout per pixel of the photo: 1 unless it was shrunk."""
    return cutout.rgba.height / cutout.box.height


def _placed(
    layers: Sequence[Image.Image | None], bucket: Bucket, rng: np.random.Generator, horizon: float, mirror: bool
) -> tuple[list[Array | None], float]:
    """Place the whole product in a transparent picture.

    Args:
        layers: the cutout and its glass layer, RGBA of one size; each gets the same place, None stays None.
        bucket: (width, height) of the picture.
        rng: the only source of randomness.
        horizon: where the surface to stand on begins, as a share of the height from the top.
        mirror: whether the product may be mirrored.

    Returns:
        The layers, (H, W, 4), and the scale in pixels of the picture per pixel of the cutout.
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
    width, height = bucket
    scale = min(share * height / rgba.height, WIDEST * width / rgba.width)
    target = (max(1, round(rgba.width * scale)), max(1, round(rgba.height * scale)))
    margin = round(0.03 * min(bucket))
    left = margin + round(across * (width - target[0] - 2 * margin))
    highest = max(margin, round((horizon + FOOT) * height) - target[1])  # on the surface, not on the wall or its edge
    top = highest + round(down * max(0, height - margin - target[1] - highest))
    placed = []
    for picture in pictures:
        layer = Image.new("RGBA", bucket, (0, 0, 0, 0))
        layer.paste(resize_rgba(picture, target), (max(0, left), max(0, top)))
        placed.append(np.asarray(layer))
    following = iter(placed)
    return [None if layer is None else next(following) for layer in layers], scale


def _shaded(backdrop: Backdrop, matte: Floats, rng: np.random.Generator) -> Array:
    strength, softness = float(rng.uniform(*SHADOW_STRENGTH)), float(rng.uniform(*SHADOW_SOFTNESS))
    return darken(backdrop.picture, contact_shadow(matte, strength=strength, softness=softness))


def _original(photo: Image.Image, cutout: Cutout, variant: Variant, bucket: Bucket) -> Example:
    """The photo itself, letterboxed on the colour of its own border."""
    image, ground, box = letterboxed(photo, bucket)
    whole = Image.fromarray((cutout.full_alpha() * 255 + 0.5).astype(np.uint8))
    layer = Image.new("L", bucket, 0)
    layer.paste(whole.resize((box.width, box.height), Image.Resampling.LANCZOS), (box.left, box.top))
    matte = (np.asarray(layer) / 255).astype(np.float32)
    words = f"on a plain {colour_name(ground)} background" if _has_plain_border(image, ground) else ""
    light = "studio light" if words else ""
    return example_of(variant, image, matte, box.width / photo.width, words, light)


def _has_plain_border(image: Image.Image, ground: tuple[int, int, int]) -> bool:
    """Whether nearly the whole border has about one colour, so that a caption may call the ground plain."""
    pixels = np.asarray(image).astype(np.int16)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return bool((np.abs(border - np.array(ground)).max(axis=1) < 24).mean() > 0.85)


def letterboxed(photo: Image.Image, bucket: Bucket) -> tuple[Image.Image, tuple[int, int, int], Box]:
    """Fit a whole photo into a bucket and fill the rest with the median colour of its border.

    Args:
        photo: of any mode; transparency is shown on white.
        bucket: (width, height) of the picture.

    Returns:
        The picture, RGB; that colour, sRGB; and the photo's box in the picture.
    """
    photo = over(photo, "white")
    pixels = np.asarray(photo)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    red, green, blue = (int(v) for v in np.median(border, axis=0))
    scale = min(bucket[0] / photo.width, bucket[1] / photo.height)
    width, height = max(1, round(photo.width * scale)), max(1, round(photo.height * scale))
    left, top = (bucket[0] - width) // 2, (bucket[1] - height) // 2
    picture = Image.new("RGB", bucket, (red, green, blue))
    picture.paste(photo.resize((width, height), Image.Resampling.LANCZOS), (left, top))
    return picture, (red, green, blue), Box(left, top, left + width, top + height)


def inpainting_mask(product: Mask, kind: str, rng: np.random.Generator) -> Mask:
    """The mask an example is trained with; True is what the model paints.

    `background`: everything but the product, its edge moved a little in or out; `product`: the silhouette, grown;
    `box`: a box around it, grown unevenly; `full`: everything. Everything is painted, too, if there is no product, or
    nothing around it.

    Args:
        product: (H, W) product mask.
        kind: one of the four.
        rng: seeded by the row's `seed` column.

    Returns:
        (H, W).
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
