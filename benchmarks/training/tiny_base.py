"""A 4-channel SDXL of about 13 M parameters with random weights: the embedded base's parts around another UNet."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel

from finetune.core.basemodel import EMBEDDED, PARTS, resolve_base

BLOCKS = {
    "block_out_channels": (64, 128, 256),
    "layers_per_block": 1,
    "sample_size": 32,
    "in_channels": 4,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "attention_head_dim": (2, 4, 8),
    "transformer_layers_per_block": (1, 1, 1),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
}


def make_base(folder: Path) -> Path:
    """Write the base in diffusers' layout; returns its folder."""
    embedded = resolve_base(EMBEDDED).path
    for part in PARTS:
        if part != "unet":
            shutil.copytree(embedded / part, folder / part)
    own = json.loads((embedded / "unet" / "config.json").read_text(encoding="utf-8"))
    names = ("cross_attention_dim", "addition_time_embed_dim", "projection_class_embeddings_input_dim")
    torch.manual_seed(0)
    UNet2DConditionModel(**BLOCKS, **{name: own[name] for name in names}).save_pretrained(folder / "unet")
    index = json.loads((embedded / "model_index.json").read_text(encoding="utf-8"))
    index["_class_name"] = "StableDiffusionXLPipeline"
    (folder / "model_index.json").write_text(json.dumps(index, indent=1), encoding="utf-8")
    return folder
