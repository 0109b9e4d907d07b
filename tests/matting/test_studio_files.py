"""Cutting out what studios deliver: sharpened, noisy JPEGs on grounds of any plain colour; true mattes known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage

from benchmarks.cutout.camera import PLAIN_GROUNDS, Delivery, deliver
from benchmarks.cutout.measures import iou
from finetune.core.pictures.images import LUMINANCE, composite, to_linear
from finetune.matting.matte import Cutout, cut_out

SIDE = 480
STUDIO = Delivery(
    ground="white",
    colour=(250, 250, 248),
    gradient=(0.02, -0.02),
    vignette=0.02,
    scale=1.0,
    resampling="bicubic",
    radius=1.2,
    amount=1.0,
    noise=1.0,
    quality=75,
    subsampling=2,
    twice=False,
)


def handled(side: int = SIDE) -> np.ndarray:
    """An antialiased matte (H, W) of a body with a handle: an enclosed opening."""
    unit = 4 * side
    big = Image.new("L", (unit, unit), 0)
    draw = ImageDraw.Draw(big)
    draw.rounded_rectangle((0.25 * unit, 0.3 * unit, 0.6 * unit, 0.85 * unit), 0.04 * unit, fill=255)
    draw.ellipse((0.5 * unit, 0.38 * unit, 0.82 * unit, 0.75 * unit), fill=255)
    draw.ellipse((0.62 * unit, 0.46 * unit, 0.75 * unit, 0.67 * unit), fill=0)
    return np.asarray(big.resize((side, side), Image.Resampling.BOX), dtype=np.float32) / 255


def delivered(colour: tuple[int, int, int], setting: Delivery) -> tuple[Image.Image, np.ndarray]:
    matte = handled()
    product = np.broadcast_to(np.array(colour, np.uint8), (SIDE, SIDE, 3)).copy()
    view = composite(product, matte, np.full((SIDE, SIDE, 3), 255, np.uint8))
    return deliver(view, matte, setting, seed=1)


def whole(cutout: Cutout) -> np.ndarray:
    frame = Image.new("RGBA", cutout.photo_size)
    frame.paste(cutout.rgba, (cutout.box.left, cutout.box.top))
    return np.asarray(frame)


@pytest.mark.parametrize("colour", [(28, 30, 36), (40, 120, 30), (150, 30, 40)], ids=["black", "green", "red"])
@pytest.mark.parametrize("quality", [65, 90])
def test_no_white_pixel_is_left_on_the_rim(colour: tuple[int, int, int], quality: int) -> None:
    photo, true = delivered(colour, replace(STUDIO, quality=quality))
    pixels = whole(cut_out(photo))
    rim = (pixels[..., 3] > 127) & (ndimage.distance_transform_edt(pixels[..., 3] > 127) <= 1.5)
    light = to_linear(np.ascontiguousarray(pixels[..., :3])) @ LUMINANCE
    assert rim.sum() > 500
    assert (light[rim] > 0.7).mean() <= 0.005
    assert iou(pixels[..., 3] > 127, true > 0.5) > 0.98  # and the rim was not shaved off


@pytest.mark.parametrize(
    ("ground", "product"),
    [("black", (150, 40, 40)), ("blue", (230, 225, 210)), ("green", (30, 30, 34)), ("mid grey", (180, 40, 60))],
)
def test_grounds_of_another_plain_colour(ground: str, product: tuple[int, int, int]) -> None:
    photo, true = delivered(product, replace(STUDIO, ground=ground, colour=PLAIN_GROUNDS[ground], quality=88))
    found = cut_out(photo).full_alpha()
    assert iou(found > 0.5, true > 0.5) > 0.98
    assert found[round(0.56 * SIDE), round(0.685 * SIDE)] == 0  # through the handle
    assert (found[~ndimage.binary_dilation(true > 0, iterations=4)] == 0).all()  # no islands


def test_the_ground_in_the_products_own_shade_is_an_opening() -> None:
    matte = handled()
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    shade = 1 - 0.25 * np.exp(-(((y - 0.6) / 0.25) ** 2) - ((x - 0.68) / 0.3) ** 2)
    ground = (255 * shade ** (1 / 2.2))[..., None].repeat(3, axis=2).astype(np.uint8)
    product = np.broadcast_to(np.array((40, 40, 46), np.uint8), (SIDE, SIDE, 3)).copy()
    found = cut_out(Image.fromarray(composite(product, matte, ground))).full_alpha()
    assert found[round(0.56 * SIDE), round(0.685 * SIDE)] == 0
    assert iou(found > 0.5, matte > 0.5) > 0.97


def test_a_highlight_as_white_as_the_ground_is_no_opening() -> None:
    matte = handled()
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    glow = np.clip(2.2 * np.exp(-(((y - 0.55) / 0.12) ** 2) - ((x - 0.4) / 0.05) ** 2), 0, 1)[..., None]
    product = (np.array((90, 92, 98)) * (1 - glow) + 255 * glow).astype(np.uint8)
    found = cut_out(Image.fromarray(composite(product, matte, np.full((SIDE, SIDE, 3), 255, np.uint8)))).full_alpha()
    assert found[round(0.55 * SIDE), round(0.4 * SIDE)] == 1


def test_what_is_seen_through_a_vessel_is_no_opening() -> None:
    """A clear body: as light as the ground, with a thin dark line around it."""
    matte = handled()
    body = matte.copy()
    body[:, round(0.6 * SIDE) :] = 0
    inside = ndimage.binary_erosion(body > 0.5, iterations=5)
    product = np.where(inside[..., None], 255, 70).astype(np.uint8).repeat(3, axis=2)
    photo = Image.fromarray(composite(product, body, np.full((SIDE, SIDE, 3), 255, np.uint8)))
    assert cut_out(photo, vessel=True).full_alpha()[round(0.6 * SIDE), round(0.4 * SIDE)] == 1
    assert cut_out(photo).full_alpha()[round(0.6 * SIDE), round(0.4 * SIDE)] == 0  # a frame around nothing
