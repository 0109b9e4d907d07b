"""What commands on a CPU say they need, beside the anonymous memory they really take: one table, a process a row.

    python -m benchmarks.memory.commands [--sku perfume01]

It runs on the embedded base in a workspace of its own: train, evaluate, place and export, in fp32 and, where a command
can be asked for it, in bf16 (evaluate cannot: on a CPU it draws in fp32). Planned is the figure a command prints before
it loads anything; measured is the peak of its anonymous memory (`RssAnon`, sampled every 20 ms). The bar: planned 0 to
10 % above measured.
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
BF16 = "memory.precision=bf16"
TRAIN = ["train", "SKU", "--config", "embedded"]
PLACE = ["place", "SKU", "--prompt", "on slate", "--steps", "2"]
EXPORT = ["adapters", "export", "SKU", "--output", "FOLDER/exported.safetensors", "--format"]
ROWS: dict[str, tuple[list[str], list[str]]] = {
    "train, batch 8, candidates drawn": (TRAIN, [*QUICK, "validation.every=1", "validation.pictures=1"]),
    "train, batch 2": (TRAIN, [*QUICK, *ONCE, "train.batch=2"]),
    "train, batch 8, checkpointing all": (TRAIN, [*QUICK, *ONCE, "memory.gradient_checkpointing=all"]),
    "train, batch 8, bf16": (TRAIN, [*QUICK, *ONCE, BF16]),
    "train, batch 8, bf16, candidates drawn": (TRAIN, [*QUICK, "validation.every=1", "validation.pictures=1", BF16]),
    "train, batch 2, bf16, checkpointing all": (
        TRAIN,
        [*QUICK, *ONCE, "train.batch=2", "memory.gradient_checkpointing=all", BF16],
    ),
    "evaluate": (["evaluate", "SKU"], ["pictures.seeds=[1]", "pictures.steps=2"]),
    "place, 1024 px": (PLACE, []),
    "place, 1024 px, bf16": (PLACE, ["precision=bf16"]),
    "place, 2048 px": ([*PLACE, "--size", "2048"], []),
    "export for kohya": ([*EXPORT, "kohya"], []),
    "export for diffusers": ([*EXPORT, "diffusers", "--force"], []),
    "train, rank 256": (TRAIN, [*QUICK, *ONCE, "train.batch=2", "adapter.rank=256"]),
    "its export for kohya": ([*EXPORT, "kohya", "--force"], []),
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
    said, real = planned(done.stderr), measured(done.stderr)
    if not said or not real:
        raise SystemExit(f"{' '.join(arguments)} said:\n{done.stderr}")
    return said, real


def planned(said: str) -> float:
    """Bytes that a command said it needs; 0 where it said nothing of it."""
    found = re.search(r"memory: ([\d.,]+) (MiB|GiB) planned", said)
    return float(found[1].replace(",", "")) * UNITS[found[2]] if found else 0.0


def measured(said: str) -> float:
    """Bytes that `RUN` measured; 0 where the command was killed."""
    found = re.search(r"^peak (\d+)$", said, flags=re.MULTILINE)
    return float(found[1]) if found else 0.0


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sku", default="perfume01", help="a product set of the checkout")
    parser.add_argument("--only", metavar="WORDS", default="", help="rows whose name has these words, alone")
    given = parser.parse_args()
    sku = given.sku
    print("| command | planned MiB | measured MiB | off by |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        ignored = shutil.ignore_patterns("prepared")
        shutil.copytree(ROOT / "datasets" / sku, Path(folder) / "datasets" / sku, ignore=ignored)
        rows = {name: row for name, row in ROWS.items() if given.only in name}
        for name, (command, overrides) in rows.items():
            settings = [part for override in overrides for part in ("--set", override)]
            arguments = [sku if part == "SKU" else part.replace("FOLDER", folder) for part in command]
            said, real = measure([*arguments, *settings, "--workspace", folder])
            print(f"| {name} | {said / 2**20:.0f} | {real / 2**20:.0f} | {said / real - 1:+.1%} |", flush=True)


if __name__ == "__main__":
    main()
