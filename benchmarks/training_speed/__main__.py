"""Training steps a second against diffusers' DreamBooth script and a bare loop, on the same base and pictures.

    python -m benchmarks.training_speed --peer examples/dreambooth/train_dreambooth_lora_sdxl.py [--base DIR]
    python -m benchmarks.training_speed --peer ... --full-size --peer-flags "--use_8bit_adam"      (on a GPU)

`--peer` is that script of a diffusers checkout (its code is not part of Packshot). All train the same 4-channel base at
batch 1 with the same rank, pictures, resolution and number of steps, each in a process of its own, one after the other,
`--rounds` times over; the best round of each counts, since other programs only ever slow a loop down. A step's time is
taken from outside (`benchmarks.training_speed.probe`), without imports, caching and saving.

On a CPU a small base at 256 px in fp32; there the script is run twice: as its documentation starts it, by `accelerate
launch`, which gives a process on a CPU one thread unless told otherwise, and by `python`, with all threads like the
rest. `--full-size`: SDXL's public configuration with random weights at 1024 px in
bf16 on the GPU; `--peer-flags` are the script's own fastest flags there.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.training_speed.bases import make_full_size, make_tiny

ROOT = Path(__file__).resolve().parents[2]
SKU = "perfume01"
WARM = 5
"""Steps not counted: the first ones allocate."""
BARE, OURS, WHOLE = "bare loop", "packshot", "packshot, frozen-base target"
LAUNCHED, PEER = "diffusers' script, by accelerate launch", "diffusers' script"
LAUNCH = ("-m", "accelerate.commands.launch")


@dataclass(frozen=True)
class Task:
    """What all sides train."""

    base: Path
    size: int
    rank: int
    steps: int
    bf16: bool
    device: str
    peer_flags: tuple[str, ...] = ()


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


def bare_command(task: Task, out: Path) -> list[str]:
    """The floor."""
    numbers = ["--size", str(task.size), "--rank", str(task.rank), "--steps", str(task.steps)]
    where = ["--base", str(task.base), "--device", task.device, *(["--bf16"] if task.bf16 else [])]
    return ["-m", "benchmarks.training_speed.bare_loop", str(out), *where, *numbers]


def packshot_command(task: Task, out: Path, *extra: str) -> list[str]:
    """`packshot train` under the probe, with what the peer has: plain loss everywhere, AdamW, no validation."""
    overrides = {
        "base.model": task.base,
        "data.size": task.size,
        "data.variants": 4,
        "adapter.rank": task.rank,
        "adapter.targets": "attention",
        "train.steps": task.steps,
        "train.batch": 1,
        "train.optimizer": "adamw",
        "train.schedule": "constant",
        "train.warmup": 0,
        "train.checkpoint_every": 500,
        "memory.precision": "bf16" if task.bf16 else "fp32",
        "objective.base_preservation_weight": 0,
        "validation.every": 0,
        "validation.choose": "last",
    }
    settings = [*(f"{key}={value}" for key, value in overrides.items()), *extra]
    options = [word for setting in settings for word in ("--set", setting)]
    return [
        "-m",
        "benchmarks.training_speed.probe",
        str(out),
        "packshot",
        "train",
        SKU,
        "--config",
        "embedded",
        *options,
    ]


def peer_command(script: Path, task: Task, out: Path, workspace: Path) -> list[str]:
    """diffusers' script under the probe, on the pictures that Packshot trained on just before."""
    arguments = {
        "pretrained_model_name_or_path": task.base,
        "instance_data_dir": workspace / "datasets" / SKU / "prepared" / "images",
        "instance_prompt": "a photo of prfm01 perfume bottle",
        "output_dir": workspace / "peer",
        "resolution": task.size,
        "rank": task.rank,
        "train_batch_size": 1,
        "max_train_steps": task.steps,
        "learning_rate": 1e-4,
        "checkpointing_steps": 500,
        "seed": 0,
        "mixed_precision": "bf16" if task.bf16 else "no",
    }
    options = [word for key, value in arguments.items() for word in (f"--{key}", str(value))]
    return ["-m", "benchmarks.training_speed.probe", str(out), str(script), *options, *task.peer_flags]


def workspace_with_the_sample_set(folder: Path) -> Path:
    """A workspace that holds the sample set alone."""
    workspace = folder / "workspace"
    leave = shutil.ignore_patterns("prepared", "report.html")
    shutil.copytree(ROOT / "datasets" / SKU, workspace / "datasets" / SKU, ignore=leave)
    return workspace


def measure(peer: Path, task: Task, folder: Path, rounds: int) -> dict[str, Measured]:
    """The best round of each side."""
    workspace = workspace_with_the_sample_set(folder)
    out = folder / "times.json"
    commands = {
        BARE: bare_command(task, out),
        OURS: packshot_command(task, out),
        WHOLE: packshot_command(task, out, "objective.base_preservation_weight=0.5"),
        PEER: peer_command(peer, task, out, workspace),
    }
    if task.device == "cpu":
        commands[LAUNCHED] = [*LAUNCH, *commands[PEER]]
    best: dict[str, Measured] = {}
    for number in range(rounds):
        for name, command in commands.items():
            for made in ("runs", "adapters"):
                shutil.rmtree(workspace / made, ignore_errors=True)
            found = timed_run(name, out, command, workspace)
            print(f"round {number + 1}: {name} {found.rate:.2f} steps/s", file=sys.stderr)
            if name not in best or found.rate > best[name].rate:
                best[name] = found
    return best


def table(task: Task, best: dict[str, Measured]) -> str:
    """Rows as Markdown."""
    precision = "bf16" if task.bf16 else "fp32"
    what = f"{task.size} px, batch 1, {precision}, rank {task.rank}, {task.steps} steps, {task.device}"
    peers = [name for name in (PEER, LAUNCHED) if name in best]
    columns = ["steps/s", "of bare", *(f"x {name}" for name in peers), "CPU s/step", "command s"]
    lines = [f"| {what} | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for m in best.values():
        ratios = " | ".join(f"{m.rate / best[name].rate:.2f}" for name in peers)
        shares = f"{m.rate / best[BARE].rate:.0%} | {ratios} | {m.processor:.3f}"
        lines.append(f"| {m.name} | {m.rate:.2f} | {shares} | {m.seconds:.0f} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, required=True, help="diffusers' train_dreambooth_lora_sdxl.py")
    parser.add_argument("--peer-flags", default="", help="more options for it, in one string")
    parser.add_argument("--base", type=Path, help="a 4-channel SDXL in diffusers' layout (default: one made here)")
    parser.add_argument("--full-size", action="store_true", help="SDXL at its full size, 1024 px, bf16, on the GPU")
    parser.add_argument("--size", type=int)
    parser.add_argument("--rank", type=int)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--json", type=Path)
    a = parser.parse_args()
    os.environ.pop("OMP_NUM_THREADS", None)  # each side as it starts by itself
    size, rank, steps, rounds = (1024, 16, 40, 1) if a.full_size else (256, 8, 60, 3)
    device = "cuda" if a.full_size else "cpu"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = folder / "base"
        base = a.base or (make_full_size(made, device=device) if a.full_size else make_tiny(made))
        task = Task(
            base.resolve(), a.size or size, a.rank or rank, a.steps or steps,
            bf16=a.full_size, device=device, peer_flags=tuple(shlex.split(a.peer_flags)),
        )  # fmt: skip
        best = measure(a.peer.resolve(), task, folder, a.rounds or rounds)
    print(table(task, best))
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", file=sys.stderr)
    if a.json:
        rows = {key: {"rate": m.rate, "processor": m.processor, "seconds": m.seconds} for key, m in best.items()}
        a.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
