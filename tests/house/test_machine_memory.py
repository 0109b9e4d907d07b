"""Memory limits of containers, by drawn files of both kernels' layouts and by a real cgroup where one can be made."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from finetune.core.machine_memory import cgroup_limits, machine_memory

GIB = 2**30
REAL = Path("/sys/fs/cgroup/memory")


def process(tmp_path: Path, cgroup: str, mounts: str) -> Path:
    folder = tmp_path / "proc"
    folder.mkdir()
    (folder / "cgroup").write_text(cgroup, encoding="utf-8")
    (folder / "mountinfo").write_text(mounts, encoding="utf-8")
    return folder


def group(folder: Path, files: dict[str, str]) -> None:
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


def test_version_2_counts_every_group_above(tmp_path: Path) -> None:
    root = tmp_path / "cg"
    group(root, {"cgroup.controllers": "memory\n"})
    group(root / "user", {"memory.max": f"{8 * GIB}\n", "memory.current": f"{3 * GIB}\n",
                          "memory.stat": f"anon 5\ninactive_file {GIB}\n"})  # fmt: skip
    group(root / "user" / "job", {"memory.max": "max\n", "memory.current": "5\n", "memory.stat": ""})
    at = process(tmp_path, "0::/user/job\n", f"30 20 0:26 / {root} rw - cgroup2 cgroup2 rw\n")
    assert list(cgroup_limits(at)) == [(8 * GIB, 2 * GIB)]


def test_version_1_and_a_container_without_a_namespace_of_its_own(tmp_path: Path) -> None:
    root = tmp_path / "memory"
    group(root, {"memory.limit_in_bytes": f"{2 * GIB}\n", "memory.usage_in_bytes": f"{GIB}\n",
                 "memory.stat": f"total_inactive_file {GIB // 2}\n"})  # fmt: skip
    mounts = f"31 20 0:27 /docker/x {root} rw - cgroup cgroup rw,memory\n32 20 0:28 / /nowhere rw - tmpfs tmpfs rw\n"
    at = process(tmp_path, "9:cpu:/docker/x\n4:memory:/docker/x\n", mounts)
    assert list(cgroup_limits(at)) == [(2 * GIB, GIB // 2)]


@pytest.mark.parametrize("text", ["", "max\n", "9223372036854771712\n"])
def test_no_limit_is_none(tmp_path: Path, text: str) -> None:
    root = tmp_path / "memory"
    group(root, {"memory.limit_in_bytes": text, "memory.usage_in_bytes": "5\n"})
    at = process(tmp_path, "4:memory:/\n", f"31 20 0:27 / {root} rw - cgroup cgroup rw,memory\n")
    assert list(cgroup_limits(at)) == []


def test_here(tmp_path: Path) -> None:
    found = machine_memory()
    assert 0 < found.available <= found.total <= psutil.virtual_memory().total
    assert list(cgroup_limits(tmp_path)) == [], "no /proc, no limit"


def test_a_real_limit_is_seen() -> None:
    if not os.access(REAL, os.W_OK):
        pytest.skip("no cgroup can be made here")
    own = REAL / f"packshot-test-{os.getpid()}"
    own.mkdir()
    try:
        (own / "memory.limit_in_bytes").write_text(str(GIB), encoding="ascii")
        code = (
            f"import os, pathlib; pathlib.Path({str(own / 'cgroup.procs')!r}).write_text(str(os.getpid()));"
            "from finetune.core.machine_memory import machine_memory; found = machine_memory();"
            "print(found.total, found.available, found.limited)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        total, available, limited = done.stdout.split()
        assert (int(total), limited) == (GIB, "True")
        assert 0.8 * GIB < int(available) <= GIB
    finally:
        own.rmdir()
