"""The night job on content alone: what is stale, what is promoted, what a failure or a kill leaves behind.

The steps are stood in for by a small program on the same command line, so that every path can be walked in seconds;
tests/test_end_to_end.py runs a night with the real commands.
"""

from __future__ import annotations

import json
import subprocess
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from drawn_products import draw_bottle, write_set

from finetune import nightly
from finetune.core import fingerprint
from finetune.core.adapters import versions
from finetune.core.adapters.file import WEIGHTS, write_adapter
from finetune.core.adapters.reports import REPORT_FORMAT
from finetune.core.config import gate_path
from finetune.core.errors import AdapterError, RunError
from finetune.core.products.catalog import Workspace
from finetune.core.storage.locks import exclusive
from finetune.nightly import NightlyConfig, plan_night, run_night
from finetune.prepare import prepared_fingerprint
from finetune.runs.started_commands import run_command
from finetune.train import check_request, training_fingerprint

pytestmark = pytest.mark.tiny
NOW = datetime(2026, 1, 2, 3, 4, 5)


class Steps:
    """Does what the commands do to the workspace, as told: exit codes and verdicts by SKU."""

    def __init__(self, workspace: Workspace, wanted: dict[str, str]) -> None:
        self.workspace, self.wanted = workspace, wanted
        self.called: list[str] = []
        self.codes: dict[str, int] = {}
        self.verdicts: dict[str, str] = {}
        self.bases: dict[str, str] = {}

    def __call__(self, root: Path, arguments: list[str], log: Path, timeout: float) -> tuple[int, str]:
        command, sku = arguments[:2]
        workspace = self.workspace
        assert root == workspace.root
        self.called.append(f"{command} {sku}")
        code = self.codes.get(f"{command} {sku}", 0)
        if command == "train" and not code:
            add_version(workspace, sku, self.wanted[sku])
        if command == "evaluate" and code in (0, 3):
            gate = fingerprint.of_file(gate_path())
            verdict = "fail" if code else self.verdicts.get(sku, "pass")
            report = {"format": REPORT_FORMAT, "fingerprint": "f", "verdict": verdict, "scores": [], "gate_file": gate}
            report |= {"base": {"model": self.bases.get(sku, "embedded")}}
            folder = workspace.adapters / sku / arguments[arguments.index("--adapter") + 1]
            (folder / "fidelity.json").write_text(json.dumps(report), encoding="utf-8")
        return code, f"{command} said {code}"


def add_version(workspace: Workspace, sku: str, identity: str) -> versions.AdapterVersion:
    import torch

    part = workspace.adapters / sku / ".part"
    part.mkdir(parents=True)
    manifest = {"fingerprint": identity, "sku": sku, "base": {"model": "embedded"}}
    halves = {f"x.lora_{half}.weight": torch.zeros(2, 2) for half in "AB"}
    write_adapter(part / WEIGHTS, halves, {"r": 2, "lora_alpha": 2, "target_modules": ["x"]}, manifest)
    return versions.add_version(workspace, sku, part)


@pytest.fixture
def night(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Workspace, NightlyConfig, Steps]:
    for sku in ("alpha", "beta"):
        write_set(tmp_path, sku, {"front": draw_bottle()}, token=sku)
    write_set(tmp_path, "look", {"a": draw_bottle()}, kind="brand", class_noun="still life")
    workspace = Workspace(tmp_path)
    config = NightlyConfig(config="embedded")
    wanted = {}
    for entry in ("alpha", "beta"):
        product = nightly.load_set(workspace, entry)
        _, train_config = nightly.training_config(config)
        content = prepared_fingerprint(workspace, product, train_config.data)
        wanted[entry] = training_fingerprint(content, check_request(train_config), train_config)
    steps = Steps(workspace, wanted)
    monkeypatch.setattr(nightly, "run_command", steps)
    return workspace, config, steps


def outcomes(report: Any) -> dict[str, str]:
    return {r.sku: r.outcome for r in report.results}


def test_a_night_trains_promotes_and_the_next_does_nothing(night: tuple[Workspace, NightlyConfig, Steps]) -> None:
    workspace, config, steps = night
    assert [(p.sku, p.action) for p in plan_night(workspace, config)] == [("alpha", "train"), ("beta", "train")]
    report = run_night(workspace, config, now=NOW)
    assert outcomes(report) == {"alpha": "promoted", "beta": "promoted"}
    later = [f"{c} {s}" for s in ("alpha", "beta") for c in ("train", "evaluate")]
    assert steps.called == ["prepare alpha", "prepare beta", *later]
    assert versions.read_current(workspace, "alpha") == "0001"
    text = report.path.read_text(encoding="utf-8")
    assert "| alpha | promoted | 0001 |" in text
    assert json.loads(report.path.with_suffix(".json").read_text(encoding="utf-8"))["results"][1]["sku"] == "beta"
    steps.called.clear()
    assert outcomes(run_night(workspace, config, now=NOW)) == {"alpha": "up to date", "beta": "up to date"}
    assert steps.called == []


def test_a_limited_verdict_is_published_where_the_gate_says_so(night: tuple[Workspace, NightlyConfig, Steps]) -> None:
    workspace, config, steps = night
    steps.verdicts = {"alpha": "limited", "beta": "limited"}
    steps.bases = {"beta": "sdxl"}
    report = run_night(workspace, config, now=NOW)
    assert outcomes(report) == {"alpha": "promoted", "beta": "gate not met"}
    why = {result.sku: result.why for result in report.results}
    assert why["alpha"] == "version 0001 met the gate as far as this base shows it (limited)"
    assert "its verdict is 'limited', which gate.yaml does not promote on 'sdxl'" in why["beta"]
    assert "as far as this base shows it" in (workspace.adapters / "alpha" / "history.jsonl").read_text(
        encoding="utf-8"
    )
    assert {p.sku: p.action for p in plan_night(workspace, config)} == {"alpha": "nothing", "beta": "nothing"}


def test_a_report_of_an_earlier_gate_counts_as_none(night: tuple[Workspace, NightlyConfig, Steps]) -> None:
    """The adapter is judged again, not trained again."""
    workspace, config, steps = night
    steps.codes = {"evaluate alpha": 3}
    run_night(workspace, config, now=NOW)
    path = workspace.adapters / "alpha" / "0001" / "fidelity.json"
    old = json.loads(path.read_text(encoding="utf-8")) | {"format": REPORT_FORMAT - 1}
    path.write_text(json.dumps(old), encoding="utf-8")
    (alpha,) = (entry for entry in plan_night(workspace, config) if entry.sku == "alpha")
    assert (alpha.action, alpha.why) == ("evaluate", "version 0001 is trained but not evaluated")


def test_every_set_is_prepared_before_any_is_judged(night: tuple[Workspace, NightlyConfig, Steps]) -> None:
    """An adapter is told apart from prepared siblings only; a night that judges alpha first must have beta's views."""
    workspace, config, steps = night
    add_version(workspace, "beta", steps.wanted["beta"])  # trained, but its prepared set was cleared away
    assert outcomes(run_night(workspace, config, now=NOW)) == {"alpha": "promoted", "beta": "promoted"}
    assert steps.called.index("prepare beta") < steps.called.index("evaluate alpha")
    assert "train beta" not in steps.called


def test_a_changed_photo_makes_that_sku_stale_alone(night: tuple[Workspace, NightlyConfig, Steps]) -> None:
    workspace, config, _ = night
    run_night(workspace, config, now=NOW)
    draw_bottle(colour=(20, 90, 160)).save(workspace.datasets / "beta" / "photos" / "front.png")
    plan = {p.sku: (p.action, p.why) for p in plan_night(workspace, config)}
    assert plan["alpha"][0] == "nothing"
    assert plan["beta"] == ("train", "since version 0001: photos, settings or base changed")
    changed = NightlyConfig(config="embedded", set=("train.steps=70",))
    assert {p.action for p in plan_night(workspace, changed)} == {"train"}


def test_failures_don_t_stop_the_night_and_the_gate_keeps_the_current(
    night: tuple[Workspace, NightlyConfig, Steps],
) -> None:
    workspace, config, steps = night
    published = add_version(workspace, "beta", "older")
    versions.promote(workspace, "beta", published.number, reason="test", when="now")
    steps.codes = {"train alpha": 1, "evaluate beta": 3}
    report = run_night(workspace, config, now=NOW)
    assert outcomes(report) == {"alpha": "failed", "beta": "gate not met"}
    assert report.of("failed")[0].why == "train failed: train said 1"
    assert versions.read_current(workspace, "beta") == "0001"
    steps.called.clear()
    steps.codes = {}
    assert outcomes(run_night(workspace, config, now=NOW)) == {"alpha": "promoted", "beta": "up to date"}
    assert "train beta" not in steps.called, "what failed the gate is not trained again while nothing changed"


def test_a_changed_gate_judges_again_what_failed_the_old_one(
    night: tuple[Workspace, NightlyConfig, Steps], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, config, steps = night
    steps.codes = {"evaluate beta": 3}
    assert outcomes(run_night(workspace, config, now=NOW))["beta"] == "gate not met"
    assert plan_night(workspace, config)[1].action == "nothing"
    eased = tmp_path / "gate.yaml"
    eased.write_text(gate_path().read_text(encoding="utf-8") + "# eased\n", encoding="utf-8")
    monkeypatch.setattr(nightly, "gate_path", lambda: eased)
    steps.called, steps.codes = [], {}
    assert plan_night(workspace, config)[1].why == "the gate changed since version 0001 was evaluated"
    assert outcomes(run_night(workspace, config, now=NOW)) == {"alpha": "up to date", "beta": "promoted"}
    assert steps.called[-1] == "evaluate beta"
    assert not [step for step in steps.called if step.startswith("train")]


def test_a_killed_night_goes_on_with_the_evaluation(night: tuple[Workspace, NightlyConfig, Steps]) -> None:
    workspace, config, steps = night
    add_version(workspace, "alpha", steps.wanted["alpha"])
    assert plan_night(workspace, config)[0].action == "evaluate"
    run_night(workspace, config, now=NOW)
    assert "train alpha" not in steps.called
    assert versions.read_current(workspace, "alpha") == "0001"


def test_only_one_night_at_a_time(night: tuple[Workspace, NightlyConfig, Steps]) -> None:
    workspace, config, _ = night
    lock = workspace.runs / "nightly" / ".lock"
    with exclusive(lock, "x"), pytest.raises(RunError, match="is running the night of this workspace already"):
        run_night(workspace, config, now=NOW)


def test_a_bad_set_is_reported_and_the_rest_goes_on(night: tuple[Workspace, NightlyConfig, Steps]) -> None:
    workspace, config, steps = night
    (workspace.datasets / "alpha" / "set.yaml").write_text("clas_noun: mug\n", encoding="utf-8")
    plan = plan_night(workspace, config)
    assert [entry.action for entry in plan] == ["fail", "train"]
    assert plan[0].why.startswith("invalid product set: datasets/alpha/set.yaml: class_noun: ")
    assert outcomes(run_night(workspace, config, now=NOW)) == {"alpha": "failed", "beta": "promoted"}
    assert not [step for step in steps.called if "alpha" in step]


def test_a_set_that_cannot_be_trained_is_not_planned_as_training(
    night: tuple[Workspace, NightlyConfig, Steps],
) -> None:
    workspace, _, _ = night
    member = NightlyConfig(config="embedded", set=("adapter.init_from=category",))
    for entry in plan_night(workspace, member):
        assert entry.action == "fail"
        assert entry.why.startswith("cannot be trained: adapter.init_from is `category`")


def test_the_reason_of_a_failure_is_the_commands_own_error(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "mug.log"
    code, why = run_command(workspace.root, ["adapters", "show", "mug"], log, 5)
    assert (code, why) == (1, "'mug' has no adapter yet")
    assert "Error: 'mug' has no adapter yet\nhint: run: packshot train mug" in log.read_text(encoding="utf-8")
    assert run_command(workspace.root, ["adapters", "list"], log, 5) == (0, "")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["mug.log"]
    for ended, said in {-9: "killed by signal 9, see mug.log", 1: "exit code 1, see mug.log"}.items():
        monkeypatch.setattr(subprocess, "run", lambda *_, ended=ended, **__: SimpleNamespace(returncode=ended))
        assert run_command(workspace.root, ["train", "mug"], log, 5) == (ended, said)


def test_a_step_that_hangs_is_stopped(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs(line: list[str], **named: Any) -> None:
        raise subprocess.TimeoutExpired(line, named["timeout"])

    monkeypatch.setattr(subprocess, "run", hangs)
    code, why = run_command(workspace.root, ["train", "bottle01"], tmp_path / "log", 0.5)
    assert (code, why) == (1, "stopped after 0.5 minutes (timeout_minutes)")


def test_promote_and_rollback(workspace: Workspace) -> None:
    for number in ("a", "b"):
        add_version(workspace, "bottle01", number)
    with pytest.raises(AdapterError, match="no earlier"):
        versions.rollback(workspace, "bottle01", when="now")
    assert versions.find_version(workspace, "bottle01").number == "0002"
    versions.promote(workspace, "bottle01", "1", reason="test", when="now")
    assert versions.find_version(workspace, "bottle01").published
    versions.promote(workspace, "bottle01", "0002", reason="test", when="now")
    assert versions.rollback(workspace, "bottle01", when="now").number == "0001"
    assert [v.published for v in versions.list_versions(workspace, "bottle01")] == [True, False]
    with pytest.raises(AdapterError, match="no adapter version '7'"):
        versions.promote(workspace, "bottle01", "7", reason="test", when="now")
