"""The program as processes find it that are to judge few pictures by the shipped gate's rules."""

from __future__ import annotations

import shutil
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]


def write_checkout(folder: Path) -> None:
    """A copy of the program whose gate asks for two pictures of two steps instead of six of twenty.

    A process with this folder as its PYTHONPATH runs the copy.
    """
    for name in ("finetune", "inference", "configs"):
        shutil.copytree(ROOT / name, folder / name)
    gate = folder / "configs" / "gate.yaml"
    settings = yaml.safe_load(gate.read_text(encoding="utf-8"))
    settings["pictures"] |= {"scenes": settings["pictures"]["scenes"][:2], "seeds": [11], "steps": 2}
    gate.write_text(yaml.safe_dump(settings), encoding="utf-8")
