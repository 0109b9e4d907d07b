"""Trains the UNet and both text encoders together on cached latents."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from . import workers
from .architecture import MAX_TOKENS, build_unet
from .captions import caption_for
from .export import fresh_text_encoders, load_tokenizers
from .latents import LatentCache, build_cache, draw_rows
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
    step_randomness,
)
from .world import World


@dataclass(frozen=True)
class DenoiserPlan:
    """How the denoiser is trained. Batches are per process; `late_from` is a share of the budget of `samples`.

    `noise_offset`: the noise gets a random mean of this deviation in each channel (as SDXL's did, arXiv 2307.01952
    section 2.5: 0.05). The last step of the schedule still holds 7 % of the picture, and the mean of 32x32
    normal numbers scatters by 3 %: without it the model reads the scene's colour off the noise, not off the prompt.
    """

    samples: int
    early_size: int = 128
    late_size: int = 256
    late_from: float = 0.5
    early_batch: int = 12
    late_batch: int = 6
    rate: float = 7e-4
    text_factor: float = 0.5
    caption_dropout: float = 0.11
    product_share: float = 0.75
    snr_limit: float = 5.0
    noise_offset: float = 0.15
    mask_variants: int = 2
    late_mask_variants: int = 2
    decay: float = 0.998
    save_minutes: float = 3.0
    end_minutes: float | None = None
    seed: int = 0


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

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Predicted noise (n, 4, h, w). Where `dropped` (n,) is set, text is zeros, pooled too."""
        states, pooled = self.encode_text(batch["ids"], batch["ids_2"])
        kept = (~batch["dropped"]).to(states.dtype)
        states, pooled = states * kept[:, None, None], pooled * kept[:, None]
        nine = torch.cat([batch["noisy"], batch["mask"], batch["masked"]], 1)
        extra = {"text_embeds": pooled, "time_ids": batch["time_ids"]}
        predicted: torch.Tensor = self.unet(nine, batch["steps"], states, added_cond_kwargs=extra).sample
        return predicted


class Batches:
    """Makes training batches from a cache: captions, noise, size conditioning."""

    def __init__(
        self,
        cache: LatentCache,
        tokenizers: tuple[CLIPTokenizer, CLIPTokenizer],
        plan: DenoiserPlan,
        rng: np.random.Generator,
    ) -> None:
        self.cache, self.tokenizers, self.plan, self.rng = cache, tokenizers, plan, rng
        self.noising = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")

    def time_ids(self, count: int) -> torch.Tensor:
        """(n, 6): original size, crop corner, target size; the original size now and then other than usual."""
        size = self.cache.size
        ids = torch.tensor([[256, 256, 0, 0, size, size]], dtype=torch.float32).repeat(count, 1)
        for row in ids:
            if self.rng.random() < 0.2:
                row[:2] = float(self.rng.integers(200, 320))
            elif self.rng.random() < 0.1:
                row[:2] = float(self.rng.choice([512, 768, 1024]))
        return ids

    def draw(self, count: int) -> dict[str, torch.Tensor]:
        """One batch, see `Denoiser.forward`; `noise` is the target, `weight` (n,) the loss's weight."""
        picks, latents, mask, masked = draw_rows(self.cache, self.rng, count)
        share = self.plan.product_share
        captions = [caption_for(self.cache.records[i], self.rng, share) for i in picks.tolist()]
        ids = [
            t(captions, padding="max_length", truncation=True, max_length=MAX_TOKENS, return_tensors="pt").input_ids
            for t in self.tokenizers
        ]
        noise = torch.randn_like(latents)
        noise += self.plan.noise_offset * torch.randn(count, latents.shape[1], 1, 1)
        steps = torch.from_numpy(self.rng.integers(0, 1000, count))
        kept = self.noising.alphas_cumprod[steps]
        snr = kept / (1 - kept)
        return {
            "ids": ids[0],
            "ids_2": ids[1],
            "dropped": torch.from_numpy(self.rng.random(count) < self.plan.caption_dropout),
            "noisy": self.noising.add_noise(latents, noise, steps),
            "mask": mask,
            "masked": masked,
            "noise": noise,
            "steps": steps,
            "weight": snr.clamp(max=self.plan.snr_limit) / snr,
            "time_ids": self.time_ids(count),
        }


def loss_of(model: Denoiser, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, float]]:
    """Noise error, weighted by min-SNR; the log also gets the plain error."""
    with torch.autocast(batch["noisy"].device.type, torch.bfloat16):
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
        model = model.to(device).train()
        text = [*model.text_encoder.parameters(), *model.text_encoder_2.parameters()]
        groups: list[dict[str, Any]] = [
            {"params": list(model.unet.parameters())},
            {"params": text, "factor": plan.text_factor},
        ]
        optimizer = torch.optim.AdamW(groups, lr=plan.rate, betas=(0.9, 0.99), weight_decay=0.01)
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
    """Trains to the plan's budget, small pictures first, resuming from `work`. Processes share the frames."""
    run = DenoiserRun.resume(work, start, plan, device)
    tokenizers = load_tokenizers(work / f"tokenizers-{workers.rank()}")
    mine = list(range(workers.rank(), len(world), workers.count()))
    meter, clock = Meter(work / "denoiser.jsonl"), Clock(plan.save_minutes, plan.end_minutes)
    batches: Batches | None = None
    time_share = 0.0
    while run.samples < plan.samples and time_share < 1:
        share = run.samples / plan.samples
        late = share >= plan.late_from
        size, count = (plan.late_size, plan.late_batch) if late else (plan.early_size, plan.early_batch)
        if batches is None or batches.cache.size != size:
            variants = plan.late_mask_variants if late else plan.mask_variants
            cache = build_cache(vae, world, mine, size, variants, plan.seed + run.step, device)
            batches = Batches(cache, tokenizers, plan, np.random.default_rng(plan.seed))
        batches.rng = step_randomness(plan.seed, run.step, workers.rank())
        batch = {k: v.to(device) for k, v in batches.draw(count).items()}
        loss, parts = loss_of(run.model, batch)
        run.optimizer.zero_grad()
        torch.autograd.backward(loss)
        time_share = workers.agree(run.model, clock.share)
        set_rate(run.optimizer, cooled(learning_rate(plan.rate, run.step, share), time_share))
        clip(run.model.parameters(), 1.0)
        run.optimizer.step()
        run.step, run.samples = run.step + 1, run.samples + count * workers.count()
        run.average.update(run.model, run.step)
        meter.add(parts)
        if run.step % 50 == 0 and workers.rank() == 0:
            facts = {"step": run.step, "samples": run.samples, "size": size}
            meter.write(facts | {"rate": run.optimizer.param_groups[0]["lr"]}, count * workers.count())
        if clock.save_due():
            run.save()
    run.save()
    return run
