"""Rendered worlds as the embedded base is trained on them: what is read, composites of frames, masks."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from rendered_worlds import SOFT, SUNNY, make_world, record, write_world

from tools.embedded_base import masking
from tools.embedded_base.composites import with_composites
from tools.embedded_base.world import load_world, load_worlds


def test_a_composite_is_the_product_with_its_shadow_on_an_empty_ground_of_its_light() -> None:
    grounds = [record(1, empty=True, surface="snow"), record(2, empty=True, surface="snow", light=SUNNY)]
    world = make_world([record(0), *grounds])
    joined = with_composites(world, 4.0, seed=3)
    made = range(len(world), len(joined))
    assert len(made) >= 6
    for index in made:
        words, frame, mask = joined.records[index], joined.frames[index], joined.masks[index]
        assert (words["class_noun"], words["surface"], words["lighting"]) == ("mug", "snow", SOFT)
        assert words["caption"] == "a photo of a red mug on snow, brick wall, soft daylight"
        core = mask == 255
        assert 4000 < core.sum() < 11000
        assert np.abs(frame[core].astype(int) - (200, 30, 30)).max() <= 4
        ground = frame[mask == 0]
        assert ground.max() == 110, "the ground is the empty frame's"
        assert ground.min() < 100, "with a shadow on it"
        assert (frame[:60] == 110).all()


def test_what_cannot_be_joined_truthfully_is_left_out() -> None:
    for entry in (
        record(0, light=SUNNY),
        record(0, product={"colour": "", "material": "glass", "shape": "", "size": "", "parts": ""}),
        record(0, mask_area=0.01),
    ):
        world = make_world([entry, record(1, empty=True, light=entry["lighting"])])
        assert with_composites(world, 3.0, seed=0) is world
    mirror = make_world([record(0), record(1, empty=True, surface="black marble")])
    assert with_composites(mirror, 3.0, seed=0) is mirror
    assert with_composites(make_world([record(0), record(1, empty=True)]), 0.0, seed=0).records[-1]["index"] == 1


def test_a_product_may_cover_another_but_never_leaves_part_of_it() -> None:
    world = make_world([record(0), record(1)])
    joined = with_composites(world, 6.0, seed=1)
    assert len(joined) > len(world)
    for index in range(len(world), len(joined)):
        assert (joined.masks[index][world.masks[0] > 0] > 242).all()


@pytest.fixture
def world_on_disk(tmp_path: Path) -> Path:
    return write_world(tmp_path / "world")


def test_indices_that_end_in_8_and_9_are_held_out(world_on_disk: Path) -> None:
    assert [r["index"] for r in load_world(world_on_disk, held_out=True).records] == [8, 9]
    assert [r["index"] for r in load_world(world_on_disk, held_out=False).records] == list(range(8))


def test_several_folders_are_one_world_and_a_line_in_the_making_is_left_out(
    world_on_disk: Path, tmp_path: Path
) -> None:
    second = tmp_path / "second"
    shutil.copytree(world_on_disk, second)
    path = second / "metadata.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([*lines[:3], lines[3][:50]]), encoding="utf-8")
    joined = load_worlds([world_on_disk, second], held_out=False)
    assert [r["index"] for r in joined.records] == [*range(8), 0, 1, 2]
    assert (joined.frames[8:] == joined.frames[:3]).all()


def test_a_place_mask_covers_whole_cells_or_follows_the_outline() -> None:
    product = np.zeros((256, 256), bool)
    product[83:177, 91:171] = True
    masks = [masking.make_mask(np.random.default_rng(seed), "place", product, 16) for seed in range(40)]
    cells = [mask.reshape(16, 16, 16, 16).swapaxes(1, 2).reshape(256, 256) for mask in masks]
    whole = [bool((cell.min(1) == cell.max(1)).all()) for cell in cells]
    assert 10 < sum(whole) < 30
    for mask, is_whole in zip(masks, whole, strict=True):
        assert (mask[~masking.grow(product, 2)]).all()
        if is_whole:
            assert (mask[~product]).all(), "no ground is known beside the product"


def test_growing_is_that_of_the_whole_frame() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        mask = np.zeros((64, 64), bool)
        mask[tuple(rng.integers(0, 64, (2, 6)))] = True
        for radius in (1.0, 5.0, 7.5):
            rows, columns = np.nonzero(mask)
            y, x = np.mgrid[:64, :64]
            near = (np.hypot(y[..., None] - rows, x[..., None] - columns) <= radius).any(-1)
            assert np.array_equal(masking.grow(mask, radius), near)
