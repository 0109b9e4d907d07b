"""Commands at once on one SKU, and commands killed anywhere: nothing doubled, no traceback, nothing left."""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
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
BUSY = re.compile(r"Error: (process \d+ on .* is|another process is) .* already")
IMPORT = ("prepare", "--from", "source", "new", "--class-noun", "mug", *PREPARE)
TEMPORARY = re.compile(r"\.part\b|\.incomplete\b")


def _workspace(template: Path, folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(template, folder, symlinks=True)
    seed = "train.seed=6" if (template / "warm").exists() else "train.seed=5"  # so that there is something to train
    sets = [*(part for part in TRAIN if "=" in part), seed]
    (folder / "night.yaml").write_text(json.dumps({"config": "embedded", "skus": [SKU], "set": sets}), encoding="utf-8")
    shutil.copytree(folder / "datasets" / SKU / "photos", folder / "source")
    return folder


def _warm(template: Path, folder: Path) -> Path:
    """The workspace after a night: what the base alone draws, latents and plans are in its cache."""
    if not (folder / "warm").exists():
        _workspace(template, folder)
        code = _start(folder, COMMANDS["nightly"], folder / "night.log").wait()
        assert code in (0, 3), (folder / "night.log").read_text(encoding="utf-8")
        (folder / "warm").touch()
        for name in ("night.log", "night.yaml"):
            (folder / name).unlink()
        shutil.rmtree(folder / "source")
    return folder


def _start(folder: Path, arguments: tuple[str, ...], log: Path) -> subprocess.Popen[bytes]:
    line = [sys.executable, "-P", "-m", "finetune.core.commands", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with log.open("wb") as handle:
        return subprocess.Popen(
            line, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=handle, start_new_session=True
        )


def _left(folder: Path) -> list[str]:
    """Temporary files and folders in a workspace."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if TEMPORARY.search(p.name))


def _doubled(folder: Path) -> list[str]:
    """Versions with one fingerprint, and steps that a run's metrics hold twice."""
    from finetune.core.adapters.versions import list_versions
    from finetune.core.products.catalog import Workspace

    prints = [v.manifest["fingerprint"] for v in list_versions(Workspace(folder), SKU)]
    found = [f"version {p}" for p in {p for p in prints if prints.count(p) > 1}]
    for metrics in folder.glob("runs/*/*/metrics.jsonl"):
        steps = [json.loads(line)["step"] for line in metrics.read_text(encoding="utf-8").splitlines()]
        found += [f"steps of {metrics.parent.name}"] if len(set(steps)) < len(steps) else []
    return found


def pairs(template: Path, work: Path, *, rounds: int) -> str:
    """Every pair of commands, a command with itself too, at once on one SKU; verdicts are kept and not asked again.

    Args:
        template: The workspace to copy.
        work: Of the benchmark.
        rounds: How often each pair runs.

    Returns:
        A Markdown table.
    """
    kept, template = work / "pairs.json", _warm(template, work / "warm")
    rows: dict[str, dict[str, str]] = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    for turn in range(rounds):
        for first, second in itertools.combinations_with_replacement(COMMANDS, 2):
            name = f"{first} + {second}, {turn + 1}"
            if name not in rows:
                rows[name] = _pair(template, work / "pair", first, second)
                kept.write_text(json.dumps(rows, indent=1), encoding="utf-8")
                print(name, rows[name], file=sys.stderr, flush=True)
    lines = ["| pair | rounds | both done | one told to wait | other errors | tracebacks | doubled | left over |"]
    lines.append("|" + "---|" * 8)
    for pair in dict.fromkeys(name.rpartition(",")[0] for name in rows):
        of_pair = [row for name, row in rows.items() if name.rpartition(",")[0] == pair]
        counts = [
            sum(bool(row[key]) for row in of_pair) for key in ("done", "busy", "errors", "traceback", "doubled", "left")
        ]
        lines.append(f"| {pair} | {len(of_pair)} | {' | '.join(map(str, counts))} |")
    return "\n".join(lines)


def _row(name: str, rows: list[dict[str, str]], *columns: str) -> str:
    """A line of a table: how many rows have something in each column."""
    counts = [sum(bool(row[column]) for row in rows) for column in columns]
    return f"| {name} | {len(rows)} | {' | '.join(map(str, counts))} |"


def _pair(template: Path, folder: Path, first: str, second: str) -> dict[str, str]:
    """Two commands at once."""
    _workspace(template, folder)
    logs = [folder.with_name(f"pair-{number}.log") for number in (1, 2)]
    started = [_start(folder, COMMANDS[name], log) for name, log in zip((first, second), logs, strict=True)]
    codes = [process.wait(timeout=900) for process in started]
    texts = [log.read_text(encoding="utf-8", errors="replace") for log in logs]
    busy = [text for text in texts if BUSY.search(text)]
    bad = [  # 3: the gate is not met
        line
        for code, text in zip(codes, texts, strict=True)
        if code not in (0, 3) and not BUSY.search(text)
        for line in text.splitlines()[-3:]
    ]
    tracebacks = "".join(text[-600:] for text in texts if "Traceback" in text)
    return {
        "done": "yes" if all(code in (0, 3) for code in codes) else "",
        "busy": "yes" if busy else "",
        "errors": " ".join(bad)[:600],
        "traceback": tracebacks,
        "doubled": " ".join(_doubled(folder)),
        "left": " ".join(_left(folder)),
    }


def kills(template: Path, work: Path, *, count: int, seed: int) -> str:
    """Commands killed (SIGKILL, with their children) at a random moment; then the same command runs to its end.

    Args:
        template: The workspace to copy.
        work: Of the benchmark.
        count: How many kills, spread over prepare, check, import, train and place.
        seed: Of the moments.

    Returns:
        A Markdown table.
    """
    lines = {name: COMMANDS[name] for name in ("prepare", "check", "train", "place")} | {"import": IMPORT}
    kept = work / "kills.json"
    rows: dict[str, dict[str, str]] = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    spans: dict[str, float] = {}
    for number in range(count):
        name = list(lines)[number % len(lines)]
        key = f"{name} {number}"
        if key in rows:
            continue
        folder, log = _workspace(template, work / "killed"), work / "killed.log"
        if name not in spans:
            began = time.monotonic()
            _start(folder, lines[name], log).wait(timeout=900)
            spans[name] = time.monotonic() - began
            _workspace(template, folder)
        share = random.Random(f"{seed} {number}").uniform(0.1, 0.8)
        process = _start(folder, lines[name], log)
        try:
            process.wait(timeout=share * spans[name])
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        killed = process.wait() == -signal.SIGKILL
        left = _left(folder)
        code = _start(folder, lines[name], log).wait(timeout=900)
        if name == "import" and code == 1 and "exists already" in log.read_text(encoding="utf-8"):
            code = _start(folder, ("prepare", "new", *PREPARE), log).wait(timeout=900)  # it was killed after the import
        said = log.read_text(encoding="utf-8", errors="replace")
        rows[key] = {
            "name": name,
            "killed": "yes" if killed else "",
            "by the kill": " ".join(left),
            "after": " ".join(_left(folder)),
            "failed": said[-400:] if code else "",
            "doubled": " ".join(_doubled(folder)),
        }
        kept.write_text(json.dumps(rows, indent=1), encoding="utf-8")
        print(key, rows[key], file=sys.stderr, flush=True)
    told = [
        "| command | runs | killed before their end | left by the kill | left after the next | it failed | doubled |"
    ]
    told.append("|" + "---|" * 7)
    for name in lines:
        of_name = [row for row in rows.values() if row["name"] == name]
        counts = [
            sum(bool(row[key]) for row in of_name) for key in ("killed", "by the kill", "after", "failed", "doubled")
        ]
        told.append(f"| {name} | {len(of_name)} | {' | '.join(map(str, counts))} |")
    return "\n".join(told)
