"""The night job: find what is stale by content, retrain, evaluate, promote what passes, report.

Each step of each SKU is a `packshot` process of its own, so that one product's crash or leak never touches the next.
There is no state file: what was done is read from the artefacts themselves (versions, their fingerprints, their
fidelity reports), so a night that was killed goes on where it stopped, and a second call with nothing changed trains
nothing. `inference` is reached by command, never by import.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from finetune.adapters.init_from import Origin
from finetune.core import fingerprint
from finetune.core.adapters import versions
from finetune.core.config import Strict, apply_overrides, find_config, gate_path, read_yaml, validate
from finetune.core.console import say
from finetune.core.errors import PackshotError, RunError
from finetune.core.products.catalog import Workspace, load_set
from finetune.core.products.prepared import read_prepared
from finetune.core.storage.durable import write_text
from finetune.settings import TrainConfig

Outcome = Literal["up to date", "promoted", "gate not met", "failed"]
GATE_EXIT = 3


class NightlyConfig(Strict):
    """What a night does."""

    config: str = "auto"
    """Training preset or file; `auto` chooses by the machine's GPU."""
    set: tuple[str, ...] = ()
    """Overrides for that config, as `--set` takes them."""
    skus: tuple[str, ...] = ()
    """SKUs to look after; empty for every set of kind `sku`."""
    follow_init_from: bool = False
    """With adapter.init_from: is an adapter stale when the one it started from has changed since (a new or another
    published version)? Off, a new category adapter serves whatever is trained next; on, it retrains every member."""
    timeout_minutes: float = Field(default=240, gt=0)
    """A step that takes longer is stopped and counts as failed."""


@dataclass(frozen=True)
class Planned:
    """What is to be done for one SKU, and why."""

    sku: str
    action: Literal["nothing", "evaluate", "train"]
    why: str
    version: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass
class Result:
    """What became of one SKU."""

    sku: str
    outcome: Outcome
    why: str
    version: str | None = None
    seconds: float = 0.0
    scores: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class NightReport:
    """What became of the night."""

    path: Path
    results: list[Result]

    @property
    def failures(self) -> list[Result]:
        """SKUs whose steps failed."""
        return [r for r in self.results if r.outcome == "failed"]

    @property
    def refused(self) -> list[Result]:
        """SKUs whose new version did not pass the gate."""
        return [r for r in self.results if r.outcome == "gate not met"]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"report": str(self.path), "results": [asdict(r) for r in self.results]}


def training_config(config: NightlyConfig) -> tuple[str, TrainConfig]:
    """The training config of a night: its name, and the config resolved."""
    from finetune.memory.budget import preset_for_this_machine

    name = preset_for_this_machine()[0] if config.config == "auto" else config.config
    path = find_config(name, "train")
    return name, validate(TrainConfig, apply_overrides(read_yaml(path), config.set), path.name)


def plan_night(workspace: Workspace, config: NightlyConfig) -> list[Planned]:
    """Decide for every SKU by content alone: set, resolved config and base against the versions on disk.

    Raises:
        PackshotError: the config or the base is wrong, which would fail every SKU alike.
    """
    from finetune.prepare import prepared_fingerprint
    from finetune.train import check_request, find_training_origin, training_fingerprint

    _, train_config = training_config(config)
    base = check_request(train_config)
    hash_of = cache(fingerprint.of_file)  # a category's adapter is asked for once a member
    plan = []
    for sku in config.skus or workspace.skus():
        try:
            product = load_set(workspace, sku)
            if product.config.kind != "sku":
                continue
            origin = find_training_origin(workspace, sku, train_config, base, hash_of=hash_of)
            content = prepared_fingerprint(workspace, product, train_config.data)

            def wanted(started_from: str, content: str = content) -> str:
                return training_fingerprint(content, base, train_config, started_from)

            plan.append(_plan_sku(workspace, sku, wanted, origin, follow=config.follow_init_from))
        except PackshotError as error:
            plan.append(Planned(sku, "train", f"its set has a problem: {error.message}"))
    return plan


def _plan_sku(
    workspace: Workspace, sku: str, wanted: Callable[[str], str], origin: Origin | None, *, follow: bool
) -> Planned:
    """What one SKU needs.

    Args:
        wanted: fingerprint its adapter would have now, from that of the adapter it would start from.
        follow: see `NightlyConfig.follow_init_from`.
    """
    known = versions.list_versions(workspace, sku)
    now = wanted(origin.fingerprint if origin else "")
    match = next((v for v in reversed(known) if v.manifest.get("fingerprint") == now), None)
    earlier = next((v for v in reversed(known) if _same_but_for_origin(v, wanted, origin)), None)
    if match is None and earlier is not None:
        if follow:
            assert origin is not None
            return Planned(sku, "train", f"the adapter it starts from changed: '{origin.name}' {origin.version}")
        match = earlier
    if match is None:
        return Planned(sku, "train", "nothing trained yet" if not known else "photos, settings or base changed")
    report = match.folder / "fidelity.json"
    if match.published:
        return Planned(sku, "nothing", f"version {match.number} is published and up to date", match.number)
    if not report.is_file():
        return Planned(sku, "evaluate", f"version {match.number} is trained but not evaluated", match.number)
    judged = json.loads(report.read_text(encoding="utf-8"))
    if judged["verdict"] == "pass":
        return Planned(sku, "evaluate", f"version {match.number} passed but is not published", match.number)
    if judged.get("gate_file") != fingerprint.of_file(gate_path()):
        return Planned(sku, "evaluate", f"the gate changed since version {match.number} was judged", match.number)
    return Planned(sku, "nothing", f"version {match.number} did not pass the gate; nothing changed since", match.number)


def _same_but_for_origin(version: versions.AdapterVersion, wanted: Callable[[str], str], origin: Origin | None) -> bool:
    """Was this version made as it would be now, from another adapter of the same set?"""
    began = version.manifest.get("init_from") or {}
    if origin is None or began.get("name") != origin.name:
        return False
    return version.manifest.get("fingerprint") == wanted(began["fingerprint"])


def run_night(workspace: Workspace, config: NightlyConfig, *, now: datetime) -> NightReport:
    """Carry out the plan, SKU by SKU; a failure never stops the others.

    Raises:
        RunError: another night is at work in this workspace.
        PackshotError: as for `plan_night`.
    """
    plan = plan_night(workspace, config)
    folder = workspace.runs / "nightly" / f"{now:%Y%m%d-%H%M%S}"
    with _only_one(workspace.runs / "nightly"):
        folder.mkdir(parents=True, exist_ok=True)
        problems = _prepare_all(workspace, config, plan, folder)
        results = []
        for entry in plan:
            say(f"{entry.sku}: {entry.why}")
            began = time.perf_counter()
            if problem := problems.get(entry.sku):
                result = Result(entry.sku, "failed", problem)
            else:
                result = _do(workspace, config, entry, folder / f"{entry.sku}.log", now)
            result.seconds = round(time.perf_counter() - began, 1)
            results.append(result)
            if result.outcome != "up to date":
                say(f"{entry.sku}: {result.outcome} ({result.why})")
            report = NightReport(folder / "report.md", results)
            _write_report(report, now, done=len(results), total=len(plan))
        return NightReport(folder / "report.md", results)


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Hold the night's lock; the kernel frees it when the process dies, however it dies."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunError("another nightly is at work in this workspace", "wait for it, or stop it") from error
        yield


def _prepare_all(workspace: Workspace, config: NightlyConfig, plan: list[Planned], folder: Path) -> dict[str, str]:
    """Prepare every SKU that will be trained before any is judged: a product is told apart from prepared siblings.

    Returns:
        What went wrong, by SKU.
    """
    if all(entry.action == "nothing" for entry in plan):
        return {}
    problems = {}
    for entry in plan:
        if entry.action == "train" or not _is_prepared(workspace, entry.sku):
            code, tail = _trainwards(workspace, config, "prepare", entry.sku, folder / f"{entry.sku}.log")
            if code:
                problems[entry.sku] = f"prepare ended with {code}: {tail}"
    return problems


def _is_prepared(workspace: Workspace, sku: str) -> bool:
    try:
        return read_prepared(load_set(workspace, sku).prepared_dir) is not None
    except PackshotError:
        return False


def _trainwards(workspace: Workspace, config: NightlyConfig, command: str, sku: str, log: Path) -> tuple[int, str]:
    """Run `prepare` or `train` with the night's training config."""
    name, _ = training_config(config)
    settings = [part for override in config.set for part in ("--set", override)]
    return _command(workspace, [command, sku, "--config", name, *settings], log, config.timeout_minutes)


def _do(workspace: Workspace, config: NightlyConfig, entry: Planned, log: Path, now: datetime) -> Result:
    """Train where that is due, evaluate, promote; the set is prepared."""
    if entry.action == "nothing":
        return Result(entry.sku, "up to date", entry.why, entry.version)
    number = entry.version
    if entry.action == "train":
        code, tail = _trainwards(workspace, config, "train", entry.sku, log)
        if code:
            return Result(entry.sku, "failed", f"train ended with {code}: {tail}")
        number = versions.list_versions(workspace, entry.sku)[-1].number
    assert number is not None
    code, tail = _command(workspace, ["evaluate", entry.sku, "--adapter", number], log, config.timeout_minutes)
    report = workspace.adapters / entry.sku / number / "fidelity.json"
    scores = json.loads(report.read_text(encoding="utf-8"))["scores"] if report.is_file() else []
    if code == GATE_EXIT:
        return Result(entry.sku, "gate not met", f"version {number}: {tail}", number, scores=scores)
    if code:
        return Result(entry.sku, "failed", f"evaluate ended with {code}: {tail}", number)
    when = now.astimezone().isoformat(timespec="seconds")
    versions.promote(workspace, entry.sku, number, reason="nightly: gate passed", when=when)
    return Result(entry.sku, "promoted", f"version {number} passed the gate", number, scores=scores)


def _command(workspace: Workspace, arguments: list[str], log: Path, timeout_minutes: float) -> tuple[int, str]:
    """Run `packshot ARGUMENTS` as a process; its talk goes to the log. Returns exit code and the line that says why."""
    line = [sys.executable, "-P", "-m", "finetune.core.commands", *arguments, "--workspace", str(workspace.root)]
    environment = os.environ | {"NO_COLOR": "1"}
    with log.open("ab") as handle:
        handle.write(f"$ packshot {' '.join(arguments)}\n".encode())
        handle.flush()
        try:
            code = subprocess.run(
                line,
                stdin=subprocess.DEVNULL,
                stdout=handle,
                stderr=handle,
                env=environment,
                timeout=timeout_minutes * 60,
            ).returncode
        except subprocess.TimeoutExpired:
            return 1, f"stopped after {timeout_minutes:g} minutes"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    said = [text for text in lines if text.startswith("Error: ")]
    return code, said[-1].removeprefix("Error: ") if said and code else (lines[-1] if lines else "")


def _write_report(report: NightReport, now: datetime, *, done: int, total: int) -> None:
    """Write report.md and report.json, whole each time, so that a killed night still leaves what it did."""
    rows = [
        f"| {r.sku} | {r.outcome} | {r.version or ''} | {r.seconds:.0f} | {r.why.replace('|', '/')} |"
        for r in report.results
    ]
    text = "\n".join(
        [
            f"# Night of {now:%Y-%m-%d %H:%M}",
            "",
            f"{done} of {total} SKUs looked after, {len(report.failures)} failed, "
            f"{len(report.refused)} did not pass the gate.",
            "",
            "| SKU | outcome | version | seconds | why |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    )
    write_text(report.path, text)
    write_text(report.path.with_suffix(".json"), json.dumps(report.as_dict(), indent=1) + "\n")
