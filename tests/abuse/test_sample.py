"""A fixed sample of the abuse benchmark: what every document and command must refuse or bear."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CASES = 150

pytestmark = pytest.mark.e2e


def test_a_sample_of_abuse_is_refused_or_borne(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "benchmarks.abuse", "--work", str(tmp_path), "--sample", str(CASES)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True)
    rows = [json.loads(text) for text in (tmp_path / "results-1.jsonl").read_text(encoding="utf-8").splitlines()]
    faults = [f"{', '.join(row['faults'])}: {row['key']}\n{row['stderr']}" for row in rows if row["faults"]]
    assert faults == []
    assert done.returncode == 0, done.stderr
    assert len(rows) == CASES
    assert len({row["kind"] for row in rows}) > 8
    assert sum(row["code"] != 0 for row in rows) > CASES // 3, "the others are borne"
