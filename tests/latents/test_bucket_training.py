"""Training on frames of several shapes: batches of one shape, every example as often as any other, exact resume."""

from __future__ import annotations

import json
import math
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from drawn_products import draw_bottle, write_set
from hypothesis import given, settings
from hypothesis import strategies as st
from made_once import prepare_once

from finetune.core.adapters import versions
from finetune.core.config import apply_overrides, validate
from finetune.core.products.catalog import Workspace
from finetune.latents import batches
from finetune.latents.batches import batch_indices, sample_indices
from finetune.settings import TrainConfig
from finetune.train import TrainResult, check_request, train_adapter
from finetune.training import loop

NOW = datetime(2026, 1, 2, 3, 4, 5)


def train(workspace: Workspace, base: Path, sku: str = "bottle01", *overrides: str) -> TrainResult:
    data: dict[str, Any] = {
        "base": {"model": str(base)},
        "data": {"size": 128, "variants": 6, "buckets": True},
        "adapter": {"rank": 4},
        "train": {"steps": 6, "batch": 2, "learning_rate": 1e-2, "min_8bit_size": 64, "checkpoint_every": 1},
        "objective": {"ring_px": 8},
        "memory": {"check": False},  # the planner traces the loop's own loss, which a test here watches
    }
    config = validate(TrainConfig, apply_overrides(data, overrides), "tiny")
    prepared = prepare_once(workspace, sku, config.data)
    return train_adapter(workspace, prepared, config, base=check_request(config), now=NOW)


def metrics(workspace: Workspace, sku: str = "bottle01") -> list[dict[str, float]]:
    (path,) = workspace.runs.glob(f"{sku}/*/metrics.jsonl")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


class Killed(Exception):
    """Stands for a crash in the middle of a run."""


@pytest.mark.tiny
def test_mixed_frames_train_and_resume_to_the_same_weights(
    workspace: Workspace, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real, seen = loop.batch_loss, []

    def noted(unet: Any, batch: batches.Batch, *rest: Any) -> torch.Tensor:
        shapes = {tuple(t.shape[-2:]) for t in (batch.latents, batch.masked, batch.mask, batch.product, batch.noise)}
        assert len(shapes) == 1
        height, width = shapes.pop()
        assert batch.time_ids[:, 4:].tolist() == [[8 * height, 8 * width]] * 2, "the frame is what SDXL is told"
        seen.append((height, width))
        if len(seen) == 10:
            raise Killed
        return real(unet, batch, *rest)

    monkeypatch.setattr(loop, "batch_loss", noted)
    straight = train(workspace, tiny_base).version
    assert set(seen) == {(16, 16), (20, 12)}
    before = metrics(workspace)
    assert len(before) == 6
    assert all(math.isfinite(step["loss"]) and step["grad_norm"] > 0 for step in before)
    weights = straight.weights.read_bytes()
    straight.folder.rename(tmp_path / "straight")
    for run in list(workspace.runs.glob("bottle01/*")):
        run.rename(tmp_path / "straight-run")
    with pytest.raises(Killed):
        train(workspace, tiny_base)
    assert versions.list_versions(workspace, "bottle01") == []
    resumed = train(workspace, tiny_base)
    assert [step["loss"] for step in metrics(workspace)] == [step["loss"] for step in before]
    assert resumed.version.weights.read_bytes() == weights


@pytest.mark.tiny
def test_a_category_trains_like_a_product(workspace: Workspace, tiny_base: Path) -> None:
    for sku, colour in (("vase01", (40, 90, 160)), ("vase02", (40, 140, 60))):
        write_set(workspace.root, sku, {"front": draw_bottle(colour=colour)}, class_noun="vase", category="vases")
    folder = workspace.datasets / "vases"
    folder.mkdir()
    (folder / "set.yaml").write_text("kind: category\nclass_noun: vase\ntoken: vsct01\n")
    result = train(workspace, tiny_base, "vases")
    assert result.version.manifest["kind"] == "category"
    assert result.version.manifest["token"] == "vsct01"
    assert metrics(workspace, "vases")[0]["grad_norm"] > 0
    assert not train(workspace, tiny_base, "vases").made
    draw_bottle(colour=(200, 200, 40)).save(workspace.datasets / "vase02" / "photos" / "front.png")
    assert train(workspace, tiny_base, "vases").made, "a member's photo is the category's content"


@settings(max_examples=60, deadline=None)
@given(
    shares=st.lists(st.integers(1, 7), min_size=1, max_size=4), size=st.integers(1, 4), seed=st.integers(0, 2**31 - 1)
)
def test_every_example_comes_as_often_as_any_other(shares: list[int], size: int, seed: int) -> None:
    total = sum(shares)
    buckets, start = [], 0
    for share in shares:
        buckets.append(list(range(start, start + share)))
        start += share
    drawn = [batch_indices(number, size, buckets, seed) for number in range(2 * total)]
    assert all(any(set(batch) <= set(bucket) for bucket in buckets) for batch in drawn)
    assert set(Counter(index for batch in drawn for index in batch).values()) == {2 * size}
    assert [batch_indices(number, size, buckets, seed) for number in range(2 * total)] == drawn


def test_one_shape_is_the_plain_sequence() -> None:
    flat = [index for number in range(7) for index in batch_indices(number, 2, [list(range(5))], seed=3)]
    assert flat == sample_indices(0, 14, 5, seed=3)
