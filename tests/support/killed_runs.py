"""A run of the tiny SDXL that can be killed: its configuration, its command, its adapter."""

from __future__ import annotations

import json
from pathlib import Path

from started_commands import At, Started, start

CONFIG = """
base: {model: BASE}
data: {size: 64, variants: 4}
adapter: {rank: 4}
train:
  {steps: 6, batch: 1, learning_rate: 1.0e-2, checkpoint_every: 2, min_8bit_size: 64, trackers: [], deterministic: true}
validation: {every: 3, examples: 1, timesteps: 1, choose: loss}
objective: {ring_px: 8}
memory: {check: false}
"""


def train(folder: Path, name: str, kill: At | None = None) -> Started:
    line = ["train", "bottle01", "--config", str(folder / "tiny.yaml"), "--workspace", str(folder)]
    return start(folder / f"{name}.txt", *line, kill=kill)


def adapter(folder: Path) -> Path:
    (found,) = folder.glob("adapters/bottle01/0*/adapter.safetensors")
    return found


def steps(folder: Path) -> list[int]:
    """Steps in the run's metrics, as far as they are written."""
    files = folder.glob("runs/bottle01/*/metrics.jsonl")
    return [json.loads(line)["step"] for path in files for line in path.read_text(encoding="utf-8").splitlines()]
