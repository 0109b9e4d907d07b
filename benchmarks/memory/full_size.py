"""SDXL at full size with random weights on this machine's CPU: what commands say they need, and what they take.

    OMP_NUM_THREADS=1 python -m benchmarks.memory.full_size --folder DIR [--keep]

It writes fp16 files in SDXL's layout (9 channels, native size 512 px, 7 GB; `--keep` leaves them for the next call)
and runs the real commands on one photo of a sample set, each in a process of its own: `doctor --base`, `plan`, `train`,
killed after its first checkpoint, the same again, which resumes, `place`, `evaluate` and `adapters export`. It needs
about 20 GiB of free memory and an hour. Planned and measured are those of `benchmarks.memory.commands`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.memory.commands import ROOT, RUN, measured, planned
from benchmarks.training_speed.bases import make_full_size

SKU, PHOTO = "perfume01", "01-front.jpg"
NATIVE = 64
"""Native side of the UNet's latents: pictures of 512 px, so that the run fits a machine without a GPU."""
TRAIN = {
    "data.size": "512",
    "data.variants": "1",
    "adapter.rank": "8",
    "adapter.targets": "attention",
    "train.batch": "1",
    "train.steps": "2",
    "train.checkpoint_every": "1",
    "train.warmup": "0",
    "validation.every": "0",
}
GATE = {"pictures.seeds": "[1]", "pictures.scenes": '["on slate"]', "pictures.steps": "2"}


def settings(values: dict[str, str]) -> list[str]:
    """Values as `--set` options."""
    return [part for key, value in values.items() for part in ("--set", f"{key}={value}")]


def steps(base: Path) -> dict[str, list[str]]:
    """The commands of the run in their order, by name."""
    train = [SKU, *settings(TRAIN | {"base.model": str(base)})]
    return {
        "doctor --base": ["doctor", "--base", str(base)],
        "plan": ["plan", *train],
        "train, killed after a checkpoint": ["train", *train],
        "train, resumed": ["train", *train],
        "place, 512 px": ["place", SKU, "--prompt", "on slate", "--steps", "2", "--size", "512"],
        "evaluate": ["evaluate", SKU, *settings(GATE)],
        "adapters export": [
            "adapters",
            "export",
            SKU,
            "--format",
            "kohya",
            "--output",
            str(base.parent / "out.safetensors"),
        ],
    }


def run(arguments: list[str], workspace: Path, log: Path, *, kill: bool) -> tuple[float, float, float]:
    """(planned bytes, measured bytes, seconds) of a command; 0 for what it does not say.

    Args:
        arguments: of the command.
        workspace: where it works.
        log: receives what it says.
        kill: whether to end it by SIGKILL once it has written a checkpoint.
    """
    began = time.perf_counter()
    line = [sys.executable, "-c", RUN, *arguments, "--workspace", str(workspace)]
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(line, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT)
        while process.poll() is None:
            time.sleep(0.5)
            if kill and list(workspace.glob("runs/*/*/state/step-*")):
                process.send_signal(signal.SIGKILL)
                process.wait()
    said = log.read_text(encoding="utf-8")
    return planned(said), measured(said), time.perf_counter() - began


def last_steps(workspace: Path) -> list[dict[str, float]]:
    """Every step of the training in the workspace, as its `metrics.jsonl` has it."""
    files = workspace.glob("runs/*/*/metrics.jsonl")
    return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="an empty folder with 12 GB of room")
    parser.add_argument("--keep", action="store_true", help="leave the weights there")
    parser.add_argument("--only", nargs="+", metavar="STEP", help="these steps alone, by their first word")
    given = parser.parse_args()
    base, workspace = given.folder / "base", given.folder / "workspace"
    if not (base / "model_index.json").exists():
        make_full_size(base, device="cpu", channels=9, variant="fp16", changes={"unet": {"sample_size": NATIVE}})
    if not workspace.exists():
        shutil.copytree(
            ROOT / "datasets" / SKU, workspace / "datasets" / SKU, ignore=shutil.ignore_patterns("prepared")
        )
        for photo in (workspace / "datasets" / SKU / "photos").iterdir():
            if photo.name != PHOTO:
                photo.unlink()
    print("| command | planned MiB | measured MiB | off by | s a step | s |\n|---|---|---|---|---|---|", flush=True)
    for number, (name, arguments) in enumerate(steps(base).items()):
        if given.only and name.split(" ")[0].rstrip(",") not in given.only:
            continue
        log = given.folder / f"{number}.log"
        said, real, seconds = run(arguments, workspace, log, kill="killed" in name)
        trained = last_steps(workspace) if name.startswith("train") else []
        real = real or max((step["memory_mib"] * 2**20 for step in trained), default=0)
        cells = [f"{size / 2**20:,.0f}" if size else "" for size in (said, real)]
        off = f"{said / real - 1:+.1%}" if said and real else ""
        pace = f"{trained[-1]['seconds']:.0f}" if trained else ""
        print(f"| {name} | {cells[0]} | {cells[1]} | {off} | {pace} | {seconds:.0f} |", flush=True)
    if not given.keep:
        shutil.rmtree(base)


if __name__ == "__main__":
    main()
