"""Runs of the tiny SDXL with validation, candidates and a gate."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from made_once import prepare_once
from tiny_training import tiny_config

from finetune.core.products.catalog import Workspace
from finetune.settings import TrainConfig
from finetune.train import TrainResult, check_request, train_adapter

NOW = datetime(2026, 1, 2, 3, 4, 5)


GATE = """
pictures: {scenes: [on oak, on stone], seeds: [3], steps: 2, measure_side: 48}
rules: {palette: {bar: 200}, own_nearest: {bar: 70}, core_difference: {bar: 0}}
"""


def write_gate(folder: Path) -> Path:
    path = folder / "gate.yaml"
    path.write_text(GATE, encoding="utf-8")
    return path


def config_of(base: Path, gate: Path, *overrides: str) -> TrainConfig:
    watched = (
        "data.variants=6", "train.steps=6", "train.checkpoint_every=2", "validation.every=2",
        "validation.choose=measured", "validation.candidates=2", "validation.pictures=2", f"validation.gate={gate}",
        "preview.every=3", "preview.steps=2",
    )  # fmt: skip
    return tiny_config(base, *watched, *overrides)


def train(workspace: Workspace, config: TrainConfig, sku: str = "bottle01") -> TrainResult:
    prepared = prepare_once(workspace, sku, config.data)
    return train_adapter(workspace, prepared, config, base=check_request(config), now=NOW)


def run_of(workspace: Workspace, result: TrainResult) -> Path:
    return workspace.runs / result.version.manifest["sku"] / story_of(result)["run"]


def story_of(result: TrainResult) -> dict[str, Any]:
    return json.loads((result.version.folder / "adapter.json").read_text(encoding="utf-8"))["training"]
