"""Every allocation and release of operations on tensors without data, in order, on any machine.

A model on the meta device (shapes and dtypes, no memory) runs as it would; a dispatch mode sees every storage come and
go. What a device does that the meta device does not is added: the casts of its autocast, fused attention and the
scratch of its backward, and the weights that a 4-bit layer unpacks inside its operation. torch's `FakeTensorMode` gives
the same bytes in two to three times the time (docs/log.md).

`torch.distributed._tools.mem_tracker.MemTracker` is the same idea without these corrections, and private too. Private
names used here (`torch.utils._python_dispatch`, `_pytree`) were seen in torch 2.13.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from finetune.core.tracing.known_shapes import KnownShapes

BLOCK_4BIT = 64
"""Weights that share a scale in bitsandbytes' 4-bit layers."""
ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
ATTENTION_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward.default

# From torch's "CUDA Ops that can autocast to float16/bfloat16" and "... to float32", and the same for CPUs, as far as a
# UNet and its loss call them. https://docs.pytorch.org/docs/stable/amp.html
TO_LOWER = frozenset(
    {functional.linear, functional.conv2d, functional.scaled_dot_product_attention}
    | {torch.matmul, torch.bmm, torch.baddbmm, torch.mm, torch.addmm, Tensor.matmul, Tensor.__matmul__}
)
TO_FLOAT32_ON_CUDA = frozenset(
    {functional.layer_norm, functional.group_norm, functional.softmax, Tensor.softmax, torch.softmax}
)


@dataclass
class Timeline:
    """What happened to memory in one step, in the order of the operations."""

    deltas: list[int] = field(default_factory=list)
    """Bytes: positive for a storage that came, negative for one that went, or scratch of one operation (+n, -n)."""
    marks: dict[str, int] = field(default_factory=dict)
    """Name -> length of `deltas` when a phase began or ended."""
    survivors: list[tuple[int, int]] = field(default_factory=list)
    """(index in `deltas`, bytes) of what is there after the step: the gradients."""

    def live(self) -> list[int]:
        """Bytes in use after each event, those before the step not counted."""
        total, result = 0, []
        for delta in self.deltas:
            total += delta
            result.append(total)
        return result

    def peak(self) -> int:
        """Largest sum of bytes in use."""
        return max(self.live(), default=0)

    def at(self, mark: str) -> int:
        """Bytes in use at a mark."""
        return sum(self.deltas[: self.marks[mark]])


class StorageWatch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes a `Timeline` of every storage that operations make; views and what was there before cost nothing."""

    def __init__(self, *, cuda: bool, known: list[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.timeline = Timeline()
        self.cuda = cuda
        self.live = 0
        self.seen: dict[int, tuple[Any, int]] = {}
        self.kept = [tensor.untyped_storage() for tensor in known]
        self.known = {id(storage) for storage in self.kept}
        self.shapes = KnownShapes()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = self.shapes.call(func, args, kwargs or {})
        for value in tree_leaves(result):
            if isinstance(value, Tensor):
                self._saw(value)
        if self.cuda and func is ATTENTION_BACKWARD:
            # FlashAttention 2's backward sums dq in float32 and keeps one float32 a row (arXiv 2307.08691)
            query = args[1]
            scratch = 4 * (query.numel() + query.numel() // query.shape[-1])
            self.timeline.deltas += [scratch, -scratch]
        if getattr(func, "namespace", "") == "bitsandbytes" and func.__name__.startswith("gemm_4bit"):
            # the weight unpacked in the dtype of the computation, and its scales twice (codes looked up, offset added)
            weights = args[2][0] * args[2][1]
            scratch = weights * args[0].element_size() + 2 * 4 * (weights // BLOCK_4BIT)
            self.timeline.deltas += [scratch, -scratch]
        return result

    def _saw(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = id(storage)
        if key in self.seen or key in self.known:
            return
        size = storage.nbytes()
        if self.cuda:
            size = -(-size // 512) * 512  # the unit of CUDA's caching allocator
        self.seen[key] = weakref.ref(storage, partial(self._gone, key, size)), len(self.timeline.deltas)
        self._count(size)

    def _count(self, delta: int) -> None:
        self.live += delta
        self.timeline.deltas.append(delta)

    def _gone(self, key: int, size: int, reference: Any) -> None:
        if self.seen.pop(key, None) is not None:
            self._count(-size)

    def mark(self, name: str) -> None:
        """Name this moment."""
        self.timeline.marks[name] = len(self.timeline.deltas)


class DeviceFunctions(TorchFunctionMode):
    """What a device does and the meta device does not: autocast, with its cache of cast float32 leaves, and attention.

    Args:
        dtype: of the computation; float32 for no autocast.
        cuda: whether as on a CUDA device; else as on a CPU.
    """

    def __init__(self, dtype: torch.dtype, *, cuda: bool) -> None:
        super().__init__()
        self.dtype = dtype
        self.to_float32 = TO_FLOAT32_ON_CUDA if cuda else frozenset()
        self.depth = 0
        self.cache: dict[int, tuple[Tensor, Tensor]] = {}

    @contextlib.contextmanager
    def autocast(self) -> Iterator[None]:
        """What `torch.autocast` is on the device: inside, operations cast; on leaving, the cache is emptied."""
        self.depth += self.dtype != torch.float32
        try:
            yield
        finally:
            self.depth = max(0, self.depth - 1)
            if not self.depth:
                self.cache.clear()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self.depth and (func in TO_LOWER or func in self.to_float32):
            dtype = self.dtype if func in TO_LOWER else torch.float32
            args = tuple(self._cast(a, dtype) for a in args)
            kwargs = {k: self._cast(v, dtype) for k, v in kwargs.items()}
        if func is functional.scaled_dot_product_attention:
            return ATTENTION(*args[:3])[0]  # the meta device would choose the kernel that writes all of the scores
        return func(*args, **kwargs)

    def _cast(self, value: Any, dtype: torch.dtype) -> Any:
        if not isinstance(value, Tensor) or not value.is_floating_point() or value.dtype == dtype:
            return value
        if not (value.is_leaf and value.requires_grad and value.dtype == torch.float32):
            return value.to(dtype)
        if id(value) not in self.cache:
            self.cache[id(value)] = (value, value.to(dtype))
        return self.cache[id(value)][1]
