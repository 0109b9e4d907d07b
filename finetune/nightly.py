"""The night job: find what is stale by content, retrain, evaluate, promote what passes, report.

Each step of each SKU is a `packshot` process of its own, so that one product's crash or leak never touches the next.
There is no state file: what was done is read from the artefacts themselves (versions, their fingerprints, their
fidelity reports). A night that was killed therefore resumes where it stopped, and a second call with nothing changed
trains nothing. `inference` is reached by command, never by import.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from finetune.adapters.init_from import Parent
from finetune.core import fingerprint
from finetune.core.adapters import versions
from finetune.core.adapters.reports import FILE as FIDELITY
from finetune.core.adapters.reports import FidelityReport, read_report, read_report_file
from finetune.core.config import Strict, apply_overrides, find_config, gate_path, validate
from finetune.core.console import say
from finetune.core.errors import AdapterError, PackshotError
from finetune.core.fidelity.gate import is_enough, load_gate
from finetune.core.products.catalog import Workspace, load_set
from finetune.core.products.housekeeping import check_folders
from finetune.core.products.prepared import read_prepared
from finetune.core.progress import Progress
from finetune.core.storage.durable import write_text
from finetune.core.storage.locks import exclusive
from finetune.core.yaml_files import read_yaml
from finetune.runs.started_commands import run_command
from finetune.settings import TrainConfig

Outcome = Literal["up to date", "promoted", "gate not met", "failed"]
GATE_EXIT = 3


class NightlyConfig(Strict):
    """What a night does."""

    REFERENCE = "the keys of nightly.yaml are described in docs/settings.md, section 'The night job'"

    config: str = "auto"
    """Training preset or file; `auto` picks a preset by this machine's GPU."""
    set: tuple[str, ...] = ()
    """Overrides for that config, written as for `--set`."""
    skus: tuple[str, ...] = ()
    """SKUs to process; empty for every set of kind `sku`."""
    follow_init_from: bool = False
    """Only with adapter.init_from: whether an adapter becomes stale when the adapter it started from changes (a new or
    another published version). Off: a new category adapter is used by whatever is trained next. On: it retrains every
    member of the category."""
    timeout_minutes: float = Field(default=240, gt=0)
    """Time limit of one step (prepare, train or evaluate of one SKU); a step that exceeds it is stopped and fails."""


@dataclass(frozen=True)
class NightStep:
    """What the night does for one SKU, and why."""

    sku: str
    action: Literal["nothing", "evaluate", "train", "fail"]
    """`fail`: the request itself is wrong, so no command is run and the SKU is reported as failed."""
    why: str
    version: str | None = None
    """Number of the version that is up to date or that has to be evaluated."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Result:
    """The outcome of one SKU."""

    sku: str
    outcome: Outcome
    why: str
    version: str | None = None
    seconds: float = 0.0
    scores: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class NightReport:
    """The outcome of the night."""

    path: Path
    results: list[Result]

    def of(self, outcome: Outcome) -> list[Result]:
        """The results with that outcome."""
        return [result for result in self.results if result.outcome == outcome]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"report": str(self.path), "results": [asdict(r) for r in self.results]}


def training_config(config: NightlyConfig) -> tuple[str, TrainConfig]:
    """The training config of a night: its name, and the config resolved."""
    from finetune.memory.budget import preset_for_this_machine

    name = preset_for_this_machine()[0] if config.config == "auto" else config.config
    path = find_config(name, "train")
    return name, validate(TrainConfig, apply_overrides(read_yaml(path), config.set), path.name)


def plan_night(workspace: Workspace, config: NightlyConfig) -> list[NightStep]:
    """Decide for every SKU by content alone: set, resolved config and base against the versions on disk.

    Raises:
        PackshotError: The config or the base is wrong, which would fail every SKU alike.
    """
    from finetune.prepare import changes_since_prepared, prepared_fingerprint
    from finetune.train import check_request, find_training_parent, training_fingerprint, why_stale

    _, train_config = training_config(config)
    base = check_request(train_config)
    hash_of = cache(fingerprint.of_file)  # every member of a category asks for the category's adapter
    plan = []
    for sku in config.skus or workspace.skus():
        try:
            product = load_set(workspace, sku)
        except PackshotError as error:
            plan.append(NightStep(sku, "fail", f"invalid product set: {error.message}"))
            continue
        if product.config.kind != "sku":
            continue
        try:
            parent = find_training_parent(workspace, sku, train_config, base, hash_of=hash_of)
            content = prepared_fingerprint(workspace, product, train_config.data)
            wanted = partial(training_fingerprint, content, base, train_config)
            photos = changes_since_prepared(workspace, product)
            why = partial(why_stale, content=content, base=base, config=train_config, photos=photos)
            plan.append(_plan_sku(workspace, sku, wanted, parent, why=why, follow=config.follow_init_from))
        except PackshotError as error:
            plan.append(NightStep(sku, "fail", f"cannot be trained: {error.message}"))
    return plan


def _plan_sku(
    workspace: Workspace,
    sku: str,
    wanted: Callable[[str], str],
    parent: Parent | None,
    *,
    why: Callable[[dict[str, Any]], str],
    follow: bool,
) -> NightStep:
    """What one SKU needs.

    Args:
        workspace: Where its versions are.
        sku: Its name.
        wanted: Fingerprint its adapter would have now, as a function of the parent adapter's fingerprint.
        parent: The adapter it would start from; None for none.
        why: Says what changed since the version with a manifest.
        follow: See `NightlyConfig.follow_init_from`.
    """
    known = versions.list_versions(workspace, sku)
    now = wanted(parent.fingerprint if parent else "")
    match = next((v for v in reversed(known) if v.manifest.get("fingerprint") == now), None)
    earlier = next((v for v in reversed(known) if _differs_in_parent_alone(v, wanted, parent)), None)
    if match is None and earlier is not None:
        if follow:
            assert parent is not None
            return NightStep(sku, "train", f"its parent adapter changed to '{parent.name}' {parent.version}")
        match = earlier
    if match is None:
        stale = f"since version {known[-1].number}: {why(known[-1].manifest)}" if known else ""
        return NightStep(sku, "train", stale or "no adapter has been trained")
    number = match.number
    if match.published:
        return NightStep(sku, "nothing", f"version {number} is published and up to date", number)
    try:
        judged = read_report(match)
    except AdapterError as error:
        return NightStep(sku, "evaluate", error.message, number)
    if judged is None:
        return NightStep(sku, "evaluate", f"version {number} is trained but not evaluated", number)
    if is_enough(judged.verdict, load_gate(), judged.base.model):
        return NightStep(sku, "evaluate", f"version {number} met the gate but is not published", number)
    if judged.gate_file != fingerprint.of_file(gate_path()):
        return NightStep(sku, "evaluate", f"the gate changed since version {number} was evaluated", number)
    return NightStep(sku, "nothing", f"version {number} did not meet the gate, and nothing has changed since", number)


def _differs_in_parent_alone(
    version: versions.AdapterVersion, wanted: Callable[[str], str], parent: Parent | None
) -> bool:
    """Whether a version is what would be trained now, except that it started from another adapter of the same set."""
    began = version.manifest.get("init_from") or {}
    if parent is None or began.get("name") != parent.name:
        return False
    return version.manifest.get("fingerprint") == wanted(began["fingerprint"])


def run_night(workspace: Workspace, config: NightlyConfig, *, now: datetime) -> NightReport:
    """Carry out the plan, SKU by SKU; a failure never stops the others.

    Raises:
        RunError: Another nightly is running in this workspace.
        PackshotError: As for `plan_night`.
    """
    plan = plan_night(workspace, config)
    folder = workspace.runs / "nightly" / f"{now:%Y%m%d-%H%M%S}"
    lock = workspace.runs / "nightly" / ".lock"
    with exclusive(lock, "running the night of this workspace", cure="wait until it ends, or stop it"):
        check_folders(workspace, "nightly")
        folder.mkdir(parents=True, exist_ok=True)
        problems = _prepare_all(workspace, config, plan, folder)
        report = NightReport(folder / "report.md", [])
        with Progress("the night", len(plan)) as bar:
            for entry in plan:
                say(f"{entry.sku}: {entry.why}")
                began = time.perf_counter()
                problem = problems.get(entry.sku)
                log = folder / f"{entry.sku}.log"
                result = Result(entry.sku, "failed", problem) if problem else _do(workspace, config, entry, log, now)
                result = replace(result, seconds=round(time.perf_counter() - began, 1))
                report.results.append(result)
                if result.outcome != "up to date":
                    say(f"{entry.sku}: {result.outcome} ({result.why})")
                _write_report(report, now, total=len(plan))
                bar.advance()
        return report


def _prepare_all(workspace: Workspace, config: NightlyConfig, plan: list[NightStep], folder: Path) -> dict[str, str]:
    """Prepare every SKU before any is evaluated: an evaluation compares a product with its prepared siblings.

    Returns:
        Why preparing failed, by SKU.
    """
    due = [entry for entry in plan if entry.action != "fail"]
    if all(entry.action == "nothing" for entry in due):
        return {}
    problems: dict[str, str] = {}
    for entry in due:
        if entry.action == "train" or not _is_prepared(workspace, entry.sku):
            log = folder / f"{entry.sku}.log"
            code, why = _run_with_training_config(workspace, config, "prepare", entry.sku, log)
            problems |= {entry.sku: f"prepare failed: {why}"} if code else {}
    return problems


def _is_prepared(workspace: Workspace, sku: str) -> bool:
    try:
        return read_prepared(load_set(workspace, sku).prepared_dir) is not None
    except PackshotError:
        return False


def _run_with_training_config(
    workspace: Workspace, config: NightlyConfig, command: str, sku: str, log: Path
) -> tuple[int, str]:
    """Run `prepare` or `train` with the night's training config; returns what `run_command` does."""
    settings = [part for override in config.set for part in ("--set", override)]
    line = [command, sku, "--config", training_config(config)[0], *settings, "--wait"]
    return run_command(workspace.root, line, log, config.timeout_minutes)


def _do(workspace: Workspace, config: NightlyConfig, entry: NightStep, log: Path, now: datetime) -> Result:
    """Train if that is due, evaluate, promote; the set is prepared already."""
    if entry.action == "fail":
        return Result(entry.sku, "failed", entry.why)
    if entry.action == "nothing":
        return Result(entry.sku, "up to date", entry.why, entry.version)
    number = entry.version
    if entry.action == "train":
        code, why = _run_with_training_config(workspace, config, "train", entry.sku, log)
        if code:
            return Result(entry.sku, "failed", f"train failed: {why}")
        number = versions.list_versions(workspace, entry.sku)[-1].number
    assert number is not None
    code, why = run_command(workspace.root, ["evaluate", entry.sku, "--adapter", number], log, config.timeout_minutes)
    judged = _report(workspace, entry.sku, number)
    scores = [line.model_dump() for line in judged.scores] if judged else []
    if code == GATE_EXIT:
        return Result(entry.sku, "gate not met", f"version {number}: {why}", number, scores=scores)
    if code or judged is None:
        return Result(entry.sku, "failed", f"evaluate failed: {why}", number)
    if not is_enough(judged.verdict, load_gate(), judged.base.model):
        why = f"its verdict is '{judged.verdict}', which gate.yaml does not promote on '{judged.base.model}'"
        return Result(entry.sku, "gate not met", f"version {number}: {why}", number, scores=scores)
    when = now.astimezone().isoformat(timespec="seconds")
    reason = "nightly: gate passed" if judged.verdict == "pass" else "nightly: gate passed as far as this base shows it"
    versions.promote(workspace, entry.sku, number, reason=reason, when=when)
    met = "met the gate" if judged.verdict == "pass" else "met the gate as far as this base shows it (limited)"
    return Result(entry.sku, "promoted", f"version {number} {met}", number, scores=scores)


def _report(workspace: Workspace, sku: str, number: str) -> FidelityReport | None:
    """A version's report; None where there is no whole one, as after an evaluation that failed."""
    try:
        return read_report_file(workspace.adapters / sku / number / FIDELITY, sku, number)
    except AdapterError:
        return None


def _write_report(report: NightReport, now: datetime, *, total: int) -> None:
    """Write report.md and report.json anew after each SKU, so that a killed night still leaves what it did."""
    cells = ((r.sku, r.outcome, r.version or "", f"{r.seconds:.0f}", r.why.replace("|", "/")) for r in report.results)
    lines = [
        f"# Night of {now:%Y-%m-%d %H:%M}",
        "",
        f"{len(report.results)} of {total} SKUs processed, {len(report.of('failed'))} failed, "
        f"{len(report.of('gate not met'))} did not meet the gate.",
        "",
        "| SKU | outcome | version | seconds | why |",
        "|---|---|---|---|---|",
        *(f"| {' | '.join(row)} |" for row in cells),
        "",
    ]
    write_text(report.path, "\n".join(lines))
    write_text(report.path.with_suffix(".json"), json.dumps(report.as_dict(), indent=1) + "\n")
