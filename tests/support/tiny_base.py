"""A tiny SDXL of about 1 M parameters with random weights, built on the spot."""

from __future__ import annotations

import json
from pathlib import Path


def make_tiny_base(folder: Path, channels: int = 9) -> Path:
    """Write a tiny SDXL (64 px, random weights, fixed seed) in diffusers' folder layout."""
    import torch
    from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionXLInpaintPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=channels,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(32, 64, 64),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 1, 2),
        attention_head_dim=(2, 4, 4),
        norm_num_groups=16,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 32,
        cross_attention_dim=64,
    )
    vae = AutoencoderKL(
        block_out_channels=(16, 16, 32, 32),
        norm_num_groups=8,
        layers_per_block=1,
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        latent_channels=4,
        sample_size=64,
        scaling_factor=0.5,
    )
    _write_tokenizer(folder / "own")
    tokenizer = CLIPTokenizer.from_pretrained(folder / "own")
    StableDiffusionXLInpaintPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(_text_config()),
        text_encoder_2=CLIPTextModelWithProjection(_text_config()),
        tokenizer=tokenizer,
        tokenizer_2=CLIPTokenizer.from_pretrained(folder / "own"),
        unet=unet,
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            steps_offset=1,
            timestep_spacing="leading",
        ),
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
    ).save_pretrained(folder / "base")
    return folder / "base"


def _text_config() -> object:
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=191,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=77,
        projection_dim=32,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )


def _write_tokenizer(folder: Path) -> None:
    folder.mkdir(parents=True)
    signs = [chr(i) for i in range(33, 127)]
    tokens = ["<|startoftext|>", "<|endoftext|>", *signs, *(s + "</w>" for s in signs), "<|unknown|>"]
    vocab = {token: index for index, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    config = {"model_max_length": 77, "tokenizer_class": "CLIPTokenizer", "unk_token": "<|unknown|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
