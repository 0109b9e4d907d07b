"""Several processes that train one model, each with its share of the batch.

`python -m tools.embedded_base --processes N ...` starts them. On a busy CPU two processes of one thread each beat
one process of two threads by far: they wait for each other once a step, not at every operation. All stay in the
process group of the one that started them, so that one signal pauses them all (torchrun gives each a session of its
own). A single process works the same, without any of this.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from datetime import timedelta

import torch
import torch.distributed as dist

TIMEOUT = timedelta(days=1)
"""How long a process waits for the others; a run may be paused for hours."""


def launch(count: int, words: list[str]) -> int:
    """Runs the command line `words` in `count` processes; returns 0 once all have ended well, else 1.

    When one fails, the others are ended too: they would wait for it.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    environment = {"OMP_NUM_THREADS": "1", **os.environ, **shared}
    command = [sys.executable, "-m", "tools.embedded_base", *words]
    children = [subprocess.Popen(command, env={**environment, "RANK": str(number)}) for number in range(count)]
    try:
        codes = [child.poll() for child in children]
        while None in codes and not any(codes):
            time.sleep(0.5)
            codes = [child.poll() for child in children]
    finally:
        for child in children:
            if child.poll() is None:
                child.terminate()
    return int(any(child.wait() for child in children))


def is_started() -> bool:
    """True in a process that was started as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def start_workers() -> int:
    """Joins the other processes, if there are any; returns this process's rank."""
    if is_started() and not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=TIMEOUT)
    return rank()


def stop_workers() -> None:
    """Leaves the other processes."""
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    """This process's number; 0 writes the files and the log."""
    return dist.get_rank() if dist.is_initialized() else 0


def count() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def wait() -> None:
    """Waits until every process is here."""
    if dist.is_initialized():
        dist.barrier()


@torch.no_grad()
def agree(module: torch.nn.Module, share: float) -> float:
    """Averages the gradients over the processes, and the share of a start's time that is over.

    Each process has a clock of its own; the rate and the end must be the same in
    all. Returns the mean share.
    """
    if not dist.is_initialized():
        return share
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients] + [gradients[0].new_tensor([share])])
    dist.all_reduce(flat)
    flat /= count()
    start = 0
    for gradient in gradients:
        gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
        start += gradient.numel()
    return float(flat[-1])
