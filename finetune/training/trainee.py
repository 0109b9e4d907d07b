"""The UNet in training, with everything that changes its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from finetune.training.oom_backoff import BackOff

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator


@dataclass(frozen=True)
class Trainee:
    """One process's share of a training: accelerator, adapted UNet, optimizer and the settings of a step."""

    accelerator: Accelerator
    unet: Any
    """With its adapter, as `accelerator.prepare` returned it."""
    optimizer: Any
    """As `accelerator.prepare` returned it."""
    lr_schedule: Any
    """Learning-rate schedule; steps once per optimizer step."""
    dtype: torch.dtype
    """Precision of the frozen base and of the forward pass."""
    memory: BackOff
    """Samples per forward pass, and what to do when they do not fit."""
    max_grad_norm: float
    """Gradients are clipped to this norm."""

    @property
    def device(self) -> str:
        """The device this process computes on."""
        return str(self.accelerator.device)

    @property
    def bare_unet(self) -> Any:
        """The UNet without accelerate's wrappers; its adapter may be switched off and on."""
        return self.accelerator.unwrap_model(self.unet)
