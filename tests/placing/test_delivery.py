"""Outward only: the proof that no painted pixel gets into the product's core."""

from __future__ import annotations

import numpy as np
from PIL import Image

from finetune.core.compositing.finish import add_grain, clear_fringe
from finetune.core.compositing.frame import cut_to_frame
from finetune.core.compositing.glass import composite_glass
from inference import delivery


def inputs(size: int = 96) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    product = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
    scene = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
    y, x = np.mgrid[0:size, 0:size]
    matte = np.clip((size / 3 - np.hypot(y - size / 2, x - size / 2)) / 4 + 0.5, 0, 1).astype(np.float32)
    return product, matte, scene


def test_core_is_the_products_bytes_and_the_outside_is_the_scenes() -> None:
    product, matte, scene = inputs()
    out = composite_glass(product, matte, scene, None)
    assert np.array_equal(out[matte == 1], product[matte == 1])
    assert np.array_equal(out[matte == 0], scene[matte == 0])
    edge = (matte > 0) & (matte < 1)
    low, high = np.minimum(product, scene)[edge].astype(int), np.maximum(product, scene)[edge].astype(int)
    assert ((out[edge] >= low - 1) & (out[edge] <= high + 1)).all()
    assert not np.array_equal(out[edge], product[edge])


def test_no_scene_however_wild_reaches_the_core() -> None:
    product, matte, scene = inputs()
    black, white = np.zeros_like(scene), np.full_like(scene, 255)
    first, second = (composite_glass(product, matte, s, None) for s in (black, white))
    assert np.array_equal(first[matte == 1], second[matte == 1])
    assert not np.array_equal(first[matte < 1], second[matte < 1])


def test_core_check_counts_and_finds_a_single_wrong_byte() -> None:
    product, matte, scene = inputs()
    core = matte == 1
    out = composite_glass(product, matte, scene, None)
    good = delivery.check_core(out, product, core)
    assert (good.pixels, good.max_difference) == (int(core.sum()), 0)
    assert good.sha256 == delivery.core_sha256(product, core)
    y, x = np.argwhere(core)[11]
    out[y, x, 1] = (int(out[y, x, 1]) + 128) % 256
    bad = delivery.check_core(out, product, core)
    assert bad.max_difference == 128
    assert bad.sha256 != good.sha256


def test_scene_is_brought_to_size_and_left_alone_when_it_has_it() -> None:
    scene = Image.new("RGB", (64, 64), (10, 200, 30))
    assert cut_to_frame(scene, 64) is scene
    large = cut_to_frame(scene, 256)
    assert large.size == (256, 256)
    assert large.getpixel((128, 128)) == (10, 200, 30)


def test_grain_is_neutral_repeatable_and_leaves_the_mean() -> None:
    scene = np.full((128, 128, 3), 120, dtype=np.uint8)
    grained = add_grain(scene, 3.0, np.random.default_rng(1))
    assert np.array_equal(grained, add_grain(scene, 3.0, np.random.default_rng(1)))
    assert np.array_equal(grained[..., 0], grained[..., 2])
    assert abs(grained.mean() - 120) < 0.2
    assert 2.0 < grained.std() < 4.0
    assert add_grain(scene, 0, np.random.default_rng(1)) is scene


def test_the_painted_copy_of_the_edge_is_cleared_and_the_rest_untouched() -> None:
    y, x = np.mgrid[0:128, 0:128]
    distance = np.hypot(y - 64, x - 64) - 30  # from the product's edge, outside positive
    matte = np.clip(0.5 - distance, 0, 1).astype(np.float32)
    ground = np.dstack([np.full((128, 128), 180), 90 + x // 4, np.full((128, 128), 60)])
    blurred = np.clip(1 - (distance - 1) / 6, 0, 1)[..., None]  # the product's blue, softened over seven pixels
    scene = (ground * (1 - blurred) + np.array([10, 20, 250]) * blurred).astype(np.uint8)
    cleared = clear_fringe(scene, matte, 8)
    seam = (matte < 1) & (distance < 8)
    assert np.abs(scene[seam].astype(int) - ground[seam]).max() > 100
    assert np.abs(cleared[seam].astype(int) - ground[seam]).max() <= 3
    far = distance > 9.5
    assert np.array_equal(cleared[far], scene[far])
    assert clear_fringe(scene, matte, 0) is scene
