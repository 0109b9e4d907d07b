"""The glass layer: found on glass, not on white; composited so that the scene shows through; known T is recovered."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from drawn_glass import SIDE, Tint, bottle, photograph, white
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from scipy import ndimage

from finetune.core.compositing.glass import composite_glass, opaque_core
from finetune.core.compositing.placement import Placed, placement_box, put_on_canvas
from finetune.core.errors import CutoutError
from finetune.core.pictures.images import to_linear, to_srgb8
from finetune.matting import opaque_parts
from finetune.matting.glass_detection import with_glass
from finetune.matting.matte import Cutout, cut_out


def on_scene(cutout: Cutout, scene: np.ndarray) -> np.ndarray:
    """The cutout at its place over a scene, (H, W, 3) linear light."""
    frames = []
    for layer in (cutout.rgba, cutout.glass):
        frame = Image.new("RGBA", (SIDE, SIDE))
        if layer is not None:
            frame.paste(layer, cutout.box[:2])
        frames.append(np.asarray(frame))
    rgba, glass = frames
    alpha = (rgba[..., 3] / 255).astype(np.float32)
    over = np.ascontiguousarray(rgba[..., :3])
    return to_linear(composite_glass(over, alpha, to_srgb8(scene.astype(np.float32)), glass))


@pytest.mark.slow
@settings(max_examples=10, deadline=None, derandomize=True)
@given(tint=st.tuples(*[st.floats(0.8, 0.97)] * 3), level=st.floats(0.8, 1.0))
def test_clear_glass_shows_a_new_scene_as_it_would(tint: Tint, level: float) -> None:
    layers = bottle(tint, lined=True)
    picture = photograph(layers, white(level))
    cutout = with_glass(cut_out(picture), picture, "auto", "bottle")
    assert cutout.glass is not None
    scene = np.broadcast_to(np.array([0.1, 0.3, 0.6]), (SIDE, SIDE, 3))
    true = to_linear(np.asarray(photograph(layers, scene)))
    inside = layers[0] > 0.99
    assert np.abs(on_scene(cutout, scene) - true)[inside].mean() < 0.015
    again = with_glass(cut_out(picture), picture, "auto", "bottle")
    assert again.glass is not None
    assert cutout.glass.tobytes() == again.glass.tobytes()
    opaque = on_scene(cut_out(picture), scene)
    assert np.abs(opaque - true)[inside].mean() > 0.2


def test_uneven_glass_leaves_no_streaks_and_its_edge_shows_on_black() -> None:
    cover, through, own = bottle((0.92, 0.93, 0.92), lined=True)
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    bands = np.where((x > 120) & (x < 135), 0.75 + 0.25 * np.cos(x), 1) * np.where(
        y > 250, 0.7 + 0.3 * np.cos(y / 1.5), 1
    )
    picture = photograph((cover, through * bands[..., None], own), white())
    black = on_scene(with_glass(cut_out(picture), picture, "auto", "bottle"), np.zeros((SIDE, SIDE, 3)))
    depth = ndimage.distance_transform_edt(np.pad(cover > 0.5, 1))[1:-1, 1:-1]
    body = (y > 105) & (depth > 0)
    assert black[body & (depth > 25)].max() < 0.02
    assert black[body & (depth > 8)].mean() < 0.02
    assert black[body & (depth > 2) & (depth < 8) & (y < 240)].mean() > 0.02


@pytest.mark.parametrize("noun", ["bottle", "body lotion"])
@pytest.mark.parametrize("tint", [(0.85, 0.85, 0.83), (0.7, 0.7, 0.7)], ids=["white", "grey"])
def test_an_opaque_white_or_grey_product_has_no_glass(tint: Tint, noun: str) -> None:
    picture = photograph(bottle(tint, lined=False), white())
    assert with_glass(cut_out(picture), picture, "auto", noun).glass is None


def test_a_label_on_tinted_glass_stays_opaque() -> None:
    layers = bottle((0.45, 0.6, 0.9), lined=True, label=True)
    picture = photograph(layers, white())
    glass = with_glass(cut_out(picture), picture, "yes", "bottle").glass
    assert glass is not None
    whole = Image.new("RGBA", (SIDE, SIDE))
    whole.paste(glass, cut_out(picture).box[:2])
    share = np.asarray(whole)[..., 3]
    assert (share[155:205, 125:175] == 0).all()
    assert share[250, 150] == 255


@pytest.mark.parametrize(("mode", "found"), [("auto", True), ("yes", True), ("no", False)])
def test_set_yaml_decides(mode: Literal["auto", "yes", "no"], found: bool) -> None:
    picture = photograph(bottle((0.9, 0.92, 0.93), lined=True), white())
    assert (with_glass(cut_out(picture), picture, mode, "bottle").glass is not None) == found


def test_glass_that_is_not_there_is_refused() -> None:
    picture = Image.new("RGB", (SIDE, SIDE), (255, 255, 255))
    ImageDraw.Draw(picture).rectangle((100, 90, 200, 270), fill=(40, 20, 20))
    with pytest.raises(CutoutError, match="glass: yes") as caught:
        with_glass(cut_out(picture), picture, "yes", "bottle")
    assert "auto" in caught.value.hint


def test_the_core_of_a_glass_product_is_its_opaque_part_and_bit_exact() -> None:
    picture = photograph(bottle((0.9, 0.92, 0.93), lined=True), white())
    cutout = with_glass(cut_out(picture), picture, "auto", "bottle")
    box = placement_box(cutout.rgba.size, 256, anchor=0.5, scale=0.6, ground=0.9)
    placed: Placed = put_on_canvas(cutout.rgba, box, 256, cutout.glass)
    assert placed.glass is not None
    assert 20 < placed.core.sum() < 0.4 * (placed.matte == 1).sum()
    assert np.array_equal(placed.core, opaque_core(np.asarray(placed.canvas), placed.glass))
    scene = np.random.default_rng(0).integers(0, 255, (256, 256, 3), dtype=np.uint8)
    out = composite_glass(placed.rgb, placed.matte, scene, placed.glass)
    assert np.array_equal(out[placed.core], placed.rgb[placed.core])
    assert np.array_equal(out[placed.matte == 0], scene[placed.matte == 0])
    through = placed.glass[..., 3] == 255
    assert np.abs(out[through].astype(int) - placed.rgb[through]).mean() > 40


def test_what_is_lighter_than_the_ground_is_no_glass(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cream body with a dark rim on a grey ground: as light, as even and as lined as glass, but it adds light."""
    cover, through, own = bottle((0.9, 0.88, 0.8), lined=True)
    cream = photograph((cover, np.zeros_like(through), own + through * 0.65), white(0.5))
    assert with_glass(cut_out(cream, vessel=True), cream, "auto", "bottle").glass is None
    clear = photograph((cover, through, own), white(0.5))
    assert with_glass(cut_out(clear, vessel=True), clear, "auto", "bottle").glass is not None
    monkeypatch.setattr(opaque_parts, "LIGHTER", 99)
    assert with_glass(cut_out(cream, vessel=True), cream, "auto", "bottle").glass is not None


def test_print_of_its_own_colour_on_glass_is_opaque(monkeypatch: pytest.MonkeyPatch) -> None:
    cover, through, own = bottle((0.93, 0.93, 0.92), lined=True)
    printed = np.zeros((SIDE, SIDE, 1))
    printed[170:180, 145:155] = 1
    red = printed * np.array([0.6, 0.05, 0.05])
    picture = photograph((cover, through * (1 - printed), own * (1 - printed) + red), white())

    def share() -> np.ndarray:
        cutout = cut_out(picture, vessel=True)
        glass = with_glass(cutout, picture, "auto", "bottle").glass
        assert glass is not None
        whole = Image.new("RGBA", (SIDE, SIDE))
        whole.paste(glass, cutout.box[:2])
        return np.asarray(whole)[..., 3]

    found = share()
    assert (found[172:178, 147:153] < 40).all()
    assert found[200, 150] == 255
    monkeypatch.setattr(opaque_parts, "PRINTED", 99)
    assert share()[175, 150] == 255
