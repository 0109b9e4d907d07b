"""Gradient checkpointing of a UNet in three levels; `partial` recomputes only where a byte saved costs least.

diffusers keeps a flag on every block: the flag of a down, middle or up block recomputes its ResNets, the flag of a
transformer its layers one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

LEVELS = ("none", "partial", "all")
"""From the fastest to the one that needs least memory."""


def set_level(unet: Any, level: str, *, context_fn: Callable[[], Any] | None = None) -> int:
    """Turn checkpointing on or off, block by block.

    Args:
        unet: changed in place.
        level: `none`, `partial` or `all`.
        context_fn: contexts of the first and the second computation, as torch's `checkpoint` takes them.

    Returns:
        The number of blocks and transformers that recompute.
    """
    from torch.utils.checkpoint import checkpoint

    extra: dict[str, Any] = {"context_fn": context_fn} if context_fn else {}

    def recompute(module: Any, *args: Any) -> Any:
        # no dropout in this UNet: random state need not be kept, and reading it would wait for the device
        return checkpoint(module.__call__, *args, use_reentrant=False, preserve_rng_state=False, **extra)

    partial = recomputed_in_part(unet)
    chosen = 0
    for name, module in flagged(unet):
        module._gradient_checkpointing_func = recompute
        module.gradient_checkpointing = level == "all" or (level == "partial" and name in partial)
        chosen += module.gradient_checkpointing
    return chosen


def flagged(unet: Any) -> list[tuple[str, Any]]:
    """The modules that have diffusers' flag, by name, in the order of the model."""
    return [(name, module) for name, module in unet.named_modules() if hasattr(module, "gradient_checkpointing")]


def recomputed_in_part(unet: Any) -> set[str]:
    """Names of the blocks that `partial` recomputes, chosen by bytes freed per FLOP recomputed (docs/memory.md).

    The transformers at the higher resolution (the last up block that has any, and its mirror on the way down), the
    ResNets at full resolution on the way up, and of the transformers at the lower resolution those on the way down:
    together half of the bytes. Blocks on the way down are recomputed after the backward pass has freed the rest, so
    they add nothing to the peak.
    """
    blocks = list(unet.up_blocks)
    with_attention = [i for i, block in enumerate(blocks) if getattr(block, "attentions", None)]
    last = f"up_blocks.{with_attention[-1]}." if with_attention else "-"
    transformers = {name for name, module in flagged(unet) if hasattr(module, "transformer_blocks")}
    return {name for name in transformers if name.startswith(("down_blocks.", last))} | {f"up_blocks.{len(blocks) - 1}"}
