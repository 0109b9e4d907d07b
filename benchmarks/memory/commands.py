"""What commands on a CPU say they need, beside the anonymous memory they really take: one table, a process a row.

    python -m benchmarks.memory.commands [--sku perfume01]

It runs on the embedded base in a workspace of its own: train (three ways), evaluate, place (two sizes). Planned is
the figure a command prints before it loads anything; measured is the peak of its anonymous memory (`RssAnon`, sampled
every 20 ms). The bar: planned 0 to 10 % above measured.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
QUICK = ["train.steps=2", "train.warmup=0", "data.variants=2"]
ONCE = ["validation.every=0"]
TRAIN = ["train", "SKU", "--config", "embedded"]
ROWS: dict[str, tuple[list[str], list[str]]] = {
    "train, batch 8, candidates drawn": (TRAIN, [*QUICK, "validation.every=1", "validation.pictures=1"]),
    "train, batch 2": (TRAIN, [*QUICK, *ONCE, "train.batch=2"]),
    "train, batch 8, checkpointing all": (TRAIN, [*QUICK, *ONCE, "memory.gradient_checkpointing=all"]),
    "evaluate": (["evaluate", "SKU"], ["pictures.seeds=[1]", "pictures.steps=2"]),
    "place, 1024 px": (["place", "SKU", "--prompt", "on slate", "--steps", "2"], []),
    "place, 2048 px": (["place", "SKU", "--prompt", "on slate", "--steps", "2", "--size", "2048"], []),
}
RUN = """
import sys
from finetune.core.machine_memory import AnonymousPeak
from finetune.core.commands import main
peak = AnonymousPeak()
peak.start()
try:
    main(prog_name="packshot")
finally:
    print(f"peak {peak.bytes}", file=sys.stderr)
"""
UNITS = {"MiB": 2**20, "GiB": 2**30}


def measure(arguments: list[str]) -> tuple[float, float]:
    """(planned, measured) bytes of a command in a process of its own."""
    line = [sys.executable, "-c", RUN, *arguments]
    done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT, check=False)
    planned = re.search(r"memory: ([\d.,]+) (MiB|GiB) planned", done.stderr)
    peak = re.search(r"^peak (\d+)$", done.stderr, flags=re.MULTILINE)
    if planned is None or peak is None:
        raise SystemExit(f"{' '.join(arguments)} said:\n{done.stderr}")
    return float(planned[1].replace(",", "")) * UNITS[planned[2]], float(peak[1])


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sku", default="perfume01", help="a product set of the checkout")
    sku = parser.parse_args().sku
    print("| command | planned MiB | measured MiB | off by |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        ignored = shutil.ignore_patterns("prepared")
        shutil.copytree(ROOT / "datasets" / sku, Path(folder) / "datasets" / sku, ignore=ignored)
        for name, (command, overrides) in ROWS.items():
            settings = [part for override in overrides for part in ("--set", override)]
            arguments = [sku if part == "SKU" else part for part in command]
            said, real = measure([*arguments, *settings, "--workspace", folder])
            print(f"| {name} | {said / 2**20:.0f} | {real / 2**20:.0f} | {said / real - 1:+.1%} |", flush=True)


if __name__ == "__main__":
    main()
