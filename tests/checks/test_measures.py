"""What the checks measure, held to pictures whose blur, exposure and colours are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from finetune.checks import lighting, measures


@pytest.mark.parametrize("sigma", [1.0, 2.0, 3.0])
def test_blur_is_measured_in_pixels(sigma: float) -> None:
    sharp = np.full((200, 200), 220.0, dtype=np.float32)
    sharp[:, 100:] = 40
    soft = ndimage.gaussian_filter(sharp, sigma)
    everywhere = np.ones(sharp.shape, dtype=bool)
    assert measures.blur_width(soft, everywhere) == pytest.approx(sigma, rel=0.15)
    sharp_width = measures.blur_width(sharp, everywhere)
    assert sharp_width is not None
    assert sharp_width < 0.6
    assert measures.blur_width(np.full((80, 80), 99.0, dtype=np.float32), np.ones((80, 80), dtype=bool)) is None


def test_a_large_photo_is_measured_where_the_detail_is() -> None:
    grey = np.full((1500, 1800), 200.0, dtype=np.float32)
    grey[1100:1300, 1300:1400] = 30
    soft = ndimage.gaussian_filter(grey, 2.0)
    width = measures.blur_width(soft, np.ones(grey.shape, dtype=bool))
    assert width == pytest.approx(2.0, rel=0.4)


def test_exposure_counts_the_product_not_the_ground() -> None:
    pixels = np.zeros((10, 10, 4), dtype=np.uint8)
    pixels[..., :3] = 255
    pixels[2:6, :, :3], pixels[2:6, :, 3] = 100, 255
    pixels[2, :, :3], pixels[3, :5, :3] = 255, 0
    light = measures.exposure_of(pixels)
    assert (light.blown, light.crushed, light.clipped) == (0.25, 0.125, 0.25)
    assert light.highlight == pytest.approx(100)


def test_gains_are_those_of_all_colours_and_not_of_another_view() -> None:
    rng = np.random.default_rng(1)
    paints = np.array([[30, 20, 30], [20, -30, 10], [45, 0, 5]], dtype=np.float32)
    others = np.repeat(paints, 300, axis=0) + rng.normal(0, 0.5, (900, 3)).astype(np.float32)
    one_side = others[:450]
    assert lighting.colour_gains(one_side, others) is None
    wanted = np.array([1.3, 1.0, 0.6])
    assert lighting.colour_gains(lighting.relit(one_side, wanted), others) == pytest.approx(wanted, rel=0.05)
    stranger = others + np.array([0, 40, 40], dtype=np.float32)
    assert measures.unexplained(stranger, others) == 1
    assert lighting.colour_gains(np.array([[30, -60, 60]] * 400, dtype=np.float32), others) is None


def test_clipped_white_is_not_seen_on_clipped_ground() -> None:
    colours = np.array([[20, 10, 10], [48, 0, 0]], dtype=np.float32)
    everywhere, nowhere = np.ones(3, dtype=bool), np.zeros(3, dtype=bool)
    assert len(lighting.seen_in(colours, np.full(3, 2.0), everywhere)) == 1
    assert len(lighting.seen_in(colours, np.full(3, 2.0), nowhere)) == 2
    white = np.array([[50, 0, 0]], dtype=np.float32)
    assert np.array_equal(lighting.without_white(white), white)


def test_what_moved_is_soft_in_one_direction() -> None:
    grey = np.full((200, 200), 255, dtype=np.float32)
    grey[40:160, 60:140] = 60
    sharp = ndimage.gaussian_filter(grey, 0.6)
    assert measures.smear_width(sharp) == pytest.approx(0.6, abs=0.2)
    moved = ndimage.uniform_filter1d(sharp, 15, axis=1)
    whole = np.ones(grey.shape, dtype=bool)
    assert measures.smear_width(moved) > 3  # type: ignore[operator]
    assert measures.blur_width(moved, whole) < 1.5  # type: ignore[operator]
    assert measures.smear_width(np.full((50, 50), 9, dtype=np.float32)) is None
    shaded = sharp + np.linspace(0, 20, 200, dtype=np.float32)  # a faint slope is no soft edge
    assert measures.smear_width(shaded) == pytest.approx(0.6, abs=0.2)
