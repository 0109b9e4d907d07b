"""Makes an autoencoder's latents what a denoiser's noise schedule takes for granted: centred, uncorrelated, even."""

from __future__ import annotations

import numpy as np
import torch
from diffusers import AutoencoderKL

from .crops import to_signed
from .world import World


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
