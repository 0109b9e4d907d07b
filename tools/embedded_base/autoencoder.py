"""Trains the autoencoder on crops of the world's frames and on made-up textures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from PIL import Image

from . import workers
from .architecture import LATENT_CHANNELS, build_autoencoder
from .pacing import Average, Budget, Meter, clip, learning_rate, load_state, save_state, set_rate
from .textures import texture
from .world import World, may_mirror


@dataclass(frozen=True)
class AutoencoderPlan:
    """How the autoencoder is trained.

    `crops` lists (share of the budget, side in pixels), small ones first: what the
    latents carry (colour above all) takes steps rather than pixels to learn.
    `batch` is per process, for crops of 64; it grows as crops get smaller.
    `anchored` latent channels are tied to axes of colour, ever less, up to the share
    `anchor_until`. Left alone, the latents fell onto two axes, and green was lost.
    """

    minutes: float
    batch: int = 8
    crops: tuple[tuple[float, int], ...] = ((0.55, 32), (0.85, 64), (1.0, 128))
    rate: float = 1.5e-3
    texture_share: float = 0.15
    kl_weight: float = 1e-4
    anchored: int = 3
    anchor_until: float = 0.6
    latent_noise: float = 0.05
    decay: float = 0.998
    seed: int = 0


def to_signed(pixels: np.ndarray) -> torch.Tensor:
    """Pictures (n, h, w, 3) uint8 to (n, 3, h, w) float in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1


def crop_frame(rng: np.random.Generator, world: World, size: int) -> np.ndarray:
    """A crop (size, size, 3) at one to one, or of the frame made smaller; often on the product."""
    i = int(rng.integers(len(world)))
    frame, mask = world.frames[i], world.masks[i]
    height, width = frame.shape[:2]
    scale = 1.0 if rng.random() < 0.6 else float(rng.uniform(max(0.4, size / height), 1.0))
    span = min(height, round(size / scale))
    inside = np.argwhere(mask[::8, ::8] > 127) * 8 if rng.random() < 0.6 else np.empty((0, 2), int)
    centre = inside[rng.integers(len(inside))] if len(inside) else rng.integers(0, height, 2)
    top, left = np.clip(
        centre + rng.integers(-span // 4, span // 4 + 1, 2) - span // 2, 0, (height - span, width - span)
    )
    crop = frame[top : top + span, left : left + span]
    if span != size:
        crop = np.asarray(Image.fromarray(crop).resize((size, size), Image.Resampling.LANCZOS))
    if rng.random() < 0.5 and may_mirror(world.records[i]):
        crop = crop[:, ::-1]
    return np.asarray(crop)


def make_batch(
    rng: np.random.Generator, world: World, leaves: np.ndarray, plan: AutoencoderPlan, size: int, count: int
) -> torch.Tensor:
    """A batch (n, 3, size, size) in [-1, 1]: mostly frames, some textures, colours varied."""
    crops = []
    for _ in range(count):
        if rng.random() < plan.texture_share:
            leaf = leaves[rng.integers(len(leaves))]
            y, x = rng.integers(0, leaf.shape[0] - size + 1, 2)
            crops.append(leaf[y : y + size, x : x + size])
        else:
            crops.append(crop_frame(rng, world, size))
    batch = to_signed(np.stack(crops))
    for i in range(len(batch)):
        if rng.random() < 0.15:
            batch[i] = batch[i, torch.from_numpy(rng.permutation(3))]
        if rng.random() < 0.15:
            batch[i] = batch[i] * float(rng.uniform(0.6, 1.15)) + float(rng.uniform(-0.3, 0.3))
        if rng.random() < 0.12:
            y, x, h, w = np.add(rng.integers(0, size // 2, 4), (0, 0, 8, 8)).tolist()
            batch[i, :, y : y + h, x : x + w] = 0
    return batch.clamp(-1, 1)


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


def losses_of(
    model: AutoencoderKL, batch: torch.Tensor, plan: AutoencoderPlan, share: float
) -> tuple[torch.Tensor, dict[str, float]]:
    """The training loss of one batch, and its parts for the log.

    `tint` is the error of 8x8 means: without it, colour comes late.
    """
    with torch.autocast(batch.device.type, torch.bfloat16):
        posterior = model.encode(batch).latent_dist
        latents = posterior.sample()
        latents = latents + plan.latent_noise * latents.detach().std() * torch.randn_like(latents)
        made = model.decode(latents).sample
    made, mean = made.float(), posterior.mean.float()
    kl = 0.5 * (mean**2 + posterior.var.float() - 1 - posterior.logvar.float()).mean()
    anchor = F.mse_loss(mean[:, :3], colour_axes(batch), reduction="none").mean((0, 2, 3))[: plan.anchored].sum()
    tint = F.l1_loss(F.avg_pool2d(made, 8), F.avg_pool2d(batch, 8))
    l1, mse, edges = F.l1_loss(made, batch), F.mse_loss(made, batch), edge_loss(made, batch)
    loss = l1 + 2 * mse + 0.5 * edges + 2 * tint + plan.kl_weight * kl
    if plan.anchored and share < plan.anchor_until:
        loss = loss + 0.3 * (1 - share / plan.anchor_until) * anchor
    parts = {"l1": l1, "mse": mse, "edges": edges, "tint": tint, "anchor": anchor, "kl": kl}
    return loss, {k: v.item() for k, v in parts.items()}


@dataclass
class AutoencoderRun:
    """What a run carries from step to step, and how it is put down and taken up."""

    model: AutoencoderKL
    optimizer: torch.optim.AdamW
    average: Average
    checkpoint: Path
    step: int = 0
    minutes: float = 0.0

    @classmethod
    def resume(
        cls, model: AutoencoderKL, checkpoint: Path, plan: AutoencoderPlan, device: torch.device
    ) -> AutoencoderRun:
        """A run that starts with `model`, or the one whose checkpoint there is."""
        model = model.to(device)
        optimizer = torch.optim.AdamW(model.parameters(), lr=plan.rate, betas=(0.9, 0.99), weight_decay=1e-4)
        run = cls(model, optimizer, Average(model, plan.decay), checkpoint)
        if state := load_state(checkpoint):
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            run.average.shadow = {k: v.to(device) for k, v in state["average"].items()}
            run.step, run.minutes = state["step"], state["minutes"]
        return run

    def save(self) -> None:
        """Writes the checkpoint, from the first process only."""
        if workers.rank() == 0:
            state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
            state |= {"average": self.average.shadow, "step": self.step, "minutes": self.minutes}
            save_state(state, self.checkpoint)


def fresh_autoencoder() -> AutoencoderKL:
    """A new model whose posterior starts narrow: unit noise on the latents would drown the picture for long."""
    model = build_autoencoder()
    with torch.no_grad():
        model.quant_conv.weight[LATENT_CHANNELS:] *= 0.1
        model.quant_conv.bias[LATENT_CHANNELS:] = -5.0
    return model


def train_autoencoder(world: World, work: Path, plan: AutoencoderPlan, device: torch.device) -> AutoencoderKL:
    """Trains to the plan's budget, resuming from `work`; returns the averaged, whitened model."""
    torch.manual_seed(plan.seed)
    run = AutoencoderRun.resume(fresh_autoencoder(), work / "autoencoder.pt", plan, device)
    fit(run, world, plan, device)
    return whiten(run.model.eval(), world, device)


def polish_decoder(
    model: AutoencoderKL, world: World, work: Path, plan: AutoencoderPlan, device: torch.device
) -> AutoencoderKL:
    """Trains a finished autoencoder's decoder further; the encoder and so all latents stay as they are."""
    model.encoder.requires_grad_(False)
    model.quant_conv.requires_grad_(False)
    plan = replace(plan, rate=plan.rate / 3, crops=((0.5, 64), (1.0, 128)), kl_weight=0.0, anchored=0)
    run = AutoencoderRun.resume(model.train(), work / "decoder.pt", plan, device)
    fit(run, world, plan, device)
    return run.model.eval()


def fit(run: AutoencoderRun, world: World, plan: AutoencoderPlan, device: torch.device) -> None:
    """Steps to the end of the budget; leaves the averaged weights in the model."""
    rng = np.random.default_rng((plan.seed, run.step, workers.rank()))
    torch.manual_seed(int(rng.integers(2**31)))
    leaves = np.stack([texture(rng, 160) for _ in range(400)])
    budget, meter = Budget(plan.minutes, run.minutes), Meter(run.checkpoint.with_suffix(".jsonl"))
    share = budget.share
    while share < 1:
        size = next(side for until, side in plan.crops if share <= until)
        count = max(1, plan.batch * 64 // size)
        batch = make_batch(rng, world, leaves, plan, size, count).to(device)
        loss, parts = losses_of(run.model, batch, plan, share)
        run.optimizer.zero_grad()
        torch.autograd.backward(loss)
        share = workers.agree(run.model, budget.share)
        set_rate(run.optimizer, learning_rate(plan.rate, run.step, share))
        clip(run.model.parameters(), 1.0)
        run.optimizer.step()
        run.step, run.minutes = run.step + 1, budget.spent
        run.average.update(run.model, run.step)
        meter.add(parts)
        if run.step % 50 == 0 and workers.rank() == 0:
            facts = {"step": run.step, "minutes": round(budget.spent, 2), "crop": size}
            meter.write(facts, count * workers.count())
        if run.step % 200 == 0:
            run.save()
    run.save()
    run.model.load_state_dict(run.average.shadow)


@torch.no_grad()
def encode_mean(model: AutoencoderKL, pictures: torch.Tensor, batch: int = 8) -> torch.Tensor:
    """Pictures (n, 3, h, w) in [-1, 1] to the posterior's mean (n, 4, h/8, w/8), unscaled."""
    parts = [model.encode(pictures[i : i + batch]).latent_dist.mean for i in range(0, len(pictures), batch)]
    return torch.cat(parts)


@torch.no_grad()
def whiten(model: AutoencoderKL, world: World, device: torch.device, count: int = 256) -> AutoencoderKL:
    """Folds a whitening of the latents into the 1x1 convolutions around them.

    Pictures are decoded as before; latents come out centred, uncorrelated and of
    equal spread, which is what the denoiser's noise schedule takes for granted. The
    posterior's spread becomes one number a channel, and small, since the denoiser is
    trained on its mean. The remaining overall spread
    is measured and goes into `scaling_factor`.
    """
    pick = np.linspace(0, len(world) - 1, min(count, len(world))).astype(int)
    pictures = to_signed(world.frames[pick]).to(device)
    latents = encode_mean(model, pictures)
    mean = latents.mean((0, 2, 3))
    spread, axes = torch.linalg.eigh(torch.cov(latents.transpose(0, 1).flatten(1)))
    forward = axes.T / spread.sqrt()[:, None]
    variance = forward.square() @ model.encode(pictures[:8]).latent_dist.var.mean((0, 2, 3))
    after = model.post_quant_conv
    after.bias += after.weight[:, :, 0, 0] @ mean
    after.weight.copy_((after.weight[:, :, 0, 0] @ axes * spread.sqrt())[:, :, None, None])
    before, channels = model.quant_conv, len(mean)
    before.weight[:channels] = (forward @ before.weight[:channels, :, 0, 0])[:, :, None, None]
    before.bias[:channels] = forward @ (before.bias[:channels] - mean)
    before.weight[channels:] = 0
    before.bias[channels:] = variance.clamp(max=1e-3).log()
    model.register_to_config(scaling_factor=round(1 / float(encode_mean(model, pictures).std()), 5))
    return model
