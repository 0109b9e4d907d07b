"""The training benchmark: its clock, its stand-ins for torchvision, its bare loop."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.training_speed import transforms
from benchmarks.training_speed.__main__ import (
    WARM,
    Task,
    packshot_command,
    step_times,
    timed_run,
    workspace_with_the_sample_set,
)

ROOT = Path(__file__).resolve().parents[2]


def test_the_first_steps_do_not_count() -> None:
    began = [(0.0, 0.0)] * WARM + [(100.0 + 0.5 * k, 1.0 * k) for k in range(11)]
    assert step_times(began) == (pytest.approx(0.5), pytest.approx(1.0))


def test_stand_ins_do_what_torchvision_documents() -> None:
    picture = Image.fromarray(np.arange(40 * 60 * 3, dtype=np.uint8).reshape(40, 60, 3))
    assert transforms.Resize(20)(picture).size == (30, 20)
    assert transforms.CenterCrop(40)(picture).getpixel((0, 0)) == picture.getpixel((10, 0))
    top, left, height, width = transforms.RandomCrop.get_params(picture, (10, 20))
    assert 0 <= top <= 30
    assert 0 <= left <= 40
    assert (height, width) == (10, 20)
    assert transforms.crop(picture, 5, 7, 10, 20).getpixel((0, 0)) == picture.getpixel((7, 5))
    both = transforms.Compose([transforms.ToTensor(), transforms.Normalize([0.5], [0.5])])(picture)
    assert both.shape == (3, 40, 60)
    assert both[1, 2, 3] == pytest.approx(picture.getpixel((3, 2))[1] / 127.5 - 1)
    assert transforms.RandomHorizontalFlip(p=1.0)(picture).getpixel((0, 0)) == picture.getpixel((59, 0))


@pytest.mark.tiny
def test_the_clock_counts_the_steps_of_the_command(tmp_path: Path, tiny_base: Path) -> None:
    workspace = workspace_with_the_sample_set(tmp_path)
    for photo in sorted((workspace / "datasets" / "perfume01" / "photos").iterdir())[1:]:
        photo.unlink()
    task = Task(tiny_base, 64, 4, 9, bf16=False, device="cpu")
    command = packshot_command(task, tmp_path / "t.json", "data.variants=2", "memory.check=false")
    found = timed_run("packshot", tmp_path / "t.json", command, workspace)
    assert found.rate > 0
    assert found.processor > 0
    times = json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))
    assert len(times["began"]) == 9


@pytest.mark.tiny
def test_the_bare_loop_trains_a_base_made_here(tmp_path: Path) -> None:
    from benchmarks.training_speed.bases import make_tiny

    base = make_tiny(tmp_path / "base")
    numbers = ["--size", "64", "--rank", "4", "--steps", "7"]
    command = ["-m", "benchmarks.training_speed.bare_loop", str(tmp_path / "t.json"), "--base", str(base), *numbers]
    subprocess.run([sys.executable, *command], cwd=ROOT, check=True, capture_output=True)
    assert len(json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))["began"]) == 7


@pytest.mark.tiny
def test_the_full_size_base_is_one_packshot_reads(tmp_path: Path) -> None:
    from benchmarks.training_speed.bases import make_full_size
    from finetune.core.basemodel.resolve import resolve_base

    text = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    changes = {
        "unet": {
            "block_out_channels": (32, 32, 32),
            "attention_head_dim": (2, 2, 2),
            "layers_per_block": 1,
            "transformer_layers_per_block": (1, 1, 1),
            "cross_attention_dim": 128,
            "projection_class_embeddings_input_dim": 6 * 256 + 64,
        },
        "vae": {"block_out_channels": (32, 32, 32, 32)},
        "text_encoder": text,
        "text_encoder_2": text | {"projection_dim": 64},
    }
    base = resolve_base(str(make_full_size(tmp_path / "base", device="cpu", changes=changes)))
    assert (base.channels, base.size) == (4, 1024)


def test_a_failing_peer_says_why(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no such thing"):
        timed_run("peer", tmp_path / "t.json", ["-c", "raise SystemExit('no such thing')"], tmp_path)
