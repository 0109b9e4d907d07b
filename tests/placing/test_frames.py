"""Frames of any shape and size: painted at a training bucket, delivered to the pixel, nothing stretched."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from drawn_products import draw_bottle, write_set
from hypothesis import given
from hypothesis import strategies as st
from made_once import prepare_once
from PIL import Image

from finetune.core.basemodel.resolve import resolve_base
from finetune.core.commands import main
from finetune.core.compositing.frame import cut_to_frame, painted_at, read_ratio, read_size
from finetune.core.compositing.placement import around_product, box_around, placement_box, put_on_canvas
from finetune.core.painting.inpainter import Inpainter, Sampling, load_inpainter
from finetune.core.painting.pictures import InsertBox, empty_scene, insert_picture, preserve_picture
from finetune.core.pictures.buckets import bucket_sizes
from finetune.core.products.catalog import Workspace
from finetune.settings import DataSection
from inference.delivery import check_core

RATIOS = ("1:1", "4:5", "5:4", "3:4", "2:3", "3:2", "9:16", "16:9", "2:1")
SIDES = (200, 333, 512)
SAMPLING = Sampling(steps=1)


@given(st.integers(64, 4096), st.integers(64, 4096), st.sampled_from([64, 256, 1024]))
def test_what_is_painted_is_a_bucket_that_covers_the_frame_and_little_more(width: int, height: int, side: int) -> None:
    how = painted_at((width, height), side)
    assert how.size in bucket_sizes(side, aspect=True)
    assert how.cover[0] >= width
    assert how.cover[1] >= height
    assert how.cover[0] == width or how.cover[1] == height
    assert how.cover[0] / how.cover[1] == pytest.approx(how.size[0] / how.size[1], rel=0.02)


def test_nothing_is_stretched() -> None:
    painted = Image.fromarray((np.add.outer(np.arange(288), np.zeros(224)) > 143).astype(np.uint8) * 255)
    cut = np.asarray(cut_to_frame(painted, (1080, 1350)))
    assert cut.shape == (1350, 1080)
    edge = np.flatnonzero(cut[:, 0] > 127)[0]
    assert edge == pytest.approx(1350 / 2, abs=3), "the middle stays the middle"
    same = Image.new("RGB", (256, 256))
    assert cut_to_frame(same, 256) is same


def test_the_base_sees_the_product_where_it_is_delivered() -> None:
    cutout = Image.new("RGBA", (100, 200), (200, 30, 30, 255))
    frame = (1350, 1080)
    placed = put_on_canvas(cutout, placement_box(cutout.size, frame, anchor=0.3), frame)
    job = around_product(placed, 256, grow=0, rng=np.random.default_rng(1))
    assert job.picture.size == painted_at(frame, 256).size
    red = np.asarray(job.picture).astype(int)
    seen = Image.fromarray(((red[..., 0] - red[..., 1]) > 120).astype(np.uint8) * 255)
    back = np.asarray(cut_to_frame(seen, frame)) > 127
    rows, columns = np.flatnonzero(back.any(1)), np.flatnonzero(back.any(0))
    found = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    assert found == pytest.approx(tuple(placed.box), abs=6)
    assert np.asarray(job.mask).shape == (job.picture.height, job.picture.width)


def test_a_box_is_painted_around_the_product_in_any_frame() -> None:
    scene = Image.new("RGB", painted_at((800, 1200), 256).size)
    box = placement_box((100, 200), (800, 1200))
    job = box_around(scene, box, (800, 1200), margin=0.0)
    rows, columns = np.flatnonzero(job.mask.any(1)), np.flatnonzero(job.mask.any(0))
    how = painted_at((800, 1200), 256)
    beside, above = how.offset((800, 1200))
    assert columns[0] * how.scale - beside == pytest.approx(box.left, abs=8 * how.scale)
    assert (rows[-1] + 1) * how.scale - above == pytest.approx(box.bottom, abs=8 * how.scale)


@pytest.fixture(scope="module")
def tiny(tiny_base: Path) -> Inpainter:
    return load_inpainter(resolve_base(str(tiny_base)), None, device="cpu")


@pytest.mark.tiny
@pytest.mark.parametrize("ratio", RATIOS)
def test_every_ratio_and_size_is_delivered_to_the_pixel_with_the_core_untouched(tiny: Inpainter, ratio: str) -> None:
    cutout = Image.fromarray(np.dstack([np.asarray(draw_bottle(120)), np.full((120, 120), 255, np.uint8)]))
    for longer in SIDES:
        frame = read_ratio(ratio, longer)
        assert max(frame) == longer
        placed = put_on_canvas(cutout, placement_box(cutout.size, frame), frame)
        made = preserve_picture(tiny, placed, "on oak", sampling=SAMPLING, seed=1).picture
        assert made.size == frame
        assert check_core(np.asarray(made), placed.rgb, placed.core).max_difference == 0
        assert placed.core.sum() > 1000


@pytest.mark.tiny
def test_insert_mode_draws_into_a_frame(tiny: Inpainter) -> None:
    frame = read_size("150x240")
    scene = empty_scene(tiny, "on oak", sampling=SAMPLING, seed=1, frame=frame)
    assert scene.size == painted_at(frame, tiny.size).size
    where = InsertBox(placement_box((100, 200), frame), frame)
    assert insert_picture(tiny, scene, where, "a bottle", sampling=SAMPLING, seed=1).picture.size == frame


@pytest.mark.tiny
def test_place_and_verify_know_the_frame(tmp_path: Path, tiny_base: Path) -> None:
    write_set(tmp_path, "bottle01", {"front": draw_bottle()})
    prepare_once(Workspace(tmp_path), "bottle01", DataSection(size=64, variants=1))
    what = ["place", "bottle01", "--prompt", "on oak", "--adapter", "none", "--base", str(tiny_base), "--steps", "1"]
    done = CliRunner().invoke(main, [*what, "--ratio", "4:5", "--size", "300", "--workspace", str(tmp_path)])
    assert done.exit_code == 0, done.output
    picture = Path(done.stdout.strip().splitlines()[-1])
    with Image.open(picture) as opened:
        assert opened.size == (240, 300)
    assert json.loads(picture.with_suffix(".json").read_text(encoding="utf-8"))["size"] == [240, 300]
    checked = CliRunner().invoke(main, ["verify", str(picture), "--workspace", str(tmp_path)])
    assert checked.exit_code == 0, checked.output


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--size", "0"), "is out of range (64 to 4096)"),
        (("--size", "100000"), "is out of range (64 to 4096)"),
        (("--size", "1080x"), "is not a size"),
        (("--size", "1000x100"), "too slender"),
        (("--ratio", "4x5"), "is not a ratio"),
        (("--ratio", "4:0"), "is not a ratio"),
        (("--ratio", "4:5", "--size", "300x200"), "both say the shape"),
        (("--ratio", "4:5", "--plate", "marble-vanity"), "--ratio has no effect with --plate"),
    ],
)
def test_a_size_that_cannot_be_is_refused_in_one_line(tmp_path: Path, options: tuple[str, ...], says: str) -> None:
    write_set(tmp_path, "bottle01", {"front": draw_bottle()})
    where = () if "--plate" in options else ("--prompt", "on oak")
    done = CliRunner().invoke(main, ["place", "bottle01", *where, *options, "--workspace", str(tmp_path)])
    assert done.exit_code in (1, 2), done.output
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "scenes").exists()
