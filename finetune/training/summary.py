"""What a run is told to do as it really comes out, in a few lines at its start: regions, masks, batch, rates.

Pure functions of what the session holds; called by the training session, which says the lines. Shares are those of the
examples that will be trained, not those that were asked for, so a mask that does not apply is seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def region_lines(
    product: Sequence[Tensor], ring: Sequence[Tensor], *, product_weight: float, ring_weight: float, elsewhere: float
) -> list[str]:
    """Share of the latents and weight of each region of the loss, and how many examples lack a product.

    Args:
        product, ring: for each example, (1, h, w) in 0..1: how much of each latent belongs to it.
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
        lines.append(f"{empty} of {len(product)} examples show no product: only the other regions train on them")
    return lines


def mask_line(kinds: Sequence[str]) -> str:
    """Inpainting masks of the examples with their shares, most frequent first."""
    counts = Counter(kinds).most_common()
    return "inpainting masks: " + ", ".join(f"{kind} {count / len(kinds):.0%}" for kind, count in counts)


def step_line(
    *, batch: int, accumulation: int, processes: int, learning_rate: float, rank: int, alpha: float, rslora: bool
) -> str:
    """Samples an optimizer step, and how fast the adapter's contribution moves.

    Under Adam each weight moves by about the learning rate, and what the adapter adds to a layer is scaled by
    alpha / rank (rsLoRA: alpha / sqrt(rank)); their product is what has to be compared between recipes.
    """
    scale = alpha / (rank**0.5 if rslora else rank)
    root = "sqrt(rank)" if rslora else "rank"
    samples = batch * accumulation * processes
    return (
        f"{samples} sample{'s' if samples > 1 else ''} a step (batch {batch} x accumulation {accumulation} x "
        f"{processes} process{'es' if processes > 1 else ''}), learning rate {learning_rate:g} x scale {scale:g} "
        f"(alpha {alpha:g} / {root}) = {learning_rate * scale:.3g}"
    )
