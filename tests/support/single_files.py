"""The tiny SDXL as single files with the original key names."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from finetune.core.basemodel.load import load_pipeline
from finetune.core.basemodel.resolve import resolve_base

if TYPE_CHECKING:
    import torch

    State = dict[str, torch.Tensor]


UNET, VAE = "model.diffusion_model.", "first_stage_model."
CLIP_L, OPEN_CLIP = "conditioner.embedders.0.transformer.text_model.", "conditioner.embedders.1.model."
TOP = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}


RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}


VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def original_unet_key(key: str, layers: int, attending_up: set[int]) -> str:
    """`down_blocks.1.attentions.0.norm.weight` -> `input_blocks.4.1.norm.weight`, and so on."""
    for mine, theirs in TOP.items():
        if key.startswith(mine + "."):
            return theirs + key.removeprefix(mine)
    if hit := re.match(r"mid_block\.(resnets|attentions)\.(\d+)\.(.*)", key):
        index = 1 if hit[1] == "attentions" else 2 * int(hit[2])
        return f"middle_block.{index}.{resnet_rest(hit[1], hit[3])}"
    hit = re.match(r"(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.*)", key)
    assert hit, key
    side, block, kind, layer, rest = hit[1], int(hit[2]), hit[3], int(hit[4]), hit[5]
    if kind == "downsamplers":
        return f"input_blocks.{1 + block * (layers + 1) + layers}.0.op{rest.removeprefix('conv')}"
    if kind == "upsamplers":
        return f"output_blocks.{block * (layers + 1) + layers}.{2 if block in attending_up else 1}.{rest}"
    number = block * (layers + 1) + layer + (1 if side == "down" else 0)
    where = "input_blocks" if side == "down" else "output_blocks"
    return f"{where}.{number}.{0 if kind == 'resnets' else 1}.{resnet_rest(kind, rest)}"


def resnet_rest(kind: str, rest: str) -> str:
    if kind != "resnets":
        return rest
    name, _, leaf = rest.partition(".")
    return f"{RESNET[name]}.{leaf}"


def original_vae(state: State, blocks: int) -> State:
    written = {}
    for key, tensor in state.items():
        if hit := re.match(r"(encoder|decoder)\.mid_block\.attentions\.0\.(.*)\.(weight|bias)", key):
            name, tensor = VAE_ATTENTION[hit[2]], tensor[:, :, None, None] if tensor.ndim == 2 else tensor
            key = f"{hit[1]}.mid.attn_1.{name}.{hit[3]}"
        key = re.sub(r"mid_block\.resnets\.(\d)", lambda hit: f"mid.block_{int(hit[1]) + 1}", key)
        key = re.sub(r"down_blocks\.(\d)\.resnets", r"down.\1.block", key)
        key = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", key)
        key = re.sub(r"up_blocks\.(\d)\.resnets", lambda hit: f"up.{blocks - 1 - int(hit[1])}.block", key)
        key = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda hit: f"up.{blocks - 1 - int(hit[1])}.upsample", key)
        written[key.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")] = tensor
    return written


def original_open_clip(state: State) -> State:
    import torch

    state = {key.removeprefix("text_model."): tensor for key, tensor in state.items()}
    written = {
        "positional_embedding": state.pop("embeddings.position_embedding.weight"),
        "token_embedding.weight": state.pop("embeddings.token_embedding.weight"),
        "text_projection": state.pop("text_projection.weight").T,
        "ln_final.weight": state.pop("final_layer_norm.weight"),
        "ln_final.bias": state.pop("final_layer_norm.bias"),
        "logit_scale": torch.zeros(()),
    }
    for key, tensor in state.items():
        key = key.replace("encoder.layers.", "transformer.resblocks.").replace(".self_attn.", ".attn.")
        key = key.replace("layer_norm", "ln_").replace(".fc1.", ".c_fc.").replace(".fc2.", ".c_proj.")
        if hit := re.fullmatch(r"(.*attn)\.q_proj\.(weight|bias)", key):
            names = [f"encoder.layers.{key.split('.')[2]}.self_attn.{letter}_proj.{hit[2]}" for letter in "qkv"]
            written[f"{hit[1]}.in_proj_{hit[2]}"] = torch.cat([state[name] for name in names])
        elif not re.search(r"attn\.[kv]_proj", key):
            written[key] = tensor
    return written


def original_state(
    unet: torch.nn.Module, vae: torch.nn.Module, text: torch.nn.Module, text_2: torch.nn.Module
) -> State:
    """All weights of an SDXL model under the key names of the original layout."""
    import torch

    attending = {i for i, kind in enumerate(unet.config["up_block_types"]) if kind.startswith("CrossAttn")}
    layers = unet.config["layers_per_block"]
    clip = {CLIP_L + k.removeprefix("text_model."): t for k, t in text.state_dict().items()}
    positions = {CLIP_L + "embeddings.position_ids": torch.arange(77)[None]}  # old checkpoints have it
    blocks = len(vae.config["block_out_channels"])
    return {
        **{UNET + original_unet_key(k, layers, attending): t for k, t in unet.state_dict().items()},
        **{VAE + k: t for k, t in original_vae(vae.state_dict(), blocks).items()},
        **clip,
        **positions,
        **{OPEN_CLIP + k: t for k, t in original_open_clip(text_2.state_dict()).items()},
    }


def write_text_encoders(folder: Path) -> None:
    """Two text encoders of different width, as SDXL has: by its width diffusers tells which is which."""
    import torch
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    torch.manual_seed(1)
    for name, kind, width, act in (
        ("text_encoder", CLIPTextModel, 24, "quick_gelu"),
        ("text_encoder_2", CLIPTextModelWithProjection, 40, "gelu"),
    ):
        config = CLIPTextConfig(
            vocab_size=191,
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=77,
            projection_dim=32,
            hidden_act=act,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
        )
        shutil.rmtree(folder / name)
        kind(config).save_pretrained(folder / name)


def write_pair(base: Path, folder: Path, extra: State | None = None) -> tuple[Path, Path]:
    """The same weights twice: as a folder in diffusers' layout, and as one file in the original layout."""
    import torch
    from safetensors.torch import save_file

    shutil.copytree(base, folder / "diffusers")
    write_text_encoders(folder / "diffusers")
    pipeline = load_pipeline(resolve_base(str(folder / "diffusers")), dtype=torch.float32, device="cpu")
    state = original_state(pipeline.unet, pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2)
    file = folder / "model.safetensors"
    save_file({k: t.clone().contiguous() for k, t in (state | (extra or {})).items()}, str(file))
    return folder / "diffusers", file


def config_only(folder: Path, to: Path) -> Path:
    """A copy of a base's folder without its weights."""
    shutil.copytree(folder, to, ignore=shutil.ignore_patterns("*.safetensors"))
    return to
