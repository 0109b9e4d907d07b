"""Adapters of the tiny UNet: written, attached, painted with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from finetune.core.adapters import file as adapter_file
from finetune.core.basemodel.load import load_unet
from finetune.core.basemodel.resolve import ResolvedBase
from finetune.core.painting.inpainter import Inpainter, Sampling
from finetune.unet.lora import add_lora, lora_parameters, lora_state

if TYPE_CHECKING:
    import torch
    from diffusers import UNet2DConditionModel


PLAIN: dict[str, Any] = {"rank": 4, "alpha": 4, "rslora": False, "dora": False, "targets": "attention", "seed": 0}


KINDS = {
    "plain": {},
    "alpha is not rank": {"alpha": 11},
    "rslora": {"rslora": True, "alpha": 8},
    "dora": {"dora": True},
    "feedforward": {"targets": "attention+feedforward"},
    "everything": {"targets": "attention+feedforward", "rslora": True, "dora": True, "alpha": 7, "rank": 3},
}


def fresh_unet(base: ResolvedBase, dtype: str = "float32") -> UNet2DConditionModel:
    import torch

    return load_unet(base, dtype=getattr(torch, dtype), device="cpu")[0].eval()


def output(unet: UNet2DConditionModel) -> torch.Tensor:
    """What the UNet predicts for one fixed input."""
    import torch

    draw, config = torch.Generator().manual_seed(1), unet.config
    pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
    with torch.no_grad():
        return unet(
            torch.randn(2, config.in_channels, 8, 8, generator=draw).to(unet.dtype),
            torch.tensor([300, 700]),
            torch.randn(2, 5, config.cross_attention_dim, generator=draw).to(unet.dtype),
            added_cond_kwargs={
                "text_embeds": torch.randn(2, pooled, generator=draw).to(unet.dtype),
                "time_ids": torch.tensor([[64.0, 64, 0, 0, 64, 64]] * 2).to(unet.dtype),
            },
        ).sample


def write_trained(folder: Path, base: ResolvedBase, **options: Any) -> tuple[Path, torch.Tensor, int]:
    """An adapter as training would leave it, its file written: path, the UNet's output with it, its module count.

    All of its weights are moved, DoRA's magnitudes too: a fresh adapter is the identity and would prove nothing.
    """
    import torch

    unet = fresh_unet(base)
    config, size = add_lora(unet, **(PLAIN | options))
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        for weight in lora_parameters(unet):
            weight.add_(0.1 * torch.randn_like(weight))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / adapter_file.WEIGHTS
    manifest = {"base": base.summary(), "token": "prfm01", "label": "Nº 5"}
    adapter_file.write_adapter(path, lora_state(unet), config, manifest)
    return path, output(unet.eval()), size.modules


def picture_and_mask() -> tuple[Image.Image, np.ndarray]:
    ramp = np.linspace(0, 255, 64 * 64 * 3).reshape(64, 64, 3).astype(np.uint8)
    mask = np.zeros((64, 64), bool)
    mask[16:48, 8:56] = True
    return Image.fromarray(ramp), mask


def painted(inpainter: Inpainter) -> np.ndarray:
    picture, mask = picture_and_mask()
    sampling = Sampling(steps=2, guidance=2.0)
    return np.asarray(inpainter.paint(picture, mask, "a bottle on sand", sampling=sampling, seed=3))
