"""Start-of-run summary: effective region shares, batch and learning rate.

Shares are those of the examples that will be trained, not those asked for, so a mask that does not apply shows up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from finetune.core.console import count

if TYPE_CHECKING:
    from torch import Tensor


def region_lines(
    product: Sequence[Tensor], ring: Sequence[Tensor], *, product_weight: float, ring_weight: float, elsewhere: float
) -> list[str]:
    """Share of the latents and weight of each region of the loss, and how many examples lack a product.

    Args:
        product: for each example (1, h, w) in 0..1, how much of each latent belongs to the product.
        ring: the same for the ring around it.
        product_weight: weight of the product's loss.
        ring_weight: weight of the ring's loss.
        elsewhere: weight of everything else.
    """
    latents = sum(part.numel() for part in product)
    inside = sum(float(part.sum()) for part in product) / latents
    around = sum(float(part.sum()) for part in ring) / latents
    outside = max(0.0, 1 - inside - around)
    target = "towards the base's own prediction" if elsewhere else "not trained"
    lines = [
        f"latents by region: product {inside:.1%} (weight {product_weight:g}), ring {around:.1%} ({ring_weight:g}), "
        f"elsewhere {outside:.1%} ({elsewhere:g}, {target})"
    ]
    empty = sum(not bool(part.any()) for part in product)
    if empty:
        lines.append(f"{empty} of {len(product)} examples show no product; only the other regions are trained on them")
    return lines


def step_line(
    *, batch: int, accumulation: int, processes: int, learning_rate: float, rank: int, alpha: float, rslora: bool
) -> str:
    """Samples per optimizer step, and the learning rate times the adapter's scale.

    Under Adam each weight moves by about the learning rate, and what the adapter adds to a layer is scaled by
    alpha / rank (rsLoRA: alpha / sqrt(rank)); their product is what has to be compared between recipes.
    """
    scale = alpha / (rank**0.5 if rslora else rank)
    root = "sqrt(rank)" if rslora else "rank"
    samples = batch * accumulation * processes
    return (
        f"{count(samples, 'sample')} a step (batch {batch} x accumulation {accumulation} x "
        f"{count(processes, 'process', 'processes')}), learning rate {learning_rate:g} x scale {scale:g} "
        f"(alpha {alpha:g} / {root}) = {learning_rate * scale:.3g}"
    )
