"""The GPU benchmark's own logic, really run on a small UNet on the CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.gpu", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


@pytest.mark.tiny
def test_every_preset_runs_small(tmp_path: Path) -> None:
    done = run("--device", "cpu", "--tiny", "--presets-only", "--out", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = tmp_path.glob("*.json")
    result = json.loads(file.read_text(encoding="utf-8"))
    names = ["sdxl-8gb-nf4", "sdxl-8gb", "sdxl-12gb", "sdxl-16gb", "sdxl-24gb"]
    assert [row["preset"] for row in result["rows"]] == names
    four_bit, plain = result["rows"][:2]
    assert four_bit["parameters"] == plain["parameters"]
    assert four_bit["teraflop_a_step"] == pytest.approx(plain["teraflop_a_step"], rel=1e-3)
    assert four_bit["predicted_peak_mib"] < plain["predicted_peak_mib"]
    for row in result["rows"]:
        assert row["seconds_a_step"] > 0
        assert row["teraflop_a_step"] > 0
        assert row["predicted_peak_mib"] > 1
        assert row["measured_peak_mib"] is None, "a CPU's figure would not be the GPU's"
    assert result["versions"]["torch"]
    assert "not measured" in done.stdout


@pytest.mark.slow
def test_the_best_batch_is_measured_compiled_too() -> None:
    done = run("--device", "cpu", "--tiny", "--preset", "best-batch", "--seconds", "4")
    as_it_is, compiled = json.loads(done.stdout.strip().splitlines()[-1])
    assert compiled["preset"] == as_it_is["preset"] + ", compiled"
    assert compiled["compile_seconds"] > 1
    assert compiled["teraflop_a_step"] == as_it_is["teraflop_a_step"]


@pytest.mark.tiny
def test_without_a_gpu_it_says_so_in_one_line() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is one here")
    for arguments in ((), ("--device", "cpu")):
        done = run(*arguments)
        assert done.returncode == 1
        assert done.stdout == ""
        (line,) = [x for x in done.stderr.splitlines() if x.startswith("Error: ")]
        assert "CUDA device" in line
