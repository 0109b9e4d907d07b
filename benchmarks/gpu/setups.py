"""What `benchmarks.gpu` measures, by name: presets with their cards, and combinations that are no preset."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from finetune import plan
from finetune.core.config import apply_overrides, find_config, validate
from finetune.core.tracing.device_fit import Device
from finetune.core.yaml_files import read_yaml
from finetune.memory import fit
from finetune.memory.budget import Setup, unet_config
from finetune.settings import TrainConfig

PRESETS = {"sdxl-8gb-nf4": 8, "sdxl-8gb": 8, "sdxl-12gb": 12, "sdxl-16gb": 16, "sdxl-24gb": 24}
"""Name -> nominal size of its card in GB."""
ATTENTION, ALL = "attention", "attention+feedforward"
COMBINATIONS: dict[str, dict[str, Any]] = {
    "batch 4, all": {"batch": 4, "checkpoint": "all", "rank": 16, "targets": ATTENTION},
    "batch 2, partial, AdamW": {"batch": 2, "checkpoint": "partial", "rank": 64, "targets": ALL, "optimizer": "adamw"},
    "batch 2, none, twice": {"batch": 2, "checkpoint": "none", "rank": 8, "targets": ATTENTION, "accumulation": 2},
    "nf4, batch 2, partial": {"batch": 2, "checkpoint": "partial", "rank": 32, "targets": ALL, "nf4": True},
    "DoRA, 768 px": {"batch": 1, "checkpoint": "none", "rank": 16, "targets": ATTENTION, "dora": True, "size": 768},
}
"""Setups none of which is a preset: the planner's prediction beside what they take."""
MATMUL, LOOP, BEST = "matmul", "loop", "best-batch"
PARTS = (MATMUL, *PRESETS, LOOP, BEST, *COMBINATIONS)
"""All of it, what matters most first."""
PREDICTED = (*PRESETS, *COMBINATIONS)
TINY = {
    "block_out_channels": [32, 64, 64], "attention_head_dim": [2, 4, 4], "layers_per_block": 1, "norm_num_groups": 16,
    "transformer_layers_per_block": [1, 1, 2], "cross_attention_dim": 64, "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 80,
}  # fmt: skip


@dataclass(frozen=True)
class Card:
    """A GPU of a nominal size."""

    gigabytes: int

    @property
    def for_torch(self) -> int:
        """Bytes that torch may have of it: without what the driver and CUDA's context take."""
        card = fit.named_device(f"{self.gigabytes}GB")
        return card.memory - card.context


@dataclass(frozen=True)
class Named:
    """A setup with its config."""

    name: str
    config: TrainConfig
    setup: Setup
    card: Card | None = None


def named(name: str, *, cuda: bool, tiny: bool) -> Named:
    """The setup of a part; on a CPU, or with `tiny`, the same on a small UNet."""
    preset = name if name in PRESETS else "sdxl-24gb"
    config, setup = _preset(preset, cuda=cuda, tiny=tiny)
    if name in PRESETS:
        return Named(name, config, setup, Card(PRESETS[name]))
    setup = replace(setup, batch=1, accumulation=1, checkpoint="none", rank=16, targets=ATTENTION)
    if name == LOOP:  # as the bare loop: no second target, torch's AdamW
        setup = replace(setup, frozen_pass=False, optimizer="adamw")
    changes = COMBINATIONS.get(name, {})
    small = {"rank": 4, "size": 64} if tiny else {}
    return Named(name, config, replace(setup, **(changes | small)))


def _preset(name: str, *, cuda: bool, tiny: bool) -> tuple[TrainConfig, Setup]:
    path = find_config(name, "train")
    overrides = ["data.size=64", "adapter.rank=4", "train.accumulation=2"] if tiny else []
    config = validate(TrainConfig, apply_overrides(read_yaml(path), overrides), path.name)
    card = fit.named_device("24GB")
    where = card if cuda else Device("CPU", card.memory, cuda=False, context=0)
    shape = unet_config(plan.base_folder(config)[0]) | (TINY if tiny else {})
    return config, plan.setup_of(config, shape, where)
