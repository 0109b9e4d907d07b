"""Cutting out, on drawn products whose true matte is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from scipy import ndimage

from benchmarks.cutout.measures import iou
from finetune.core.errors import CutoutError, ImageError
from finetune.core.pictures.images import composite, to_linear, to_srgb8
from finetune.matting.matte import Cutout, cut_out

SIDE = 240


def silhouette(hole: bool = False, side: int = SIDE) -> np.ndarray:
    """An antialiased bottle-like matte; with `hole` it has a handle."""
    big = Image.new("L", (4 * side, 4 * side), 0)
    draw = ImageDraw.Draw(big)
    unit = 4 * side
    draw.rounded_rectangle((0.3 * unit, 0.35 * unit, 0.65 * unit, 0.85 * unit), 0.05 * unit, fill=255)
    draw.rectangle((0.42 * unit, 0.2 * unit, 0.53 * unit, 0.4 * unit), fill=255)
    if hole:
        draw.ellipse((0.58 * unit, 0.42 * unit, 0.82 * unit, 0.74 * unit), fill=255)
        draw.ellipse((0.66 * unit, 0.5 * unit, 0.76 * unit, 0.66 * unit), fill=0)
    return np.asarray(big.resize((side, side), Image.Resampling.BOX), dtype=np.float32) / 255


def photograph(matte: np.ndarray, product: tuple[int, int, int], ground: np.ndarray) -> Image.Image:
    over = np.broadcast_to(np.array(product, np.uint8), (*matte.shape, 3)).copy()
    return Image.fromarray(composite(over, matte.astype(np.float32), ground))


def flat(colour: tuple[int, int, int], side: int = SIDE) -> np.ndarray:
    return np.broadcast_to(np.array(colour, np.uint8), (side, side, 3)).copy()


def full(cutout: Cutout) -> np.ndarray:
    frame = Image.new("RGBA", cutout.photo_size)
    frame.paste(cutout.rgba, (cutout.box.left, cutout.box.top))
    return np.asarray(frame)


@pytest.mark.parametrize("product", [(30, 90, 160), (20, 20, 20), (222, 222, 218)], ids=["blue", "black", "white"])
@pytest.mark.parametrize("hole", [False, True], ids=["solid", "handle"])
def test_a_packshot_on_white_is_cut_out_exactly(product: tuple[int, int, int], hole: bool) -> None:
    matte = silhouette(hole)
    cutout = cut_out(photograph(matte, product, flat((255, 255, 255))))
    found = cutout.full_alpha()
    assert cutout.source == "plain ground"
    assert np.abs(found - matte).mean() < 0.003
    assert iou(found > 0.5, matte > 0.5) > 0.99
    assert (full(cutout)[ndimage.binary_erosion(matte == 1, iterations=4)][:, 3] == 255).all()
    assert (found[ndimage.binary_erosion(matte == 0, iterations=3)] == 0).all()


def test_edges_carry_the_products_own_colour() -> None:
    matte = silhouette()
    pixels = full(cut_out(photograph(matte, (30, 90, 160), flat((255, 255, 255)))))
    edge = (pixels[..., 3] > 25) & (pixels[..., 3] < 255)
    assert edge.sum() > 100
    assert np.abs(pixels[edge][:, :3].astype(int) - [30, 90, 160]).max() <= 12


def test_no_light_halo_on_black() -> None:
    matte = silhouette()
    pixels = full(cut_out(photograph(matte, (30, 90, 160), flat((255, 255, 255)))))
    on_black = to_linear(np.ascontiguousarray(pixels[..., :3])) * (pixels[..., 3:] / 255)
    truth = to_linear(np.array([[30, 90, 160]], np.uint8))[0] * matte[..., None]
    rim = ndimage.binary_dilation(matte > 0.5, iterations=3) & ~ndimage.binary_erosion(matte > 0.5, iterations=3)
    assert (on_black - truth)[rim].mean() < 0.01


def test_the_core_keeps_its_bytes() -> None:
    rng = np.random.default_rng(3)
    matte = silhouette()
    texture = rng.integers(20, 120, (SIDE, SIDE, 3), dtype=np.uint8)
    photo = composite(texture, matte, flat((255, 255, 255)))
    pixels = full(cut_out(Image.fromarray(photo)))
    core = pixels[..., 3] == 255
    assert core.sum() > 0.9 * matte.sum()
    assert np.array_equal(pixels[core][:, :3], photo[core])


@pytest.mark.parametrize("corner", [(250, 200), (215, 235), (120, 150)], ids=["vignette", "off-white", "grey"])
def test_an_uneven_ground_is_estimated(corner: tuple[int, int]) -> None:
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    level = corner[0] + (corner[1] - corner[0]) * (0.6 * x + 0.4 * y * y)
    ground = np.round(level[..., None] * np.array([1, 0.99, 0.97])).clip(0, 255).astype(np.uint8)
    matte = silhouette(hole=True)
    found = cut_out(photograph(matte, (150, 30, 40), ground)).full_alpha()
    assert np.abs(found - matte).mean() < 0.004


def test_a_soft_shadow_is_not_product() -> None:
    matte = silhouette()
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    shadow = 1 - 0.45 * np.exp(-(((y - 0.85) / 0.05) ** 2) - ((x - 0.5) / 0.22) ** 2)
    ground = to_srgb8(np.repeat(shadow[..., None], 3, axis=2).astype(np.float32))
    found = cut_out(photograph(matte, (30, 90, 160), ground)).full_alpha()
    assert (shadow < 0.9).mean() > 0.02
    assert iou(found > 0.5, matte > 0.5) > 0.98


def test_a_white_label_inside_is_filled_and_a_handle_stays_open() -> None:
    matte = silhouette(hole=True)
    photo = np.asarray(photograph(matte, (30, 90, 160), flat((255, 255, 255)))).copy()
    photo[130:160, 85:125] = (250, 250, 248)
    found = cut_out(Image.fromarray(photo)).full_alpha()
    assert found[145, 105] == 1
    assert found[round(0.58 * SIDE), round(0.71 * SIDE)] == 0


def test_a_given_mask_wins_over_alpha_and_ground() -> None:
    mask = Image.new("L", (SIDE, SIDE), 0)
    ImageDraw.Draw(mask).rectangle((60, 60, 119, 179), fill=255)
    rng = np.random.default_rng(0)
    wild = Image.fromarray(rng.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8))
    cutout = cut_out(wild, mask)
    assert cutout.source == "mask"
    assert iou(cutout.full_alpha() > 0.5, np.asarray(mask) > 127) == 1.0


def test_a_soft_mask_is_taken_as_the_matte() -> None:
    matte = silhouette()
    photo = photograph(matte, (30, 90, 160), flat((90, 160, 60)))
    cutout = cut_out(photo, Image.fromarray((matte * 255 + 0.5).astype(np.uint8)))
    assert np.abs(cutout.full_alpha() - matte).max() < 0.025
    pixels = full(cutout)
    edge = (pixels[..., 3] > 120) & (pixels[..., 3] < 255)
    assert np.abs(pixels[edge][:, :3].astype(int) - [30, 90, 160]).max() <= 12


def test_a_mask_of_another_size_is_refused_with_both_sizes() -> None:
    with pytest.raises(ImageError, match=r"mask is 100x50 pixels but its photo is 240x240") as caught:
        cut_out(Image.new("RGB", (SIDE, SIDE)), Image.new("L", (100, 50), 255))
    assert caught.value.hint


@pytest.mark.parametrize(("level", "words"), [(0, "empty"), (255, "whole picture")])
def test_a_mask_that_says_nothing_is_refused(level: int, words: str) -> None:
    with pytest.raises(CutoutError, match=words):
        cut_out(Image.new("RGB", (SIDE, SIDE)), Image.new("L", (SIDE, SIDE), level))


def test_the_alpha_channel_is_used_as_it_is() -> None:
    matte = silhouette()
    photo = Image.new("RGB", (SIDE, SIDE), (30, 90, 160))
    photo.putalpha(Image.fromarray((matte * 255 + 0.5).astype(np.uint8)))
    cutout = cut_out(photo)
    assert cutout.source == "alpha"
    assert np.abs(cutout.full_alpha() - matte).max() < 0.003
    with pytest.raises(CutoutError, match="fully transparent"):
        cut_out(Image.new("RGBA", (SIDE, SIDE)))


def test_a_picture_in_the_wild_is_refused_with_what_to_do() -> None:
    rng = np.random.default_rng(1)
    clouds = ndimage.gaussian_filter(rng.normal(0, 1, (SIDE, SIDE, 3)), (20, 20, 0))
    wild = np.clip(128 + 900 * clouds, 0, 255).astype(np.uint8)
    with pytest.raises(CutoutError, match="not plain") as caught:
        cut_out(Image.fromarray(wild))
    assert "masks/" in caught.value.hint


def test_an_empty_packshot_is_refused() -> None:
    with pytest.raises(CutoutError, match="no product stands out"):
        cut_out(Image.new("RGB", (SIDE, SIDE), (255, 255, 255)))


def test_a_product_at_the_border_is_cut_out_and_known_to_touch() -> None:
    photo = Image.new("RGB", (SIDE, SIDE), (255, 255, 255))
    ImageDraw.Draw(photo).rectangle((100, 120, 150, SIDE), fill=(40, 60, 30))
    assert cut_out(photo).touches_border
    assert not cut_out(photograph(silhouette(), (30, 90, 160), flat((255, 255, 255)))).touches_border


@settings(max_examples=8, deadline=None)
@given(
    product=st.tuples(st.integers(0, 200), st.integers(0, 200), st.integers(0, 200)),
    ground=st.integers(225, 255),
    dx=st.integers(-20, 20),
    dy=st.integers(-20, 20),
)
def test_paste_then_cut_returns_the_cutout(product: tuple[int, int, int], ground: int, dx: int, dy: int) -> None:
    side = 140
    matte = np.roll(silhouette(side=side), (dy, dx), axis=(0, 1))
    cutout = cut_out(photograph(matte, product, flat((ground, ground, ground), side)))
    found = cutout.full_alpha()
    assert found.min() >= 0
    assert found.max() <= 1
    assert np.abs(found - matte).mean() < 0.01
    assert cutout.box.width == cutout.rgba.width
    assert cutout.box.height == cutout.rgba.height
