"""The planner's prediction beside what a real step on the CPU allocates: one table, no GPU needed.

    python -m benchmarks.memory [--base DIR]      # default: the embedded base

Measured: the sum of torch's own allocation events (torch.profiler, profile_memory) over the second training step, so
that the optimizer's state is there; its largest value is the peak. Predicted: `finetune.memory.budget.budget`.
"""

from __future__ import annotations

import argparse
import gc
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.profiler import ProfilerActivity, profile

from finetune.core.basemodel.load import load_unet
from finetune.core.basemodel.resolve import ResolvedBase, resolve_base
from finetune.core.console import quiet_libraries
from finetune.core.painting.inpainter import Sampling
from finetune.memory.budget import Setup, trace_budget, unet_config
from finetune.memory.drawing import trace_drawing
from finetune.memory.step_trace import fake_batch
from finetune.training.loop import Objective, batch_loss, class_loss
from finetune.training.optimizers import make_optimizer
from finetune.unet import checkpointing, lora, nf4
from finetune.unet.live_pipeline import live_inpainter
from finetune.unet.nf4 import load_frozen_unet


def measured_peak(base: ResolvedBase, setup: Setup) -> int:
    """Peak bytes of torch's allocator in the second optimizer step, weights and state included."""
    dtype = getattr(torch, setup.dtype)
    unet, scheduler = load_unet(base, dtype=dtype, device="cpu")
    if setup.nf4:
        nf4.quantize_linears(unet, dtype=dtype, device="cpu")
    lora.add_lora(unet, rank=setup.rank, alpha=1, rslora=False, dora=setup.dora, targets=setup.targets, seed=0)
    checkpointing.set_level(unet, setup.checkpoint)
    unet.train()
    trained = lora.lora_parameters(unet)
    options: dict[str, Any] = {"learning_rate": 1e-4, "weight_decay": 0.01, "betas": (0.9, 0.999)}
    optimizer = make_optimizer(setup.optimizer, trained, min_8bit_size=setup.min_8bit_size, **options)
    settings = Objective(scheduler.alphas_cumprod, base.prediction_type, 5.0, 1.0, 0.5, float(setup.frozen_pass))
    forward = unet.forward

    def autocast_forward(*arguments: Any, **named: Any) -> tuple[torch.Tensor, ...]:
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            return tuple(value.float() for value in forward(*arguments, **named))

    unet.forward = autocast_forward
    batch = fake_batch(unet, size=setup.size, batch=setup.batch)
    for value in filter(torch.is_tensor, vars(batch).values()):
        value.zero_()

    def step() -> None:
        for _ in range(setup.accumulation):
            batch_loss(unet, batch, settings, dtype).backward()
            if setup.class_pass:
                class_loss(unet, batch, settings, dtype).backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    state = [v for s in optimizer.state.values() for k, v in s.items() if isinstance(v, torch.Tensor)]
    kept = [*unet.parameters(), *unet.buffers(), *nf4.scales_of(unet), *state]
    before = {t.data_ptr(): t.untyped_storage().nbytes() for t in kept}
    gc.collect()  # what an earlier run left behind would be counted as given back
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    return sum(before.values()) + max(running(profiler), default=0)


def measured_drawing(base: ResolvedBase, setup: Setup) -> int:
    """Peak bytes of torch's allocator while the trained UNet draws a picture, all parts' weights included."""
    dtype = getattr(torch, setup.dtype)
    unet, _ = load_frozen_unet(base, "nf4" if setup.nf4 else "none", dtype=dtype, device="cpu")
    lora.add_lora(unet, rank=setup.rank, alpha=1, rslora=False, dora=setup.dora, targets=setup.targets, seed=0)
    picture = Image.new("RGB", (base.size, base.size))
    with live_inpainter(base, unet, dtype) as painter:
        pipeline = painter.pipeline
        parts = (unet, pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2)
        kept = [tensor for part in parts for tensor in (*part.parameters(), *part.buffers())]
        before = {t.data_ptr(): t.untyped_storage().nbytes() for t in [*kept, *nf4.scales_of(unet)]}
        gc.collect()
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            painter.paint(picture, np.ones((base.size, base.size), dtype=bool), "", sampling=Sampling(steps=2), seed=0)
    return sum(before.values()) + max(running(profiler), default=0)


def running(profiler: Any) -> Iterator[int]:
    """Bytes in use after each of the profiler's memory events, in the order of time."""
    total = 0
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    for event in sorted(events, key=lambda e: e.start_ns()):
        total += event.nbytes()
        yield total


def setups(unet: dict[str, Any], size: int) -> list[Setup]:
    """The combinations of the table."""
    plain = Setup(
        unet=unet, size=size, batch=2, accumulation=1, dtype="float32", checkpoint="none", rank=16,
        targets="attention+feedforward", dora=False, optimizer="adamw8bit", min_8bit_size=1024, frozen_pass=True,
        cuda=False,
    )  # fmt: skip
    return [
        plain,
        replace(plain, checkpoint="partial"),
        replace(plain, checkpoint="all"),
        replace(plain, batch=4),
        replace(plain, batch=1, accumulation=2, rank=64),
        replace(plain, optimizer="adamw", targets="attention"),
        replace(plain, dtype="bfloat16", batch=4),
        replace(plain, dtype="bfloat16", checkpoint="all", dora=True, frozen_pass=False),
        replace(plain, class_pass=True),
        replace(plain, nf4=True),
        replace(plain, nf4=True, dtype="bfloat16", checkpoint="all", batch=1, accumulation=4, targets="attention"),
    ]


def drawing_setups(plain: Setup) -> list[Setup]:
    """The combinations of the table's last rows: a picture, drawn by the UNet in training."""
    return [plain, replace(plain, rank=64), replace(plain, nf4=True)]


def predicted_drawing(base: ResolvedBase, setup: Setup) -> int:
    """Peak bytes of drawing a picture, as the planner counts it on a CPU."""
    return trace_drawing(base.config, setup, base.size).peak(offloaded=False)


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", default="embedded", help="a base small enough for this machine")
    given = parser.parse_args()
    quiet_libraries()
    base = resolve_base(given.base)
    print("| setup | predicted MiB | measured MiB | off by |\n|---|---|---|---|")
    for setup in setups(unet_config(base.config), base.size):
        said = trace_budget(setup, context=0).torch_peak
        real = measured_peak(base, setup)
        parts = ["nf4,"] if setup.nf4 else []
        parts += [f"{setup.dtype}, {setup.targets} r{setup.rank}"]
        parts += ["DoRA"] if setup.dora else []
        parts += ["with class pictures"] if setup.class_pass else []
        kind = " ".join(parts)
        name = (
            f"{kind}, batch {setup.batch} x {setup.accumulation}, {setup.optimizer}, checkpointing {setup.checkpoint}"
        )
        print(f"| {name} | {said / 2**20:.1f} | {real / 2**20:.1f} | {said / real - 1:+.1%} |", flush=True)
    for setup in drawing_setups(setups(unet_config(base.config), base.size)[0]):
        said, real = predicted_drawing(base, setup), measured_drawing(base, setup)
        name = f"drawing: {'nf4, ' if setup.nf4 else ''}{setup.dtype}, {setup.targets} r{setup.rank}"
        print(f"| {name} | {said / 2**20:.1f} | {real / 2**20:.1f} | {said / real - 1:+.1%} |", flush=True)


if __name__ == "__main__":
    main()
