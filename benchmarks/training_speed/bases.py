"""4-channel SDXL bases with random weights, written in diffusers' layout: a small one, and SDXL at its full size."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from finetune.core.basemodel.base_files import PARTS
from finetune.core.basemodel.clip_vocabulary import load_tokenizer
from finetune.core.basemodel.resolve import EMBEDDED, resolve_base, single_file_config

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


def make_tiny(folder: Path) -> Path:
    """About 13 M parameters, the embedded base's other parts around them; returns the folder."""
    import torch
    from diffusers import UNet2DConditionModel

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


def make_full_size(
    folder: Path,
    *,
    device: str,
    changes: dict[str, dict[str, Any]] | None = None,
    channels: int = 4,
    variant: str | None = None,
) -> Path:
    """SDXL by its public configuration, in 16 bits (7 GB on disk); returns the folder.

    Random weights do for time and memory: neither depends on their values.

    Args:
        device: where the random numbers are drawn.
        changes: part -> entries of its configuration to replace, to try this out small.
        channels: of the UNet's input, 4 or 9.
        variant: `fp16` for fp16 files with that in their names, as people download SDXL; else plain names, in bf16.
    """
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    source, changes = single_file_config(channels, "SDXL"), changes or {}
    dtype = torch.float16 if variant == "fp16" else torch.bfloat16
    torch.manual_seed(0)
    for name, kind in (("unet", UNet2DConditionModel), ("vae", AutoencoderKL)):
        config = kind.load_config(str(source / name)) | changes.get(name, {})
        with torch.device(device):
            model = kind.from_config(config)
        model.to(dtype).save_pretrained(folder / name, variant=variant)
        del model
    for name, text in (("text_encoder", CLIPTextModel), ("text_encoder_2", CLIPTextModelWithProjection)):
        settings = CLIPTextConfig.from_pretrained(str(source / name), **changes.get(name, {}))
        with torch.device(device):
            encoder = text(settings)
        encoder.to(dtype).save_pretrained(folder / name, variant=variant)
        del encoder
    for name in ("tokenizer", "tokenizer_2"):
        load_tokenizer(source / name).save_pretrained(folder / name)
    shutil.copytree(source / "scheduler", folder / "scheduler")
    shutil.copyfile(source / "model_index.json", folder / "model_index.json")
    return folder
