"""Checkpoints in the original layout, one file for all parts: what they resolve to, and that they load offline.

No such checkpoint can be had here, so a writer takes a model in diffusers' layout and writes the original one, in the
key names of Stability's generative-models: the inverse of the conversion diffusers does on loading.
"""

from __future__ import annotations

import json
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np
import pytest
from PIL import Image

from finetune.core.basemodel.load import load_pipeline, load_unet
from finetune.core.basemodel.resolve import resolve_base, resolve_single_file, single_file_config
from finetune.core.errors import BaseModelError
from finetune.core.painting.inpainter import Inpainter, Sampling

if TYPE_CHECKING:
    import torch

    State = dict[str, torch.Tensor]
from single_files import OPEN_CLIP, UNET, VAE, config_only, original_state, write_pair


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
    with pytest.raises(BaseModelError, match=r"is damaged: cut\.safetensors has \d+ bytes, which is not"):
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
    with pytest.raises(BaseModelError, match="is not an SDXL checkpoint"):
        resolve_base(str(file))
