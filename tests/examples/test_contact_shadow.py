"""The contact shadow darkens the ground at the product's foot, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from finetune.core.compositing.cast_shadow import darken
from finetune.core.pictures.images import to_linear
from finetune.examples.contact_shadow import contact_shadow


def block(height: int = 200) -> np.ndarray:
    matte = np.zeros((400, 400), dtype=np.float32)
    matte[320 - height : 320, 150:250] = 1.0
    return matte


def test_strength_zero_is_no_shadow_at_all() -> None:
    light = contact_shadow(block(), strength=0, softness=0.5)
    assert (light == 1).all()
    scene = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
    assert np.array_equal(darken(scene, light), scene)


def test_no_product_casts_no_shadow() -> None:
    assert (contact_shadow(np.zeros((64, 64), np.float32), strength=1, softness=0.5) == 1).all()


def test_it_is_darkest_at_the_foot_and_gone_above_the_product() -> None:
    light = contact_shadow(block(), strength=0.7, softness=0.5)
    under = light[321, 200]
    assert under < 0.5
    assert under < light[330, 200] < light[345, 200] < light[380, 200]
    assert light[:110].min() > 0.999
    assert light[321, 240] == pytest.approx(light[321, 159], abs=0.03)
    assert light[315, 258] < 0.95  # beside the foot, too


def test_strength_and_softness_do_what_they_say() -> None:
    weak, strong = (contact_shadow(block(), strength=s, softness=0.5) for s in (0.3, 0.9))
    assert (strong <= weak + 1e-6).all()
    assert strong.min() < weak.min()
    hard, soft = (contact_shadow(block(), strength=0.7, softness=s) for s in (0.0, 1.0))
    assert (soft < 0.98).sum() > 1.5 * (hard < 0.98).sum()


def test_a_product_on_the_frames_edge_is_no_error() -> None:
    matte = np.zeros((64, 64), dtype=np.float32)
    matte[:, :] = 1
    assert contact_shadow(matte, strength=1, softness=1).shape == (64, 64)


def test_darkening_multiplies_linear_light() -> None:
    scene = np.full((8, 8, 3), 200, dtype=np.uint8)
    dark = darken(scene, np.full((8, 8), 0.5, dtype=np.float32))
    assert to_linear(dark)[0, 0, 0] == pytest.approx(to_linear(scene)[0, 0, 0] * 0.5, abs=0.004)


def test_it_follows_a_base_that_rises_from_the_nearest_corner() -> None:
    matte = np.zeros((400, 400), dtype=np.float32)
    for column in range(120, 280):
        matte[100 : 320 - abs(column - 200) // 4, column] = 1.0
    light = contact_shadow(matte, strength=0.7, softness=0.2)
    for column in (140, 170, 200, 230, 260):
        contour = 320 - abs(column - 200) // 4
        assert light[contour + 1, column] < 0.6
        assert light[contour + 1, column] < light[contour + 14, column] - 0.2


def test_a_handle_casts_on_the_ground_but_touches_nothing() -> None:
    with_handle = block()
    with_handle[180:240, 250:300] = 1.0
    plain, handle = (contact_shadow(m, strength=0.7, softness=0.2) for m in (block(), with_handle))
    assert handle[320, 280] < plain[320, 280] - 0.02
    assert handle[320, 280] > plain[321, 200]
    assert handle[243, 280] > 0.999
