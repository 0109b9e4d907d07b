"""How much memory this process may use: the machine's, or less where a container or a service limits it (cgroups).

psutil reads `/proc/meminfo`, which inside a container is the host's. The kernel kills a process that outgrows its
cgroup without a message, so the limits of every cgroup above this process count too, of version 1 and 2.
Source: Linux, Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst.

What a process needs is its anonymous memory. The resident set (`VmHWM`, `ru_maxrss`) also counts pages of mapped files,
such as weights, which the kernel takes back when memory gets short; and it has no peak of the anonymous part, so that
one is sampled. The proportional set (PSS) would count mapped files too, and reading it walks every page.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

UNLIMITED = 1 << 60
"""Limits from here up mean none (version 1 writes the largest multiple of a page)."""


@dataclass(frozen=True)
class MachineMemory:
    """Memory in bytes."""

    total: int
    """What this process and its neighbours in the same limit may use together."""
    available: int
    """What is free of it, page cache that can be reclaimed included."""
    limited: bool
    """Whether a cgroup's limit is below the machine's own memory."""


def machine_memory() -> MachineMemory:
    """Memory of this machine, or of the tightest cgroup that this process is in."""
    import psutil

    memory = psutil.virtual_memory()
    total, available = int(memory.total), int(memory.available)
    limited = False
    for limit, used in cgroup_limits():
        limited = limited or limit < memory.total
        total, available = min(total, limit), min(available, max(0, limit - used))
    return MachineMemory(total, available, limited)


def anonymous_memory(process: Path = Path("/proc/self")) -> int:
    """Bytes of a process that belong to no file: what it has allocated and touched; 0 where /proc does not tell.

    Args:
        process: its folder under /proc.
    """
    found = "".join(_lines(process / "statm")).split()
    # resident pages, and those of them that are of files or shared (Linux, Documentation/filesystems/proc.rst)
    return (int(found[1]) - int(found[2])) * os.sysconf("SC_PAGE_SIZE") if len(found) > 2 else 0


class AnonymousPeak:
    """The largest anonymous memory of this process, sampled by a thread from `start` on."""

    INTERVAL = 0.02
    """Seconds between samples; one takes about 20 microseconds."""

    def __init__(self) -> None:
        self._largest = 0
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()

    def start(self) -> None:
        """Begin anew: what was before does not count."""
        self._largest = anonymous_memory()
        if self._thread is None:
            self._ended.clear()
            self._thread = threading.Thread(target=self._watch, name="peak memory", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread; the peak stays."""
        if self._thread is not None:
            self._ended.set()
            self._thread.join()
            self._thread = None

    @property
    def bytes(self) -> int:
        """The peak so far; without `start` what is in use now."""
        self._largest = max(self._largest, anonymous_memory())
        return self._largest

    def _watch(self) -> None:
        while not self._ended.wait(self.INTERVAL):
            self._largest = max(self._largest, anonymous_memory())


def cgroup_limits(process: Path = Path("/proc/self")) -> Iterator[tuple[int, int]]:
    """(limit, bytes in use that cannot be reclaimed) of every limited cgroup above a process.

    Args:
        process: its folder under /proc.
    """
    mounts = _mounts(process / "mountinfo")
    for line in _lines(process / "cgroup"):
        _, controllers, inside = line.split(":", 2)
        if not controllers and "cgroup2" in mounts:
            names = ("memory.max", "memory.current", "inactive_file")
            root = mounts["cgroup2"]
        elif "memory" in controllers.split(",") and "memory" in mounts:
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            root = mounts["memory"]
        else:
            continue
        folder = root / inside.lstrip("/")
        if not folder.is_dir():  # without a cgroup namespace a container sees its own group at the mount itself
            folder = root
        for group in (folder, *folder.parents):
            if group == root.parent:
                break
            if (found := _limit_of(group, *names)) is not None:
                yield found


def _limit_of(group: Path, limit_file: str, used_file: str, reclaimable: str) -> tuple[int, int] | None:
    limit, used = _number(group / limit_file), _number(group / used_file)
    if limit is None or limit >= UNLIMITED or used is None:
        return None
    pairs = (line.split() for line in _lines(group / "memory.stat"))
    cached = next((int(value) for name, value in pairs if name == reclaimable), 0)
    return limit, max(0, used - cached)


def _number(path: Path) -> int | None:
    """The number in a file; None for `max`, and where there is no such file."""
    text = "".join(_lines(path)).strip()
    return int(text) if text.isdigit() else None


def _mounts(mountinfo: Path) -> dict[str, Path]:
    """Where cgroups are mounted: under `cgroup2` version 2, under `memory` version 1's memory controller."""
    found: dict[str, Path] = {}
    for line in _lines(mountinfo):
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        where = Path(before.split()[4])
        if kind == "cgroup2":
            found["cgroup2"] = where
        elif kind == "cgroup" and "memory" in options.split(","):
            found["memory"] = where
    return found


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
