"""The cost of changing nothing, one photo or one caption of a large set: whole commands, interpreter start included.

    python -m benchmarks.catalogue [--photos 500] [--work DIR]

The photos are made from the sample sets: each is one of theirs, moved, scaled and tinted by its number. Each row is a
`packshot` process of its own: wall-clock and CPU seconds (with its child processes), photos that were worked on, and
files of the prepared set that were written (the others are links to the files of the previous set).
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

SAMPLES = Path(__file__).resolve().parents[2] / "datasets"
SKU = "many01"
SETTINGS = ("--config", "embedded", "--set", "data.variants=4")
UNCHANGED_BAR = 2.0
"""Wall-clock seconds in which a set of 500 unchanged photos is recognised as unchanged."""


def make_set(root: Path, count: int, side: int) -> Path:
    """Write the product set with its photos of at most `side` px unless it exists; returns its folder."""
    folder = root / "datasets" / SKU
    (folder / "photos").mkdir(parents=True, exist_ok=True)
    (folder / "set.yaml").write_text("class_noun: perfume bottle\n", encoding="utf-8")
    samples = sorted(SAMPLES.glob("perfume0*/photos/*.jpg"))
    for number in range(count):
        path = folder / "photos" / f"{number:04d}.jpg"
        if not path.exists():
            draw_photo(samples[number % len(samples)], number, side).save(path, quality=92)
    return folder


def draw_photo(sample: Path, number: int, side: int) -> Image.Image:
    """One photo: a sample, scaled to 80 to 100 % of `side` px and tinted by its number, on its own ground."""
    rng = np.random.default_rng(number)
    with Image.open(sample) as opened:
        picture = opened.convert("RGB")
    scale = rng.uniform(0.8, 1.0) * min(1.0, side / max(picture.size))
    small = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS)
    pixels = np.asarray(small) * rng.uniform(0.97, 1.0, 3)
    return Image.fromarray(pixels.astype(np.uint8))


def spent(command: list[str]) -> tuple[float, float, str]:
    """Run a command.

    Returns:
        Wall-clock seconds, CPU seconds, and its stderr.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    clock, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return clock, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stderr


def inodes(folder: Path) -> dict[str, int]:
    """Inode of every file of the prepared set."""
    files = (path for path in (folder / "prepared").rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_ino for path in files}


def edit_photo(folder: Path, number: int, side: int) -> None:
    """Replace one photo."""
    path = folder / "photos" / f"{number:04d}.jpg"
    draw_photo(SAMPLES / "perfume01" / "photos" / "01-front.jpg", time.time_ns() % 2**32, side).save(path, quality=92)


def row(title: str, arguments: list[str], folder: Path, change: Callable[[], None] | None = None) -> list[str]:
    """Run one command after a change; returns the table's row."""
    if change:
        change()
    before = inodes(folder)
    command = [sys.executable, "-m", "finetune.core.commands", *arguments, SKU, *SETTINGS]
    clock, cpu, said = spent([*command, "--workspace", str(folder.parents[1])])
    worked = re.search(r"(?:preparing|checking) (\d+) photo", said)
    after = inodes(folder)
    new = sorted(name.removeprefix("prepared/") for name, inode in after.items() if before.get(name) != inode)
    of_photo = [name for name in new if "/" in name]
    whole = ", ".join(name for name in new if "/" not in name)
    cells = [title, worked[1] if worked else "0", f"{clock:.2f}", f"{cpu:.2f}", str(len(of_photo)), whole or "none"]
    print("| " + " | ".join(cells) + " |", flush=True)
    return cells


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=1024, metavar="PX", help="their longer side, at most")
    parser.add_argument("--photos", type=int, default=500, metavar="N", help="photos in the set")
    parser.add_argument(
        "--work", type=Path, metavar="DIR", help="keep pictures and prepared set there for the next call"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = make_set(arguments.work or Path(scratch), arguments.photos, arguments.side)
        made_of = f"{arguments.photos} photos of up to {arguments.side} px"
        print(f"{made_of}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before the first row\n")
        print("| what | photos worked on | s | CPU s | files of photos written | files of the set written |")
        print("|---|---|---|---|---|---|")
        row("prepare, as it was found", ["prepare"], folder)
        time.sleep(3)  # a file touched a moment ago is not yet trusted by its times
        row("prepare, nothing changed, files read again", ["prepare"], folder)
        unchanged = row("prepare, nothing changed", ["prepare"], folder)
        middle = arguments.photos // 2
        row("prepare, one photo edited", ["prepare"], folder, lambda: edit_photo(folder, middle, arguments.side))
        caption = folder / "photos" / f"{middle:04d}.txt"
        words = f"on a window sill, take {time.time_ns()}"
        row("prepare, one caption written", ["prepare"], folder, lambda: void(caption.write_text(words)))
        row("check, the set is prepared", ["check"], folder)
        row("check, one photo edited", ["check"], folder, lambda: edit_photo(folder, middle, arguments.side))
        row("check, nothing changed", ["check"], folder)
        verdict = "met" if float(unchanged[2]) < UNCHANGED_BAR else "missed"
        print(f"\nbar: nothing changed, 500 photos, under {UNCHANGED_BAR:.0f} s wall clock: {verdict}")


def void(_: object) -> None:
    """Take a value and give none."""


if __name__ == "__main__":
    main()
