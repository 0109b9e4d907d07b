"""Optimizers and learning-rate schedules, all from libraries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from finetune.core.errors import ConfigError

if TYPE_CHECKING:
    import torch

SCHEDULES = {"constant": "constant_with_warmup", "cosine": "cosine", "linear": "linear"}


def make_optimizer(
    name: str,
    parameters: list[torch.nn.Parameter],
    *,
    learning_rate: float,
    weight_decay: float,
    betas: tuple[float, float],
    min_8bit_size: int,
) -> torch.optim.Optimizer:
    """`adamw8bit` (bitsandbytes, block-wise 8-bit state, arXiv 2110.02861) or `adamw` (torch).

    Raises:
        ConfigError: an unknown name, or bitsandbytes can't be imported on this machine.
    """
    import torch

    if name == "adamw":
        return torch.optim.AdamW(parameters, lr=learning_rate, betas=betas, weight_decay=weight_decay, fused=True)
    if name != "adamw8bit":
        raise ConfigError(f"unknown optimizer '{name}'", "there are adamw8bit and adamw")
    try:
        from bitsandbytes.optim import AdamW8bit
    except (ImportError, RuntimeError, OSError) as error:
        raise ConfigError(f"bitsandbytes does not load here ({error})", "use --set train.optimizer=adamw") from error
    optimizer: torch.optim.Optimizer = AdamW8bit(
        parameters, lr=learning_rate, betas=betas, weight_decay=weight_decay, min_8bit_size=min_8bit_size
    )
    return optimizer


def eight_bit_share(optimizer: Any) -> float:
    """Share of the optimizer's moment elements held in 8 bits, 0..1, after at least one step.

    bitsandbytes keeps small tensors in 32 bits without a word; this is how a run says what it really did.
    """
    import torch

    inner = getattr(optimizer, "optimizer", optimizer)
    eight = total = 0
    for state in inner.state.values():
        for key in ("state1", "state2", "exp_avg", "exp_avg_sq"):
            if isinstance(moment := state.get(key), torch.Tensor):
                total += moment.numel()
                eight += moment.numel() if moment.dtype == torch.uint8 else 0
    return eight / total if total else 0.0


def make_schedule(name: str, optimizer: Any, *, warmup: int, steps: int) -> Any:
    """Learning-rate schedule over optimizer steps, from diffusers."""
    from diffusers.optimization import get_scheduler

    return get_scheduler(SCHEDULES[name], optimizer, num_warmup_steps=warmup, num_training_steps=steps)
