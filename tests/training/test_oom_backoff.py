"""Out of memory in a run: a real error from inside the UNet's forward pass, and what becomes of the run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file
from tiny_training import losses, tiny_config, train

from finetune.core.device import is_out_of_memory
from finetune.core.errors import OutOfMemory
from finetune.core.products.catalog import Workspace

pytestmark = pytest.mark.tiny


@contextmanager
def runs_out(*forward_passes: int) -> Iterator[list[int]]:
    """Raise torch's own error from the UNet at the given forward passes, counted from 1 (two make one loss)."""
    count: list[int] = []

    def hook(module: Any, _: Any) -> None:
        if isinstance(module, UNet2DConditionModel):
            count.append(1)
            if len(count) in forward_passes:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    handle = torch.nn.modules.module.register_module_forward_pre_hook(hook)
    try:
        yield count
    finally:
        handle.remove()


def weights(workspace: Workspace) -> dict[str, torch.Tensor]:
    (version,) = workspace.adapters.glob("bottle01/0*")
    return load_file(str(version / "adapter.safetensors"))


def aside(workspace: Workspace, folder: Path) -> None:
    folder.mkdir()
    workspace.runs.rename(folder / "runs")
    workspace.adapters.rename(folder / "adapters")


@pytest.mark.parametrize(
    ("level", "step", "kept"),
    [
        ("none", 1, {"gradient_checkpointing": "partial", "batch": 2, "accumulation": 1}),
        # from the first step on: Adam turns the rounding of a sum over two batches into steps of its own size
        ("all", 0, {"gradient_checkpointing": "all", "batch": 1, "accumulation": 2}),
        # in the second of three passes: the first has left its gradients
        ("none", 0, {"gradient_checkpointing": "partial", "batch": 2, "accumulation": 3}),
    ],
)
def test_it_backs_off_once_and_goes_on_from_the_same_step(
    workspace: Workspace,
    tiny_base: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    level: str,
    step: int,
    kept: dict,
) -> None:
    several = kept["accumulation"] == 3
    asked = ["memory.check=false", "train.optimizer=adamw", f"memory.gradient_checkpointing={level}"]
    asked.append(f"train.accumulation={3 if several else 1}")
    lower = [
        f"train.batch={kept['batch']}",
        f"train.accumulation={kept['accumulation']}",
        f"memory.gradient_checkpointing={kept['gradient_checkpointing']}",
    ]
    train(workspace, tiny_config(tiny_base, *asked, *lower))
    straight, straight_losses = weights(workspace), losses(workspace)
    aside(workspace, tmp_path / "straight")
    # a pass has two forward passes: the frozen base's own and the adapter's
    with runs_out(4 if several else 2 * step + 2):
        train(workspace, tiny_config(tiny_base, *asked))
    said = capsys.readouterr().err
    assert said.count(f"out of memory at step {step} with checkpointing") == 1
    (file,) = workspace.runs.glob("bottle01/*/memory.json")
    assert json.loads(file.read_text(encoding="utf-8")) == kept
    assert losses(workspace) == pytest.approx(straight_losses, rel=1e-5)
    after = weights(workspace)
    assert after.keys() == straight.keys()
    assert any(float(t.abs().max()) > 1e-3 for k, t in straight.items() if "lora_B" in k)
    for key, value in straight.items():
        torch.testing.assert_close(after[key], value, atol=1e-6, rtol=1e-5)


def test_a_resumed_run_keeps_what_it_backed_off_to(
    workspace: Workspace, tiny_base: Path, capsys: pytest.CaptureFixture
) -> None:
    config = tiny_config(tiny_base, "memory.check=false")
    with runs_out(4, 6), pytest.raises(OutOfMemory, match="at step 1 with checkpointing partial"):
        train(workspace, config)
    (state,) = workspace.runs.glob("bottle01/*/state/*")
    assert state.name == "step-000001"
    capsys.readouterr()
    assert train(workspace, config).made
    said = capsys.readouterr().err
    assert "ran out of memory; it continues with checkpointing partial, batch 2 x accumulation 1" in said
    assert "resuming from step 1" in said


def test_other_errors_pass_and_ours_are_known() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ..."))
    assert is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"))
    assert is_out_of_memory(MemoryError())
    # of CUDA's libraries, which ask for memory past torch's allocator
    assert is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"))
    assert is_out_of_memory(RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"))
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
    assert not is_out_of_memory(ValueError("out of memory"))
