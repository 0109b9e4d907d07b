"""`place` and what an adapter was trained for: refused where it can't be, warned of where it has not learned it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from drawn_products import draw_bottle, write_set

from finetune.core.adapters.file import WEIGHTS, check_objective, write_adapter
from finetune.core.basemodel.resolve import resolve_base
from finetune.core.config import validate
from finetune.core.errors import AdapterMismatch
from finetune.core.products.catalog import Workspace
from finetune.prepare import prepare_set
from finetune.settings import DataSection
from inference.place import resolve_request
from inference.settings import PlaceConfig

pytestmark = pytest.mark.tiny
SHARES = {"background": 0.5, "product": 0.0, "box": 0.5, "full": 0.0}


def manifest_of(base: Path, **changes: Any) -> dict[str, Any]:
    resolved = resolve_base(str(base))
    objective = "inpainting" if resolved.channels == 9 else "text-to-image"
    plain = {"base": resolved.summary(), "objective": objective, "config": {"data": {"mask_shares": SHARES}}}
    return plain | changes


def test_the_objective_goes_with_the_channels(tiny_base: Path, tiny_base_4: Path) -> None:
    nine, four = resolve_base(str(tiny_base)), resolve_base(str(tiny_base_4))
    assert check_objective(manifest_of(tiny_base), nine, "background") == ""
    assert "whole pictures (4 channels)" in check_objective(manifest_of(tiny_base_4), four, "background")
    for objective, base in (("text-to-image", nine), ("inpainting", four)):
        with pytest.raises(AdapterMismatch, match=f"on the {objective} objective.*has {base.channels} input") as caught:
            check_objective({"objective": objective}, base, "box")
        assert "needs a base with 9 input channels" in caught.value.hint


def test_masks_it_never_saw_are_named(tiny_base: Path) -> None:
    base = resolve_base(str(tiny_base))

    def said(kind: str, **shares: float) -> str:
        config = {"data": {"mask_shares": SHARES | shares}}
        return check_objective(manifest_of(tiny_base, config=config), base, kind)

    assert "without box masks" in said("box", box=0)
    assert said("box", box=0, full=0.1) == "", "the full frame holds every box"
    assert "without background masks" in said("background", background=0)
    assert said("background", box=0) == ""


def test_another_programs_lora_is_taken_for_one_without_masks(tiny_base: Path, tiny_base_4: Path) -> None:
    foreign = {"foreign": {"layout": "kohya"}}
    assert "does not say how it was trained" in check_objective(foreign, resolve_base(str(tiny_base)), "box")
    assert check_objective(foreign, resolve_base(str(tiny_base_4)), "box") == ""


def test_placing_says_it_before_a_model_loads(
    tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_set(tmp_path, "bottle01", {"front": draw_bottle()})
    workspace = Workspace(tmp_path)
    prepare_set(workspace, "bottle01", data=DataSection(size=64, variants=2))
    folder = workspace.adapters / "bottle01" / "0001"
    folder.mkdir(parents=True)
    halves = {f"x.lora_{half}.weight": torch.zeros(2, 2) for half in "AB"}
    config = {"data": {"mask_shares": SHARES | {"box": 0.0}}}
    write_adapter(
        folder / WEIGHTS,
        halves,
        {"r": 2, "lora_alpha": 2, "target_modules": ["x"]},
        manifest_of(tiny_base, sku="bottle01", config=config),
    )

    def plan(mode: str) -> str:
        settings = validate(PlaceConfig, {"size": 128, "mode": mode}, "test")
        resolve_request(workspace, "bottle01", "on oak", config=settings)
        return capsys.readouterr().err

    assert "Warning: this adapter was trained without box masks" in plan("insert")
    assert "Warning" not in plan("preserve")
