"""The bounded relight: within its budget, smooth, towards the scene's light, and no byte at budget 0."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from skimage import color

from finetune.core.compositing.light import Light
from finetune.core.compositing.placement import Placed, put_on_canvas
from finetune.core.compositing.relight import relight
from finetune.core.pictures.masks import Box

BOX = Box(60, 30, 140, 190)


def bottle() -> Placed:
    """A grey bottle with black print."""
    pixels = np.full((BOX.height, BOX.width, 4), 255, dtype=np.uint8)
    pixels[..., :3] = 150
    pixels[60:100:6, 20:60, :3] = 20
    return put_on_canvas(Image.fromarray(pixels), BOX, (200, 220))


def room(left: tuple[int, int, int], right: tuple[int, int, int]) -> np.ndarray:
    scene = np.empty((220, 200, 3), dtype=np.uint8)
    scene[:, :100], scene[:, 100:] = left, right
    return scene


def change(relit: np.ndarray, placed: Placed) -> np.ndarray:
    lab = [color.rgb2lab(rgb)[placed.core] for rgb in (placed.rgb, relit)]
    return np.asarray(color.deltaE_ciede2000(*lab))


@pytest.mark.parametrize("budget", [2.0, 6.0, 12.0])
def test_the_change_stays_within_the_budget(budget: float) -> None:
    found = relight(bottle(), room((20, 20, 60), (90, 40, 20)), Light(), budget=budget)
    measured = float(np.quantile(change(found.rgb, bottle()), 0.95))
    assert 0.5 * budget < measured <= budget * 1.02
    assert found.p95 == pytest.approx(measured, abs=0.2)
    assert found.contrast >= 0.95


def test_budget_zero_gives_back_the_bytes() -> None:
    found = relight(bottle(), room((0, 0, 80), (200, 0, 0)), Light(), budget=0)
    assert np.array_equal(found.rgb, bottle().rgb)
    assert (found.share, found.p95) == (0, 0)


def test_each_side_takes_the_colour_beside_it() -> None:
    found = relight(bottle(), room((40, 60, 160), (170, 60, 40)), Light(0, 89, 1.0), budget=12).rgb
    blue, red = (found[150, BOX.left + 4].astype(int), found[150, BOX.right - 5].astype(int))
    assert blue[2] - blue[0] > red[2] - red[0] + 5


def test_the_side_towards_the_light_is_brighter() -> None:
    grey = room((120, 120, 120), (120, 120, 120))
    found = relight(bottle(), grey, Light(90, 30, 0.05), budget=12).rgb
    assert int(found[150, BOX.right - 5, 1]) > int(found[150, BOX.left + 4, 1]) + 5


def test_only_low_frequencies_change() -> None:
    placed = bottle()
    found = relight(placed, room((10, 30, 90), (150, 70, 30)), Light(270, 30, 0.1), budget=10)
    core = placed.core
    before, after = (np.log(rgb[..., 1].astype(float) + 1) for rgb in (placed.rgb, found.rgb))
    gain = after - before
    steps = np.abs(np.diff(np.where(core, gain, np.nan), axis=0))
    rounding = 2.5 / 20  # of an 8-bit step on the black print
    assert np.nanmax(steps) < 0.06 + rounding
    smooth = ndimage.gaussian_filter(gain, 3)
    assert np.abs(gain - smooth)[BOX.top + 20 : BOX.top + 50, BOX.left + 20 : BOX.right - 20].max() < 0.03
