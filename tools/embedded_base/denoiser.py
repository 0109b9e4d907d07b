"""Trains the UNet and both text encoders together on cached latents."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from finetune.core.device import pick_dtype

from . import workers
from .architecture import build_unet
from .batches import Batch, Batches, ahead
from .export import fresh_text_encoders, load_tokenizers
from .latents import build_cache
from .pacing import (
    Average,
    Clock,
    Meter,
    clip,
    cooled,
    learning_rate,
    load_state,
    save_state,
    set_rate,
)
from .world import World

LOG_STEPS = 50


@dataclass(frozen=True)
class DenoiserPlan:
    """How the denoiser is trained. Batches are per process; `late_from` is a share of the budget of `samples`."""

    samples: int
    early_size: int = 128
    late_size: int = 256
    late_from: float = 0.5
    early_batch: int = 12
    late_batch: int = 6
    rate: float = 7e-4
    text_factor: float = 0.5
    mask_variants: int = 2
    late_mask_variants: int = 2
    decay: float = 0.998
    save_minutes: float = 3.0
    end_minutes: float | None = None
    seed: int = 0

    def stage(self, samples: int) -> tuple[int, int, int, int]:
        """What comes after so many samples: side in pixels, batch, mask variants, and the samples up to which."""
        turn = round(self.late_from * self.samples)
        if samples < turn:
            return self.early_size, self.early_batch, self.mask_variants, turn
        return self.late_size, self.late_batch, self.late_mask_variants, self.samples


class Denoiser(nn.Module):
    """UNet and text encoders as one module with one loss."""

    def __init__(
        self, unet: UNet2DConditionModel, text_encoder: CLIPTextModel, text_encoder_2: CLIPTextModelWithProjection
    ) -> None:
        super().__init__()
        self.unet = unet
        self.text_encoder = text_encoder
        self.text_encoder_2 = text_encoder_2

    def encode_text(self, ids: torch.Tensor, ids_2: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids (n, 77) twice to states (n, 77, 256) and pooled (n, 160), as SDXL's pipeline does."""
        first = self.text_encoder(ids, output_hidden_states=True).hidden_states[-2]
        second = self.text_encoder_2(ids_2, output_hidden_states=True)
        return torch.cat([first, second.hidden_states[-2]], -1), second.text_embeds

    def forward(self, batch: Batch) -> torch.Tensor:
        """Predicted noise (n, 4, h, w). Where `dropped` (n,) is set, text is zeros, pooled too."""
        states, pooled = self.encode_text(batch["ids"], batch["ids_2"])
        kept = (~batch["dropped"]).to(states.dtype)
        states, pooled = states * kept[:, None, None], pooled * kept[:, None]
        nine = torch.cat([batch["noisy"], batch["mask"], batch["masked"]], 1)
        extra = {"text_embeds": pooled, "time_ids": batch["time_ids"]}
        predicted: torch.Tensor = self.unet(nine, batch["steps"], states, added_cond_kwargs=extra).sample
        return predicted


def loss_of(model: Denoiser, batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
    """Noise error, weighted by min-SNR; the log also gets the plain error."""
    device = batch["noisy"].device
    dtype = pick_dtype("auto", str(device), batch=len(batch["noisy"]))
    with torch.autocast(device.type, torch.bfloat16, enabled=dtype is not torch.float32):
        predicted = model(batch)
    errors = ((predicted.float() - batch["noise"]) ** 2).mean((1, 2, 3))
    loss = (errors * batch["weight"]).mean()
    return loss, {"loss": loss.item(), "plain": errors.mean().item()}


@dataclass
class DenoiserRun:
    """What a run carries from step to step, and how it is put down and taken up."""

    model: Denoiser
    optimizer: torch.optim.AdamW
    average: Average
    checkpoint: Path
    step: int = 0
    samples: int = 0

    @classmethod
    def resume(cls, work: Path, start: Path | None, plan: DenoiserPlan, device: torch.device) -> DenoiserRun:
        """The run whose checkpoint lies in `work`; else a new one, from the folder `start` if given."""
        torch.manual_seed(plan.seed)
        model = load_denoiser(start) if start else fresh_denoiser(work)
        model = model.to(device, memory_format=torch.channels_last).train()
        text = [*model.text_encoder.parameters(), *model.text_encoder_2.parameters()]
        groups: list[dict[str, Any]] = [
            {"params": list(model.unet.parameters())},
            {"params": text, "factor": plan.text_factor},
        ]
        optimizer = torch.optim.AdamW(
            groups, lr=plan.rate, betas=(0.9, 0.99), weight_decay=0.01, fused=device.type == "cuda"
        )
        run = cls(model, optimizer, Average(model, plan.decay), work / "denoiser.pt")
        if state := load_state(run.checkpoint):
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            run.average.shadow = {k: v.to(device) for k, v in state["average"].items()}
            run.step, run.samples = state["step"], state["samples"]
        return run

    def save(self) -> None:
        """Writes the checkpoint, from the first process only."""
        if workers.rank() == 0:
            state: dict[str, Any] = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
            state |= {
                "average": self.average.shadow,
                "step": self.step,
                "samples": self.samples,
            }
            save_state(state, self.checkpoint)


def fresh_denoiser(work: Path) -> Denoiser:
    """An untrained denoiser for the tokenizers, which are written under `work`."""
    return Denoiser(build_unet(), *fresh_text_encoders(work))


def load_denoiser(folder: Path) -> Denoiser:
    """The denoiser of a folder in diffusers' layout, in float32."""
    return Denoiser(
        UNet2DConditionModel.from_pretrained(folder, subfolder="unet", torch_dtype=torch.float32),
        CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32),
        CLIPTextModelWithProjection.from_pretrained(folder / "text_encoder_2", dtype=torch.float32),
    )


def train_denoiser(
    world: World, vae: AutoencoderKL, work: Path, start: Path | None, plan: DenoiserPlan, device: torch.device
) -> DenoiserRun:
    """Trains to the plan's budget or to the end of this start's time, small pictures first, resuming from `work`.

    Processes share the frames.
    """
    run = DenoiserRun.resume(work, start, plan, device)
    tokenizers = load_tokenizers(work / f"tokenizers-{workers.rank()}")
    mine = range(workers.rank(), len(world), workers.count())
    clock = Clock(plan.save_minutes, plan.end_minutes)
    over = False
    while not over and run.samples < plan.samples:
        size, count, variants, until = plan.stage(run.samples)
        store = work / f"latents-{size}-{workers.rank()}.pt"
        cache = build_cache(vae, world, mine, size, variants, device, store)
        over = train_stage(run, Batches(cache, tokenizers), plan, count, until, clock)
    run.save()
    return run


def train_stage(run: DenoiserRun, batches: Batches, plan: DenoiserPlan, count: int, until: int, clock: Clock) -> bool:
    """Steps with batches of `count` up to `until` samples; returns whether this start's time is over."""
    meter = Meter(run.checkpoint.with_suffix(".jsonl"))
    randomness = (np.random.default_rng((plan.seed, step, workers.rank())) for step in itertools.count(run.step))
    drawn = ahead(batches, count, randomness)
    while run.samples < until:
        loss, parts = loss_of(run.model, next(drawn))
        run.optimizer.zero_grad()
        torch.autograd.backward(loss)
        time_share = workers.agree(run.model, clock.share)
        rate = cooled(learning_rate(plan.rate, run.step, run.samples / plan.samples), time_share)
        set_rate(run.optimizer, rate)
        clip(run.model.parameters(), 1.0)
        run.optimizer.step()
        run.step, run.samples = run.step + 1, run.samples + count * workers.count()
        run.average.update(run.model, run.step)
        meter.add(parts)
        if run.step % LOG_STEPS == 0 and workers.rank() == 0:
            facts = {"step": run.step, "samples": run.samples, "size": batches.cache.size, "rate": rate}
            meter.write(facts, count * workers.count())
        if clock.save_due():
            run.save()
        if time_share >= 1:
            return True
    return False
