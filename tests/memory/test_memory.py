"""The preset a machine gets, and the precision it trains in."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from finetune.core.device import pick_device, pick_dtype
from finetune.core.errors import ConfigError, OutOfMemory
from finetune.memory import budget
from finetune.memory.budget import preset_for_this_machine


@pytest.mark.parametrize(
    ("gib", "preset"),
    [
        (0, "embedded"),
        (7.6, "sdxl-8gb"),
        (11.7, "sdxl-12gb"),
        (15.8, "sdxl-16gb"),
        (23.7, "sdxl-24gb"),
        (139, "sdxl-24gb"),
    ],
)
def test_preset_by_memory(monkeypatch: pytest.MonkeyPatch, gib: float, preset: str) -> None:
    monkeypatch.setattr(budget, "gpu_memory_gib", lambda: gib)
    name, why = preset_for_this_machine()
    assert name == preset
    assert "\n" not in why
    if preset == "embedded":
        assert "fits only the embedded base" in why


def test_too_small_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "gpu_memory_gib", lambda: 5.8)
    with pytest.raises(OutOfMemory) as caught:
        preset_for_this_machine()
    assert "--config embedded" in caught.value.hint


@pytest.mark.tiny
def test_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    assert pick_dtype("auto", "cpu") is torch.float32
    for has, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda has=has: {"amx_bf16": has})
        assert pick_dtype("auto", "cpu", batch=8) is dtype
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)  # another architecture knows no such key
    assert pick_dtype("auto", "cpu", batch=8) is torch.float32
    assert pick_dtype("bf16", "cpu") is torch.bfloat16
    with pytest.raises(ConfigError, match="fp16 needs a CUDA device"):
        pick_dtype("fp16", "cpu")
    # of an RTX 20xx or T4 torch says that bf16 is supported: it is emulated there
    for major, dtype in ((7, torch.float16), (8, torch.bfloat16)):
        card = SimpleNamespace(major=major)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device, card=card: card)
        assert pick_dtype("auto", "cuda") is dtype
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device() == "cpu"
    with pytest.raises(ConfigError, match="no CUDA device"):
        pick_device("cuda")
