"""How well an adapter predicts the noise on the product of examples it never saw. Called by `sweep`.

Every held-out example is noised at the same timesteps with the same noise, whatever the adapter, and the squared error
is taken over the product's region alone, each example normalised by its own area. No caption is dropped and no
min-SNR weight applied, so that runs with different objectives are held to one measure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from finetune.core.basemodel.resolve import ResolvedBase
    from finetune.core.products.catalog import Workspace
    from finetune.core.products.prepared import PreparedSet
    from finetune.latents.cache import CachedExamples
    from finetune.settings import TrainConfig

DRAWS = 6
"""Timesteps an example, evenly spread."""
BATCH = 8


@dataclass(frozen=True)
class HeldOut:
    """Held-out examples and the schedule they are noised by."""

    examples: CachedExamples
    alphas: Any
    """(T,) cumulative products."""
    prediction_type: str


def held_out(
    workspace: Workspace, prepared: PreparedSet, base: ResolvedBase, config: TrainConfig, scheduler: Any
) -> HeldOut:
    """The held-out examples of a prepared set, on the CPU, through the training cache.

    Raises:
        RunError: the set holds none out.
    """
    from finetune.latents.cache import RowSet, build_caches
    from finetune.latents.examples import split_rows

    rows = RowSet(split_rows(workspace.cache, prepared, base, "validation"), config.objective.ring_px)
    (examples,) = build_caches(workspace.cache, base, [rows], device="cpu", progress=lambda *_: None)
    return HeldOut(examples, scheduler.alphas_cumprod, base.prediction_type)


def loss_of(unet: Any, held: HeldOut) -> float:
    """Mean squared error on the product's region over all held-out examples and timesteps."""
    import torch

    from finetune.training import objective
    from finetune.training.loop import predict

    losses = []
    training = unet.training
    unet.eval()
    with torch.no_grad():
        for batch in _batches(held):
            noisy = objective.add_noise(batch.latents, batch.noise, held.alphas, batch.timesteps)
            goal = objective.target(batch.latents, batch.noise, held.alphas, batch.timesteps, held.prediction_type)
            squared = (predict(unet, batch, noisy, torch.float32) - goal).square() * batch.product
            losses.append(squared.sum(dim=(1, 2, 3)) / (4 * batch.product.sum(dim=(1, 2, 3))).clamp_min(1e-6))
    unet.train(training)
    return float(torch.cat(losses).mean())


def _batches(held: HeldOut) -> Iterator[Any]:
    """Every example at every timestep, in batches of one frame shape."""
    import torch

    from finetune.latents.batches import Batch

    found, total = held.examples, len(held.alphas)
    steps = [int((k + 0.5) * total / DRAWS) for k in range(DRAWS)]
    for bucket in found.buckets():
        pairs = [(index, draw) for index in bucket for draw in range(DRAWS)]
        for first in range(0, len(pairs), BATCH):
            chosen = pairs[first : first + BATCH]
            picked = torch.tensor([index for index, _ in chosen])
            noise = [
                torch.randn(found.latents[index].shape, generator=torch.Generator().manual_seed(index * DRAWS + draw))
                for index, draw in chosen
            ]

            def together(entries: Any, picked: Any = picked) -> Any:
                return torch.stack([entries[int(index)] for index in picked])

            yield Batch(
                latents=together(found.latents),
                masked=together(found.masked),
                mask=together(found.mask),
                product=together(found.product),
                ring=together(found.ring),
                embeds=found.embeds[found.text[picked]],
                pooled=found.pooled[found.text[picked]],
                time_ids=found.time_ids[picked],
                noise=torch.stack(noise),
                timesteps=torch.tensor([steps[draw] for _, draw in chosen]),
            )
