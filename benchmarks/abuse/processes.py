"""Commands of the benchmark as processes: their workspace, and what they leave in it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.abuse.template import PREPARE, PROMPT, SKU

NO_VALIDATION = ("validation.every=0", "validation.choose=last", "validation.patience=0")
STEPS = tuple(part for setting in ("train.steps=2", "preview.every=0", *NO_VALIDATION) for part in ("--set", setting))
TRAIN = (*PREPARE, *STEPS, "--set", "train.warmup=0")
GATE = ("--set", f"pictures.scenes=[{PROMPT}]", "--set", "pictures.seeds=[1]", "--set", "pictures.steps=1")
DRAW = ("--base", "embedded", "--size", "256", "--steps", "1", "--prompt", PROMPT)
COMMANDS: dict[str, tuple[str, ...]] = {
    "prepare": ("prepare", SKU, *PREPARE, "--force"),
    "check": ("check", SKU, *PREPARE, "--force"),
    "train": ("train", SKU, *TRAIN, "--set", "train.seed=6"),
    "place": ("place", SKU, *DRAW, "--adapter", "none", "--seed", "7"),
    "evaluate": ("evaluate", SKU, *GATE),
    "nightly": ("nightly", "--config", "night.yaml"),
}
IMPORT = ("prepare", "--from", "source", "new", "--class-noun", "mug", *PREPARE)
TEMPORARY = re.compile(r"\.part\b|\.incomplete\b")
"""In the names of what is not whole yet."""


def fresh_workspace(template: Path, folder: Path) -> Path:
    """A copy of the template, with settings for the night and a folder to import."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(template, folder, symlinks=True)
    seed = "train.seed=6" if (template / "warm").exists() else "train.seed=5"  # so that there is something to train
    sets = [*(part for part in TRAIN if "=" in part), seed]
    (folder / "night.yaml").write_text(json.dumps({"config": "embedded", "skus": [SKU], "set": sets}), encoding="utf-8")
    shutil.copytree(folder / "datasets" / SKU / "photos", folder / "source")
    return folder


def started(folder: Path, arguments: tuple[str, ...], log: Path) -> subprocess.Popen[bytes]:
    """A command in a session of its own; stderr goes to `log`."""
    line = [sys.executable, "-P", "-m", "finetune.core.commands", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with log.open("wb") as handle:
        return subprocess.Popen(
            line, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=handle, start_new_session=True
        )


def temporary(folder: Path) -> list[str]:
    """Temporary files and folders in a workspace."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if TEMPORARY.search(p.name))


def doubled(folder: Path) -> list[str]:
    """Versions with one fingerprint, and steps that a run's metrics hold twice."""
    from finetune.core.adapters.versions import list_versions
    from finetune.core.products.catalog import Workspace

    prints = [v.manifest["fingerprint"] for v in list_versions(Workspace(folder), SKU)]
    found = [f"version {p}" for p in {p for p in prints if prints.count(p) > 1}]
    for metrics in folder.glob("runs/*/*/metrics.jsonl"):
        steps = [json.loads(line)["step"] for line in metrics.read_text(encoding="utf-8").splitlines()]
        found += [f"steps of {metrics.parent.name}"] if len(set(steps)) < len(steps) else []
    return found


def counted(name: str, rows: list[dict[str, str]], *columns: str) -> str:
    """A line of a table: how many rows have something in each column."""
    counts = [sum(bool(row[column]) for row in rows) for column in columns]
    return f"| {name} | {len(rows)} | {' | '.join(map(str, counts))} |"
