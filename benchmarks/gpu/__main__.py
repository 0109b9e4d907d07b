"""SDXL's training step on a CUDA device, every preset inside the memory of its card: time, memory, use of the device.

    python -m benchmarks.gpu                       # make bench-gpu: under 8 minutes
    python -m benchmarks.gpu --peer SCRIPT         # beside diffusers' DreamBooth script too (benchmarks.training_speed)
    python -m benchmarks.gpu --device cpu --tiny   # the same code on a small UNet, to see that it works

Presets run under `torch.cuda.set_per_process_memory_fraction`, as if the card had their size, then Packshot's loop
beside a bare one, the batch with the most FLOPs a second on the whole device, as it is and with compiled blocks
(`train.compile`), and combinations no preset has. Beside each peak stands the planner's prediction, which other
processes work out meanwhile. MFU: FLOPs of the step (torch's FlopCounterMode) a second, over the device's own bf16
matrix multiplication. benchmarks/results/*.json is written after every row, so that whatever ends the run costs no
row that was there; a part that fails or hangs is noted, and the next one goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.setups import MATMUL, PARTS, PREDICTED, PRESETS
from finetune.core.environment import environment

PATIENCE = 150
"""Seconds without a new row after which a part is given up; compiling takes the longest."""
OFF = 0.08
BARS = {"sdxl-8gb": 6.9, "sdxl-8gb-nf4": 4.2}
"""Preset -> GiB its peak may have at most."""


@dataclass
class Results:
    """What is known so far, and the file it stands in."""

    file: Path
    facts: dict[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)
    predicted: dict[str, float] = field(default_factory=dict)

    def add(self, found: dict[str, Any]) -> None:
        """Take a line of a part in, and write the file again."""
        if "predicted_peak_mib" in found:
            self.predicted[found["part"]] = found["predicted_peak_mib"]
        elif found.get("part") == MATMUL and "device" in found:
            self.facts |= {"device": found["device"], "matmul_teraflop_a_second": found["teraflop_a_second"]}
        else:
            self.rows.append(found)
        self.write()

    def complete(self) -> list[dict[str, Any]]:
        """The rows with what follows from them."""
        return [self._complete(row) for row in self.rows]

    def _complete(self, row: dict[str, Any]) -> dict[str, Any]:
        if "error" in row:
            return row
        said, peak = self.predicted.get(row["part"]), row["measured_peak_mib"]
        rate = self.facts.get("matmul_teraflop_a_second")
        return row | {
            "predicted_peak_mib": said,
            "off_by": round(said / peak - 1, 4) if said and peak else None,
            "mfu": row["teraflop_a_step"] / row["seconds_a_step"] / rate if rate else None,
        }

    def write(self) -> None:
        """Write the file, whole or not at all."""
        part = self.file.with_suffix(".part")
        part.write_text(json.dumps(self.facts | {"rows": self.complete()}, indent=1) + "\n", encoding="utf-8")
        part.replace(self.file)


class Process:
    """A process that does parts, and the lines it has written so far."""

    def __init__(self, parts: list[str], *options: str, threads: int = 0) -> None:
        self.log = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115  read when the process is gone
        environment = os.environ | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
        command = [sys.executable, "-m", "benchmarks.gpu.parts", *parts, *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True, env=environment)
        self.lines: queue.Queue[str | None] = queue.Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def next(self, seconds: float) -> dict[str, Any] | None:
        """The next line, None at the end.

        Raises:
            queue.Empty: none came in that time.
        """
        line = self.lines.get(timeout=max(0.0, seconds))
        return json.loads(line) if line is not None else None

    def end(self) -> str:
        """Stop it if it runs; the last thing it said to stderr."""
        self.process.kill()
        self.process.wait()
        self.reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
        with self.log as log:
            log.seek(0)
            return (log.read().strip().splitlines() or [f"ended with {self.process.returncode}"])[-1][:300]


def measure(parts: list[str], results: Results, options: list[str], until: float) -> None:
    """Do the parts, in one process as long as it lives; another goes on after the part at which it died or hung."""
    waiting = list(parts)
    while waiting and time.monotonic() < until:
        process = Process(waiting, *options)
        lost = _follow(process, waiting, results, until)
        last = process.end()
        if waiting:
            failed = waiting.pop(0)
            if not results.rows or results.rows[-1]["part"] != failed or "error" not in results.rows[-1]:
                results.add({"part": failed, "error": lost or last})
    for part in waiting:
        results.add({"part": part, "error": "the time was up"})


def _follow(process: Process, waiting: list[str], results: Results, until: float) -> str:
    """Take in what a process writes, parts that are done out of `waiting`; why it was left, empty if it ended."""
    while waiting:
        left = until - time.monotonic()
        try:
            found = process.next(min(PATIENCE, left))
        except queue.Empty:
            return f"no row in {PATIENCE} s" if left > PATIENCE else "the time was up"
        if found is None:
            break
        if "done" in found:
            waiting.remove(found["done"])
        else:
            results.add(found)
    return ""


def predictions(options: list[str], only: list[str]) -> list[Process]:
    """Processes that work out the planner's peaks, as many as leave the measuring its cores."""
    wanted = [name for name in PREDICTED if name in only]
    count = max(1, min(4, (os.cpu_count() or 1) // 4))
    shares = [share for share in (wanted[start::count] for start in range(count)) if share]
    return [Process(share, "--predict", *options, threads=1) for share in shares]


def collect(processes: list[Process], results: Results, until: float) -> None:
    """Take in what was predicted; what is not there in time is left out."""
    for process in processes:
        try:
            while (found := process.next(until - time.monotonic())) is not None:
                results.add(found)
        except queue.Empty:
            print("Warning: a prediction was not ready in time", file=sys.stderr)
        process.end()


def table(rows: list[dict[str, Any]]) -> str:
    """Rows as Markdown."""
    columns = ("part", "s/step", "samples/s", "peak MiB", "predicted MiB", "off by", "MFU", "compile s", "of bare")
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for row in rows:
        if "error" in row:
            lines.append(f"| {row['part']} | {row['error']} |" + " |" * (len(columns) - 2))
            continue
        shown = [
            row["part"],
            f"{row['seconds_a_step']:.3f}",
            f"{row['samples_a_second']:.2f}",
            _shown(row["measured_peak_mib"], ",.0f"),
            _shown(row["predicted_peak_mib"], ",.1f"),
            _shown(row["off_by"], "+.1%"),
            _shown(row["mfu"], ".1%"),
            _shown(row["compile_seconds"] or None, ".1f"),
            _shown(row.get("of_bare"), ".3f"),
        ]
        lines.append("| " + " | ".join(shown) + " |")
    return "\n".join(lines)


def _shown(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def bars(rows: list[dict[str, Any]]) -> list[str]:
    """Each bar with what was measured against it."""
    good = {row["part"]: row for row in rows if "error" not in row}
    lines = []

    def say(what: str, value: float | None, met: bool, shown: str) -> None:
        lines.append(f"{what}: " + ("not measured" if value is None else f"{shown} ({'met' if met else 'MISSED'})"))

    for preset, most in BARS.items():
        mib = good.get(preset, {}).get("measured_peak_mib")
        say(f"peak of {preset} <= {most} GiB", mib, (mib or 0) / 1024 <= most, f"{(mib or 0) / 1024:.2f} GiB")
    share = good.get("packshot's loop", {}).get("of_bare")
    say("step <= 1.03 x a bare loop's", share, (share or 0) <= 1.03, f"{share or 0:.3f}")
    uses = [row["mfu"] for row in good.values() if row["part"].startswith("batch ") and row["mfu"]]
    top = max(uses, default=None)
    say("best batch >= 40 % of the device's bf16 rate", top, (top or 0) >= 0.4, f"{top or 0:.1%}")
    offs = {name: row["off_by"] for name, row in good.items() if row["off_by"] is not None}
    worst = max(offs, key=lambda name: abs(offs[name]), default=None)
    off = offs[worst] if worst else None
    shown = f"{len(offs)} of {len(PREDICTED)}, worst {off or 0:+.1%} ({worst})"
    say(f"prediction within {OFF:.0%}", off, abs(off or 0) <= OFF, shown)
    return lines


def beside_the_peer(script: Path, flags: str, seconds: float) -> dict[str, Any]:
    """`benchmarks.training_speed` at full size: its table, and its rows."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.json"
        command = [
            sys.executable,
            "-m",
            "benchmarks.training_speed",
            "--full-size",
            "--peer",
            str(script),
            "--json",
            str(file),
        ]
        command.append(f"--peer-flags={flags}")
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=max(1.0, seconds))
        except subprocess.TimeoutExpired:
            return {"table": "beside the peer: the time was up", "rows": []}
        except subprocess.CalledProcessError as error:
            reason = (error.stderr.strip().splitlines() or ["no reason given"])[-1]
            return {"table": f"beside the peer: {reason}", "rows": []}
        return {"table": done.stdout, "rows": json.loads(file.read_text(encoding="utf-8"))}


def main() -> None:
    """Run every part and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--tiny", action="store_true", help="a small UNet: to see that the script works")
    parser.add_argument("--presets-only", action="store_true", help="the presets alone")
    parser.add_argument("--only", nargs="+", choices=PARTS, help="these parts alone")
    parser.add_argument("--minutes", type=float, default=8, help="when to end, with what is there by then")
    parser.add_argument("--peer", type=Path, help="diffusers' train_dreambooth_lora_sdxl.py, to be run beside")
    parser.add_argument("--peer-flags", default="--use_8bit_adam --allow_tf32", help="its own fastest")
    parser.add_argument("--peer-minutes", type=float, default=10, help="longest run beside the peer, after the rest")
    parser.add_argument("--seconds", type=float, default=20, help="longest timed run of a row")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        sys.exit("Error: there is no CUDA device here (--device cpu --tiny runs the same code on a small model)")
    if given.device == "cpu" and not given.tiny:
        sys.exit("Error: SDXL at full size needs a CUDA device; on a CPU add --tiny")
    until = time.monotonic() + 60 * given.minutes
    parts = [MATMUL, *PRESETS] if given.presets_only else list(given.only or PARTS)
    now = datetime.now(UTC)
    given.out.mkdir(parents=True, exist_ok=True)
    facts = {"tiny": given.tiny, "versions": environment(), "date": now.date().isoformat()}
    name = f"gpu-{now:%Y%m%d-%H%M%S}{'-tiny' if given.tiny else ''}.json"
    results = Results(given.out / name, facts)
    options = ["--device", given.device, *(["--tiny"] if given.tiny else [])]
    planning = predictions(options, parts)
    measure(parts, results, [*options, "--seconds", str(given.seconds)], until)
    collect(planning, results, until)
    rows = results.complete()
    print(table(rows))
    if not given.tiny:
        print("\n".join(bars(rows)))
    if given.peer:
        beside = beside_the_peer(given.peer, given.peer_flags, 60 * given.peer_minutes)
        results.facts["beside_the_peer"] = beside["rows"]
        results.write()
        print(beside["table"])
    print(f"written: {results.file}", file=sys.stderr)
    sys.exit(1 if any("error" in row for row in rows) else 0)


if __name__ == "__main__":
    main()
