"""One training step on tensors without data: every allocation and release of it, in order, on any machine.

The real UNet, the real adapter and the loop's own `batch_loss` run on the meta device (shapes and dtypes, no memory);
a dispatch mode sees every storage come and go. What a device does that the meta device does not is added: the casts of
its autocast, fused attention and the scratch of its backward, and the weights that a 4-bit layer unpacks inside its
operation. torch's `FakeTensorMode` gives the same bytes in two to three times the time (docs/log.md).

`torch.distributed._tools.mem_tracker.MemTracker` is the same idea without these corrections, and private too. Private
names used here (`torch.utils._python_dispatch`, `_pytree`) were seen in torch 2.13.
"""

from __future__ import annotations

import contextlib
import json
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from finetune.core.errors import RunError
from finetune.core.json_files import parse_object
from finetune.latents.batches import Batch
from finetune.memory.known_shapes import KnownShapes
from finetune.training.loop import Objective, batch_loss
from finetune.unet import checkpointing
from finetune.unet.nf4 import BLOCK, quantize_shapes

TIMESTEPS = 1000
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
            scratch = weights * args[0].element_size() + 2 * 4 * (weights // BLOCK)
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


@contextlib.contextmanager
def run_without_data(
    unet: Any, *, dtype: torch.dtype, checkpoint: str, cuda: bool
) -> Iterator[AbstractContextManager[Any]]:
    """Inside, new tensors have no data, and `unet` computes in `dtype` as accelerate's mixed precision makes it.

    Args:
        unet: from `unet_without_data`.
        dtype: of the computation.
        checkpoint: `none`, `partial` or `all`.
        cuda: as on a CUDA device; else as on a CPU.

    Yields:
        A context to compute in (the function mode that does what the device does).
    """
    functions = DeviceFunctions(dtype, cuda=cuda)

    @contextlib.contextmanager
    def again() -> Iterator[None]:
        with functions, functions.autocast():  # the backward pass runs without function modes
            yield

    checkpointing.set_level(unet, checkpoint, context_fn=lambda: (nullcontext(), again()))
    forward = unet.forward

    def autocast_forward(*args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
        with functions.autocast():
            result = forward(*args, **kwargs)
        return tuple(value.float() for value in result)  # accelerate's convert_outputs_to_fp32

    unet.forward = autocast_forward
    unet.train()
    try:
        with torch.device("meta"):
            yield functions
    finally:
        unet.forward = forward


def trace_step(
    unet: Any,
    *,
    size: int,
    batch: int,
    dtype: torch.dtype,
    checkpoint: str,
    frozen_pass: bool,
    cuda: bool,
) -> Timeline:
    """Forward and backward of one batch, as `finetune.training.loop` does them, on tensors without data.

    Args:
        unet: from `unet_without_data`.
        size: side of the pictures in pixels.
        batch: samples of the forward pass.
        dtype: of the computation.
        checkpoint: `none`, `partial` or `all`.
        frozen_pass: whether the frozen base predicts first, without gradients.
        cuda: whether to trace a CUDA device, else a CPU.

    Returns:
        Timeline with the marks `forward` (loss computed) and `backward` (gradients there).
    """
    with run_without_data(unet, dtype=dtype, checkpoint=checkpoint, cuda=cuda) as computing:
        parts = fake_batch(unet, size=size, batch=batch)
        settings = Objective(torch.empty(TIMESTEPS), "epsilon", 5.0, 1.0, 0.5, float(frozen_pass))
        known = [
            *unet.parameters(),
            *unet.buffers(),
            settings.alphas,
            *(part for part in vars(parts).values() if part is not None),
        ]
        watch = StorageWatch(cuda=cuda, known=known)
        with computing, watch:
            loss = batch_loss(unet, parts, settings, dtype)
            watch.mark("forward")
            loss.backward()  # type: ignore[no-untyped-call]
            del loss
            watch.mark("backward")
            watch.timeline.survivors = [(born, watch.timeline.deltas[born]) for _, born in watch.seen.values()]
        for parameter in unet.parameters():
            parameter.grad = None
    return watch.timeline


def unet_without_data(
    config: dict[str, Any],
    *,
    dtype: torch.dtype,
    rank: int,
    targets: str,
    dora: bool,
    alpha: float = 1.0,
    nf4: bool = False,
) -> Any:
    """The UNet of a configuration, frozen, with its adapter, on the meta device: every shape and no memory.

    The one made last is kept for the next call, until `forget_unet`: a plan asks for the same UNet again and again.

    Args:
        config: the UNet's, as diffusers writes it.
        dtype: of the frozen weights.
        rank: of the adapter; 0 for none.
        targets: of the adapter.
        dora: whether the adapter is a DoRA.
        alpha: of the adapter; decides no size.
        nf4: whether the transformers' layers are in 4 bits (`finetune.unet.nf4`).
    """
    return _unet(json.dumps(config, sort_keys=True), dtype, rank, targets, dora, alpha, nf4)


@lru_cache(maxsize=1)
def _unet(config: str, dtype: torch.dtype, rank: int, targets: str, dora: bool, alpha: float, nf4: bool) -> Any:
    from diffusers import UNet2DConditionModel

    from finetune.unet.lora import add_lora

    plain = parse_object(config, RunError, what="the UNet's configuration", hint="")
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(plain).to(dtype).requires_grad_(False)
        if nf4:
            quantize_shapes(unet, dtype=dtype)
        if rank:
            add_lora(unet, rank=rank, alpha=alpha, rslora=False, dora=dora, targets=targets, seed=0)
    return unet


def forget_unet() -> None:
    """Let go of the UNet that was made last."""
    _unet.cache_clear()


def fake_batch(unet: Any, *, size: int, batch: int) -> Batch:
    """A batch for a UNet, its numbers unset; without data where new tensors have none."""
    config = unet.config
    side = size // 8
    pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
    make: Callable[..., Tensor] = torch.empty
    return Batch(
        latents=make(batch, 4, side, side),
        masked=make(batch, 4, side, side),
        mask=make(batch, 1, side, side),
        product=make(batch, 1, side, side),
        ring=make(batch, 1, side, side),
        embeds=make(batch, 77, config.cross_attention_dim),
        pooled=make(batch, pooled),
        time_ids=make(batch, 6),
        noise=make(batch, 4, side, side),
        timesteps=torch.zeros(batch, dtype=torch.long),
    )
