"""Time and memory from a picture's file to its cutout's file.

Time is the process's own CPU time on one thread, the least of some runs: other programs on the machine, which would
stretch the wall clock, do not count.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from benchmarks.cutout.peer import open_peer
from finetune.core.device import resident_peak_mib
from finetune.core.pictures.images import open_picture, write_png
from finetune.matting.glass_detection import with_glass
from finetune.matting.matte import cut_out


@dataclass(frozen=True)
class Cost:
    """Cost per picture."""

    seconds: float
    """CPU seconds from opening the file to the written PNG, mean over pictures of the least of the runs."""
    peak: float
    """Largest resident memory of the process, MiB, libraries included."""


def ours(source: Path, target: Path) -> None:
    """Decode, cut out, look for glass, write the cutout (and the glass layer, as `glass.png`)."""
    picture = open_picture(source)
    cutout = with_glass(cut_out(picture), picture, "auto", "product")
    write_png(cutout.rgba, target)
    if cutout.glass is not None:
        write_png(cutout.glass, target.with_name("glass.png"))


def peer_from(folder: Path | None) -> Callable[[Path, Path], None]:
    """The same work by the peer."""
    cut = open_peer(folder)
    assert cut is not None

    def work(source: Path, target: Path) -> None:
        with Image.open(source) as picture:
            write_png(cut(picture.convert("RGB")), target)

    return work


def measure_cost(pictures: list[Path], folder: Path, *, peer: bool, model_dir: Path | None, runs: int) -> Cost:
    """Measure in a process of its own, so that memory is this work's alone.

    Args:
        pictures: files to cut out.
        folder: for the results.
        peer: whether the peer does the work.
        model_dir: folder of the peer's model.
        runs: of which the fastest counts.
    """
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_measured, (pictures, folder, peer, model_dir, runs))


def _measured(pictures: list[Path], folder: Path, peer: bool, model_dir: Path | None, runs: int) -> Cost:
    work = peer_from(model_dir) if peer else ours
    work(pictures[0], folder / "warm.png")
    least = [min(_timed(work, picture, folder / "cutout.png") for _ in range(runs)) for picture in pictures]
    return Cost(sum(least) / len(least), resident_peak_mib())


def _timed(work: Callable[[Path, Path], None], source: Path, target: Path) -> float:
    started = time.process_time()
    work(source, target)
    return time.process_time() - started
