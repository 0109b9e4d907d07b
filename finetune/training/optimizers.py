"""Optimizers and learning-rate schedules, all from libraries."""

from __future__ import annotations

import contextlib
import importlib.util
import io
from typing import TYPE_CHECKING, Any

from finetune.core.errors import ConfigError
from finetune.unet.nf4 import import_bitsandbytes

if TYPE_CHECKING:
    import torch

SCHEDULES = {"constant": "constant_with_warmup", "cosine": "cosine", "linear": "linear"}

BETAS = {"adamw8bit": (0.9, 0.999), "adamw": (0.9, 0.999), "prodigy": (0.9, 0.99)}
"""Decay rates where none are given."""


def check_optimizer(name: str) -> None:
    """Refuse an optimizer whose package is not installed, before anything loads.

    Raises:
        ConfigError: its package is not installed.
    """
    if name == "prodigy" and importlib.util.find_spec("prodigyopt") is None:
        raise ConfigError(
            "prodigyopt is not installed", "run: pip install 'packshot[optimizers]'; or set train.optimizer=adamw"
        )


def make_optimizer(
    name: str,
    parameters: list[torch.nn.Parameter],
    *,
    learning_rate: float,
    weight_decay: float,
    betas: tuple[float, float] | None,
    min_8bit_size: int,
) -> torch.optim.Optimizer:
    """`adamw8bit` (bitsandbytes, block-wise 8-bit state, arXiv 2110.02861), `adamw` (torch) or `prodigy` (prodigyopt).

    Args:
        name: one of `BETAS`.
        parameters: to optimize.
        learning_rate: peak rate.
        weight_decay: decoupled weight decay.
        betas: decay rates of the moments; None for those usual with this optimizer (`BETAS`).
        min_8bit_size: tensors with fewer elements keep 32-bit moments.

    Raises:
        ConfigError: an unknown name, or its package can't be imported on this machine.
    """
    import torch

    if name not in BETAS:
        raise ConfigError(f"unknown optimizer '{name}'", f"choose one of {', '.join(BETAS)}")
    betas = betas or BETAS[name]
    if name == "adamw":
        return torch.optim.AdamW(parameters, lr=learning_rate, betas=betas, weight_decay=weight_decay, fused=True)
    if name == "prodigy":
        return _prodigy(parameters, learning_rate, weight_decay, betas)
    optimizer: torch.optim.Optimizer = import_bitsandbytes("optim").AdamW8bit(
        parameters, lr=learning_rate, betas=betas, weight_decay=weight_decay, min_8bit_size=min_8bit_size
    )
    return optimizer


def _prodigy(
    parameters: list[torch.nn.Parameter], learning_rate: float, weight_decay: float, betas: tuple[float, float]
) -> torch.optim.Optimizer:
    """Prodigy (arXiv 2306.06101) as its authors advise for diffusion models: it finds the step size by itself.

    Bias correction on, and the learning rate kept out of the estimate's denominator, so that a warm-up does no harm.
    """
    check_optimizer("prodigy")
    from prodigyopt import Prodigy

    with contextlib.redirect_stdout(io.StringIO()):  # it prints a line about weight decay; stdout is data
        optimizer: torch.optim.Optimizer = Prodigy(
            parameters,
            lr=learning_rate,
            betas=betas,
            weight_decay=weight_decay,
            decouple=True,
            use_bias_correction=True,
            safeguard_warmup=True,
        )
    return optimizer


def learning_rate(optimizer: Any, schedule: Any) -> float:
    """The current learning rate: the schedule's; for Prodigy times its own estimate of the step size."""
    return float(schedule.get_last_lr()[0]) * float(optimizer.param_groups[0].get("d", 1.0))


def eight_bit_share(optimizer: Any) -> float:
    """Share of the optimizer's moment elements held in 8 bits, 0..1, after at least one step.

    bitsandbytes silently keeps small tensors in 32 bits; a run prints this share.
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
