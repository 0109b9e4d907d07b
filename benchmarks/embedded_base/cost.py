"""What the base costs: seconds a picture and MiB on disk. The rows `time` and `size`."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.embedded_base.table import Line
from finetune.core.basemodel.resolve import ResolvedBase
from finetune.core.compositing.placement import whole_frame
from finetune.core.painting.inpainter import Sampling, load_inpainter

SECONDS_BAR, SIZE_BAR = 6.0, 24.0
PROMPT = "a photo of a red mug on white marble in front of a brick wall, soft daylight"


def measure_time(base: ResolvedBase, *, repeats: int = 3) -> list[Line]:
    """Median seconds of a 20-step picture with guidance, with one thread and with two, after one that warms up."""
    inpainter = load_inpainter(base, None, precision="fp32", device="cpu")
    job = whole_frame(base.size, np.random.default_rng(0))
    before = torch.get_num_threads()
    lines = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        seconds = []
        for seed in range(repeats + 1):
            since = time.perf_counter()
            inpainter.paint(job.picture, job.mask, PROMPT, sampling=Sampling(), seed=seed)
            seconds.append(time.perf_counter() - since)
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        beside = f"median of {repeats}, {cores} cores, load {os.getloadavg()[0]:.1f} (busy machines slow it)"
        what = f"{Sampling().steps} steps at {base.size} px with guidance, {threads} thread{'s' * (threads > 1)}"
        value = statistics.median(seconds[1:])
        lines.append(Line("time", what, value, "s", SECONDS_BAR, "lower", beside=beside))
    torch.set_num_threads(before)
    return lines


def size_of(folder: Path) -> float:
    """MiB of all files under a folder."""
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 2**20


def measure_size(base: ResolvedBase) -> list[Line]:
    """Everything in the base's folder, its model card and pictures too."""
    return [Line("size", "the whole folder", size_of(base.path), "MiB", SIZE_BAR, "lower")]
