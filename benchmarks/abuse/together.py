"""Commands at once on one SKU: nothing doubled, no traceback, nothing left."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import sys
from pathlib import Path

from benchmarks.abuse.processes import COMMANDS, counted, doubled, fresh_workspace, started, temporary

BUSY = re.compile(r"Error: (process \d+ on .* is|another process is) .* already")


def _warm(template: Path, folder: Path) -> Path:
    """The workspace after a night: what the base alone draws, latents and plans are in its cache."""
    if not (folder / "warm").exists():
        fresh_workspace(template, folder)
        code = started(folder, COMMANDS["nightly"], folder / "night.log").wait()
        assert code in (0, 3), (folder / "night.log").read_text(encoding="utf-8")
        (folder / "warm").touch()
        for name in ("night.log", "night.yaml"):
            (folder / name).unlink()
        shutil.rmtree(folder / "source")
    return folder


def pairs(template: Path, work: Path, *, rounds: int) -> str:
    """Every pair of commands, a command with itself too, at once on one SKU; verdicts are kept and not asked again.

    Args:
        template: The workspace to copy.
        work: Of the benchmark.
        rounds: How often each pair runs.

    Returns:
        A Markdown table.
    """
    kept, template = work / "pairs.json", _warm(template, work / "warm")
    rows: dict[str, dict[str, str]] = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    for turn in range(rounds):
        for first, second in itertools.combinations_with_replacement(COMMANDS, 2):
            name = f"{first} + {second}, {turn + 1}"
            if name not in rows:
                rows[name] = _pair(template, work / "pair", first, second)
                kept.write_text(json.dumps(rows, indent=1), encoding="utf-8")
                print(name, rows[name], file=sys.stderr, flush=True)
    lines = ["| pair | rounds | both done | one told to wait | other errors | tracebacks | doubled | left over |"]
    lines.append("|" + "---|" * 8)
    for pair in dict.fromkeys(name.rpartition(",")[0] for name in rows):
        of_pair = [row for name, row in rows.items() if name.rpartition(",")[0] == pair]
        lines.append(counted(pair, of_pair, "done", "busy", "errors", "traceback", "doubled", "left"))
    return "\n".join(lines)


def _pair(template: Path, folder: Path, first: str, second: str) -> dict[str, str]:
    """Two commands at once."""
    fresh_workspace(template, folder)
    logs = [folder.with_name(f"pair-{number}.log") for number in (1, 2)]
    both = [started(folder, COMMANDS[name], log) for name, log in zip((first, second), logs, strict=True)]
    codes = [process.wait(timeout=900) for process in both]
    texts = [log.read_text(encoding="utf-8", errors="replace") for log in logs]
    busy = [text for text in texts if BUSY.search(text)]
    bad = [  # 3: the gate is not met
        line
        for code, text in zip(codes, texts, strict=True)
        if code not in (0, 3) and not BUSY.search(text)
        for line in text.splitlines()[-3:]
    ]
    tracebacks = "".join(text[-600:] for text in texts if "Traceback" in text)
    return {
        "done": "yes" if all(code in (0, 3) for code in codes) else "",
        "busy": "yes" if busy else "",
        "errors": " ".join(bad)[:600],
        "traceback": tracebacks,
        "doubled": " ".join(doubled(folder)),
        "left": " ".join(temporary(folder)),
    }
