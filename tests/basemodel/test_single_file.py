"""Checkpoints in the original layout, one file for all parts: what they resolve to, and that they load offline.

No such checkpoint can be had here, so a writer takes a model in diffusers' layout and writes the original one, in the
key names of Stability's generative-models: the inverse of the conversion diffusers does on loading.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np
import pytest
from PIL import Image

from finetune.core.basemodel import (
    load_pipeline,
    load_unet,
    resolve_base,
    resolve_single_file,
    single_file_config,
)
from finetune.core.errors import BaseModelError
from finetune.core.inpaint import Inpainter, Sampling

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


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any attempt to look up or reach a machine fails the test, also where a library would swallow the error."""

    def refuse(*arguments: object) -> NoReturn:
        pytest.fail(f"asked the network: {arguments[-1]}")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


def painted(inpainter: Inpainter) -> np.ndarray:
    ramp = np.linspace(0, 255, 64 * 64 * 3).reshape(64, 64, 3).astype(np.uint8)
    mask = np.zeros((64, 64), bool)
    mask[16:48, 8:56] = True
    sampling = Sampling(steps=3, guidance=2.0)
    picture = inpainter.paint(Image.fromarray(ramp), mask, "a red bottle on sand", sampling=sampling, seed=3)
    return np.asarray(picture)


@pytest.mark.tiny
@pytest.mark.parametrize("channels", [9, 4])
@pytest.mark.usefixtures("no_network")
def test_single_file_paints_as_the_folder(
    channels: int, tiny_base: Path, tiny_base_4: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import torch

    folder, file = write_pair(tiny_base if channels == 9 else tiny_base_4, tmp_path)
    config = config_only(folder, tmp_path / "config")
    bases = [resolve_base(str(folder)), resolve_single_file(str(file), file, config)]
    assert (bases[1].channels, bases[1].size, bases[1].prediction_type) == (channels, 64, "epsilon")
    capfd.readouterr()
    pipelines = [load_pipeline(base, dtype=torch.float32, device="cpu") for base in bases]
    assert capfd.readouterr().err == ""
    for part in ("unet", "vae", "text_encoder", "text_encoder_2"):
        one, other = (getattr(pipeline, part).state_dict() for pipeline in pipelines)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)
    one, other = (painted(Inpainter(b, p)) for b, p in zip(bases, pipelines, strict=True))
    np.testing.assert_array_equal(one, other)
    assert one.std() > 1


@pytest.mark.tiny
@pytest.mark.usefixtures("no_network")
def test_training_loads_unet_and_scheduler_alone(tiny_base: Path, tmp_path: Path) -> None:
    import torch

    folder, file = write_pair(tiny_base, tmp_path)
    base = resolve_single_file(str(file), file, config_only(folder, tmp_path / "config"))
    unet, scheduler = load_unet(base, dtype=torch.bfloat16, device="cpu")
    assert unet.dtype == torch.bfloat16
    assert not any(p.requires_grad for p in unet.parameters())
    assert (scheduler.config.prediction_type, scheduler.config.beta_end) == ("epsilon", 0.012)


@pytest.mark.tiny
def test_v_prediction_and_zero_snr_are_honoured(tiny_base: Path, tmp_path: Path) -> None:
    import torch

    marks = {"v_pred": torch.empty(0), "ztsnr": torch.empty(0)}
    folder, file = write_pair(tiny_base, tmp_path, marks)
    base = resolve_single_file(str(file), file, config_only(folder, tmp_path / "config"))
    assert base.prediction_type == "v_prediction"
    _, scheduler = load_unet(base, dtype=torch.float32, device="cpu")
    assert scheduler.config.prediction_type == "v_prediction"
    assert scheduler.config.timestep_spacing == "trailing"
    assert float(scheduler.alphas_cumprod[-1]) < 1e-6


@pytest.mark.tiny
def test_broken_checkpoints_are_refused_before_loading(tiny_base: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder, file = write_pair(tiny_base, tmp_path)
    config = config_only(folder, tmp_path / "config")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(BaseModelError, match=r"is damaged.*not \d+"):
        resolve_base(str(cut))
    unet_alone = tmp_path / "unet.safetensors"
    save_file({k: t for k, t in load_file(file).items() if k.startswith(UNET)}, unet_alone)
    with pytest.raises(BaseModelError, match="no first text encoder, second text encoder, VAE"):
        resolve_single_file(str(unet_alone), unet_alone, config)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(BaseModelError, match="is damaged"):
        resolve_base(str(folder))


@pytest.mark.tiny
def test_missing_weights_are_an_error(tiny_base: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    folder, file = write_pair(tiny_base, tmp_path)
    state = load_file(file)
    del state[UNET + "middle_block.0.in_layers.2.weight"]
    holed = tmp_path / "holed.safetensors"
    save_file(state, holed)
    base = resolve_single_file(str(holed), holed, config_only(folder, tmp_path / "config"))
    with pytest.raises(BaseModelError, match="could not be loaded"):
        load_pipeline(base, dtype=torch.float32, device="cpu")


@pytest.mark.slow
@pytest.mark.parametrize(("channels", "parameters"), [(4, 2_567_463_684), (9, 2_567_478_084)])
def test_full_size_checkpoint_by_its_header(channels: int, parameters: int, tmp_path: Path) -> None:
    """The header of a whole SDXL checkpoint in fp16: 2,515 tensors, as sd_xl_base_1.0.safetensors has."""
    import torch
    from diffusers.loaders.single_file_utils import (
        convert_ldm_unet_checkpoint,
        convert_ldm_vae_checkpoint,
        convert_open_clip_checkpoint,
    )

    config = single_file_config(channels, "x")
    with torch.device("meta"):
        unet, vae, text, text_2 = full_size_models(config)
        state = original_state(unet, vae, text, text_2)
    assert len(state) == 2515
    assert sum(t.numel() for k, t in state.items() if k.startswith(UNET)) == parameters
    file = tmp_path / "sdxl.safetensors"
    write_header(file, state)
    base = resolve_base(str(file))
    assert (base.channels, base.size, base.prediction_type) == (channels, 1024, "epsilon")
    assert base.config == config
    # what diffusers converts it to fits the models of the shipped configuration, key by key
    shapes = {k: t.shape for k, t in convert_ldm_unet_checkpoint(dict(state), dict(unet.config)).items()}
    assert shapes == {k: t.shape for k, t in unet.state_dict().items()}
    shapes = {k: t.shape for k, t in convert_ldm_vae_checkpoint(dict(state), dict(vae.config)).items()}
    assert shapes == {k: t.shape for k, t in vae.state_dict().items()}
    shapes = {k: t.shape for k, t in convert_open_clip_checkpoint(text_2, state, OPEN_CLIP).items()}
    assert shapes == {k: t.shape for k, t in text_2.state_dict().items()}


def full_size_models(config: Path) -> tuple[torch.nn.Module, ...]:
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    return (
        UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(str(config / "unet"))),
        AutoencoderKL.from_config(AutoencoderKL.load_config(str(config / "vae"))),
        CLIPTextModel(CLIPTextConfig.from_pretrained(str(config / "text_encoder"))),
        CLIPTextModelWithProjection(CLIPTextConfig.from_pretrained(str(config / "text_encoder_2"))),
    )


def write_header(file: Path, state: State) -> None:
    """A file that has all the keys and the full length, and nothing on the disk behind them."""
    entries, end = {}, 0
    for key, tensor in state.items():
        start, end = end, end + 2 * tensor.numel()
        entries[key] = {"dtype": "F16", "shape": list(tensor.shape), "data_offsets": [start, end]}
    header = json.dumps(entries).encode()
    with file.open("wb") as handle:
        handle.write(struct.pack("<Q", len(header)) + header)
        handle.truncate(8 + len(header) + end)


def test_other_channel_counts_are_refused(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    file = tmp_path / "pix2pix.safetensors"
    keys = ["conditioner.embedders.0.transformer.text_model.embeddings.position_embedding.weight"]
    keys += [OPEN_CLIP + "positional_embedding", VAE + "decoder.conv_in.weight", UNET + "label_emb.0.0.weight"]
    state = {key: torch.zeros(1) for key in keys}
    save_file(state | {UNET + "input_blocks.0.0.weight": torch.zeros(1, 8, 1, 1)}, file)
    with pytest.raises(BaseModelError, match="has 8 input channels"):
        resolve_base(str(file))
    save_file(state, file)
    with pytest.raises(BaseModelError, match="is no SDXL checkpoint"):
        resolve_base(str(file))
