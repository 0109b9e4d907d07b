"""Progress of work in parts: a bar on a terminal, a line every tenth in a log; paces and counts in words."""

from __future__ import annotations

import io

import pytest

from finetune.core.console import count, pace
from finetune.core.progress import Progress


class Terminal(io.StringIO):
    """A stream someone looks at."""

    def isatty(self) -> bool:
        return True


def test_in_a_log_a_line_every_tenth(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("painting", 40, io.StringIO()) as bar:
        for _ in range(40):
            bar.advance()
    said = capsys.readouterr().err.splitlines()
    assert [line.split()[1].strip(",") for line in said] == [f"{n}/40" for n in range(4, 41, 4)]
    assert said[0].startswith("  painting: 4/40, ")
    assert said[0].endswith(" left")
    assert said[-1] == "  painting: 40/40"


def test_few_parts_have_a_line_each_and_none_has_none(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("the night", 3, io.StringIO()) as bar:
        assert capsys.readouterr().err == ""
        for _ in range(3):
            bar.advance()
    assert len(capsys.readouterr().err.splitlines()) == 3


def test_on_a_terminal_a_bar_that_goes_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    stream = Terminal()
    with Progress("judging candidates", stream=stream) as bar:
        bar.reached(1, 6)
        bar.reached(2, 6)
    assert "judging candidates" in stream.getvalue()
    assert "2/6" in stream.getvalue()
    assert "judging" not in capsys.readouterr().err


def test_only_the_main_process_tells(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("RANK", "1")
    with Progress("painting", 1, io.StringIO()) as bar:
        bar.advance()
    assert capsys.readouterr().err == ""


def test_a_slow_pace_is_told_in_seconds_a_step() -> None:
    assert [pace(rate) for rate in (0, 2.5, 0.013, 0.0099, 0.0005)] == [
        "0.00 steps/s", "2.50 steps/s", "0.01 steps/s", "101 s a step", "2000 s a step"
    ]  # fmt: skip


def test_one_of_something_is_no_plural() -> None:
    assert [count(n, "photo") for n in (0, 1, 2, 12000)] == ["0 photos", "1 photo", "2 photos", "12,000 photos"]
    assert count(2, "copy", "copies") == "2 copies"
