"""What the checks measure, held to pictures whose blur, exposure and colours are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from finetune import check_measures as measures


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
    assert (light.blown, light.crushed) == (0.25, 0.125)
    assert light.highlight == pytest.approx(100)


def test_colour_shift_is_that_of_all_colours_and_not_of_another_view() -> None:
    rng = np.random.default_rng(1)
    paints = np.array([[30, 20, 30], [20, -30, 10], [45, 0, 5]], dtype=np.float32)
    others = np.repeat(paints, 300, axis=0) + rng.normal(0, 0.5, (900, 3)).astype(np.float32)
    one_side = others[:450]
    assert measures.colour_shift(one_side, others) == (0, 0, 0)
    tinted_side = one_side + np.array([0, 3, 6], dtype=np.float32)
    assert measures.colour_shift(tinted_side, others) == pytest.approx((0, 3, 6), abs=0.8)
    assert measures.unexplained(tinted_side, others) == 0
    assert measures.unexplained(others + np.array([0, 40, 40], dtype=np.float32), others) == 1
