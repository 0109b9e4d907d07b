"""The benchmark of scenes finds the light of a drawn pair."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.scenes import __main__ as scenes
from finetune.core.compositing.camera import camera_over
from finetune.core.compositing.cast_shadow import darken, ground_light
from finetune.core.compositing.light import Light


def test_a_drawn_pair_is_best_explained_by_its_light(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    matte = np.zeros((160, 160), dtype=np.float32)
    matte[60:120, 70:95] = 1
    empty = np.full((160, 160, 3), 140, dtype=np.uint8)
    camera = camera_over((160, 160), (82.5, 120), elevation=14)
    full = darken(empty, ground_light(matte, Light(270, 45, 0.05, (0.4, 0.4, 0.4)), camera))
    full[matte > 0] = (30, 60, 90)
    Image.fromarray(empty).save(tmp_path / "000_empty.jpg", quality=98)
    Image.fromarray(full).save(tmp_path / "000_full.jpg", quality=98)
    Image.fromarray((matte * 255).astype(np.uint8)).save(tmp_path / "000_mask.png")
    monkeypatch.setattr(scenes, "HEIGHTS", (45.0,))
    monkeypatch.setattr(scenes, "KINDS", (0.05,))
    none, plain, default, best = scenes.measure(tmp_path / "000_full.jpg", True)
    assert best < 0.45 * none
    assert best < min(plain, default)
