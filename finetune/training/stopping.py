"""Observers that end a run before its last step: divergence, and a request to stop.

`Divergence` comes before the checkpoint of its step, so that no bad state is ever kept; `StopRequest` after it, so that
nothing is saved twice.
"""

from __future__ import annotations

import math
import signal
import statistics
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Self

from finetune.core.console import say
from finetune.core.errors import RunError
from finetune.training.loop import StepReport

WINDOW = 20
"""Steps whose losses are averaged before they are compared: the loss of a single step varies with its timesteps."""
EXPLODED = 3.0
"""How many times the run's first losses count as an explosion. An adapter starts as identity, so these are the frozen
base's own; one that has come to predict three times worse than no adapter at all will not come back."""

SKIPPED = 40
"""Steps in a row with infinite gradients after which fp16 is given up. The scaler halves its factor, 65536 at first, at
each: by then it is below 1e-7, and gradients that are still infinite are so without it."""


class Divergence:
    """Stops a run whose loss is NaN, or has grown far beyond the base's own."""

    def __init__(self, *, scaled: bool, last_good: Callable[[int], str]) -> None:
        """Begin without any loss seen.

        Args:
            scaled: whether a gradient scaler (fp16) skips steps with infinite gradients by itself.
            last_good: called with the last step whose weights can be trusted; deletes later checkpoints and returns
                a sentence that names the newest one left.
        """
        self.scaled, self.last_good = scaled, last_good
        self.skipped = 0
        self.first: list[float] = []
        self.last: deque[float] = deque(maxlen=WINDOW)

    def after_step(self, report: StepReport) -> None:
        """Check the step.

        Raises:
            RunError: the run has diverged.
        """
        if not math.isfinite(report.loss):  # the loss of what the step before left
            self._stop(report, f"the loss is {report.loss}", trusted=report.step - 2)
        self.skipped = 0 if math.isfinite(report.grad_norm) else self.skipped + 1
        if self.skipped and not self.scaled:
            self._stop(report, f"the gradient's norm is {report.grad_norm}", trusted=report.step - 1)
        if self.skipped == SKIPPED:
            why = f"gradients overflowed in fp16 for {SKIPPED} steps in a row"
            self._stop(report, why, trusted=report.step - SKIPPED)
        if len(self.first) < WINDOW:
            self.first.append(report.loss)
            return
        self.last.append(report.loss)
        begin, now = statistics.fmean(self.first), statistics.fmean(self.last)
        if len(self.last) == WINDOW and now > EXPLODED * begin:
            why = f"the loss has risen from {begin:.3g} to {now:.3g}"
            self._stop(report, why, trusted=report.step - WINDOW)

    def _stop(self, report: StepReport, why: str, trusted: int) -> None:
        raise RunError(
            f"training has diverged at step {report.step}: {why}; {self.last_good(max(trusted, 0))}",
            f"lower train.learning_rate (it was {report.learning_rate:.1e})"
            + (", or set memory.precision=bf16" if self.scaled else "")
            + ". Changed settings start a new run; the same ones would diverge again. No adapter was written",
            of_one_process=False,  # the loss is the mean over all of them
        )


class StopRequest:
    """Ctrl-C or SIGTERM: the current step is finished and saved, then the run ends; a second Ctrl-C ends it at once."""

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self, save: Callable[[int], object], agree: Callable[[bool], bool]) -> None:
        """Begin without a request.

        Args:
            save: writes a checkpoint of a step.
            agree: whether any process of the run was asked to stop; all have to leave together.
        """
        self.save, self.agree = save, agree
        self.asked = False
        self.before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        """Install the signal handlers; only a program's main thread may."""
        if threading.current_thread() is threading.main_thread():
            self.before = {number: signal.signal(number, self._ask) for number in self.SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Restore the signal handlers."""
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        with suppress(RuntimeError):  # the signal came while another line was being written
            say("  stopping after the current step, which is saved (Ctrl-C again: stop at once, without saving)")

    def after_step(self, report: StepReport) -> None:
        """End the run here if that was asked; a run that has reached its last step just ends.

        Raises:
            KeyboardInterrupt: after the checkpoint is written.
        """
        if report.step < report.steps and self.agree(self.asked):
            self.save(report.step)
            say(f"  saved a checkpoint at step {report.step} of {report.steps}")
            raise KeyboardInterrupt
