"""Several processes on one run: gloo on CPUs, as torchrun starts them. The same losses and weights as one process."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from drawn_products import write_set, write_shop
from safetensors.torch import load_file
from started_commands import Started, pair, start

from finetune.core.adapters.file import read_header

pytestmark = pytest.mark.tiny
ON_CPUS = {"CUDA_VISIBLE_DEVICES": ""}
"""For a machine with one GPU: two processes would want two."""
CONFIG = """
base: {model: BASE}
data: {size: 64, variants: 4}
adapter: {rank: 4}
train:
  {steps: 5, batch: 2, learning_rate: 1.0e-2, checkpoint_every: 2, optimizer: adamw, schedule: cosine, trackers: []}
objective: {ring_px: 8}
validation: {every: 2, examples: 2, timesteps: 1, choose: loss}
memory: {check: false}
"""


@pytest.fixture(scope="module")
def place(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with one product and a config; what its runs leave is told apart by their version numbers."""
    folder = tmp_path_factory.mktemp("processes")
    write_shop(folder, CONFIG, tiny_base)
    return folder


def line(place: Path, *overrides: str, sku: str = "bottle01") -> list[str]:
    settings = [part for override in overrides for part in ("--set", override)]
    return ["train", sku, "--config", str(place / "tiny.yaml"), "--workspace", str(place), "--json", *settings]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def folder_of(place: Path, said: str) -> Path:
    return place / json.loads(next(text for text in said.splitlines() if text.startswith("{")))["folder"]


def losses(place: Path, version: Path) -> list[float]:
    run = json.loads((version / "adapter.json").read_text(encoding="utf-8"))["training"]["run"]
    text = (place / "runs" / "bottle01" / run / "metrics.jsonl").read_text(encoding="utf-8")
    return [json.loads(step)["loss"] for step in text.splitlines()]


def both(place: Path, name: str, *arguments: str, codes: tuple[int, int] = (0, 0)) -> list[str]:
    """Run a command in two processes to its end; what each said."""
    folder = place / name
    folder.mkdir()
    started = pair(folder, free_port(), *arguments, **ON_CPUS)
    assert tuple(process.wait() for process in started) == codes, [process.said() for process in started]
    return [process.said() for process in started]


def one(place: Path, name: str, *overrides: str) -> Path:
    """The version that a single process makes."""
    process = start(place / f"{name}.txt", *line(place, *overrides), **ON_CPUS)
    assert process.wait() == 0, process.said()
    return folder_of(place, process.said())


def same(place: Path, alone: Path, shared: Path, *, apart: float = 1e-3) -> None:
    """One process and two at half the batch came to the same, weights to within `apart`."""
    headers = [read_header(folder / "adapter.safetensors").manifest for folder in (alone, shared)]
    assert [header["processes"] for header in headers] == [1, 2]
    assert len(losses(place, alone)) == 5
    assert losses(place, shared) == pytest.approx(losses(place, alone), abs=1e-4)
    weights = [load_file(str(folder / "adapter.safetensors")) for folder in (alone, shared)]
    assert weights[0].keys() == weights[1].keys()
    assert max(float(tensor.abs().max()) for tensor in weights[0].values()) > 0.02
    for key, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][key], tensor, atol=apart, rtol=0)


def test_torchrun_trains_what_one_process_does(place: Path) -> None:
    alone = one(place, "alone", "train.accumulation=2")
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--master-port",
        str(free_port()),
    ]
    command += ["-m", "finetune.core.commands", *line(place, "train.accumulation=2", "train.batch=1")]
    paths = os.pathsep.join(p for p in (str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")) if p)
    environment = os.environ | ON_CPUS | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1, "data is written once"
    assert done.stderr.count("training bottle01 on") == 1
    assert len(re.findall(r"step 5/5  loss [\d.]+  [\d.]+ steps/s  [\d,]+ MiB  0 s left", done.stderr)) == 1
    same(place, alone, folder_of(place, done.stdout))


def test_class_pictures_are_shared_out_as_the_products_are(place: Path) -> None:
    prior = ("objective.prior_weight=0.5", "objective.prior_pictures=2")
    alone = one(place, "class-alone", *prior)
    shared = folder_of(place, both(place, "class-shared", *line(place, *prior, "train.batch=1"))[0])
    same(place, alone, shared)
    assert len(list((place / ".cache" / "class").glob("*.png"))) == 2


def test_a_quantised_base_is_the_same_in_every_process(place: Path) -> None:
    four_bit = ("memory.quantize=nf4", "adapter.targets=attention+feedforward")
    alone = one(place, "nf4-alone", *four_bit)
    shared = folder_of(place, both(place, "nf4-shared", *line(place, *four_bit, "train.batch=1"))[0])
    same(place, alone, shared, apart=1e-2)  # Adam moves a weight by the full rate, however small its gradient
    assert losses(place, shared) == pytest.approx(losses(place, alone), rel=1e-4)


def test_ctrl_c_stops_both_and_both_go_on(place: Path) -> None:
    alone = one(place, "plain", "memory.gradient_checkpointing=all")
    half = line(place, "memory.gradient_checkpointing=all", "train.batch=1")
    straight = folder_of(place, both(place, "straight", *half)[0])
    same(place, alone, straight)
    kept = (straight / "adapter.safetensors").read_bytes()
    straight.rename(place / "taken-away")
    (place / "stopped").mkdir()
    started = pair(place / "stopped", free_port(), *half, **ON_CPUS)
    started[0].wait_until(lambda: "step 1/5" in started[0].said())
    stop(started[1])
    assert [process.wait() for process in started] == [130, 130], "the one that was asked takes the other along"
    assert "Run the same command again" in started[0].said()
    assert started[1].said() == ""
    said = both(place, "resumed", *half)
    assert "resuming from step" in said[0]
    assert (folder_of(place, said[0]) / "adapter.safetensors").read_bytes() == kept


def stop(process: Started) -> None:
    assert process.process.pid is not None
    os.kill(process.process.pid, signal.SIGINT)


def test_what_is_wrong_is_said_once(place: Path) -> None:
    said = both(place, "no-base", *line(place, "base.model=nowhere"), codes=(1, 1))
    assert (said[0].count("Error:"), said[1]) == (1, "")
    folder = write_set(place, "broken", {})
    (folder / "photos" / "only.png").write_text("no picture", encoding="utf-8")
    said = both(place, "no-photo", *line(place, sku="broken"), codes=(1, 1))
    assert (said[0].count("Error:"), said[1]) == (1, ""), "the main process alone prepares; the other has waited"


def test_two_processes_take_batches_of_different_frames(place: Path) -> None:
    asked = ("data.size=128", "data.buckets=true", "data.variants=6", "train.batch=1", "train.steps=4")
    said = both(place, "frames", *line(place, *asked))
    assert "in frames of 2 shapes" in said[0]
    assert len(losses(place, folder_of(place, said[0]))) == 4
