"""Full-size SDXL from the shipped configuration, on the meta device: nothing in memory, every shape as published."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from finetune.core.basemodel.resolve import single_file_config
from finetune.unet.lora import TARGETS, add_lora, lora_parameters, target_modules

if TYPE_CHECKING:
    pass
from full_size_unet import sdxl_unet

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("channels", "parameters"), [(4, 2_567_463_684), (9, 2_567_478_084)])
def test_unet_is_sdxl(channels: int, parameters: int) -> None:
    import torch

    unet = sdxl_unet(channels)
    assert sum(p.numel() for p in unet.parameters()) == parameters
    linears = [m for m in unet.modules() if isinstance(m, torch.nn.Linear)]
    assert len(linears) == 743
    assert {targets: len(target_modules(unet, targets)) for targets in TARGETS} == {
        "attention": 560,
        "attention+feedforward": 722,
    }
    adapted = set(target_modules(unet, "attention+feedforward"))
    assert sum(m.weight.numel() for n, m in unet.named_modules() if n in adapted) == 2_207_744_000


@pytest.mark.parametrize(
    ("targets", "rank", "modules", "parameters"),
    [("attention", 16, 560, 23_224_320), ("attention+feedforward", 32, 722, 85_114_880)],
)
def test_adapter_of_full_size(targets: str, rank: int, modules: int, parameters: int) -> None:
    import torch
    from peft.tuners.tuners_utils import BaseTunerLayer

    unet = sdxl_unet(9)
    with torch.device("meta"):
        _, size = add_lora(unet, rank=rank, alpha=rank, rslora=False, dora=False, targets=targets, seed=0)
    assert (size.modules, size.parameters) == (modules, parameters)
    assert sum(isinstance(m, BaseTunerLayer) for m in unet.modules()) == modules
    assert {p.dtype for p in lora_parameters(unet)} == {torch.float32}
    assert len(lora_parameters(unet)) == 2 * modules


def test_text_encoders_and_vae_are_sdxl() -> None:
    import torch
    from diffusers import AutoencoderKL
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    for channels in (4, 9):
        config = single_file_config(channels, "x")
        with torch.device("meta"):
            models = (
                CLIPTextModel(CLIPTextConfig.from_pretrained(str(config / "text_encoder"))),
                CLIPTextModelWithProjection(CLIPTextConfig.from_pretrained(str(config / "text_encoder_2"))),
                AutoencoderKL.from_config(AutoencoderKL.load_config(str(config / "vae"))),
            )
        counts = [sum(p.numel() for p in model.parameters()) for model in models]
        assert counts == [123_060_480, 694_659_840, 83_653_863]
        # only the first of the two uses OpenAI's approximation of GELU
        assert [model.config.hidden_act for model in models[:2]] == ["quick_gelu", "gelu"]
        assert (models[2].config.scaling_factor, models[2].config.force_upcast) == (0.13025, True)
