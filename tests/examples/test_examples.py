"""Training examples: plans whose shares hold, products never cropped, masks of four kinds."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from finetune.core.pictures.buckets import bucket_sizes, nearest
from finetune.core.pictures.contact_sheet import checkerboard, contact_sheet
from finetune.core.pictures.masks import bounding_box
from finetune.examples.composite import (
    Example,
    Variant,
    inpainting_mask,
    letterboxed,
    make_example,
    plan_variants,
    shrunk,
)
from finetune.matting.matte import Cutout, cut_out

SHARES = {"background": 0.4, "product": 0.25, "box": 0.25, "full": 0.1}
SIZE = 96


def draw_photo(side: int = 200) -> Image.Image:
    photo = Image.new("RGB", (side, side + 40), (255, 255, 255))
    draw = ImageDraw.Draw(photo)
    draw.rectangle((side * 0.3, side * 0.2, side * 0.7, side * 0.9), fill=(20, 80, 150))
    draw.rectangle((side * 0.3, side * 0.2, side * 0.4, side * 0.9), fill=(200, 30, 30))
    return photo


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return draw_photo()


@pytest.fixture(scope="module")
def cutout(photo: Image.Image) -> Cutout:
    return cut_out(photo)


def make(photo: Image.Image, cutout: Cutout, variant: Variant, **options: object) -> Example:
    return make_example(photo, cutout, variant, **{"buckets": [(SIZE, SIZE)]} | options)  # type: ignore[arg-type]


def original_size(example: Example) -> tuple[int, int]:
    return example.facts.original_width, example.facts.original_height


def variants_of(stem: str, variants: int = 24, keep: float = 0.15) -> tuple[Variant, ...]:
    return plan_variants(stem, seed=0, variants=variants, keep_original=keep, mask_shares=SHARES)


@settings(max_examples=60, deadline=None)
@given(variants=st.integers(1, 60), stem=st.text(min_size=1, max_size=8), keep=st.floats(0, 1))
def test_every_photo_has_its_shares_up_to_rounding(variants: int, stem: str, keep: float) -> None:
    planned = plan_variants(stem, seed=3, variants=variants, keep_original=keep, mask_shares=SHARES)
    counts = Counter(variant.mask_kind for variant in planned)
    for kind, share in SHARES.items():
        assert abs(counts[kind] - share * variants) <= 1 + 1e-9
    assert abs(sum(variant.original for variant in planned) - keep * variants) <= 1 + 1e-9
    assert [variant.variant for variant in planned] == list(range(variants))
    assert len({variant.seed for variant in planned}) == variants


def test_shares_hold_over_many_small_photos() -> None:
    kinds = Counter(
        variant.mask_kind for number in range(200) for variant in variants_of(f"photo-{number}", variants=3)
    )
    for kind, share in SHARES.items():
        assert kinds[kind] / 600 == pytest.approx(share, abs=0.05)


def test_variants_depend_on_seed_and_photo_alone() -> None:
    assert variants_of("a") == variants_of("a")
    assert variants_of("a") != variants_of("b")
    assert variants_of("a") != plan_variants("a", seed=1, variants=24, keep_original=0.15, mask_shares=SHARES)


def test_an_example_is_the_same_every_time(photo: Image.Image, cutout: Cutout) -> None:
    variant = Variant(0, False, "box", 11)
    first, second = make(photo, cutout, variant), make(photo, cutout, variant)
    assert first.image.tobytes() == second.image.tobytes()
    assert np.array_equal(first.matte, second.matte)
    assert first.facts == second.facts
    assert make(photo, cutout, Variant(0, False, "box", 12)).image.tobytes() != first.image.tobytes()


def test_the_product_is_whole_and_within_its_scale(photo: Image.Image, cutout: Cutout) -> None:
    for seed in range(25):
        example = make(photo, cutout, Variant(0, False, "box", seed))
        box = bounding_box(example.matte > 0)
        assert box is not None
        assert min(box.left, box.top, SIZE - box.right, SIZE - box.bottom) >= 1
        assert 0.3 * SIZE <= box.height <= 0.82 * SIZE
        ratio = cutout.rgba.width / cutout.rgba.height
        assert box.width / box.height == pytest.approx(ratio, rel=0.25)
        assert example.image.size == (SIZE, SIZE)
        assert np.array_equal(example.product, example.matte >= 0.5)
        frame = SIZE * cutout.rgba.height / box.height
        assert example.facts.original_width == pytest.approx(frame, rel=0.2)


@pytest.mark.slow
def test_buckets_follow_the_product_and_keep_it_whole(photo: Image.Image, cutout: Cutout) -> None:
    choice = bucket_sizes(256, aspect=True)
    seen = Counter()
    for seed in range(40):
        example = make(photo, cutout, Variant(0, False, "box", seed), buckets=choice)
        width, height = example.image.size
        seen[width, height] += 1
        assert example.matte.shape == example.product.shape == (height, width)
        box = bounding_box(example.matte > 0)
        assert box is not None
        assert min(box.left, box.top, width - box.right, height - box.bottom) >= 1
        scale = cutout.rgba.height / box.height
        assert original_size(example) == pytest.approx((width * scale, height * scale), rel=0.2)
    assert set(seen) == {(192, 320), (224, 288), (256, 256)}, "tall and square, never wide"
    original = make(photo, cutout, Variant(3, True, "full", 5), buckets=choice)
    assert original.image.size == (224, 288)
    assert original_size(original) == (200, 257)


@settings(max_examples=40, deadline=None)
@given(size=st.integers(2, 64).map(lambda n: n * 32), ratio=st.floats(0.05, 20))
def test_buckets_are_what_the_base_can_take(size: int, ratio: float) -> None:
    choice = bucket_sizes(size, aspect=True)
    assert (size, size) in choice
    assert {(height, width) for width, height in choice} == set(choice)
    for width, height in choice:
        assert width % 32 == height % 32 == 0
        assert 0.9 <= width * height / size**2 <= 1
        assert max(width / height, height / width) <= 2
    width, height = nearest(ratio, choice)
    assert all(abs(np.log(width / height / ratio)) <= abs(np.log(w / h / ratio)) + 1e-9 for w, h in choice)


PUBLISHED = {  # Podell et al. 2023, appendix I: the tall half of SDXL's training sizes, heights by width
    512: (2048, 1984, 1920, 1856),
    576: (1792, 1728, 1664),
    640: (1600, 1536),
    704: (1472, 1408, 1344),
    768: (1344, 1280),
    832: (1216, 1152),
    896: (1152, 1088),
    960: (1088, 1024),
}


def test_buckets_of_1024_are_sdxls_own() -> None:
    tall = [(width, max(heights)) for width, heights in PUBLISHED.items() if max(heights) <= 2 * width]
    assert len(tall) == 4
    assert bucket_sizes(1024, aspect=True) == (*tall, (1024, 1024), *((h, w) for w, h in tall[::-1]))
    assert bucket_sizes(1024, aspect=False) == ((1024, 1024),)


def test_a_wide_product_fits_too() -> None:
    photo = Image.new("RGB", (300, 120), (255, 255, 255))
    ImageDraw.Draw(photo).rectangle((20, 50, 280, 75), fill=(20, 80, 150))
    for seed in range(10):
        example = make(photo, cut_out(photo), Variant(0, False, "box", seed))
        assert not example.matte[:, [0, -1]].any()


def test_products_are_mirrored_only_when_allowed(photo: Image.Image, cutout: Cutout) -> None:
    def red_is_left(example: Example) -> bool:
        pixels = np.asarray(example.image).astype(int)
        red = (pixels[..., 0] > pixels[..., 2] + 80) & example.product
        blue = (pixels[..., 2] > pixels[..., 0] + 60) & example.product
        return bool(np.nonzero(red)[1].mean() < np.nonzero(blue)[1].mean())

    examples = [Variant(0, False, "box", seed) for seed in range(12)]
    assert all(red_is_left(make(photo, cutout, variant)) for variant in examples)
    mirrored = [red_is_left(make(photo, cutout, variant, mirror=True)) for variant in examples]
    assert 0 < sum(mirrored) < len(mirrored)


def test_the_original_keeps_its_own_ground(photo: Image.Image, cutout: Cutout) -> None:
    example = make(photo, cutout, Variant(3, True, "full", 5))
    expected, ground, box = letterboxed(photo, (SIZE, SIZE))
    assert (box.width, box.height) == (80, 96)
    assert ground == (255, 255, 255)
    assert example.image.tobytes() == expected.tobytes()
    assert original_size(example) == (240, 240), "the frame in the photo's own pixels"
    assert example.facts.words == "on a plain white background"
    pixels = np.asarray(example.image).astype(int)
    coloured = pixels.max(axis=-1) - pixels.min(axis=-1) > 100
    assert (coloured & example.product).sum() / (coloured | example.product).sum() > 0.95


@pytest.mark.slow
def test_shrinking_first_changes_little(photo: Image.Image) -> None:
    big = draw_photo(1200)
    cutout = cut_out(big)
    small = shrunk(cutout, SIZE)
    assert max(small.rgba.size) <= 2 * SIZE
    variant = Variant(0, False, "box", 4)
    first, second = make(big, cutout, variant), make(big, small, variant)
    assert original_size(first) == pytest.approx(original_size(second), rel=0.02)
    assert np.abs(first.matte - second.matte).mean() < 0.01
    assert shrunk(cut_out(photo), 512).rgba.size == cut_out(photo).rgba.size


def product_mask() -> np.ndarray:
    mask = np.zeros((256, 256), dtype=bool)
    mask[80:200, 100:150] = True
    return mask


def test_inpainting_masks_paint_what_their_kind_says() -> None:
    product = product_mask()
    for seed in range(10):
        rng = np.random.default_rng(seed)
        background = inpainting_mask(product, "background", rng)
        assert background[0, 0]
        assert not background[140, 125]
        assert (background ^ ~product).sum() < 0.3 * product.sum()
        grown = inpainting_mask(product, "product", rng)
        assert not (product & ~grown).any()
        assert grown.sum() < 3 * product.sum()
        box = inpainting_mask(product, "box", rng)
        edges = bounding_box(box)
        assert edges is not None
        assert box.sum() == edges.width * edges.height
        assert not (product & ~box).any()
        assert inpainting_mask(product, "full", rng).all()


def test_inpainting_masks_follow_the_rows_seed() -> None:
    product = product_mask()
    for kind in SHARES:
        first, second = (inpainting_mask(product, kind, np.random.default_rng(8)) for _ in range(2))
        assert np.array_equal(first, second)
    assert inpainting_mask(np.zeros((64, 64), dtype=bool), "box", np.random.default_rng(0)).all()
    with pytest.raises(ValueError, match="unknown mask kind"):
        inpainting_mask(product, "ring", np.random.default_rng(0))


def test_contact_sheets_hold_every_picture() -> None:
    pictures = [
        Image.new("RGBA", (40, 20), (255, 0, 0, 255)),
        Image.new("RGB", (10, 30), (0, 255, 0)),
        checkerboard((9, 9)),
    ]
    sheet = contact_sheet(pictures, ["one", "a longer caption that wraps", ""], columns=2, cell=64)
    assert sheet.mode == "RGB"
    pixels = np.asarray(sheet)
    assert (pixels == (255, 0, 0)).all(axis=-1).sum() > 1000
    assert (pixels == (0, 255, 0)).all(axis=-1).sum() > 1000
    assert sheet.width == 2 * (64 + 8) + 8
    with pytest.raises(ValueError):
        contact_sheet(pictures, ["too few"], columns=2, cell=64)
