"""What a run says at its start: the regions, masks and rates as they really came out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_training import tiny_config, train

from finetune.core.config import validate
from finetune.core.products.catalog import Workspace
from finetune.core.yaml_files import read_yaml
from finetune.latents.examples import mask_line
from finetune.settings import TrainConfig
from finetune.training import summary


def test_regions_are_shares_of_all_latents() -> None:
    product, ring = torch.zeros(1, 4, 4), torch.zeros(1, 4, 4)
    product[0, 0] = 1
    ring[0, 1] = 0.5
    empty = torch.zeros(1, 4, 4)
    first, second = summary.region_lines(
        [product, empty], [ring, empty], product_weight=1, ring_weight=0.5, elsewhere=0
    )
    assert first == (
        "latents by region: product 12.5% (weight 1), ring 6.2% (0.5), elsewhere 81.2% (0, not trained)"
    )  # fmt: skip
    assert second.startswith("1 of 2 examples show no product")
    (only,) = summary.region_lines([product], [ring], product_weight=1, ring_weight=0.5, elsewhere=0.5)
    assert "towards the base's own prediction" in only


def test_masks_are_counted_and_the_scale_is_the_adapters() -> None:
    assert mask_line(["box", "full", "box", "product"]) == (
        "inpainting masks: box 50%, full 25%, product 25%"
    )  # fmt: skip
    rates = {"batch": 2, "accumulation": 3, "processes": 2, "learning_rate": 4e-4, "rank": 16}
    plain = summary.step_line(**rates, alpha=1.0, rslora=False)  # type: ignore[arg-type]
    assert plain.startswith("12 samples a step (batch 2 x accumulation 3 x 2 processes)")
    assert plain.endswith("learning rate 0.0004 x scale 0.0625 (alpha 1 / rank) = 2.5e-05")
    assert "scale 4 (alpha 16 / sqrt(rank))" in summary.step_line(**rates, alpha=16.0, rslora=True)  # type: ignore[arg-type]


def test_every_presets_ring_is_of_the_width_its_size_asks_for() -> None:
    presets = sorted((Path(__file__).resolve().parents[2] / "configs" / "train").glob("*.yaml"))
    assert len(presets) >= 5
    for preset in presets:
        config = validate(TrainConfig, read_yaml(preset), preset.name)
        assert config.objective.ring_px == (48 if config.data.size >= 1024 else 16), preset.name


@pytest.mark.tiny
def test_a_run_says_them(workspace: Workspace, tiny_base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(workspace, tiny_config(tiny_base, "train.steps=1", "data.variants=8"))
    said = capsys.readouterr().err
    assert "latents by region: product " in said
    assert "2 samples a step (batch 2 x accumulation 1 x 1 process), learning rate 0.01 x scale 1 (" in said
    (masks,) = [line for line in said.splitlines() if "inpainting masks: " in line]
    shares = [int(part.split()[-1].rstrip("%")) for part in masks.split(": ")[1].split(",")]
    assert sum(shares) == pytest.approx(100, abs=2)


@pytest.mark.tiny
def test_a_base_without_masks_is_told_of_none(
    workspace: Workspace, tiny_base_4: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(workspace, tiny_config(tiny_base_4, "train.steps=1", "data.variants=3"))
    said = capsys.readouterr().err
    assert "latents by region" in said
    assert "inpainting masks: " not in said
