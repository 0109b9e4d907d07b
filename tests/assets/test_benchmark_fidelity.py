"""The benchmark of the gate: its cases are pictures of the scene's size, and its products are told apart by half."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from drawn_products import draw_bottle
from PIL import Image

from benchmarks.fidelity import cases
from benchmarks.fidelity.__main__ import TOLD, table
from benchmarks.fidelity.products import VIEWS, read_subjects
from finetune.core.pictures.masks import Box

EVERY = cases.HEALTHY | cases.EMPTY | cases.INJURED


@pytest.fixture
def stage() -> cases.Stage:
    bottle = np.dstack([np.asarray(draw_bottle(80)), np.full((80, 80), 255, np.uint8)])
    view = Image.fromarray(bottle)
    return cases.Stage((view,), view, Image.new("RGB", (128, 128), (120, 110, 100)), Box(34, 40, 94, 100), 1)


@pytest.mark.parametrize("name", EVERY)
def test_every_case_is_a_picture_of_the_scenes_size(stage: cases.Stage, name: str) -> None:
    made = EVERY[name](stage)
    assert (made.mode, made.size) == ("RGB", (128, 128))
    changed = np.asarray(made) != np.asarray(stage.empty)
    assert changed.any() == (name != "the empty scene")


def test_products_alternate_between_the_halves(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "meta.json").write_text(json.dumps({"product": {"noun": "bottle"}}), encoding="utf-8")
        for number in range(VIEWS + 1):
            draw_bottle(64).save(folder / f"view_{number}.png")
            Image.new("L", (64, 64), 255).save(folder / f"view_{number}_mask.png")
    found = read_subjects(tmp_path)
    assert [(s.name, s.chooses, len(s.views)) for s in found] == [("a", True, 3), ("b", False, 3), ("c", True, 3)]


def test_the_table_counts_what_passed() -> None:
    row = {"verdict": "pass", "missed": [], "unjudged": [], **dict.fromkeys(TOLD, 50.0)}
    lines = table([dict.fromkeys(EVERY, row), dict.fromkeys(EVERY, row | {"verdict": "fail"})]).splitlines()
    assert len(lines) == len(EVERY) + 2
    assert lines[2].startswith("| itself | 1 of 2 | 50 |")
