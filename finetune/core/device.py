"""The device a run uses and the precision it has there. The only module that asks torch about the machine."""

from __future__ import annotations

import gc
import re
import traceback
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from finetune.core.errors import ConfigError
from finetune.core.machine_memory import AnonymousPeak

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_PEAK = AnonymousPeak()

BF16_BATCH = 4
"""Batch from which bf16 is the faster one on a CPU that has it."""


def pick_device(wanted: str = "auto") -> str:
    """`cuda` where there is one, else `cpu`; or the wanted one.

    Raises:
        ConfigError: `cuda` is wanted and torch sees none.
    """
    import torch

    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError("this machine has no CUDA device", "leave --device out to run on the CPU")
    number, count = wanted.partition(":")[2], torch.cuda.device_count()
    if number and (not number.isdigit() or int(number) >= count):
        raise ConfigError(f"there is no device {wanted}", f"this machine has {count}, numbered from cuda:0")
    return wanted


def pick_dtype(precision: str, device: str, *, batch: int = 1) -> torch.dtype:
    """torch dtype of `auto`, `fp32`, `bf16` or `fp16` on a device.

    `auto` is bf16 on a GPU that computes in it and fp16 on an older one. On a CPU it is fp32, but bf16 for batches on a
    processor that multiplies matrices in bf16 (measured on the embedded base: no gain at batch 2, 1.5x as fast at 8).

    Args:
        precision: `auto`, `fp32`, `bf16` or `fp16`.
        device: As torch names it.
        batch: Pictures computed at once.

    Raises:
        ConfigError: fp16 on a CPU, which has no fast path for it.
    """
    import torch

    if precision == "auto":
        if not device.startswith("cuda"):
            return torch.bfloat16 if batch >= BF16_BATCH and _multiplies_bf16() else torch.float32
        return torch.bfloat16 if computes_bf16(device) else torch.float16
    if precision == "fp16" and not device.startswith("cuda"):
        raise ConfigError("fp16 needs a CUDA device", "use --set memory.precision=auto")
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def computes_bf16(device: str | int = "cuda") -> bool:
    """Whether a GPU computes in bf16 itself: Ampere (RTX 30xx) and later; always with AMD's ROCm.

    `torch.cuda.is_bf16_supported` is true for older cards too (RTX 20xx, T4), which emulate bf16 very slowly.
    """
    import torch

    return bool(torch.version.hip) or torch.cuda.get_device_properties(device).major >= 8


def _multiplies_bf16() -> bool:
    """Whether this CPU has tile instructions for bf16 (AMX)."""
    import torch

    return bool(torch.cpu.get_capabilities().get("amx_bf16", False))


def gpu_memory_gib(device: str = "cuda") -> float:
    """Total memory of a GPU in GiB; of the current one if none is named; 0 without a GPU."""
    import torch

    if not torch.cuda.is_available():
        return 0.0
    return float(torch.cuda.get_device_properties(device).total_memory) / 2**30


def free_gpu_memory(device: str = "cuda") -> int:
    """Bytes of GPU memory that this process can still use: those that are free, and those torch holds in reserve."""
    import torch

    release_memory(device)
    free, _ = torch.cuda.mem_get_info(device)
    return int(free) + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that a device, or the machine, ran out of memory.

    CUDA's libraries allocate workspace past torch's allocator and raise errors with other texts.
    """
    import torch

    text = str(error).lower()
    told = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed", "allocation_failed")
    known = isinstance(error, (MemoryError, torch.OutOfMemoryError))
    return known or (isinstance(error, RuntimeError) and any(words in text for words in told))


def to_device(tensor: Tensor, device: str) -> Tensor:
    """The tensor on a device; the copy to a GPU is asynchronous, from page-locked memory."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.startswith("cuda") else tensor.to(device)


def own_random_state(device: str) -> AbstractContextManager[None]:
    """A block that may change torch's random state, which is restored afterwards: the CPU's, and that GPU's.

    By default torch would save the state of every GPU, and so create a context on each.
    """
    import torch

    return torch.random.fork_rng(devices=[device] if device.startswith("cuda") else [])


def release_memory(device: str) -> None:
    """Free unreferenced objects, cycles included, and return the memory torch holds in reserve to a GPU."""
    gc.collect()
    if device.startswith("cuda"):
        import torch

        torch.cuda.empty_cache()


def forget_frames(error: BaseException) -> None:
    """Drop the local variables (tensors) held by the traceback of an error and of its causes, before a retry.

    The lines of the traceback stay readable.
    """
    link: BaseException | None = error
    while link is not None:
        traceback.clear_frames(link.__traceback__)
        link = link.__cause__ or link.__context__


def forget_peak_memory(device: str) -> None:
    """Begin the peak of memory anew: of a GPU what torch allocates, of a CPU this process's anonymous memory."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats()
    else:
        _PEAK.start()


def peak_memory_mib(device: str) -> float:
    """Peak memory in MiB since `forget_peak_memory`: allocated by torch on a GPU, anonymous memory on a CPU.

    Mapped weight files are not counted on a CPU: the kernel takes their pages back when memory gets short.
    """
    if device.startswith("cuda"):
        import torch

        return float(torch.cuda.max_memory_allocated()) / 2**20
    return _PEAK.bytes / 2**20 or resident_peak_mib()


def resident_peak_mib() -> float:
    """Largest resident memory of this program in MiB, mapped files included.

    `ru_maxrss` would hold that of the process it was forked from.
    """
    status = Path("/proc/self/status")
    if status.is_file() and (found := re.search(r"VmHWM:\s+(\d+) kB", status.read_text(encoding="ascii"))):
        return int(found[1]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
