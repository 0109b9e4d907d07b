"""What Packshot makes of a GPU's description: cards that are not here, described as torch describes them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from finetune import doctor
from finetune.core.device import pick_device
from finetune.core.errors import ConfigError
from finetune.core.tracing.device_fit import this_device
from finetune.training import distributed

GIB = 2**30


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> list[SimpleNamespace]:
    """An RTX 2080 and an RTX 5090."""
    found = [
        SimpleNamespace(name="NVIDIA GeForce RTX 2080", major=7, minor=5, total_memory=8 * GIB),
        SimpleNamespace(name="NVIDIA GeForce RTX 5090", major=12, minor=0, total_memory=32 * GIB),
    ]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(found))
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: found[device if isinstance(device, int) else 0]
    )
    return found


def test_a_gpu_that_is_not_there_is_named(cards: list[SimpleNamespace]) -> None:
    assert [pick_device(wanted) for wanted in ("auto", "cuda", "cuda:1")] == ["cuda", "cuda", "cuda:1"]
    for wanted in ("cuda:2", "cuda:x"):
        with pytest.raises(ConfigError, match=f"no device {wanted}"):
            pick_device(wanted)


def test_doctor_says_what_each_card_can_do(cards: list[SimpleNamespace], monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor._device()["gpu 0"].endswith("8.0 GiB, fp16 only")
    assert doctor._device()["gpu 1"].endswith("32.0 GiB, bf16")
    for built_for, without in {
        ("sm_75", "sm_80", "sm_86", "sm_120", "compute_120"): [],
        ("sm_70", "sm_90", "compute_90"): [],  # machine code of its major version, and code to compile
        ("sm_80", "sm_90a"): ["gpu 0", "gpu 1"],
        ("sm_75", "sm_90"): ["gpu 1"],
    }.items():
        monkeypatch.setattr(torch.cuda, "get_arch_list", lambda built_for=built_for: list(built_for))
        assert [problem[:5] for problem in doctor._without_kernels()] == without


def test_what_torch_keeps_in_reserve_counts_as_free(
    cards: list[SimpleNamespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (5 * GIB, 8 * GIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 2 * GIB)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: GIB // 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: cards[0].name)
    here = this_device()
    assert here.memory == 6.5 * GIB
    assert not here.bf16, "it would be emulated"


def test_another_process_that_is_gone_is_known_by_either_library(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = RuntimeError("NCCL error in: ProcessGroupNCCL.cpp: remote process exited or there was a network error")
    assert not distributed.lost_another(gone), "a run of one process has no other"
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert distributed.lost_another(gone)
    assert distributed.lost_another(RuntimeError("[gloo/transport/tcp/pair.cc] Connection closed by peer"))
    assert not distributed.lost_another(RuntimeError("shapes do not match"))
