"""Adapters that are written to be judged, and the scores of a report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from finetune.core.adapters import file as adapter_file
from finetune.core.basemodel.load import load_unet
from finetune.core.basemodel.resolve import resolve_base
from finetune.unet.lora import add_lora, lora_parameters, lora_state


def write_adapter(
    folder: Path,
    base: Path,
    *,
    noise: float,
    seed: int = 2,
    sku: str = "bottle01",
    rank: int = 4,
    targets: str = "attention",
) -> Path:
    """An adapter whose B matrices hold `noise` times normal noise: 0 makes the adapter of zeros."""
    import torch

    resolved = resolve_base(str(base))
    unet = load_unet(resolved, dtype=torch.float32, device="cpu")[0]
    config, _ = add_lora(unet, rank=rank, alpha=rank, rslora=False, dora=False, targets=targets, seed=0)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for weight in lora_parameters(unet):
            weight.add_(noise * torch.randn_like(weight))
    folder.mkdir(parents=True)
    manifest = {"base": resolved.summary(), "sku": sku}
    adapter_file.write_adapter(folder / adapter_file.WEIGHTS, lora_state(unet), config, manifest)
    return folder


def values_in(report: dict[str, Any]) -> dict[str, float | None]:
    return {score["name"]: score["value"] for score in report["scores"]}
