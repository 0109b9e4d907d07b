"""Several processes that train one model, each with its share of the batch.

Start them with `torchrun --nproc-per-node N -m tools.embedded_base ...`. On a busy
CPU two processes of one thread each beat one process of two threads by far: they
wait for each other once a step, not at every operation. A single process works
the same, without any of this.
"""

from __future__ import annotations

import os

import torch
import torch.distributed as dist


def start_workers() -> int:
    """Joins the other processes, if torchrun started any; returns this process's rank."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
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
    """Averages the gradients over the processes, and the share of the budget that is spent.

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
