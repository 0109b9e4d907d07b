"""Training steps a second against diffusers' DreamBooth script and a bare loop, on the same base and pictures.

    python -m benchmarks.train --peer examples/dreambooth/train_dreambooth_lora_sdxl.py [--base DIR]

`--peer` is that script of a diffusers checkout (its code is not part of Packshot). All three train the same 4-channel
base in fp32 at batch 1 with the same rank, pictures, resolution and number of steps, each in a process of its own, one
after the other, `--rounds` times over; the best round of each counts, since other programs only ever slow a loop down.
A step's time is taken from outside (`benchmarks.training.probe`), without imports, caching and saving.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.training.tiny_base import make_base

ROOT = Path(__file__).resolve().parents[1]
SKU = "perfume01"
WARM = 5
"""Steps not counted: the first ones allocate."""


@dataclass(frozen=True)
class Measured:
    """One run."""

    name: str
    rate: float
    """Steps a second of the loop."""
    processor: float
    """Processor seconds a step, of all threads."""
    seconds: float
    """Of the whole command."""


def step_times(began: list[tuple[float, float]]) -> tuple[float, float]:
    """(wall, processor) seconds a step from the times at which steps began, the first WARM left out."""
    (wall, processor), (last_wall, last_processor) = began[WARM], began[-1]
    steps = len(began) - WARM - 1
    return (last_wall - wall) / steps, (last_processor - processor) / steps


def timed_run(name: str, out: Path, command: list[str], folder: Path) -> Measured:
    """Run a command that writes its steps' times to `out`.

    Raises:
        RuntimeError: it failed; its last lines are in the message.
    """
    began = time.perf_counter()
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{name} failed:\n" + "\n".join(done.stderr.splitlines()[-15:]))
    times = json.loads(out.read_text(encoding="utf-8"))["began"]
    wall, processor = step_times(times)
    return Measured(name, 1 / wall, processor, time.perf_counter() - began)


def packshot_command(base: Path, out: Path, size: int, rank: int, steps: int, extra: list[str]) -> list[str]:
    """`packshot train` under the probe, with what the peer has: plain loss everywhere, AdamW, no validation."""
    overrides = {
        "base.model": base,
        "data.size": size,
        "data.variants": 4,
        "adapter.rank": rank,
        "adapter.targets": "attention",
        "train.steps": steps,
        "train.batch": 1,
        "train.optimizer": "adamw",
        "train.schedule": "constant",
        "train.warmup": 0,
        "train.checkpoint_every": 500,
        "memory.precision": "fp32",
        "objective.elsewhere_weight": 0,
    }
    settings = [f"{key}={value}" for key, value in overrides.items()] + extra
    options = [word for setting in settings for word in ("--set", setting)]
    return ["-m", "benchmarks.training.probe", str(out), "packshot", "train", SKU, "--config", "embedded", *options]


def peer_command(
    script: Path, pictures: Path, base: Path, out: Path, size: int, rank: int, steps: int, folder: Path
) -> list[str]:
    """diffusers' script under the probe."""
    arguments = {
        "pretrained_model_name_or_path": base,
        "instance_data_dir": pictures,
        "instance_prompt": "a photo of prfm01 perfume bottle",
        "output_dir": folder / "peer",
        "resolution": size,
        "rank": rank,
        "train_batch_size": 1,
        "max_train_steps": steps,
        "learning_rate": 1e-4,
        "checkpointing_steps": 500,
        "seed": 0,
    }
    options = [word for key, value in arguments.items() for word in (f"--{key}", str(value))]
    return ["-m", "benchmarks.training.probe", str(out), str(script), *options]


def workspace_with_the_sample_set(folder: Path) -> Path:
    """A workspace that holds the sample set alone."""
    workspace = folder / "workspace"
    shutil.copytree(
        ROOT / "datasets" / SKU, workspace / "datasets" / SKU, ignore=shutil.ignore_patterns("prepared", "report.html")
    )
    return workspace


def measure(
    peer: Path, base: Path, folder: Path, *, size: int, rank: int, steps: int, rounds: int
) -> dict[str, Measured]:
    """The best round of each side."""
    workspace = workspace_with_the_sample_set(folder)
    out = folder / "times.json"
    ours = packshot_command(base, out, size, rank, steps, [])
    whole = packshot_command(base, out, size, rank, steps, ["objective.elsewhere_weight=0.5"])
    best: dict[str, Measured] = {}
    for number in range(rounds):
        for name, command in (
            ("bare loop", _bare(base, out, size, rank, steps)),
            ("packshot", ours),
            ("packshot, frozen-base target", whole),
            ("diffusers' script", _peer(peer, base, out, size, rank, steps, workspace, folder)),
        ):
            for made in ("runs", "adapters"):
                shutil.rmtree(workspace / made, ignore_errors=True)
            found = timed_run(name, out, command, workspace)
            print(f"round {number + 1}: {name} {found.rate:.2f} steps/s", file=sys.stderr)
            if name not in best or found.rate > best[name].rate:
                best[name] = found
    return best


def _bare(base: Path, out: Path, size: int, rank: int, steps: int) -> list[str]:
    numbers = ["--size", str(size), "--rank", str(rank), "--steps", str(steps)]
    return ["-m", "benchmarks.training.bare_loop", str(out), "--base", str(base), *numbers]


def _peer(
    script: Path, base: Path, out: Path, size: int, rank: int, steps: int, workspace: Path, folder: Path
) -> list[str]:
    pictures = workspace / "datasets" / SKU / "prepared" / "images"  # there once Packshot has prepared them
    return peer_command(script, pictures, base, out, size, rank, steps, folder)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, required=True, help="diffusers' train_dreambooth_lora_sdxl.py")
    parser.add_argument("--base", type=Path, help="a 4-channel SDXL in diffusers' layout (default: one made here)")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = a.base.resolve() if a.base else make_base(folder / "base")
        best = measure(a.peer.resolve(), base, folder, size=a.size, rank=a.rank, steps=a.steps, rounds=a.rounds)
    bare, peer = best["bare loop"].rate, best["diffusers' script"].rate
    what = f"{a.size} px, batch 1, rank {a.rank}, {a.steps} steps"
    print(f"| {what} | steps/s | of bare | x peer | CPU s/step | command s |")
    print("|---|---|---|---|---|---|")
    for m in best.values():
        shares = f"{m.rate / bare:.0%} | {m.rate / peer:.2f} | {m.processor:.3f}"
        print(f"| {m.name} | {m.rate:.2f} | {shares} | {m.seconds:.0f} |")
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", file=sys.stderr)
    if a.json:
        rows = {
            key: {"rate": found.rate, "processor": found.processor, "seconds": found.seconds}
            for key, found in best.items()
        }
        a.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
