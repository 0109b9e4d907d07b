"""Validation loss, candidates, the choice among them and early stop, on the tiny SDXL through the real recipe."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn_products import draw_bottle, write_set
from PIL import Image
from safetensors.torch import load_file
from validated_runs import GATE, config_of, run_of, story_of, train, write_gate

from finetune.core.fidelity.gate import load_gate
from finetune.core.products.catalog import Workspace
from finetune.runs.folder import RunFolder
from finetune.runs.report import make_page
from finetune.runs.validation_records import Record, by_loss, is_stale
from finetune.train import TrainResult
from finetune.training import loop
from finetune.training.fingerprint import selection_settings
from finetune.validation import selection
from finetune.validation.candidates import Candidates
from finetune.validation.loss import fixed_noise, spread_timesteps
from finetune.validation.selection import Candidate, Measured, choose, offset_seeds

pytestmark = pytest.mark.tiny


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gate(tmp_path_factory.mktemp("gate"))


def records_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "validation.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path, gate: Path) -> tuple[Workspace, TrainResult]:
    """A run of six steps with three validations, chosen by measurement."""
    root = tmp_path_factory.mktemp("validated")
    write_set(root, "bottle01", {"front": draw_bottle(), "side": draw_bottle(shift=6)})
    workspace = Workspace(root)
    return workspace, train(workspace, config_of(tiny_base, gate))


def test_the_curve_starts_with_the_base_and_has_every_validation(trained: tuple[Workspace, TrainResult]) -> None:
    workspace, result = trained
    records = records_of(run_of(workspace, result))
    assert [r["step"] for r in records] == [0, 2, 4, 6]
    assert all(math.isfinite(r["loss"]) and r["loss"] > 0 for r in records)
    assert len({r["loss"] for r in records}) == 4, "each adapter has a loss of its own"


def test_the_best_of_the_candidates_becomes_the_version(trained: tuple[Workspace, TrainResult]) -> None:
    workspace, result = trained
    run, chosen = run_of(workspace, result), result.version.manifest["chosen_step"]
    told = story_of(result)["choice"]
    assert told["rule"] == "measured"
    ranked = sorted(told["candidates"], key=lambda c: (c["gate"] == "fail", c["distance"]))
    assert len(ranked) >= 2
    assert ranked[0]["step"] == chosen
    kept = {path.name for path in (run / "candidates").iterdir()}
    assert kept == {f"step-{c['step']:06d}.safetensors" for c in ranked}, "best two by loss, and the last"
    written = load_file(str(result.version.weights))
    candidate = load_file(str(run / "candidates" / f"step-{chosen:06d}.safetensors"))
    assert {key.removeprefix("unet.") for key in written} == set(candidate)
    assert all(torch.equal(written["unet." + key], value) for key, value in candidate.items())
    assert result.version.manifest["config"]["train"]["steps"] == 6
    assert {"palette", "layout", "structure_gain"} <= set(ranked[0])
    assert "own_nearest" not in ranked[0]


def test_the_page_of_the_run_stands_alone_and_shows_all(trained: tuple[Workspace, TrainResult]) -> None:
    workspace, result = trained
    page = (run_of(workspace, result) / "report.html").read_text(encoding="utf-8")
    told = story_of(result)["choice"]["candidates"]
    assert page.count("<svg") == 6
    assert page.count("data:image/jpeg;base64,") == 4, "two steps, placed and inserted"
    assert page.count('<tr class="chosen"><td>') == 1
    assert f'<tr class="chosen"><td>{result.version.manifest["chosen_step"]}</td>' in page
    assert f">chosen: step {result.version.manifest['chosen_step']}</text>" in page
    assert all(f"<td>{c['validation_loss']:.4f}</td>" in page for c in told)
    assert re.findall(r"(?:src|href)=\"(?!data:|#)[^\"]*", page) == [], "nothing is fetched"
    for said in ("learning_rate: 0.01", "bitsandbytes", "dE00", "6 of 6 steps; adapter 0001"):
        assert said in page
    assert make_page(RunFolder(run_of(workspace, result)), "x") == make_page(RunFolder(run_of(workspace, result)), "x")


def test_previews_show_the_packshot_and_what_the_adapter_draws(trained: tuple[Workspace, TrainResult]) -> None:
    workspace, result = trained
    folder = run_of(workspace, result) / "previews"
    assert len(list(folder.glob("*.png"))) == 4
    body = (slice(34, 46), slice(28, 36))
    placed = [np.asarray(Image.open(folder / f"00000{step}-0-place.png"))[body].astype(int) for step in (3, 6)]
    assert np.array_equal(*placed), "the packshot's own pixels, whatever the adapter"
    inserted = [np.asarray(Image.open(folder / f"00000{step}-0-insert.png")).astype(int) for step in (3, 6)]
    assert np.abs(inserted[0] - inserted[1]).max() > 0, "the adapter draws this one"


class Killed(Exception):
    """Stands for a crash."""


@pytest.mark.parametrize("dies_at", [3, 6])
def test_a_killed_run_chooses_the_same_bytes(
    trained: tuple[Workspace, TrainResult], tmp_path: Path, tiny_base: Path, gate: Path,
    monkeypatch: pytest.MonkeyPatch, dies_at: int,
) -> None:  # fmt: skip
    """Dies in step 4 (after the validation of step 2), or in the choice itself."""
    workspace, straight = trained
    other = Workspace(tmp_path)
    write_set(tmp_path, "bottle01", {"front": draw_bottle(), "side": draw_bottle(shift=6)})
    real_loss, real_measure, calls = loop.batch_loss, selection.CandidateScorer.measure, []

    def batch_loss(*arguments: Any) -> torch.Tensor:
        calls.append(1)
        if len(calls) == dies_at + 1:
            raise Killed
        return real_loss(*arguments)

    def measure(judge: selection.CandidateScorer, *others: Any) -> Measured:
        raise Killed

    monkeypatch.setattr(loop, "batch_loss", batch_loss)
    monkeypatch.setattr(selection.CandidateScorer, "measure", measure)
    with pytest.raises(Killed):
        train(other, config_of(tiny_base, gate))
    monkeypatch.setattr(loop, "batch_loss", real_loss)
    monkeypatch.setattr(selection.CandidateScorer, "measure", real_measure)
    resumed = train(other, config_of(tiny_base, gate))
    assert resumed.version.weights.read_bytes() == straight.version.weights.read_bytes()
    assert records_of(run_of(other, resumed)) == records_of(run_of(workspace, straight))
    assert story_of(resumed)["choice"] == story_of(straight)["choice"]


@pytest.mark.parametrize("rule", ["loss", "last"])
def test_other_rules_take_another_candidate(
    trained: tuple[Workspace, TrainResult], tiny_base: Path, gate: Path, rule: str
) -> None:
    workspace, first = trained
    result = train(workspace, config_of(tiny_base, gate, f"validation.choose={rule}"))
    assert result.made
    losses = {r["step"]: r["loss"] for r in records_of(run_of(workspace, result)) if r["step"]}
    assert losses == {r["step"]: r["loss"] for r in records_of(run_of(workspace, first)) if r["step"]}
    wanted = 6 if rule == "last" else min(losses, key=lambda step: losses[step])
    assert result.version.manifest["chosen_step"] == wanted


def test_patience_ends_the_run(trained: tuple[Workspace, TrainResult], tiny_base: Path,
                                                      gate: Path) -> None:  # fmt: skip
    workspace, _ = trained
    idle = ("train.learning_rate=1e-30", "train.steps=16", "validation.patience=2", "validation.choose=loss")
    result = train(workspace, config_of(tiny_base, gate, *idle))
    records = [Record(step=r["step"], loss=r["loss"]) for r in records_of(run_of(workspace, result))]
    assert [(r.step, r.loss == records[0].loss) for r in records] == [(0, True), (2, True), (4, True), (6, True)]
    assert is_stale(records, 2)
    assert not is_stale(records[:-1], 2)
    assert result.version.manifest["chosen_step"] == 2


def test_a_brand_is_ranked_by_loss(tmp_path: Path, tiny_base: Path, gate: Path) -> None:
    workspace = Workspace(tmp_path)
    write_set(
        tmp_path,
        "look",
        {name: draw_bottle(shift=ord(name) - 97) for name in "abcd"},
        kind="brand",
        class_noun="still life",
    )
    result = train(workspace, config_of(tiny_base, gate, "train.steps=4"), "look")
    told = story_of(result)["choice"]
    assert (told["rule"], "brand set" in told["why"]) == ("loss", True)


def test_bf16_draws_as_placing_does(tmp_path: Path, tiny_base: Path, gate: Path) -> None:
    """accelerate's wrapper turns the UNet's answer to fp32, which an autoencoder in bf16 refuses."""
    workspace = Workspace(tmp_path)
    write_set(tmp_path, "bottle01", {"front": draw_bottle()})
    result = train(workspace, config_of(tiny_base, gate, "train.steps=4", "memory.precision=bf16"))
    assert story_of(result)["choice"]["rule"] == "measured"
    assert len(list((run_of(workspace, result) / "previews").glob("*.png"))) == 2


def test_too_few_examples_to_hold_any_out(tmp_path: Path, tiny_base: Path, gate: Path) -> None:
    workspace = Workspace(tmp_path)
    write_set(tmp_path, "bottle01", {"front": draw_bottle()})
    result = train(workspace, config_of(tiny_base, gate, "data.variants=2"))
    assert result.version.manifest["chosen_step"] == 6
    assert story_of(result)["choice"]["why"] == "nothing was validated"


def test_the_fingerprint_holds_what_changes_the_choice(tiny_base: Path, gate: Path, tmp_path: Path) -> None:
    def part(*overrides: str) -> Any:
        return selection_settings(config_of(tiny_base, gate, *overrides).model_dump(mode="json"))

    off = ("validation.every=0", "validation.choose=last")
    assert part(*off) is part("validation.choose=last") is part("train.steps=2") is None
    assert part("validation.choose=loss") == part("validation.choose=loss", "validation.pictures=9")
    eased = tmp_path / "eased.yaml"
    eased.write_text(GATE.replace("200", "100"), encoding="utf-8")
    elsewhere = tmp_path / "elsewhere.yaml"
    elsewhere.write_text(GATE.replace("on oak", "on sand"), encoding="utf-8")
    assert part(f"validation.gate={eased}") == part(), "a moved bar is judged again, not trained again"
    changes = [[], ["validation.every=3"], ["validation.examples=1"], ["validation.pictures=3"], ["validation.seed=1"],
               ["validation.candidates=1"], ["validation.choose=loss"], ["validation.patience=5"],
               [f"validation.gate={elsewhere}"]]  # fmt: skip
    seen = [json.dumps(part(*change), sort_keys=True) for change in changes]
    assert len(set(seen)) == len(changes)


def test_validation_that_is_off_chooses_the_last_step(tiny_base: Path, gate: Path) -> None:
    config = config_of(tiny_base, gate, "validation.every=0")
    assert config.validation.every == 0
    assert config.validation.choose == "last"


def measured(step: int, loss: float, distance: float, passed: bool | None) -> Candidate:
    return Candidate(step, loss, Measured(distance, passed, {"palette": distance, "layout": distance}))


def test_gate_then_likeness_then_loss() -> None:
    passing, nearer = measured(50, 0.3, 15, True), measured(100, 0.1, 9, False)
    also, same = measured(150, 0.2, 12, True), measured(200, 0.1, 12, True)
    order = sorted([passing, nearer, also, same], key=lambda c: c.rank)
    assert [c.step for c in order] == [200, 150, 50, 100]
    assert choose([Candidate(50, 0.2), Candidate(100, math.nan)], "loss", last=100).step == 50


def test_the_choice_never_uses_the_gates_seeds() -> None:
    shipped = list(load_gate().pictures.seeds)
    for seeds in (shipped, [0, 1000], [11, 1012, 2011]):
        own = offset_seeds(seeds, 3)
        assert len(set(own)) == 3
        assert not set(own) & set(seeds)


def test_noise_and_timesteps_are_functions_of_seed_and_index() -> None:
    assert spread_timesteps(4, 1000) == [125, 375, 625, 875]
    shape = (4, 8, 8)
    assert torch.equal(fixed_noise(shape, 1, 2, 3), fixed_noise(shape, 1, 2, 3))
    others = [fixed_noise(shape, *index) for index in ((1, 2, 3), (2, 2, 3), (1, 3, 3), (1, 2, 2))]
    assert len({tensor.sum().item() for tensor in others}) == 4


def test_best_and_newest_are_kept(tmp_path: Path) -> None:
    records = [Record(step=0, loss=9.0)]
    kept = Candidates(tmp_path / "candidates", 2)
    for step, loss in ((10, 3.0), (20, 1.0), (30, 2.0), (40, math.nan), (50, 4.0)):
        records.append(Record(step=step, loss=loss))
        kept.add(step, {"x": torch.full((2,), float(step))}, records)
    assert kept.steps() == [20, 30, 50]
    assert kept.load(30)["x"].tolist() == [30, 30]
    assert [r.step for r in by_loss(records)] == [20, 30, 10, 50, 40]
