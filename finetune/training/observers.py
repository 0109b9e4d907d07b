"""Observers of the training loop: progress bar, metrics.jsonl and trackers, actions at given steps."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from finetune.core.console import is_main_process, pace, say, span
from finetune.core.device import peak_memory_mib
from finetune.core.storage.durable import append_line, state_errors
from finetune.training.loop import Observer, StepReport

if TYPE_CHECKING:
    from accelerate import Accelerator


class ProgressBar:
    """Loss, rate, peak memory and time left on stderr: a bar on a terminal, a line every tenth of the run elsewhere."""

    SMOOTHING = 0.05

    def __init__(self, steps: int, start: int, device: str, stream: Any = None) -> None:
        self.device = device
        self.console = Console(file=stream or sys.stderr)
        shown = self.console.is_terminal and is_main_process()
        self.steps = steps
        self.loss, self.seen = 0.0, 0.0
        self.began = time.perf_counter()
        self.start = start
        columns = (
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        self.bar = Progress(*columns, console=self.console, transient=True) if shown else None
        self.task = self.bar.add_task("training", total=steps, completed=start, note="") if self.bar else None

    def __enter__(self) -> Self:
        """Show the bar."""
        if self.bar:
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away."""
        if self.bar:
            self.bar.stop()

    @property
    def rate(self) -> float:
        """Optimizer steps a second since the start of this process's part of the run."""
        return self.done / max(time.perf_counter() - self.began, 1e-9)

    done = 0

    def after_step(self, report: StepReport) -> None:
        """Show the step."""
        self.done = report.step - self.start
        self.loss += self.SMOOTHING * (report.loss - self.loss)
        self.seen += self.SMOOTHING * (1 - self.seen)
        if self.bar and self.task is not None:
            self.bar.update(self.task, completed=report.step, note=self._note())
        elif report.step == self.steps or report.step % max(1, self.steps // 10) == 0:
            left = (self.steps - report.step) / max(self.rate, 1e-9)
            say(f"  step {report.step}/{self.steps}  {self._note()}  {span(left)} left")

    def _note(self) -> str:
        mean = self.loss / self.seen if self.seen else self.loss  # Adam's correction: the first loss is no better known
        return f"loss {mean:.4f}  {pace(self.rate)}  {peak_memory_mib(self.device):,.0f} MiB"


class Metrics:
    """One JSON line a step in metrics.jsonl, and the same to accelerate's trackers."""

    def __init__(self, path: Path, accelerator: Accelerator) -> None:
        self.path = path
        self.accelerator = accelerator

    def after_step(self, report: StepReport) -> None:
        """Write the step."""
        values = {
            "loss": report.loss,
            "learning_rate": report.learning_rate,
            "grad_norm": report.grad_norm,
            "seconds": report.seconds,
            "memory_mib": peak_memory_mib(str(self.accelerator.device)),
        }
        line = {"step": report.step} | {k: float(f"{v:.6g}") for k, v in values.items()}
        with state_errors("the run's metrics", near=self.path):
            self.accelerator.log(values, step=report.step)
            if self.accelerator.is_main_process:
                append_line(self.path, json.dumps(line))


class Every:
    """Calls an action with the step number every n steps; the last step only if it is a multiple of n."""

    def __init__(self, steps: int, action: Callable[[int], object]) -> None:
        self.steps = steps
        self.action = action

    def after_step(self, report: StepReport) -> None:
        """Call the action when its time has come."""
        if report.step % self.steps == 0:
            self.action(report.step)


class From:
    """Passes steps on to another observer, from a given step on."""

    def __init__(self, step: int, observer: Observer) -> None:
        self.step, self.observer = step, observer

    def after_step(self, report: StepReport) -> None:
        """Pass the step on when it is not too early."""
        if report.step >= self.step:
            self.observer.after_step(report)
