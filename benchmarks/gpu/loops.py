"""Packshot's own training loop beside a bare one, on the same UNet. Part of `benchmarks.gpu`."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.setups import Named
from benchmarks.gpu.steps import WARM, Measured, Trainable, row, teraflop_of, trainable, wait
from finetune.memory.budget import Setup
from finetune.memory.step_trace import TIMESTEPS, fake_batch
from finetune.training.loop import StepReport, run_loop
from finetune.training.trainee import Trainee
from finetune.unet import lora

STEPS = 14


def loops(chosen: Named, device: str) -> Iterator[dict[str, Any]]:
    """The bare loop, then Packshot's own on examples like a set's: with what the bare one has, no more."""
    setup = chosen.setup
    made = trainable(setup, chosen.config, device)
    seconds = _bare(made, setup, device)
    teraflop = teraflop_of(made.step(setup))
    yield row("bare loop", setup, Measured(seconds, None, teraflop, made.parameters))
    own = _own(made, setup, device)
    found = Measured(own, None, teraflop, made.parameters)
    yield row("packshot's loop", setup, found, of_bare=round(own / seconds, 4))


def _bare(made: Trainable, setup: Setup, device: str) -> float:
    """Forward, mean squared error, backward, clip, optimizer on tensors that are there; the median step."""
    trained = lora.lora_parameters(made.unet)
    optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=True)
    with torch.device(device):
        batch = fake_batch(made.unet, size=setup.size, batch=setup.batch)
    for value in filter(torch.is_tensor, vars(batch).values()):
        value.fill_(1)
    dtype = getattr(torch, setup.dtype)
    nine = made.unet.config.in_channels == 9
    inputs = torch.cat([batch.noise, batch.mask, batch.masked], dim=1) if nine else batch.noise
    inputs, embeds, pooled = inputs.to(dtype), batch.embeds.to(dtype), batch.pooled.to(dtype)
    conditions = {"text_embeds": pooled, "time_ids": batch.time_ids}
    times = []
    for _ in range(STEPS):
        began = time.perf_counter()
        # the UNet computes under accelerate's autocast here too
        predicted = made.unet(inputs, batch.timesteps, embeds, added_cond_kwargs=conditions, return_dict=False)[0]
        loss = torch.nn.functional.mse_loss(predicted.float(), batch.noise)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        float(loss.detach())  # a loop that shows its loss waits for the device once a step
        wait(device)
        times.append(time.perf_counter() - began)
    return statistics.median(times[WARM:])


class _Times:
    """Observer: seconds of each step."""

    def __init__(self) -> None:
        self.all: list[float] = []

    def after_step(self, report: StepReport) -> None:
        """Keep them."""
        self.all.append(report.seconds)


def _own(made: Trainable, setup: Setup, device: str) -> float:
    """Packshot's loop over random examples in memory; the median step."""
    from finetune.latents.batches import make_batch
    from finetune.training.oom_backoff import BackOff
    from finetune.training.optimizers import make_schedule

    examples = random_examples(made.unet, setup.size)
    times = _Times()
    batch_at = partial(
        make_batch,
        examples,
        seed=0,
        caption_dropout=0.1,
        timesteps_total=TIMESTEPS,
        device=str(made.accelerator.device),
    )
    with tempfile.TemporaryDirectory() as folder:
        memory_file = Path(folder) / "memory.json"
        back_off = BackOff(
            made.accelerator, made.unet, memory_file, level=setup.checkpoint, batch=setup.batch, save=lambda step: None
        )
        schedule = make_schedule("constant", made.optimizer.optimizer, warmup=0, steps=STEPS)
        dtype = getattr(torch, setup.dtype)
        run_loop(
            Trainee(made.accelerator, made.unet, made.optimizer, schedule, dtype, back_off, max_grad_norm=1.0),
            lambda first, count: batch_at(first=first, count=count),
            made.settings,
            start=0,
            steps=STEPS,
            observers=[times],
        )
    return statistics.median(times.all[WARM:])


def random_examples(unet: Any, size: int, count: int = 8) -> Any:
    """A training set of random latents in memory, on the CPU, as the cache gives it."""
    from finetune.latents.cache import CachedExamples

    side, config = size // 8, unet.config
    pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
    product = torch.zeros(1, side, side)
    product[:, side // 4 : side // 2, side // 4 : side // 2] = 1
    return CachedExamples(
        latents=[torch.randn(4, side, side) for _ in range(count)],
        masked=[torch.randn(4, side, side) for _ in range(count)],
        mask=[product] * count,
        product=[product] * count,
        ring=[1 - product] * count,
        text=torch.zeros(count, dtype=torch.long),
        embeds=torch.randn(2, 77, config.cross_attention_dim),
        pooled=torch.randn(2, pooled),
        time_ids=torch.tensor([[size, size, 0, 0, size, size]] * count, dtype=torch.float32),
        made=0,
    )
