"""One training step on tensors without data: every allocation and release of it, in order, on any machine.

The real UNet, the real adapter and the loop's own `batch_loss` run on the meta device; `core.tracing.storages` sees
every storage come and go.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from finetune.core.errors import RunError
from finetune.core.json_files import parse_object
from finetune.core.tracing.storages import DeviceFunctions, StorageWatch, Timeline
from finetune.latents.batches import Batch
from finetune.training.loop import Objective, batch_loss
from finetune.unet import checkpointing
from finetune.unet.nf4 import quantize_shapes

TIMESTEPS = 1000


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
