"""Batches of random latents."""

from __future__ import annotations

import torch

from finetune.latents.batches import Batch


def random_batch(count: int, seed: int) -> Batch:
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(count, *shape, generator=draw)

    return Batch(
        latents=normal(4, 8, 8),
        masked=normal(4, 8, 8),
        mask=torch.ones(count, 1, 8, 8),
        product=torch.ones(count, 1, 8, 8),
        ring=torch.zeros(count, 1, 8, 8),
        embeds=normal(77, 64),
        pooled=normal(32),
        time_ids=torch.full((count, 6), 64.0),
        noise=normal(4, 8, 8),
        timesteps=torch.randint(0, 1000, (count,), generator=draw),
        text=torch.zeros(count, dtype=torch.long),
    )
