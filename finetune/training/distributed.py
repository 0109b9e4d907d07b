"""Several processes of one run, one per GPU, as `torchrun` starts them: which works first, which writes.

With a single process every function here just calls its work. With several, only the main one writes; when it fails,
the others end too instead of waiting.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from finetune.core.console import is_main_process
from finetune.core.errors import RunError

if TYPE_CHECKING:
    from accelerate import PartialState

T = TypeVar("T")
PATIENCE = timedelta(hours=12)
"""How long a process waits for another: the others wait while the main one prepares and encodes a whole set."""


def count() -> int:
    """Number of processes of this run."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "LOCAL_RANK" in os.environ else 1


def start() -> PartialState:
    """Join the processes (gloo on CPUs, NCCL on GPUs), each on its device; a second call does nothing."""
    import torch
    from accelerate import PartialState
    from accelerate.utils import check_cuda_p2p_ib_support

    from finetune.core.device import pick_device

    cpu = pick_device() == "cpu"
    if not cpu and not check_cuda_p2p_ib_support():
        # two GeForce RTX 40xx and an old driver: accelerate refuses to start without these, with one process too
        for name in ("NCCL_P2P_DISABLE", "NCCL_IB_DISABLE"):
            os.environ.setdefault(name, "1")
    if not torch.distributed.is_initialized():
        atexit.register(_part)
    return PartialState(cpu=cpu, timeout=PATIENCE)


def _part() -> None:
    import torch

    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def main_only(work: Callable[[], T]) -> T:
    """Call `work` in the main process alone and return its result in every process.

    Args:
        work: returns something picklable.

    Raises:
        RunError: in the other processes, when it failed in the main one.
    """
    if count() == 1:
        return work()
    result: list[Any] = [False, None]
    try:
        if is_main_process():
            result = [True, work()]
    finally:
        _broadcast(result)
    if not result[0]:
        raise RunError("the main process has ended", "its own output says why", of_one_process=False)
    done: T = result[1]
    return done


def main_first(work: Callable[[], T]) -> T:
    """Call `work` in the main process, then in the others, which find on disk what it made.

    Raises:
        RunError: in the other processes, when it failed in the main one.
    """
    if count() == 1:
        return work()
    if is_main_process():
        return _announced(work)
    main_only(lambda: None)
    return work()


def _announced(work: Callable[[], T]) -> T:
    """The main process's work, while the others wait in `main_only`."""
    done: list[T] = []
    main_only(lambda: done.append(work()))
    return done[0]


def _broadcast(values: list[Any]) -> None:
    from accelerate.utils import broadcast_object_list

    start()
    broadcast_object_list(values, from_process=0)


def lost_another(error: BaseException) -> bool:
    """Whether an error means that another process of the run has died."""
    import torch

    if count() == 1:
        return False
    text = str(error).lower()
    return isinstance(error, torch.distributed.DistError) or "gloo" in text or "nccl" in text
