"""Trains the autoencoder: pixels and features first, a critic beside them for the last third of the samples."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL

from finetune.core.device import pick_dtype

from . import workers
from .architecture import LATENT_CHANNELS, build_autoencoder
from .crops import make_batch
from .judges import PatchCritic, Perception, balanced_gradient, critic_loss
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
from .textures import texture
from .whitening import whiten
from .world import World

LEAVES, LEAF_SIZE = 400, 160
LOG_STEPS = 50


@dataclass(frozen=True)
class AutoencoderPlan:
    """How the autoencoder is trained.

    `samples` is the budget in crops, over all the starts of a run. `crops` lists (share of the budget, side in
    pixels), small ones first: what the latents carry (colour above all) takes steps rather than pixels to learn.
    `batch` is per process, for crops of 64; it grows as crops get smaller.
    `anchored` latent channels are tied to axes of colour, ever less, up to the share
    `anchor_until`. Left alone, the latents fell onto two axes, and green was lost.
    From the share `critic_from` on a critic judges too; its gradient at the picture grows to `critic_weight` times
    the others' over `critic_ramp` of the budget.
    """

    samples: int
    batch: int = 8
    crops: tuple[tuple[float, int], ...] = ((0.25, 32), (0.4, 64), (1.0, 128))
    rate: float = 1.5e-3
    kl_weight: float = 1e-4
    feature_weight: float = 0.5
    anchored: int = 3
    anchor_until: float = 0.25
    latent_noise: float = 0.05
    critic_from: float = 2 / 3
    critic_ramp: float = 0.03
    critic_weight: float = 0.4
    critic_rate: float = 3e-4
    decay: float = 0.999
    save_minutes: float = 3.0
    end_minutes: float | None = None
    seed: int = 0

    def crop_size(self, share: float) -> int:
        """Side in pixels of the crops at a share of the budget."""
        return next(side for until, side in self.crops if share < until or until == self.crops[-1][0])

    def critic_now(self, share: float) -> float:
        """Weight of the critic's gradient at a share of the budget."""
        return self.critic_weight * min(1.0, max(0.0, (share - self.critic_from) / self.critic_ramp))


def edge_loss(made: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """L1 of the first differences and of the Laplacian, at full and at half size."""
    loss = made.new_zeros(())
    for _ in range(2):
        error = made - true
        loss = loss + (error[..., 1:] - error[..., :-1]).abs().mean()
        loss = loss + (error[..., 1:, :] - error[..., :-1, :]).abs().mean()
        around = F.avg_pool2d(error, 3, stride=1)
        loss = loss + (error[..., 1:-1, 1:-1] - around).abs().mean()
        made, true = F.avg_pool2d(made, 2), F.avg_pool2d(true, 2)
    return loss


def colour_axes(batch: torch.Tensor) -> torch.Tensor:
    """Green to magenta, blue to yellow, and luminance of 8x8 means: (n, 3, h/8, w/8), of about unit spread."""
    red, green, blue = F.avg_pool2d(batch, 8).unbind(1)
    return torch.stack([(2 * green - red - blue) * 2, (blue - (red + green) / 2) * 2, (red + green + blue) * 0.7], 1)


def picture_loss(
    made: torch.Tensor, true: torch.Tensor, perception: Perception, plan: AutoencoderPlan
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """How far pictures (n, 3, s, s) are from the true ones, and the parts of it for the log.

    `tint` is the error of 8x8 means: without it, colour comes late.
    """
    tint = F.l1_loss(F.avg_pool2d(made, 8), F.avg_pool2d(true, 8))
    l1, mse, edges = F.l1_loss(made, true), F.mse_loss(made, true), edge_loss(made, true)
    features = perception(made, true)
    loss = l1 + mse + 0.3 * edges + 2 * tint + plan.feature_weight * features
    return loss, {"l1": l1, "mse": mse, "edges": edges, "tint": tint, "features": features}


def latent_loss(
    mean: torch.Tensor, variance: torch.Tensor, batch: torch.Tensor, plan: AutoencoderPlan, share: float
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """What keeps the latents (n, 4, h/8, w/8) in bounds and, early on, on axes of colour."""
    kl = 0.5 * (mean**2 + variance - 1 - variance.log()).mean()
    anchor = F.mse_loss(mean[:, :3], colour_axes(batch), reduction="none").mean((0, 2, 3))[: plan.anchored].sum()
    loss = plan.kl_weight * kl
    if plan.anchored and share < plan.anchor_until:
        loss = loss + 0.3 * (1 - share / plan.anchor_until) * anchor
    return loss, {"anchor": anchor, "kl": kl}


@dataclass
class AutoencoderRun:
    """What a run carries from step to step, and how it is put down and taken up."""

    model: AutoencoderKL
    critic: PatchCritic
    optimizer: torch.optim.AdamW
    critic_optimizer: torch.optim.AdamW
    average: Average
    checkpoint: Path
    step: int = 0
    samples: int = 0
    parts: dict[str, float] = field(default_factory=dict)
    """Losses of the last step."""

    @classmethod
    def resume(
        cls, model: AutoencoderKL, checkpoint: Path, plan: AutoencoderPlan, device: torch.device
    ) -> AutoencoderRun:
        """A run that starts with `model`, or the one whose checkpoint there is."""
        torch.manual_seed(plan.seed)
        model, critic = model.to(device, memory_format=torch.channels_last), PatchCritic().to(device)
        optimizer = torch.optim.AdamW(model.parameters(), lr=plan.rate, betas=(0.9, 0.99), weight_decay=1e-4)
        critic_optimizer = torch.optim.AdamW(critic.parameters(), lr=plan.critic_rate, betas=(0.5, 0.9))
        run = cls(model, critic, optimizer, critic_optimizer, Average(model, plan.decay), checkpoint)
        if state := load_state(checkpoint):
            model.load_state_dict(state["model"])
            critic.load_state_dict(state["critic"])
            optimizer.load_state_dict(state["optimizer"])
            critic_optimizer.load_state_dict(state["critic_optimizer"])
            run.average.shadow = {k: v.to(device) for k, v in state["average"].items()}
            run.step, run.samples = state["step"], state["samples"]
        return run

    def save(self) -> None:
        """Writes the checkpoint, from the first process only."""
        if workers.rank() == 0:
            state = {"model": self.model.state_dict(), "critic": self.critic.state_dict()}
            state |= {
                "optimizer": self.optimizer.state_dict(),
                "critic_optimizer": self.critic_optimizer.state_dict(),
                "average": self.average.shadow,
                "step": self.step,
                "samples": self.samples,
            }
            save_state(state, self.checkpoint)


def fresh_autoencoder() -> AutoencoderKL:
    """A new model whose posterior starts narrow: unit noise on the latents would drown the picture for long."""
    model = build_autoencoder()
    with torch.no_grad():
        model.quant_conv.weight[LATENT_CHANNELS:] *= 0.1
        model.quant_conv.bias[LATENT_CHANNELS:] = -5.0
    return model


def train_autoencoder(world: World, work: Path, plan: AutoencoderPlan, device: torch.device) -> AutoencoderKL | None:
    """Trains towards the plan's budget, resuming from `work`; returns the averaged, whitened model at its end.

    None where the start's time ended before the budget: whitened latents are for a finished encoder only.
    """
    torch.manual_seed(plan.seed)
    run = AutoencoderRun.resume(fresh_autoencoder(), work / "autoencoder.pt", plan, device)
    fit(run, world, plan, device)
    return whiten(run.model.eval(), world, device) if run.samples >= plan.samples else None


def polish_decoder(
    model: AutoencoderKL, world: World, work: Path, plan: AutoencoderPlan, device: torch.device
) -> AutoencoderKL:
    """Trains a finished autoencoder's decoder further; the encoder and so all latents stay as they are."""
    model.encoder.requires_grad_(False)
    model.quant_conv.requires_grad_(False)
    plan = replace(plan, rate=plan.rate / 3, crops=((1.0, 128),), kl_weight=0.0, anchored=0)
    run = AutoencoderRun.resume(model.train(), work / "decoder.pt", plan, device)
    fit(run, world, plan, device)
    return run.model.eval()


def fit(run: AutoencoderRun, world: World, plan: AutoencoderPlan, device: torch.device) -> None:
    """Steps to the end of the budget or of this start's time; leaves the averaged weights in the model."""
    rng = step_randomness(plan.seed, 0, workers.rank())
    leaves = np.stack([texture(rng, LEAF_SIZE) for _ in range(LEAVES)])
    perception = Perception().to(device)
    meter, clock = Meter(run.checkpoint.with_suffix(".jsonl")), Clock(plan.save_minutes, plan.end_minutes)
    time_share = 0.0
    while run.samples < plan.samples and time_share < 1:
        share = run.samples / plan.samples
        size = plan.crop_size(share)
        count = max(1, plan.batch * 64 // size)
        rng = step_randomness(plan.seed, run.step + 1, workers.rank())
        batch = make_batch(rng, world, leaves, size, count).to(device, memory_format=torch.channels_last)
        time_share = train_step(run, batch, perception, plan, clock)
        run.samples += count * workers.count()
        run.average.update(run.model, run.step)
        meter.add(run.parts)
        if run.step % LOG_STEPS == 0 and workers.rank() == 0:
            facts = {
                "step": run.step,
                "samples": run.samples,
                "crop": size,
                "rate": run.optimizer.param_groups[0]["lr"],
            }
            meter.write(facts, count * workers.count())
        if clock.save_due():
            run.save()
    run.save()
    run.model.load_state_dict(run.average.shadow)


def train_step(
    run: AutoencoderRun, batch: torch.Tensor, perception: Perception, plan: AutoencoderPlan, clock: Clock
) -> float:
    """One step of the model, and of the critic once it judges; returns the share of this start's time that is over."""
    share = run.samples / plan.samples
    with torch.autocast(batch.device.type, **_precision(batch)):
        posterior = run.model.encode(batch).latent_dist
        latents = posterior.sample()
        latents = latents + plan.latent_noise * latents.detach().std() * torch.randn_like(latents)
        made = run.model.decode(latents).sample
    made = made.float()
    seen = made.detach().requires_grad_()
    faithful, parts = picture_loss(seen, batch, perception, plan)
    bounds, latent_parts = latent_loss(posterior.mean.float(), posterior.var.float(), batch, plan, share)
    judging = share >= plan.critic_from
    if judging:
        gradient = balanced_gradient(faithful, -run.critic(seen).mean(), seen, plan.critic_now(share))
    else:
        (gradient,) = torch.autograd.grad(faithful, seen)
    run.optimizer.zero_grad()
    torch.autograd.backward(made, gradient, retain_graph=bounds.requires_grad)
    if bounds.requires_grad:  # not under a frozen encoder
        torch.autograd.backward(bounds)
    time_share = workers.agree(run.model, clock.share)
    set_rate(run.optimizer, cooled(learning_rate(plan.rate, run.step, share), time_share))
    clip(run.model.parameters(), 1.0)
    run.optimizer.step()
    run.parts = {k: v.item() for k, v in (parts | latent_parts).items()}
    if judging:
        run.parts["critic"] = critic_step(run, batch, seen.detach())
    run.step += 1
    return time_share


def critic_step(run: AutoencoderRun, true: torch.Tensor, made: torch.Tensor) -> float:
    """One step of the critic; returns its loss: 2 where it cannot tell, 0 where it always can."""
    loss = critic_loss(run.critic, true, made)
    run.critic_optimizer.zero_grad()
    torch.autograd.backward(loss)
    workers.agree(run.critic, 0.0)
    run.critic_optimizer.step()
    return loss.item()


def _precision(batch: torch.Tensor) -> dict[str, object]:
    """Autocast's settings: on a CPU without instructions for it, bf16 took 2.4 times as long as fp32."""
    dtype = pick_dtype("auto", str(batch.device), batch=len(batch))
    return {"dtype": torch.bfloat16, "enabled": dtype is not torch.float32}
