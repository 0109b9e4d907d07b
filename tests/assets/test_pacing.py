"""How the embedded base's tools keep time, and the processes they start."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from tools.embedded_base import pacing, workers


def test_time_neither_moves_the_rate_nor_ends_a_run_without_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    now, computed = [1000.0], [20.0]
    monkeypatch.setattr(pacing.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(pacing.time, "process_time", lambda: computed[0])
    clock, limited = pacing.Clock(save_minutes=3.0), pacing.Clock(save_minutes=3.0, end_minutes=9.0)
    assert not clock.save_due()
    now[0] += 40 * 60  # as long as a pause
    assert not clock.save_due(), "nothing was computed since"
    computed[0] += 31
    assert clock.save_due()
    assert not clock.save_due()
    assert clock.share == 0
    assert pacing.cooled(0.5, clock.share) == 0.5
    assert limited.share == 1
    now[0] = 1000.0 + 0.9 * 9 * 60
    assert pacing.cooled(0.5, limited.share) == pytest.approx(0.25)


def test_processes_share_a_group_and_none_waits_for_one_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = tmp_path / "python"
    stand_in.write_text(
        f"""#!{sys.executable}
import os, pathlib, sys, time
number = os.environ["RANK"]
facts = [number, os.environ["WORLD_SIZE"], os.environ["OMP_NUM_THREADS"], str(os.getpgrp()), *sys.argv[1:]]
(pathlib.Path({str(tmp_path)!r}) / ("seen" + number)).write_text(" ".join(facts))
if sys.argv[-1] == "failing":
    if number == "1":
        sys.exit(3)
    time.sleep(600)
""",
        encoding="utf-8",
    )
    stand_in.chmod(0o755)
    monkeypatch.setattr(workers.sys, "executable", str(stand_in))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert workers.launch(2, ["denoiser"]) == 0
    for number in range(2):
        seen = (tmp_path / f"seen{number}").read_text(encoding="utf-8")
        assert seen == f"{number} 2 1 {os.getpgrp()} -m tools.embedded_base denoiser"
    before = time.monotonic()
    assert workers.launch(2, ["failing"]) == 1
    assert time.monotonic() - before < 300, "the one that slept was ended"
