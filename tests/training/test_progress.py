"""What a run says while it trains: the bar on a terminal, lines in a log."""

from __future__ import annotations

import io
import re

import pytest

from finetune.core.console import span
from finetune.training.loop import StepReport
from finetune.training.observers import ProgressBar


def report(step: int, loss: float) -> StepReport:
    return StepReport(step, 1000, loss, 1e-3, 0.1, 0.1)


class Terminal(io.StringIO):
    """A stream someone looks at."""

    def isatty(self) -> bool:
        return True


def test_the_bar_shows_loss_rate_memory_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    stream = Terminal()
    with ProgressBar(1000, 4, "cpu", stream) as bar:
        for step in range(5, 8):
            bar.after_step(report(step, 0.5))
    assert re.search(r"7/1000.*loss 0\.5000  [\d.]+ steps/s  [\d,]+ MiB.*left", stream.getvalue())


def test_without_a_terminal_lines_that_end_and_a_mean_the_first_loss_does_not_rule(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with ProgressBar(30, 0, "cpu", io.StringIO()) as bar:
        for step in range(1, 7):
            bar.after_step(report(step, 0.001 if step == 1 else 0.1))
    said = capsys.readouterr().err
    assert "\r" not in said
    assert [line.split()[1] for line in said.splitlines()] == ["3/30", "6/30"]
    assert re.search(r"loss 0\.06\d\d .* left$", said.splitlines()[0])


def test_durations_are_said_in_two_units_at_most() -> None:
    assert [span(s) for s in (0, 59.4, 59.6, 192, 3600, 7500)] == [
        "0 s", "59 s", "1 min 0 s", "3 min 12 s", "1 h 0 min", "2 h 5 min"
    ]  # fmt: skip
