"""The denoiser's loss on frames that it never saw, at noise and timesteps that never change: has it flattened?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL

from .batches import Batches
from .denoiser import Denoiser, loss_of
from .export import load_tokenizers
from .latents import build_cache
from .world import World

BATCH = 8


@torch.no_grad()
def held_out_loss(
    model: Denoiser,
    vae: AutoencoderKL,
    world: World,
    work: Path,
    device: torch.device,
    *,
    size: int,
    frames: int,
    draws: int,
) -> float:
    """Mean training loss of `draws` samples of `frames` held-out frames, evenly chosen, at `size` pixels.

    Two calls with the same frames differ by the model alone.
    """
    chosen = np.unique(np.linspace(0, len(world) - 1, frames).round().astype(int)).tolist()
    cache = build_cache(vae, world, chosen, size, 2, device, work / f"latents-held-out-{size}.pt")
    batches = Batches(cache, load_tokenizers(work / "tokenizers-held-out"), caption_dropout=0.0)
    model = model.to(device).eval()
    losses = [
        loss_of(model, batches.draw(np.random.default_rng((1, start)), BATCH))[1]["loss"]
        for start in range(0, draws, BATCH)
    ]
    return float(np.mean(losses))
