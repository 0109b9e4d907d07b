"""Which examples, noise and timesteps a step sees: pure functions of (seed, step), so a resumed run is the same run.

Nothing here keeps state. The k-th sample of a run is the k-th of an endless sequence of permutations of the set;
several processes and accumulation take disjoint samples of the same sequence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from torch import Tensor

    from finetune.cache import CachedExamples


@dataclass(frozen=True)
class Batch:
    """What one forward pass needs. B samples, h x w latents."""

    latents: Tensor
    """(B, 4, h, w)"""
    masked: Tensor
    """(B, 4, h, w)"""
    mask: Tensor
    """(B, 1, h, w), 1 = painted"""
    product: Tensor
    """(B, 1, h, w)"""
    ring: Tensor
    """(B, 1, h, w)"""
    embeds: Tensor
    """(B, 77, D)"""
    pooled: Tensor
    """(B, P)"""
    time_ids: Tensor
    """(B, 6)"""
    noise: Tensor
    """(B, 4, h, w)"""
    timesteps: Tensor
    """(B,) int64"""


def sample_indices(first: int, count: int, examples: int, seed: int) -> list[int]:
    """Indices of samples first .. first + count - 1 of the run: each epoch is a permutation of its own."""
    indices = []
    for k in range(first, first + count):
        epoch, position = divmod(k, examples)
        order = np.random.default_rng([seed, epoch]).permutation(examples)
        indices.append(int(order[position]))
    return indices


def make_batch(
    examples: CachedExamples,
    *,
    first: int,
    count: int,
    seed: int,
    caption_dropout: float,
    timesteps_total: int,
    device: str,
) -> Batch:
    """Samples first .. first + count - 1 of the run, with their noise, timesteps and caption dropout.

    Randomness is drawn per sample from (seed, sample number) on the CPU, so it depends neither on the batch size nor
    on the device.
    """
    chosen = torch.tensor(sample_indices(first, count, len(examples), seed))
    text = examples.text[chosen].clone()
    null = examples.embeds.shape[0] - 1
    noise, timesteps = [], []
    for position, number in enumerate(range(first, first + count)):
        draws = np.random.default_rng([seed, 1, number])
        generator = torch.Generator().manual_seed(int(draws.integers(2**63)))
        noise.append(torch.randn(examples.latents.shape[1:], generator=generator))
        timesteps.append(int(draws.integers(timesteps_total)))
        if draws.random() < caption_dropout:
            text[position] = null
    return Batch(
        latents=examples.latents[chosen].to(device),
        masked=examples.masked[chosen].to(device),
        mask=examples.mask[chosen].to(device),
        product=examples.product[chosen].to(device),
        ring=examples.ring[chosen].to(device),
        embeds=examples.embeds[text].to(device),
        pooled=examples.pooled[text].to(device),
        time_ids=examples.time_ids[chosen].to(device),
        noise=torch.stack(noise).to(device),
        timesteps=torch.tensor(timesteps, device=device),
    )
