"""Cutting out on uneven grounds, with contact shadows, and at sizes that are worked on reduced; true mattes known."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from scipy import ndimage

from benchmarks.cutout.measures import iou
from finetune.core.pictures.images import composite, to_linear, to_srgb8
from finetune.matting.matte import WORKING_SIDE, cut_out

SIDE = 200


def bottle(side: int = SIDE) -> np.ndarray:
    """An antialiased matte (H, W) of a bottle with a ring handle, standing at 0.85 of the height."""
    unit = 4 * side
    big = Image.new("L", (unit, unit), 0)
    draw = ImageDraw.Draw(big)
    draw.rounded_rectangle((0.3 * unit, 0.35 * unit, 0.62 * unit, 0.85 * unit), 0.04 * unit, fill=255)
    draw.rectangle((0.42 * unit, 0.2 * unit, 0.5 * unit, 0.4 * unit), fill=255)
    draw.ellipse((0.55 * unit, 0.42 * unit, 0.8 * unit, 0.74 * unit), fill=255)
    draw.ellipse((0.63 * unit, 0.5 * unit, 0.74 * unit, 0.66 * unit), fill=0)
    return np.asarray(big.resize((side, side), Image.Resampling.BOX), dtype=np.float32) / 255


def over(matte: np.ndarray, colour: tuple[int, int, int], ground: np.ndarray) -> Image.Image:
    product = np.broadcast_to(np.array(colour, np.uint8), (*matte.shape, 3)).copy()
    return Image.fromarray(composite(product, matte, to_srgb8(ground.astype(np.float32))))


def ground_of(kind: str, level: float, fall: float, tint: tuple[float, float, float], side: int = SIDE) -> np.ndarray:
    """(H, W, 3) linear light: `fall` is the share of light lost towards a corner, an edge or the foot of a sweep."""
    y, x = np.mgrid[0:side, 0:side] / (side - 1)
    light = {
        "flat": np.ones_like(y),
        "vignette": 1 - fall * 2 * ((y - 0.5) ** 2 + (x - 0.5) ** 2),
        "gradient": 1 - fall * x,
        "sweep": 1 - fall / (1 + np.exp(-(y - 0.6) / 0.15)),
    }[kind]
    return np.clip(level * light[..., None] * np.array(tint), 0, 1)


@pytest.mark.slow
@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(["flat", "vignette", "gradient", "sweep"]),
    level=st.floats(0.35, 1.0),
    fall=st.floats(0.0, 0.3),
    tint=st.tuples(*[st.floats(0.8, 1.0)] * 3),
    colour=st.sampled_from([(30, 60, 140), (20, 20, 22), (150, 30, 40)]),
    noise=st.floats(0.0, 1.2),
)
def test_any_smooth_ground_gives_the_true_matte(
    kind: str,
    level: float,
    fall: float,
    tint: tuple[float, float, float],
    colour: tuple[int, int, int],
    noise: float,
) -> None:
    matte = bottle()
    photo = np.asarray(over(matte, colour, ground_of(kind, level, fall, tint))).astype(np.float64)
    photo += np.random.default_rng(0).normal(0, noise, photo.shape)
    found = cut_out(Image.fromarray(np.clip(photo + 0.5, 0, 255).astype(np.uint8))).full_alpha()
    assert found.min() >= 0
    assert found.max() <= 1
    assert np.abs(found - matte).mean() < 0.006
    assert iou(found > 0.5, matte > 0.5) > 0.98
    assert found[round(0.58 * SIDE), round(0.685 * SIDE)] == 0  # through the ring


@pytest.mark.slow
@pytest.mark.parametrize("side", [3 * SIDE, 2 * WORKING_SIDE], ids=["as it is", "reduced"])
@pytest.mark.parametrize("colour", [(25, 25, 26), (200, 200, 203), (210, 150, 20)], ids=["black", "grey", "yellow"])
def test_the_contact_shadow_under_the_foot_is_not_product(side: int, colour: tuple[int, int, int]) -> None:
    matte = bottle(side)
    y, x = np.mgrid[0:side, 0:side] / side
    width = 0.008
    below = np.clip(y - 0.85, 0, None)
    shadow = 1 - 0.65 * np.exp(-((below / width) ** 2)) * ((y >= 0.8) & (x > 0.305) & (x < 0.615))
    found = cut_out(over(matte, colour, np.repeat(shadow[..., None], 3, axis=2))).full_alpha()
    foot = np.s_[round(0.7 * side) :, round(0.36 * side) : round(0.56 * side)]
    lowest = [np.flatnonzero((m[foot] > 0.5).any(axis=1)).max() for m in (found, matte)]
    assert abs(lowest[0] - lowest[1]) <= max(1, side // 600)
    assert (shadow[foot] < 0.8).sum() > 40


@pytest.mark.slow
def test_a_large_picture_is_cut_as_sharply_as_a_small_one() -> None:
    """Reduced pictures only say where to look: the outline is solved at full size, thin parts survive."""
    side = 3 * WORKING_SIDE
    matte = bottle(side)
    matte[100:420, 930:933] = 1  # a tube of 3 px, a pixel of the reduced picture
    light = ground_of("vignette", 0.9, 0.15, (1, 1, 1), side)
    found = cut_out(over(matte, (30, 60, 140), light)).full_alpha()
    assert np.abs(found - matte).mean() < 0.0005
    band = ndimage.binary_dilation(matte > 0.5, iterations=2) & ~ndimage.binary_erosion(matte > 0.5, iterations=2)
    assert np.abs(found - matte)[band].mean() < 0.05
    assert (found[110:390, 930:933] > 0.8).mean() > 0.95


@pytest.mark.slow
@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    colour=st.tuples(*[st.integers(0, 190)] * 3),
    ground=st.integers(228, 255),
    shift=st.tuples(st.integers(-15, 15), st.integers(-15, 15)),
)
def test_paste_then_cut_returns_alpha_and_colour(
    colour: tuple[int, int, int], ground: int, shift: tuple[int, int]
) -> None:
    matte = np.roll(bottle(), shift, axis=(0, 1))
    photo = over(matte, colour, to_linear(np.full((SIDE, SIDE, 3), ground, np.uint8)))
    cutout, again = cut_out(photo), cut_out(photo)
    assert cutout.rgba.tobytes() == again.rgba.tobytes()
    assert np.abs(cutout.full_alpha() - matte).mean() < 0.004
    pixels = np.asarray(cutout.rgba)
    solid = pixels[..., 3] == 255
    assert np.abs(pixels[solid][:, :3].astype(int) - colour).max() == 0
    edge = (pixels[..., 3] > 100) & ~solid
    wrong = np.abs(to_linear(pixels[edge][:, :3]) - to_linear(np.array([colour], np.uint8)))
    assert wrong.mean() < 0.03


def test_the_soft_shadow_is_kept_as_a_layer_of_its_own() -> None:
    matte = bottle()
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    shadow = 1 - 0.4 * np.exp(-(((y - 0.88) / 0.04) ** 2) - ((x - 0.46) / 0.25) ** 2)
    photo = over(matte, (30, 60, 140), 0.95 * np.repeat(shadow[..., None], 3, axis=2))
    layer = cut_out(photo).shadow
    assert layer is not None
    assert layer.size == photo.size
    light = np.asarray(layer) / 255
    outside = ndimage.binary_dilation(matte > 0, iterations=2)
    assert np.abs(light - shadow)[~outside].mean() < 0.02
    assert light[~outside].min() < 0.75
    assert (light[ndimage.binary_erosion(matte == 1, iterations=3)] == 1).all()
    again = over(matte, (30, 60, 140), 0.95 * np.ones((SIDE, SIDE, 3)))
    without = cut_out(again).shadow
    assert without is not None
    assert np.asarray(without)[~outside].min() > 245


def test_the_ground_seen_through_a_narrow_slit_is_not_product() -> None:
    matte = bottle(3 * SIDE)
    lid = 250
    matte[lid : lid + 3, 150:290] = 0  # opens at the left side, ends inside
    found = cut_out(over(matte, (20, 20, 22), np.ones((3 * SIDE, 3 * SIDE, 3)))).full_alpha()
    assert (found[lid + 1, 190:280] < 0.2).mean() > 0.9
    assert (found[lid - 3, 190:280] == 1).all()


@pytest.mark.slow
def test_a_deep_shadow_is_not_product_but_a_dark_product_out_of_focus_is() -> None:
    side = 3 * SIDE
    matte = bottle(side)
    y, x = np.mgrid[0:side, 0:side] / side
    depth = np.clip(1 - np.hypot((x - 0.62) / 0.3, (y - 0.85) / 0.12), 0, 1)  # black where foot and ground meet
    shadow = np.exp(-2.2 * depth)
    found = cut_out(over(matte, (190, 150, 90), 0.95 * np.repeat(shadow[..., None], 3, axis=2))).full_alpha()
    outside = ~ndimage.binary_dilation(matte > 0, iterations=3)
    assert (outside & (shadow < 0.25)).sum() > 400
    assert (found[outside] > 0.5).mean() < 0.0005
    soft = ndimage.gaussian_filter(bottle(side), 3)
    found = cut_out(over(soft, (18, 18, 20), np.full((side, side, 3), 0.95))).full_alpha()
    assert iou(found > 0.5, soft > 0.5) > 0.9  # out of focus by 3 px, its outline is found a pixel or two wide


def test_the_foot_of_a_pale_product_is_no_contact_shadow() -> None:
    side = 3 * SIDE
    matte = bottle(side)
    colour = np.full((side, side, 3), 238, np.uint8)
    rows, columns = np.nonzero(matte > 0.5)
    foot = rows.max()
    colour[foot - 4 : foot - 2, columns.min() : columns.max() + 1] = 232  # a faint line, as clear plastic has
    photo = composite(colour, matte, np.full((side, side, 3), 255, np.uint8))
    found = cut_out(Image.fromarray(photo)).full_alpha()
    middle = np.s_[:, round(0.4 * side) : round(0.52 * side)]
    assert abs(int(np.nonzero((found[middle] > 0.5).any(axis=1))[0].max()) - int(foot)) <= 1


def test_what_a_file_leaves_beside_an_edge_is_not_product() -> None:
    side = 3 * SIDE
    matte = bottle(side)
    memory = io.BytesIO()
    over(matte, (40, 40, 44), np.full((side, side, 3), 0.96)).save(memory, "JPEG", quality=55)
    found = cut_out(Image.open(memory).convert("RGB")).full_alpha()
    assert (found[~ndimage.binary_dilation(matte > 0, iterations=2)] == 0).mean() > 0.9999
    assert iou(found > 0.5, matte > 0.5) > 0.99
