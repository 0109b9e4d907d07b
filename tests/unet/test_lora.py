"""The adapter on a UNet: switched off and on again in the middle of a step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from finetune.core.basemodel.load import load_unet
from finetune.core.basemodel.resolve import resolve_base
from finetune.latents.batches import Batch
from finetune.memory.step_trace import fake_batch
from finetune.training.loop import predict
from finetune.unet import lora

pytestmark = pytest.mark.tiny


def adapted(tiny_base: Path, *, dora: bool) -> Any:
    """A UNet whose adapter does something."""
    unet, _ = load_unet(resolve_base(str(tiny_base)), dtype=torch.float32, device="cpu")
    lora.add_lora(unet, rank=4, alpha=4, rslora=False, dora=dora, targets="attention", seed=0)
    for name, parameter in unet.named_parameters():
        if "lora_B" in name:
            torch.nn.init.constant_(parameter, 0.02)
    return unet


def some_batch(unet: Any) -> Batch:
    batch = fake_batch(unet, size=64, batch=1)
    for value in filter(torch.is_tensor, vars(batch).values()):
        value.fill_(1)
    return batch


@pytest.mark.parametrize("dora", [False, True])
def test_off_is_the_bare_base_and_on_is_as_before(tiny_base: Path, dora: bool) -> None:
    unet = adapted(tiny_base, dora=dora)
    batch = some_batch(unet)
    trained = [parameter for parameter in unet.parameters() if parameter.requires_grad]

    def answer() -> torch.Tensor:
        with torch.no_grad():
            return predict(unet, batch, batch.noise, torch.float32)

    on = answer()
    unet.disable_adapters()
    base = answer()
    unet.enable_adapters()
    assert not torch.equal(on, base)
    with lora.adapter_off(unet):
        assert torch.equal(answer(), base)
    assert torch.equal(answer(), on)
    with pytest.raises(RuntimeError), lora.adapter_off(unet):
        raise RuntimeError("out of memory")
    assert torch.equal(answer(), on)
    assert all(parameter.requires_grad for parameter in trained)


def test_sizes_reach_the_unet_unrounded(tiny_base: Path) -> None:
    """bf16 knows no number between 1360 and 1368."""
    unet = adapted(tiny_base, dora=False).to(torch.bfloat16)
    batch = some_batch(unet)
    batch.time_ids.fill_(1365)
    seen = []
    unet.add_time_proj.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        predict(unet, batch, batch.noise, torch.bfloat16)
    assert seen[0].tolist() == [1365.0] * 6
