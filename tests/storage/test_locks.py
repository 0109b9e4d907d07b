"""Locks between processes: the second is told who holds it, waits if asked, and a killed holder frees it."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from finetune.core.errors import RunError
from finetune.core.storage.locks import exclusive

HOLD = """
import sys, time
from pathlib import Path
from finetune.core.storage.locks import exclusive
with exclusive(Path(sys.argv[1]), "training mug01"):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


@contextmanager
def hold(path: Path, seconds: float) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock for a while; it is killed at the block's end."""
    line = [sys.executable, "-c", HOLD, str(path), str(seconds)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as held:
        assert held.stdout is not None
        assert held.stdout.readline() == "held\n"
        try:
            yield held
        finally:
            held.send_signal(signal.SIGKILL)


def test_the_second_is_told_who_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "mug01.train.lock"
    with hold(path, 60) as holder:
        with pytest.raises(RunError) as caught, exclusive(path, "training mug01"):
            pass
        assert f"process {holder.pid} on {platform.node()} (since 20" in caught.value.message
        assert caught.value.message.endswith("is training mug01 already")
        assert "--wait" in caught.value.hint
    with exclusive(path, "training mug01"):
        holder = json.loads(path.with_suffix(".holder.json").read_text(encoding="utf-8"))
        assert holder["process"] == os.getpid()
    assert not path.with_suffix(".holder.json").exists()


def test_waiting_ends_with_the_holder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mug01.train.lock"
    with hold(path, 1) as holder:
        began = time.monotonic()
        with exclusive(path, "training mug01", wait=True):
            assert holder.wait() == 0
        assert time.monotonic() - began > 0.1
    assert f"waiting for process {holder.pid}" in capsys.readouterr().err


def test_other_locks_are_free(tmp_path: Path) -> None:
    with exclusive(tmp_path / "a.lock", "a"), exclusive(tmp_path / "b.lock", "b"):
        assert len(list(tmp_path.glob("*.lock"))) == 2
