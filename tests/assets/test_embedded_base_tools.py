"""The embedded base's training tools: composites of frames, and a real run that stops, resumes and is exported."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from finetune.core.basemodel.load import load_pipeline
from finetune.core.basemodel.resolve import EMBEDDED, resolve_base
from tools.embedded_base.__main__ import main
from tools.embedded_base.composites import with_composites
from tools.embedded_base.world import World, load_world

SOFT, SUNNY = "soft daylight", "hard midday sun"


def record(index: int, *, empty: bool = False, surface: str = "sand", light: str = SOFT, **more: Any) -> dict[str, Any]:
    product = None if empty else {"colour": "red", "material": "plastic", "shape": "", "size": "", "parts": ""}
    place = {"surface": surface, "backdrop": "brick wall", "backdrop_type": "brick wall", "backdrop_colour": ""}
    return {
        "index": index,
        "file_name": f"frames/{index}.png",
        "mask": f"masks/{index}.png",
        "caption": f"a photo on {surface}",
        "empty": empty,
        "class_noun": "" if empty else "mug",
        "label_text": "",
        "lighting": light,
        "mask_area": 0.0 if empty else 0.12,
        "product": product,
        **place,
        **more,
    }


def make_world(records: list[dict[str, Any]]) -> World:
    """Red boxes on grounds of one grey each, as many shades as frames."""
    count = len(records)
    frames, masks = np.empty((count, 256, 256, 3), np.uint8), np.zeros((count, 256, 256), np.uint8)
    for i, entry in enumerate(records):
        frames[i] = 100 + 10 * i
        if not entry["empty"]:
            frames[i, 80:180, 90:170], masks[i, 80:180, 90:170] = (200, 30, 30), 255
    return World(records, frames, masks)


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
    folder = tmp_path / "world"
    (folder / "frames").mkdir(parents=True)
    (folder / "masks").mkdir()
    world = make_world([record(i, empty=i in (3, 7)) for i in range(10)])
    for entry, frame, mask in zip(world.records, world.frames, world.masks, strict=True):
        Image.fromarray(frame).save(folder / entry["file_name"])
        Image.fromarray(mask).save(folder / entry["mask"])
    lines = [json.dumps(entry) for entry in world.records]
    (folder / "metadata.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


def test_indices_that_end_in_8_and_9_are_held_out(world_on_disk: Path) -> None:
    assert [r["index"] for r in load_world(world_on_disk, held_out=True).records] == [8, 9]
    assert [r["index"] for r in load_world(world_on_disk, held_out=False).records] == list(range(8))


@pytest.mark.slow
def test_the_denoiser_trains_stops_resumes_and_is_exported(world_on_disk: Path, tmp_path: Path) -> None:
    base, work = tmp_path / "base", tmp_path / "work"
    shutil.copytree(resolve_base(EMBEDDED).path, base)
    before = 0
    for minutes in ("0.2", "0.4"):
        line = ["denoiser", "--world", str(world_on_disk), "--work", str(work), "--base", str(base), "--from-base"]
        line += ["--device", "cpu", "--minutes", minutes, "--early-batch", "2", "--late-batch", "2"]
        line += ["--mask-variants", "1", "--late-mask-variants", "1", "--composites", "0.5"]
        result = CliRunner().invoke(main, line, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        state = torch.load(work / "denoiser.pt", weights_only=True)
        assert state["step"] > before
        before = state["step"]
    shipped = load_pipeline(resolve_base(EMBEDDED), dtype=torch.float32, device="cpu").unet.state_dict()
    result = CliRunner().invoke(main, ["export", "--work", str(work), "--base", str(base)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    trained = load_pipeline(resolve_base(str(base)), dtype=torch.float32, device="cpu").unet.state_dict()
    assert trained.keys() == shipped.keys()
    assert any((trained[name] != shipped[name]).any() for name in shipped)
    assert all(torch.isfinite(weight).all() for weight in trained.values())
