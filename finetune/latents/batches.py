"""Which examples, noise and timesteps a step sees: pure functions of (seed, step), so a resumed run is the same run.

There is no state. The k-th sample of a run is the k-th of an endless sequence of permutations of the set;
several processes and accumulation take disjoint samples of the same sequence. Where examples come in frames of several
shapes each batch is of one shape: in every N batches (N examples) a shape of n examples has n, in a random order, and
its batches go through endless permutations of those n. So every example is seen as often as any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from finetune.core.device import to_device

if TYPE_CHECKING:
    from torch import Tensor

    from finetune.latents.cache import CachedExamples


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
    text: Tensor | None = None
    """(B,) int64 on the CPU: index of the caption among the examples', the one after the last for the base's null."""
    prior: Batch | None = None
    """As many samples of class pictures, for prior preservation, with noise and timesteps of their own."""


def sample_indices(first: int, count: int, examples: int, seed: int, *, bucket: int = 0) -> list[int]:
    """Indices of samples first .. first + count - 1 of an endless sequence: each epoch is a permutation of its own.

    Args:
        first: number of the first sample.
        count: how many samples.
        examples: size of the set.
        seed: of the permutations.
        bucket: number of the sequence; each bucket has its own.
    """
    indices = []
    for k in range(first, first + count):
        epoch, position = divmod(k, examples)
        order = np.random.default_rng([seed, epoch, bucket]).permutation(examples)  # a last 0 changes nothing
        indices.append(int(order[position]))
    return indices


def batch_indices(number: int, size: int, buckets: Sequence[Sequence[int]], seed: int) -> list[int]:
    """Indices of the examples of the run's batch `number` (0 is the first), all of one bucket.

    Args:
        number: of the batch.
        size: examples per batch.
        buckets: the examples of each frame shape.
        seed: of the order.
    """
    shares = [len(members) for members in buckets]
    cycle, position = divmod(number, sum(shares))
    order = np.random.default_rng([seed, cycle, 0, 2]).permutation(np.repeat(np.arange(len(shares)), shares))
    bucket = int(order[position])
    earlier = cycle * shares[bucket] + int((order[:position] == bucket).sum())
    chosen = sample_indices(earlier * size, size, shares[bucket], seed, bucket=bucket)
    return [buckets[bucket][index] for index in chosen]


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

    Randomness is drawn per sample from (seed, sample number) on the CPU, so it does not depend on the device, nor on
    the batch size where all examples are of one shape.

    Args:
        examples: the set.
        first: number of the first sample; a multiple of `count`.
        count: samples of the batch.
        seed: of order, noise, timesteps and dropout.
        caption_dropout: share of samples with the base's null embedding.
        timesteps_total: length of the noise schedule.
        device: where the batch goes.
    """
    number, rest = divmod(first, count)
    if rest:
        raise ValueError(f"sample {first} is not the first of a batch of {count}")
    indices = batch_indices(number, count, examples.buckets(), seed)
    chosen = torch.tensor(indices)
    shape = examples.latents[indices[0]].shape
    text = examples.text[chosen].clone()
    null = examples.embeds.shape[0] - 1
    noise, timesteps = [], []
    for position, number in enumerate(range(first, first + count)):
        draws = np.random.default_rng([seed, 1, number])
        generator = torch.Generator().manual_seed(int(draws.integers(2**63)))
        noise.append(torch.randn(shape, generator=generator))
        timesteps.append(int(draws.integers(timesteps_total)))
        if draws.random() < caption_dropout:
            text[position] = null
    return Batch(
        latents=_together(examples.latents, indices, device),
        masked=_together(examples.masked, indices, device),
        mask=_together(examples.mask, indices, device),
        product=_together(examples.product, indices, device),
        ring=_together(examples.ring, indices, device),
        embeds=to_device(examples.embeds[text], device),
        pooled=to_device(examples.pooled[text], device),
        time_ids=to_device(examples.time_ids[chosen], device),
        noise=to_device(torch.stack(noise), device),
        timesteps=to_device(torch.tensor(timesteps), device),
        text=text,
    )


def _together(entries: Sequence[Tensor], indices: Sequence[int], device: str) -> Tensor:
    return to_device(torch.stack([entries[index] for index in indices]), device)
