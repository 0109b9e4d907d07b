"""The run folder `runs/<sku>/<run id>/`: resolved config, environment, metrics.jsonl, state, previews, tracker logs."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from finetune.core.console import warn
from finetune.core.environment import environment
from finetune.core.errors import RunError
from finetune.core.json_files import MAX_BYTES, Document, parse_json, read_json, read_json_lines
from finetune.core.storage.durable import atomic_folder, write_text
from finetune.core.text_files import read_text

INFO, DONE = "run.json", "done"


class RunInfo(Document):
    """`run.json`: what a run was started with."""

    fingerprint: str
    environment: dict[str, str] = Field(default_factory=dict)


class LoweredMemory(Document):
    """`memory.json`: the settings a run switched to when it ran out of memory."""

    gradient_checkpointing: Literal["none", "partial", "all"]
    batch: int
    accumulation: int


class _Step(Document):
    """A line of `metrics.jsonl`."""

    step: int
    loss: float | None = None
    learning_rate: float | None = None
    grad_norm: float | None = None
    seconds: float | None = None
    memory_mib: float | None = None


class _Candidate(Document):
    step: int


class ChoiceFile(Document):
    """`choice.json`: which step was selected, and among which."""

    step: int
    why: str
    rule: str
    candidates: tuple[_Candidate, ...]


@dataclass(frozen=True)
class RunFolder:
    """A run on disk."""

    path: Path

    @property
    def state(self) -> Path:
        """Checkpoints."""
        return self.path / "state"

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    @property
    def metrics(self) -> Path:
        """One JSON line per optimizer step."""
        return self.path / "metrics.jsonl"

    @property
    def validation(self) -> Path:
        """One JSON line per validation."""
        return self.path / "validation.jsonl"

    @property
    def candidates(self) -> Path:
        """Adapters kept to select among."""
        return self.path / "candidates"

    @property
    def choice(self) -> Path:
        """Which candidate was selected, and why."""
        return self.path / "choice.json"

    @property
    def previews(self) -> Path:
        """Pictures drawn during training."""
        return self.path / "previews"

    @property
    def report(self) -> Path:
        """The page of the run."""
        return self.path / "report.html"

    def info(self) -> RunInfo:
        """Fingerprint and environment the run was started with.

        Raises:
            RunError: `run.json` is missing or damaged.
        """
        return read_json(self.path / INFO, RunInfo, RunError, what=f"run.json of run {self.path.name}")

    def finish(self) -> None:
        """Mark the run as done; its checkpoints are no longer needed."""
        (self.path / DONE).touch()
        shutil.rmtree(self.state, ignore_errors=True)

    def forget_unless_begun(self) -> None:
        """Delete a run that failed before its first step: it holds nothing to resume from or to look at."""
        if not self.metrics.exists() and not any(self.state.glob("*")):
            shutil.rmtree(self.path, ignore_errors=True)


def name_run(now: datetime, fingerprint: str) -> str:
    """Name of a new run: when it began, and the start of its fingerprint."""
    return f"{now:%Y%m%d-%H%M%S}-{fingerprint[:6]}"


def find_report(runs: Path, fingerprint: str) -> Path | None:
    """The newest page of a run with this fingerprint; None where the run's folder was deleted.

    Args:
        runs: the SKU's folder of runs.
        fingerprint: of the training.
    """
    pages = sorted(runs.glob(f"*-{fingerprint[:6]}/report.html"))
    return pages[-1] if pages else None


def open_run(folder: Path, fingerprint: str, config_yaml: str, run_id: str) -> RunFolder:
    """The unfinished run of this fingerprint, to be resumed; or a new one.

    A run whose `run.json` is damaged is not resumed, with a warning.

    Args:
        folder: the SKU's folder of runs.
        fingerprint: of the training.
        config_yaml: the resolved configuration, for a new run.
        run_id: name of a new run.

    Raises:
        StateWriteError: the folder can't be written to.
    """
    for path in sorted(folder.glob("[!.]*"), reverse=True):
        if (path / INFO).is_file() and not (path / DONE).exists():
            run = RunFolder(path)
            try:
                if run.info().fingerprint == fingerprint:
                    return run
            except RunError as error:
                warn(f"not resuming a run: {error.message}")
    path, again = folder / run_id, 1
    while path.exists():  # a finished run of this very second, whose version was deleted
        path, again = folder / f"{run_id}-{again + 1}", again + 1
    with atomic_folder(path, "the run's folder") as part:
        (part / "config.yaml").write_text(config_yaml, encoding="utf-8")
        info = RunInfo(fingerprint=fingerprint, environment=environment())
        (part / INFO).write_text(info.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return RunFolder(path)


def trim_metrics(path: Path, step: int) -> None:
    """Drop metric lines after `step`, which a resumed run writes again, and a line cut short by a full disk."""
    if not path.is_file():
        return
    text = read_text(path, RunError, limit=MAX_BYTES)
    lines = [line for line in text.splitlines() if _step_of(line) <= step]
    write_text(path, "".join(line + "\n" for line in lines), "metrics.jsonl")


def _step_of(line: str) -> float:
    try:
        return parse_json(line, _Step, RunError, what="the line", hint="").step
    except RunError:
        return float("inf")


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The metrics of a run, an entry a step; none without a file.

    Raises:
        RunError: a line is damaged.
    """
    lines = read_json_lines(path, _Step, RunError) if path.exists() else []
    return [line.model_dump(exclude_none=True) for line in lines]
