"""Training the tiny SDXL on a drawn bottle: configuration, runs, losses."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from crashes import training_dies
from made_once import prepare_once

from finetune.core.adapters import versions
from finetune.core.config import apply_overrides, validate
from finetune.core.products.catalog import Workspace
from finetune.settings import TrainConfig
from finetune.train import TrainResult, check_request, train_adapter

NOW = datetime(2026, 1, 2, 3, 4, 5)


def tiny_config(base: Path, *overrides: str) -> TrainConfig:
    data: dict[str, Any] = {
        "base": {"model": str(base)},
        "data": {"size": 64, "variants": 4},
        "adapter": {"rank": 4},
        "train": {"steps": 3, "batch": 2, "learning_rate": 1e-2, "min_8bit_size": 64, "checkpoint_every": 100},
        "objective": {"ring_px": 8},
        "memory": {"check": False},
        "validation": {"every": 0, "choose": "last"},
    }
    return validate(TrainConfig, apply_overrides(data, overrides), "tiny")


def train(workspace: Workspace, config: TrainConfig) -> TrainResult:
    prepared = prepare_once(workspace, "bottle01", config.data)
    return train_adapter(workspace, prepared, config, base=check_request(config), now=NOW)


def killed_and_resumed(workspace: Workspace, config: TrainConfig, away: Path) -> bytes:
    """The adapter's bytes of a run that is killed after two steps and goes on; what was trained before is moved.

    Args:
        workspace: Where it trains.
        config: With a checkpoint every step.
        away: Where to.
    """
    assert config.train.checkpoint_every == 1
    workspace.adapters.rename(away / "adapters-before")
    workspace.runs.rename(away / "runs-before")
    with training_dies(after=2):
        train(workspace, config)
    assert versions.list_versions(workspace, "bottle01") == []
    assert len(losses(workspace)) == 2
    return train(workspace, config).version.weights.read_bytes()


def losses(workspace: Workspace) -> list[float]:
    (metrics,) = workspace.runs.glob("bottle01/*/metrics.jsonl")
    return [json.loads(line)["loss"] for line in metrics.read_text(encoding="utf-8").splitlines()]
