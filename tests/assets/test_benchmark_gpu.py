"""The GPU benchmark's own logic, really run on a small UNet on the CPU."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu.setups import COMBINATIONS, MATMUL, PARTS, PRESETS, named

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """What one run of the command over presets, loops and batches wrote to its file, and its table."""
    out = tmp_path_factory.mktemp("measured")
    asked = ["--only", MATMUL, *PRESETS, "loop", "best-batch", "--seconds", "0.5", "--out", str(out)]
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--tiny", *asked]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = out.glob("*.json")
    return json.loads(file.read_text(encoding="utf-8")), done.stdout


@pytest.mark.slow
def test_every_preset_runs_small(measured: tuple[dict[str, Any], str]) -> None:
    result, table = measured
    rows = result["rows"][: len(PRESETS)]
    assert [row["part"] for row in rows] == list(PRESETS)
    assert result["device"] == "CPU"
    four_bit, plain = rows[:2]
    assert four_bit["parameters"] == plain["parameters"]
    assert four_bit["teraflop_a_step"] == pytest.approx(plain["teraflop_a_step"], rel=1e-3)
    assert four_bit["predicted_peak_mib"] < plain["predicted_peak_mib"]
    for row in rows:
        assert row["seconds_a_step"] > 0
        assert row["teraflop_a_step"] > 0
        assert row["predicted_peak_mib"] > 1
        assert row["measured_peak_mib"] is None, "a CPU's figure would not be the GPU's"
        assert row["mfu"] > 0
    assert result["versions"]["torch"]
    assert "| sdxl-24gb |" in table


@pytest.mark.slow
def test_loops_and_batches_are_measured_too(measured: tuple[dict[str, Any], str]) -> None:
    bare, own, one, two, compiled = measured[0]["rows"][len(PRESETS) :]
    assert own["of_bare"] == pytest.approx(own["seconds_a_step"] / bare["seconds_a_step"], rel=0.05)
    assert (one["part"], two["part"]) == ("batch 1", "batch 2")
    assert two["teraflop_a_step"] == pytest.approx(2 * one["teraflop_a_step"], rel=1e-3)
    assert compiled["part"].endswith(", compiled")
    assert compiled["compile_seconds"] > 1


@pytest.mark.parametrize(
    ("given", "parts"),
    [((), PARTS), (("--presets-only",), (MATMUL, *PRESETS)), (("--only", "loop"), ("loop",))],
    ids=["all", "presets", "one"],
)
def test_the_parts_that_were_asked_for_are_measured(
    given: tuple[str, ...], parts: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(sys, "argv", ["gpu", "--device", "cpu", "--tiny", *given, "--out", str(tmp_path)])
    monkeypatch.setattr(gpu, "predictions", lambda *_: [])
    monkeypatch.setattr(gpu, "measure", lambda parts, *_: asked.extend(parts))
    with pytest.raises(SystemExit) as ended:
        gpu.main()
    assert (ended.value.code, asked) == (0, list(parts))


@pytest.mark.tiny
def test_a_part_that_fails_or_comes_too_late_costs_no_other(tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("here nothing would fail")
    results = gpu.Results(tmp_path / "results.json", {})
    gpu.measure(["matmul", "sdxl-8gb"], results, ["--device", "cuda", "--tiny"], time.monotonic() + 300)
    gpu.measure(["loop", "best-batch"], results, ["--device", "cuda", "--tiny"], time.monotonic())
    kept = json.loads(results.file.read_text(encoding="utf-8"))["rows"]
    assert [row["part"] for row in kept] == ["matmul", "sdxl-8gb", "loop", "best-batch"]
    assert all("CUDA" in row["error"] for row in kept[:2])
    assert all(row["error"] == "the time was up" for row in kept[2:])


def test_bars_are_held_against_what_was_measured(tmp_path: Path) -> None:
    results = gpu.Results(tmp_path / "results.json", {})
    assert all(line.endswith(": not measured") for line in gpu.bars(results.complete()))
    results.add({"part": "matmul", "device": "a GPU", "teraflop_a_second": 100.0})
    row = {"seconds_a_step": 1.0, "samples_a_second": 1.0, "teraflop_a_step": 50.0, "compile_seconds": 0.0}
    results.add(row | {"part": "sdxl-8gb", "measured_peak_mib": 6000.0})
    results.add(row | {"part": "sdxl-8gb-nf4", "measured_peak_mib": 4400.0})
    results.add(row | {"part": "packshot's loop", "measured_peak_mib": None, "of_bare": 1.05})
    results.add(row | {"part": "batch 8, compiled", "measured_peak_mib": None})
    results.add({"part": "sdxl-8gb", "predicted_peak_mib": 5700.0})
    results.add({"part": "sdxl-8gb-nf4", "predicted_peak_mib": 3900.0})
    eight, four_bit, loop, batch, planner = gpu.bars(results.complete())
    assert eight.endswith("5.86 GiB (met)")
    assert four_bit.endswith("4.30 GiB (MISSED)")
    assert loop.endswith("1.050 (MISSED)")
    assert batch.endswith("50.0% (met)")
    assert planner.endswith("2 of 10, worst -11.4% (sdxl-8gb-nf4) (MISSED)")
    assert gpu.table(results.complete()).count("\n") == 5


def test_combinations_are_none_of_the_presets() -> None:
    presets = [named(name, cuda=True, tiny=False) for name in PRESETS]
    combinations = [named(name, cuda=True, tiny=False).setup for name in COMBINATIONS]
    assert len({str(setup) for setup in combinations}) == len(combinations) == 5
    assert not [setup for setup in combinations if setup in [preset.setup for preset in presets]]
    assert [round(preset.card.for_torch / 2**30, 1) for preset in presets if preset.card] == [
        7.2,
        7.2,
        11.2,
        15.2,
        23.2,
    ]
    assert set(PRESETS) | set(COMBINATIONS) < set(PARTS)


@pytest.mark.tiny
def test_without_a_gpu_it_says_so_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is one here")
    for arguments in ((), ("--device", "cpu")):
        monkeypatch.setattr(sys, "argv", ["gpu", *arguments])
        with pytest.raises(SystemExit, match=r"^Error: .*CUDA device.*$"):  # Python prints it, and ends with 1
            gpu.main()
        assert capsys.readouterr().out == ""
