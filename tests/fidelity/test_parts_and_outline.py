"""Measures that see the product: its parts, its outline, floor and ceiling, and itself in other colours."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_products import draw_bottle
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from finetune.core.fidelity.anchors import Span, make_span, seed_spread
from finetune.core.fidelity.decoys import decoys_of
from finetune.core.fidelity.measures import View, compare, make_view
from finetune.core.fidelity.parts import parts_found, patches_of
from finetune.core.fidelity.shape import outline_agreement
from finetune.core.pictures.images import Array

REACH = 8


def drawn(view: View, *, rgb: Array | None = None, ground: int = 150) -> Array:
    """A view's product, or other colours in its silhouette, on grey with `REACH` pixels around it."""
    height, width = view.region.shape
    scene = np.full((height + 2 * REACH, width + 2 * REACH, 3), ground, np.uint8)
    inside = scene[REACH:-REACH, REACH:-REACH]
    inside[view.silhouette] = (view.rgb if rgb is None else rgb)[view.silhouette]
    return scene


@pytest.fixture(scope="module")
def view() -> View:
    """A bottle with a label and a line of print that is no mirror image of itself."""
    pixels = np.asarray(draw_bottle(160)).copy()
    pixels[100:108, 66:84] = 20
    pixels[112:116, 66:76] = 20
    product = pixels.min(axis=-1) < 235
    product[86:122, 60:100] = True
    rows, columns = np.flatnonzero(product.any(1)), np.flatnonzero(product.any(0))
    window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return make_view("front", np.dstack([pixels[window], product[window].astype(np.uint8) * 255]))


def parts_of(scene: Array, view: View) -> float:
    found = compare(scene, view, reach=REACH).parts
    assert found is not None
    return found


def test_the_packshot_has_all_its_parts_and_no_flat_field_has_any(view: View) -> None:
    assert parts_of(drawn(view), view) > 0.97
    for colour in ((200, 200, 200), (255, 255, 255), (0, 0, 0), (190, 90, 40)):
        assert parts_of(np.full_like(drawn(view), colour), view) == 0


def test_a_flat_silhouette_of_its_colour_has_no_parts(view: View) -> None:
    flat = np.broadcast_to(view.rgb[view.region].mean(0).astype(np.uint8), view.rgb.shape)
    assert parts_of(drawn(view, rgb=flat), view) < 0.35


def test_mirrored_print_and_a_blur_cost_parts(view: View) -> None:
    whole = parts_of(drawn(view), view)
    turned = drawn(view, rgb=view.rgb[:, ::-1])
    assert parts_of(turned, view) < 0.9 * whole
    as_is, mirror = (compare(scene, view, reach=REACH) for scene in (drawn(view), turned))
    assert as_is.parts is not None
    assert as_is.mirrored is not None
    assert as_is.parts - as_is.mirrored > 0.04
    assert mirror.mirrored is not None
    assert mirror.mirrored > mirror.parts
    soft = np.asarray(Image.fromarray(drawn(view)).filter(ImageFilter.GaussianBlur(5)))
    assert parts_of(soft, view) < 0.9 * whole


@settings(max_examples=15, deadline=None)
@given(st.floats(0.5, 1.6), st.integers(-3, 3), st.integers(-3, 3))
def test_neither_light_nor_a_small_shift_costs_parts(view: View, gain: float, down: int, right: int) -> None:
    moved = np.roll(drawn(view), (down, right), (0, 1))
    lit = np.clip(moved * gain, 0, 255).astype(np.uint8)
    clipped = float((moved * gain > 255).mean())
    assert parts_of(lit, view) > 0.85 - clipped


def test_a_product_without_marks_has_no_parts_to_be_found() -> None:
    plain = np.full((60, 40), 55.0)
    assert patches_of(plain, np.ones((60, 40), bool)) == []
    assert parts_found(np.full((70, 50), 20.0), [], reach=5) is None


def test_outline_is_one_for_the_silhouette_wherever_it_stands_and_nothing_for_nothing(view: View) -> None:
    height, width = view.silhouette.shape
    found = np.zeros((height + 2 * REACH, width + 2 * REACH), np.float32)
    assert outline_agreement(found, view.silhouette) == 0
    found[3 : 3 + height, 5 : 5 + width] = view.silhouette
    assert outline_agreement(found, view.silhouette) == pytest.approx(1, abs=1e-4)
    found[:, :] = 1
    share = view.silhouette.sum() / found.size
    assert outline_agreement(found, view.silhouette) == pytest.approx(share, abs=1e-3)


def test_a_span_is_told_in_per_cent_of_what_the_base_can_show() -> None:
    scenes = ["oak", "oak", "stone", "stone"]
    values = {"floor": [20.0, 22.0, 21.0, 21.0], "value": [12.0, 14.0, 13.0, 13.0], "ceiling": [5.0, 5.0, 5.0, 5.0]}
    span = make_span(values, scenes, "lower")
    assert span.width == 16
    assert span.reached == pytest.approx(50)
    assert span.spread == pytest.approx(1)
    assert span.judged
    assert not Span(20, 15, 18, 1, "lower").judged
    assert Span(20, 15, 22, 1, "lower").reached is None
    erratic = values | {"value": [0.0, 30.0, 2.0, 28.0]}
    assert make_span(erratic, scenes, "lower").judged, "what is judged does not depend on the adapter"
    assert seed_spread([1.0, 5.0], ["oak", "stone"]) == 0


def test_decoys_are_the_same_product_in_other_colours(view: View) -> None:
    found = decoys_of([view])
    assert list(found) == ["decoy: hue +60", "decoy: hue -60"]
    own = compare(drawn(view), view, reach=REACH).distance
    for (decoy,) in found.values():
        assert decoy.region.sum() == view.region.sum()
        assert compare(drawn(view), decoy, reach=REACH).distance > own + 5
        assert np.abs(decoy.lab[..., 0] - view.lab[..., 0])[view.region].mean() < 4


def test_a_grey_product_is_tinted_since_another_exposure_is_forgiven(view: View) -> None:
    grey = np.repeat(view.rgb.mean(-1, keepdims=True).astype(np.uint8), 3, -1)
    plain = make_view("grey", np.dstack([grey, view.silhouette.astype(np.uint8) * 255]))
    found = decoys_of([plain])
    assert list(found) == ["decoy: green", "decoy: blue"]
    for gain in (0.7, 1.2):
        lit = np.clip(drawn(plain) * gain, 0, 255).astype(np.uint8)
        own = compare(lit, plain, reach=REACH).distance
        assert all(compare(lit, decoy, reach=REACH).distance > own + 5 for (decoy,) in found.values())
    green, blue = (decoy.lab[plain.region].mean(0) for (decoy,) in found.values())
    assert green[1] < -15
    assert blue[2] < -15
