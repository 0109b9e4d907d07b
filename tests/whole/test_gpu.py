"""What only a CUDA device can show: 16-bit training, compiled blocks, a 4-bit base, parts that take turns, the planner.

Skipped where there is none; `pytest -m gpu` on a GPU machine.
"""

from __future__ import annotations

import shutil
import signal
from dataclasses import replace
from pathlib import Path

import killed_runs as killed
import numpy as np
import pytest
import torch
from drawn_products import draw_bottle, write_set
from PIL import Image
from started_commands import At
from tiny_training import losses, tiny_config, train

from finetune.core.products.catalog import Workspace

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.tiny,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("precision", ["bf16", "fp16", "fp32"])
def test_it_trains_in_every_precision(workspace: Workspace, tiny_base: Path, precision: str) -> None:
    train(workspace, tiny_config(tiny_base, f"memory.precision={precision}", "train.steps=20"))
    first, last = losses(workspace)[:5], losses(workspace)[-5:]
    assert all(np.isfinite(losses(workspace)))
    assert np.mean(last) < np.mean(first)


@pytest.mark.filterwarnings("ignore")  # of torch's compiler, about its own work
@pytest.mark.parametrize("setting", ["train.compile=true", "memory.channels_last=true", "memory.quantize=nf4"])
def test_faster_and_smaller_ways_train_too(workspace: Workspace, tiny_base: Path, setting: str) -> None:
    train(workspace, tiny_config(tiny_base, "memory.precision=bf16", setting))
    assert all(np.isfinite(losses(workspace)))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_killed_run_ends_in_the_bytes_of_a_straight_one(tiny_base: Path, tmp_path: Path, precision: str) -> None:
    """With `train.deterministic`; in fp16 the scaler's factor has to come back too."""
    write_set(tmp_path, "bottle01", {"front": draw_bottle(), "side": draw_bottle(shift=6)})
    memory = f"memory: {{check: false, precision: {precision}}}"
    config = killed.CONFIG.replace("BASE", str(tiny_base)).replace("memory: {check: false}", memory)
    (tmp_path / "tiny.yaml").write_text(config, encoding="utf-8")
    done = killed.train(tmp_path, "straight")
    assert done.wait() == 0, done.said()
    straight = killed.adapter(tmp_path).read_bytes()
    shutil.rmtree(tmp_path / "adapters")
    shutil.rmtree(tmp_path / "runs")
    victim = killed.train(tmp_path, "killed", At("os.rename", r"/\.step-000004"))
    assert victim.wait() == -signal.SIGKILL, victim.said()
    again = killed.train(tmp_path, "again")
    assert again.wait() == 0, again.said()
    assert "resuming from step 2 " in again.said()
    assert killed.adapter(tmp_path).read_bytes() == straight


def test_the_parts_of_a_base_take_turns_on_a_small_card(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from finetune.core.basemodel.resolve import resolve_base
    from finetune.core.painting import inpainter

    base = resolve_base(str(tiny_base))
    ground, whole = Image.new("RGB", (64, 64), (128, 128, 128)), np.ones((64, 64), dtype=bool)
    sampling = inpainter.Sampling(steps=2)
    pictures = []
    for memory in (2**36, 2**10):
        monkeypatch.setattr(inpainter, "free_gpu_memory", lambda device, memory=memory: memory)
        painter = inpainter.load_inpainter(base, None, precision="fp32")
        pictures.append(np.asarray(painter.paint(ground, whole, "a bottle", sampling=sampling, seed=1)))
    assert painter.pipeline.unet.device.type in ("cpu", "meta"), "it has left the card"
    assert np.array_equal(*pictures)


@pytest.mark.parametrize("level", ["none", "partial", "all"])
def test_the_planner_knows_the_peak(workspace: Workspace, level: str) -> None:
    """On the embedded base in bf16: what torch's allocator had at most, against the plan."""
    from benchmarks.gpu.steps import measured_step
    from finetune.core.basemodel.resolve import resolve_base
    from finetune.memory.budget import Setup, trace_budget, unet_config

    setup = Setup(
        unet=unet_config(resolve_base("embedded").config), size=256, batch=8, accumulation=1,
        dtype="bfloat16", checkpoint=level, rank=16, targets="attention", dora=False, optimizer="adamw8bit",
        min_8bit_size=1024, frozen_pass=True, cuda=True,
    )  # fmt: skip
    for changed in (setup, replace(setup, accumulation=2)):
        assert trace_budget(changed, context=0).torch_peak == pytest.approx(measured_step(changed).peak, rel=0.08)
