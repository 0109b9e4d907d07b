"""Setups of the tiny SDXL for the memory planner."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from finetune.core.basemodel.resolve import resolve_base
from finetune.memory.budget import Setup, unet_config


def tiny_setup(base: Path, **changes: Any) -> Setup:
    plain = Setup(
        unet=unet_config(resolve_base(str(base)).config), size=64, batch=8, accumulation=1, dtype="float32",
        checkpoint="none", rank=4, targets="attention+feedforward", dora=False, optimizer="adamw8bit",
        min_8bit_size=512, frozen_pass=True, cuda=False,
    )  # fmt: skip
    return replace(plain, **changes)
