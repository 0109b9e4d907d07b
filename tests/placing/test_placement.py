"""Placement on whole pixels, and what the base is given to paint."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from finetune.core.compositing import placement
from finetune.core.errors import ConfigError
from finetune.core.pictures.images import resize_rgba
from finetune.core.pictures.masks import latent_mask, to_pixels


def disc_cutout(width: int = 120, height: int = 200) -> Image.Image:
    """A soft-edged ellipse with a pattern, RGBA."""
    big = Image.new("L", (width * 4, height * 4), 0)
    ImageDraw.Draw(big).ellipse((4, 4, width * 4 - 5, height * 4 - 5), fill=255)
    alpha = np.asarray(big.resize((width, height), Image.Resampling.BOX))
    y, x = np.mgrid[0:height, 0:width]
    colour = np.stack([x * 255 // width, y * 255 // height, (x // 7 + y // 5) % 2 * 255], axis=-1)
    return Image.fromarray(np.dstack([colour, alpha]).astype(np.uint8))


def placed_disc(size: int = 512) -> placement.Placed:
    cutout = disc_cutout()
    box = placement.placement_box(cutout.size, size, anchor=0.43, scale=0.5, ground=0.83)
    return placement.put_on_canvas(cutout, box, size)


def test_box_keeps_proportions_and_stands_on_the_ground() -> None:
    box = placement.placement_box((120, 200), 1000, anchor=0.5, scale=0.5, ground=0.8)
    assert (box.width, box.height, box.bottom) == (300, 500, 800)
    assert box.left + box.right == 1000


@pytest.mark.parametrize(
    ("anchor", "scale", "ground", "side"),
    [(0.1, 0.5, 0.8, "left"), (0.9, 0.5, 0.8, "right"), (0.5, 0.9, 0.8, "top"), (0.05, 0.9, 0.8, "left and top")],
)
def test_a_product_outside_the_frame_is_refused_with_the_scale_that_fits(
    anchor: float, scale: float, ground: float, side: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        placement.placement_box((120, 200), 512, anchor=anchor, scale=scale, ground=ground)
    assert side in caught.value.message
    fitting = float(caught.value.hint.rpartition("at most ")[2])
    placement.placement_box((120, 200), 512, anchor=anchor, scale=fitting, ground=ground)


def test_a_product_of_no_pixels_is_refused() -> None:
    with pytest.raises(ConfigError, match="pixels in a picture"):
        placement.placement_box((10, 900), 64, anchor=0.5, scale=0.5, ground=0.8)


def test_default_scale_makes_wide_products_fit() -> None:
    assert placement.default_scale((100, 200)) == 0.55
    wide = (900, 300)
    box = placement.placement_box(wide, 1024, anchor=0.5, scale=placement.default_scale(wide), ground=0.8)
    assert box.width == pytest.approx(0.8 * 1024, abs=3)


def test_the_cutout_is_resampled_once_and_stands_on_whole_pixels() -> None:
    cutout, placed = disc_cutout(), placed_disc()
    box = placed.box
    inside = np.asarray(placed.canvas.crop((box.left, box.top, box.right, box.bottom)))
    assert np.array_equal(inside, np.asarray(resize_rgba(cutout, (box.width, box.height))))
    outside = np.asarray(placed.canvas)[..., 3].copy()
    outside[box.top : box.bottom, box.left : box.right] = 0
    assert not outside.any()
    assert placed.upscaled == pytest.approx(256 / 200)
    same = placement.put_on_canvas(cutout, box._replace(right=box.left + 120, bottom=box.top + 200), 512)
    pixels = np.asarray(same.canvas)[box.top : box.top + 200, box.left : box.left + 120]
    assert np.array_equal(pixels, np.asarray(cutout))


def test_no_prefill_is_kept_and_sampling_gives_the_cells_back(rng: np.random.Generator) -> None:
    placed = placed_disc()
    job = placement.around_product(placed, 256, grow=1, rng=rng)
    product = np.asarray(resize_rgba(placed.canvas, (256, 256)))
    kept = ~job.mask
    assert kept.any()
    assert product[..., 3][kept].min() >= placement.SOLID
    other = placement.around_product(placed, 256, grow=1, rng=np.random.default_rng(99))
    assert not np.array_equal(np.asarray(other.picture), np.asarray(job.picture))
    assert np.abs(np.asarray(other.picture)[kept].astype(int) - np.asarray(job.picture)[kept]).max() <= 2
    cells = latent_mask(job.mask)
    for row, column in ((0, 0), (7, 7), (3, 5)):  # whichever pixel of a cell is sampled
        assert np.array_equal(job.mask[row::8, column::8], cells)
    assert np.array_equal(to_pixels(cells), job.mask)


def test_the_mask_reaches_one_cell_into_the_product(rng: np.random.Generator) -> None:
    placed = placed_disc()
    kept = [
        int((~latent_mask(placement.around_product(placed, 256, grow=grow, rng=rng).mask)).sum()) for grow in (0, 1, 2)
    ]
    assert kept[0] > kept[1] > kept[2] > 0


def test_a_slender_product_keeps_something_to_see(rng: np.random.Generator) -> None:
    stick = Image.new("RGBA", (24, 200), (200, 30, 30, 255))
    box = placement.placement_box(stick.size, 1024, anchor=0.5, scale=0.6, ground=0.8)
    job = placement.around_product(placement.put_on_canvas(stick, box, 1024), 256, grow=3, rng=rng)
    assert job.grow < 3
    assert not job.mask.all()


def test_prefill_is_smooth_mid_tone_and_repeatable() -> None:
    ground = placement.prefill(256, np.random.default_rng(5))
    assert np.array_equal(ground, placement.prefill(256, np.random.default_rng(5)))
    assert 118 < ground.mean() < 138
    assert ground.max() < 250
    assert np.abs(np.diff(ground.astype(int), axis=0)).mean() < 6


def test_insert_box_holds_the_placement_and_its_margin(rng: np.random.Generator) -> None:
    box = placement.placement_box((120, 200), 1024, anchor=0.5, scale=0.5, ground=0.8)
    scene = Image.fromarray(placement.prefill(256, rng))
    job = placement.box_around(scene, box, 1024, margin=0.05)
    inside = job.mask[box.top // 4 - 12 : box.bottom // 4 + 12, box.left // 4 : box.right // 4]
    assert inside.all()
    assert np.array_equal(to_pixels(latent_mask(job.mask)), job.mask)
    assert job.coverage < 0.45
    assert placement.whole_frame(64, rng).mask.all()


def test_a_small_base_is_shown_the_whole_product() -> None:
    """A cell of 8 px is a tenth of a product on a 256 px base: eaten away, it would be painted anew and larger."""
    assert [placement.default_grow(size) for size in (256, 512, 1024, 2048)] == [0, 0, 1, 2]
