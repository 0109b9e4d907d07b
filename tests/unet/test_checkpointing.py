"""Gradient checkpointing by block: the same gradients, fewer bytes kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from finetune.core.basemodel.load import load_unet
from finetune.core.basemodel.resolve import resolve_base
from finetune.core.config import validate
from finetune.core.errors import ConfigError
from finetune.settings import TrainConfig
from finetune.unet import checkpointing
from finetune.unet.lora import add_lora, lora_parameters

pytestmark = pytest.mark.tiny


@pytest.fixture
def unet(tiny_base: Path) -> Any:
    unet, _ = load_unet(resolve_base(str(tiny_base)), dtype=torch.float32, device="cpu")
    add_lora(unet, rank=4, alpha=4, rslora=False, dora=False, targets="attention+feedforward", seed=0)
    with torch.no_grad():
        for parameter in lora_parameters(unet):  # B is zero at first, and A's gradient with it
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel())))
    return unet.train()


def step(unet: Any, level: str) -> tuple[list[torch.Tensor], int, int]:
    """Gradients, bytes autograd keeps between forward and backward, and how many blocks recompute."""
    chosen = checkpointing.set_level(unet, level)
    draws = torch.Generator().manual_seed(0)
    inputs = torch.randn(2, 9, 8, 8, generator=draws)
    conditions = {"text_embeds": torch.randn(2, 32, generator=draws), "time_ids": torch.full((2, 6), 64.0)}
    kept: dict[int, int] = {}
    parameters = {p.untyped_storage().data_ptr() for p in unet.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = unet(
            inputs,
            torch.tensor([10, 900]),
            encoder_hidden_states=torch.randn(2, 77, 64, generator=draws),
            added_cond_kwargs=conditions,
            return_dict=False,
        )[0]
    unet.zero_grad()
    result.square().mean().backward()
    gradients = [p.grad.clone() for p in lora_parameters(unet) if p.grad is not None]
    return gradients, sum(kept.values()), chosen


def test_gradients_stay_and_bytes_fall(unet: Any) -> None:
    found = {level: step(unet, level) for level in checkpointing.LEVELS}
    plain, bytes_of_none, none = found["none"]
    assert len(plain) == len(lora_parameters(unet)) > 60
    assert max(float(g.abs().max()) for g in plain) > 1e-3
    assert none == 0 < found["partial"][2] < found["all"][2] == len(checkpointing.flagged(unet))
    for level in ("partial", "all"):
        for one, other in zip(plain, found[level][0], strict=True):
            torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-6)
    assert bytes_of_none > 1.3 * found["partial"][1] > 1.3 * 1.3 * found["all"][1]


def test_a_level_can_be_taken_back(unet: Any) -> None:
    before = step(unet, "none")[1]
    checkpointing.set_level(unet, "all")
    assert step(unet, "none")[1] == before
    assert not unet.is_gradient_checkpointing


@pytest.mark.parametrize(("given", "level"), [(True, "all"), (False, "none"), ("partial", "partial"), ("all", "all")])
def test_what_a_yaml_may_say(given: object, level: str) -> None:
    config = validate(TrainConfig, {"memory": {"gradient_checkpointing": given}}, "x")
    assert config.memory.gradient_checkpointing == level


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ConfigError, match="none"):
        validate(TrainConfig, {"memory": {"gradient_checkpointing": "some"}}, "x")
