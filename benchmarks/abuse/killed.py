"""Commands killed (SIGKILL, with their children), most of them while something temporary lies in the workspace.

A command first runs once to its end: how long it takes, and how many temporary files and folders can be seen
meanwhile. Seven of ten kills wait for one of these to appear, which of them is drawn; the others strike at a random
moment. Then the same command runs to its end, and nothing temporary may be left. A command that ended before its kill
counts as a run and not as a kill.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.abuse.processes import (
    COMMANDS,
    IMPORT,
    TEMPORARY,
    counted,
    doubled,
    fresh_workspace,
    started,
    temporary,
)
from benchmarks.abuse.template import PREPARE

LINES = {name: COMMANDS[name] for name in ("prepare", "check", "train", "place")} | {"import": IMPORT}
AT_EVENTS = 7
"""Of ten kills."""
LOOK_EVERY = 0.002
"""Seconds between two looks at the workspace."""
PATIENCE = 900.0
COLUMNS = ("killed", "at", "by the kill", "after", "failed", "doubled")


def kills(template: Path, work: Path, *, count: int, seed: int) -> str:
    """Kill commands; verdicts are kept and not asked again.

    Args:
        template: The workspace to copy.
        work: Of the benchmark.
        count: How many kills, of prepare, check, train, place and import in turn.
        seed: Of the moments.

    Returns:
        A Markdown table.
    """
    kept = work / "kills.json"
    rows: dict[str, dict[str, str]] = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    whole: dict[str, tuple[float, int]] = {}
    for number in range(3 * count):
        if sum(bool(row["killed"]) for row in rows.values()) >= count:
            break
        name = list(LINES)[number % len(LINES)]
        key = f"{name} {number}"
        if key in rows:
            continue
        folder, log = work / "killed", work / "killed.log"
        if name not in whole:
            whole[name] = _undisturbed(fresh_workspace(template, folder), LINES[name], log)
        rng = random.Random(f"{seed} {number}")
        at_event = number // len(LINES) % 10 < AT_EVENTS and whole[name][1] > 0
        fresh_workspace(template, folder)
        rows[key] = _kill(folder, name, log, rng, whole[name], at_event=at_event)
        kept.write_text(json.dumps(rows, indent=1), encoding="utf-8")
        print(key, rows[key], file=sys.stderr, flush=True)
    told = ["| command | runs | killed before their end | of these, as something temporary appeared | "]
    told[0] += "left something | left after the next | it failed | doubled |"
    told.append("|" + "---|" * 8)
    told += [counted(name, [row for row in rows.values() if row["name"] == name], *COLUMNS) for name in LINES]
    return "\n".join([*told, counted("all", list(rows.values()), *COLUMNS)])


def _undisturbed(folder: Path, arguments: tuple[str, ...], log: Path) -> tuple[float, int]:
    """Seconds that a command takes, and how many temporary entries were seen."""
    began, seen = time.monotonic(), set[str]()
    process = started(folder, arguments, log)
    while process.poll() is None and time.monotonic() - began < PATIENCE:
        seen |= _appeared(folder)
        time.sleep(LOOK_EVERY)
    return time.monotonic() - began, len(seen)


def _appeared(folder: Path) -> set[str]:
    """Temporary entries; what is inside a temporary folder does not count again."""
    found, todo = set[str](), [str(folder)]
    while todo:
        try:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    if TEMPORARY.search(entry.name):
                        found.add(entry.path)
                    elif entry.is_dir(follow_symlinks=False):
                        todo.append(entry.path)
        except OSError:  # it was renamed meanwhile
            continue
    return found


def _kill(
    folder: Path, name: str, log: Path, rng: random.Random, whole: tuple[float, int], *, at_event: bool
) -> dict[str, str]:
    """Kill one command and run it again; the row of the table."""
    seconds, events = whole
    process = started(folder, LINES[name], log)
    if at_event:
        _wait_for(process, folder, rng.randint(1, max(1, events // 2)))  # a look may miss some
    else:
        _wait(process, rng.uniform(0.1, 0.9) * seconds)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    killed = process.wait() == -signal.SIGKILL
    left = temporary(folder)
    code = started(folder, LINES[name], log).wait(timeout=PATIENCE)
    if name == "import" and code == 1 and "exists already" in log.read_text(encoding="utf-8"):
        code = started(folder, ("prepare", "new", *PREPARE), log).wait(timeout=PATIENCE)  # killed after the import
    said = log.read_text(encoding="utf-8", errors="replace")
    return {
        "name": name,
        "killed": "yes" if killed else "",
        "at": "an event" if killed and at_event else "",
        "by the kill": " ".join(left),
        "after": " ".join(temporary(folder)),
        "failed": said[-400:] if code else "",
        "doubled": " ".join(doubled(folder)),
    }


def _wait_for(process: subprocess.Popen[bytes], folder: Path, number: int) -> None:
    """Wait until that many temporary entries have appeared, or for the command's end."""
    seen = set[str]()
    while process.poll() is None and len(seen) < number:
        seen |= _appeared(folder)
        time.sleep(LOOK_EVERY if len(seen) < number else 0)


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait for a time, or for the command's end."""
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return
