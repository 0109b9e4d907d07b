"""The measures: known distances, what they must see and what they must not, and scores that never pass unmeasured."""

from __future__ import annotations

import math

import numpy as np
import pytest
from drawn_products import draw_bottle
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from finetune.core.fidelity.measures import (
    Palette,
    compare,
    exposure_gain,
    layout_difference,
    make_view,
    nearest,
    palette,
    palette_distance,
    structure_similarity,
    to_lab,
)
from finetune.core.fidelity.scores import score
from finetune.core.pictures.images import Array, to_linear, to_srgb8

ORANGE, BLUE = (190, 90, 40), (40, 90, 190)
REACH = 6


def cut_bottle(colour: tuple[int, int, int] = ORANGE, size: int = 160) -> Array:
    """A bottle's cutout (H, W, 4), cropped to the product: everything that is not white."""
    picture = np.asarray(draw_bottle(size, colour))
    product = picture.min(axis=-1) < 235
    rows, columns = np.flatnonzero(product.any(axis=1)), np.flatnonzero(product.any(axis=0))
    inside = product | np.asarray(draw_label_mask(size))
    cutout = np.dstack([picture, np.where(inside, 255, 0).astype(np.uint8)])
    return cutout[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def draw_label_mask(size: int) -> NDArray[np.bool_]:
    """Where the near-white label stands, which brightness alone takes for ground."""
    mask = np.zeros((size, size), dtype=bool)
    mask[54 * size // 100 : 76 * size // 100, 38 * size // 100 : 62 * size // 100] = True
    return mask


def in_scene(cutout: Array, *, ground: int = 120, down: int = 0, right: int = 0) -> Array:
    """The cutout standing on a plain grey ground, `REACH` pixels around it, moved off the middle."""
    height, width = cutout.shape[:2]
    scene = np.full((height + 2 * REACH, width + 2 * REACH, 3), ground, dtype=np.uint8)
    place = scene[REACH + down : REACH + down + height, REACH + right : REACH + right + width]
    place[cutout[..., 3] > 127] = cutout[..., :3][cutout[..., 3] > 127]
    return scene


def one_colour(*lab: float) -> Palette:
    return Palette(np.array([lab], dtype=np.float64), np.ones(1))


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [  # Sharma, Wu and Dalal (2005), table 1, pairs 1, 7, 17 and 25
        ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
        ((50.0, 0.0, 0.0), (50.0, -1.0, 2.0), 2.3669),
        ((50.0, 2.5, 0.0), (73.0, 25.0, -18.0), 27.1492),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ],
)
def test_distance_of_two_colours_is_ciede2000(
    first: tuple[float, ...], second: tuple[float, ...], expected: float
) -> None:
    assert palette_distance(one_colour(*first), one_colour(*second)) == pytest.approx(expected, abs=1e-4)


def test_moving_half_the_colour_costs_half_the_way() -> None:
    black, grey = (0.0, 0.0, 0.0), (50.0, 0.0, 0.0)
    whole = palette_distance(one_colour(*black), one_colour(*grey))
    mixed = Palette(np.array([black, grey]), np.array([0.5, 0.5]))
    assert palette_distance(one_colour(*black), mixed) == pytest.approx(whole / 2)
    assert palette_distance(mixed, one_colour(*black)) == pytest.approx(whole / 2)


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31 - 1), st.integers(1, 6), st.integers(1, 6))
def test_palette_distance_is_symmetric_and_bounded_by_its_worst_pair(seed: int, rows: int, columns: int) -> None:
    generator = np.random.default_rng(seed)

    def some(count: int) -> Palette:
        weights = generator.random(count) + 0.01
        return Palette(generator.uniform([0, -60, -60], [100, 60, 60], (count, 3)), weights / weights.sum())

    first, second = some(rows), some(columns)
    there, back = palette_distance(first, second), palette_distance(second, first)
    worst = max(palette_distance(one_colour(*a), one_colour(*b)) for a in first.colours for b in second.colours)
    assert there == pytest.approx(back, abs=1e-6)
    assert 0 <= there <= worst + 1e-6
    assert palette_distance(first, first) == pytest.approx(0, abs=1e-9)


def test_palette_finds_the_colours_and_their_shares() -> None:
    colours = np.repeat([[20.0, 0.0, 0.0], [80.0, 10.0, 0.0], [50.0, 0.0, 40.0]], [100, 300, 600], axis=0)
    found = palette(colours, swatches=8)
    order = np.argsort(found.weights)
    assert found.weights[order] == pytest.approx([0.1, 0.3, 0.6])
    assert found.colours[order][:, 0] == pytest.approx([20, 80, 50])


def test_palette_is_the_same_on_every_call_and_needs_pixels() -> None:
    colours = np.random.default_rng(3).uniform(0, 60, (9000, 3))
    first, second = palette(colours), palette(colours)
    assert np.array_equal(first.colours, second.colours)
    assert len(first.weights) == 8
    assert first.weights.sum() == pytest.approx(1)
    with pytest.raises(ValueError, match="no pixels"):
        palette(np.empty((0, 3)))


def test_the_product_itself_is_no_distance_away_whatever_stands_around_it() -> None:
    cutout = cut_bottle()
    view = make_view("front", cutout)
    for ground in (10, 240):
        likeness = compare(in_scene(cutout, ground=ground), view, reach=REACH)
        assert likeness.distance < 0.5
        assert likeness.structure > 0.99
        assert likeness.exposure == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(("down", "right"), [(0, 0), (4, -3), (-6, 6)])
def test_a_product_off_its_box_is_found(down: int, right: int) -> None:
    cutout = cut_bottle()
    likeness = compare(in_scene(cutout, down=down, right=right), make_view("front", cutout), reach=REACH)
    assert likeness.shift == (down, right)
    assert likeness.distance < 1


def test_another_colour_is_seen_and_the_same_shape_is_not_enough() -> None:
    own, sibling = make_view("own", cut_bottle(ORANGE)), make_view("sibling", cut_bottle(BLUE))
    drawn = in_scene(cut_bottle(BLUE))
    as_own, as_sibling = compare(drawn, own, reach=REACH), compare(drawn, sibling, reach=REACH)
    assert as_own.palette > 15
    assert as_own.layout > 15
    assert as_sibling.distance < 0.5
    assert nearest([as_own, as_sibling]).view == "sibling"


def test_light_is_forgiven_within_limits_and_colour_is_not() -> None:
    cutout = cut_bottle()
    view = make_view("front", cutout)

    def lit(*gains: float) -> float:
        light = np.array(gains, dtype=np.float32)
        return compare(to_srgb8(to_linear(in_scene(cutout)) * light), view, reach=REACH).distance

    assert lit(0.5, 0.5, 0.5) < 1.5
    assert lit(0.08, 0.08, 0.08) > 10, "three and a half stops down is another product"
    assert lit(1.0, 0.7, 0.4) > 5, "a cast is a colour"


def test_exposure_gain_is_the_ratio_of_mean_light() -> None:
    cutout = cut_bottle()
    view = make_view("front", cutout)
    darker = to_srgb8(to_linear(cutout[..., :3]) * np.float32(0.6))
    assert exposure_gain(darker, view) == pytest.approx(1 / 0.6, rel=0.02)
    assert exposure_gain(np.zeros_like(darker), view) == 2.5


def test_layout_sees_colours_in_the_wrong_place_where_the_palette_does_not() -> None:
    colours = np.zeros((60, 40, 4), dtype=np.uint8)
    colours[..., 3] = 255
    colours[:30, :, :3], colours[30:, :, :3] = ORANGE, BLUE
    view = make_view("two halves", colours)
    swapped = np.ascontiguousarray(colours[::-1, :, :3])
    lab = to_lab(swapped)
    assert palette_distance(palette(lab[view.region]), view.palette) < 0.5
    assert layout_difference(lab, view.lab, view.region) > 20


def test_structure_is_lost_by_blur_and_by_flat_colour() -> None:
    cutout = cut_bottle()
    view = make_view("front", cutout)
    rgb = np.ascontiguousarray(cutout[..., :3])
    small = Image.fromarray(rgb).resize((cutout.shape[1] // 8, cutout.shape[0] // 8))
    blurred = np.asarray(small.resize((cutout.shape[1], cutout.shape[0])))
    flat = np.full_like(rgb, 128)
    values = [structure_similarity(to_lab(x), view.lab, view.region) for x in (rgb, blurred, flat)]
    assert values[0] == pytest.approx(1)
    assert values[1] < 0.7
    assert values[2] < 0.7


def test_glass_without_an_opaque_core_is_compared_by_its_half_covered_pixels() -> None:
    cutout = cut_bottle().copy()
    cutout[..., 3] = np.where(cutout[..., 3] > 0, 180, 0)
    assert make_view("glass", cutout).region.sum() == (cutout[..., 3] == 180).sum()


def test_views_that_cannot_be_compared_say_so() -> None:
    with pytest.raises(ValueError, match="too small"):
        make_view("tiny", np.full((8, 40, 4), 255, dtype=np.uint8))
    with pytest.raises(ValueError, match="no pixel"):
        make_view("empty", np.zeros((40, 40, 4), dtype=np.uint8))
    view = make_view("front", cut_bottle())
    with pytest.raises(ValueError, match="does not frame"):
        compare(in_scene(cut_bottle()), view, reach=REACH + 1)


@pytest.mark.parametrize(
    ("value", "better", "bar", "verdict"),
    [
        (5.0, "lower", 5.0, "pass"),
        (5.1, "lower", 5.0, "fail"),
        (5.0, "higher", 5.0, "pass"),
        (4.9, "higher", 5.0, "fail"),
        (4.9, "higher", None, "info"),
        (math.nan, "higher", 5.0, "fail"),
        (math.nan, "lower", 5.0, "fail"),
        (None, "lower", 5.0, "not available"),
        (None, "lower", None, "not available"),
    ],
)
def test_verdict_of_a_score(value: float | None, better: str, bar: float | None, verdict: str) -> None:
    assert score("palette", value, "dE00", better, bar).verdict == verdict  # type: ignore[arg-type]
