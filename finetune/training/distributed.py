"""The processes of one run, a GPU each, as `torchrun` starts them: who works first, who writes, what if one fails.

Called by the training command and recipe. One process is a run by itself, and each function here then just does its
work. With several, only the main one writes; what it can't do ends the others too, instead of leaving them to wait.
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
"""How long a process waits for another: the main one prepares and encodes a whole set while the others do."""


def count() -> int:
    """Processes of this run."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "LOCAL_RANK" in os.environ else 1


def start() -> PartialState:
    """Bring the processes together (gloo on CPUs, NCCL on GPUs), each on its device; a second call does nothing."""
    import torch
    from accelerate import PartialState
    from accelerate.utils import check_cuda_p2p_ib_support

    from finetune.core.device import pick_device

    cpu = pick_device() == "cpu"
    if not cpu and not check_cuda_p2p_ib_support():
        # two GeForce RTX 40xx and an old driver: accelerate refuses to begin without these, for one process too
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
    """What `work` returns, done by the main process alone while the others wait.

    Args:
        work: its result has to be picklable.

    Raises:
        RunError: in the others, where it failed in the main one.
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
        raise RunError("the main process has ended", "its own message says why", of_one_process=False)
    done: T = result[1]
    return done


def main_first(work: Callable[[], T]) -> T:
    """What `work` returns: done by the main process, then by the others, who find on disk what it made.

    Raises:
        RunError: in the others, where it failed in the main one.
    """
    if count() == 1:
        return work()
    if is_main_process():
        return _announced(work)
    main_only(lambda: None)
    return work()


def _announced(work: Callable[[], T]) -> T:
    """Work of the main process, the others waiting in `main_only`."""
    done: list[T] = []
    main_only(lambda: done.append(work()))
    return done[0]


def _broadcast(values: list[Any]) -> None:
    from accelerate.utils import broadcast_object_list

    start()
    broadcast_object_list(values, from_process=0)


def lost_another(error: BaseException) -> bool:
    """Whether an error means that another process of the run has gone."""
    import torch

    if count() == 1:
        return False
    text = str(error).lower()
    return isinstance(error, torch.distributed.DistError) or "gloo" in text or "nccl" in text
