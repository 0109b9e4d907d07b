"""The planner against real steps, and `packshot plan` as a user calls it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tiny_setups import tiny_setup

from finetune import plan
from finetune.core.basemodel.resolve import resolve_base
from finetune.core.commands import main
from finetune.core.config import find_config, validate
from finetune.core.errors import ConfigError, OutOfMemory
from finetune.core.painting.cost import bytes_of
from finetune.core.tracing.device_fit import SPARE, Device
from finetune.core.yaml_files import read_yaml
from finetune.memory import fit, phases
from finetune.memory.budget import CONTEXT, Setup, optimizer_state, trace_budget, unet_config
from finetune.settings import TrainConfig

GPU_PRESETS = {"sdxl-8gb-nf4": 8, "sdxl-8gb": 8, "sdxl-12gb": 12, "sdxl-16gb": 16, "sdxl-24gb": 24}


@pytest.mark.tiny
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"checkpoint": "partial", "accumulation": 2},
        {"checkpoint": "all", "rank": 16, "optimizer": "adamw"},
        {"checkpoint": "all", "batch": 2, "nf4": True},
    ],
    ids=["plain", "partial", "all", "nf4"],
)
def test_prediction_against_a_real_step(tiny_base: Path, changes: dict[str, Any]) -> None:
    from benchmarks.memory.__main__ import measured_peak

    setup = tiny_setup(tiny_base, **changes)
    said = trace_budget(setup, context=0).torch_peak
    assert said == pytest.approx(measured_peak(resolve_base(str(tiny_base)), setup), rel=0.08)


@pytest.mark.tiny
def test_optimizer_state_is_what_the_libraries_make(tiny_base: Path) -> None:
    import torch

    from finetune.training.optimizers import make_optimizer

    for name in ("adamw8bit", "adamw", "prodigy"):
        if name == "prodigy":
            pytest.importorskip("prodigyopt")
        parameters = [torch.nn.Parameter(torch.ones(n)) for n in (100, 511, 512, 5000)]
        parameters[-1].data.zero_()
        options: dict[str, Any] = {"learning_rate": 1e-4, "weight_decay": 0.0, "betas": (0.9, 0.999)}
        optimizer = make_optimizer(name, parameters, min_8bit_size=512, **options)
        for parameter in parameters:
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        found = {
            value.untyped_storage().data_ptr(): value.untyped_storage().nbytes()
            for state in optimizer.state.values()
            for key, value in state.items()
            if isinstance(value, torch.Tensor) and key != "step"
        }
        assert optimizer_state(parameters, name, 512, zeros=parameters[-1:]) == sum(found.values())


@pytest.mark.tiny
def test_text_encoders_that_stay_are_counted(tiny_base: Path) -> None:
    import torch

    from finetune.core.basemodel.load import load_pipeline

    base = resolve_base(str(tiny_base))
    device = Device("card", 2**40, cuda=False, context=0)
    shape = unet_config(base.config)

    def setup(count: int) -> Setup:
        sections = {"adapter": {"token_embeddings": count}, "memory": {"precision": "fp32"}}
        return plan.setup_of(validate(TrainConfig, sections, "test"), shape, device, base.config)

    pipeline = load_pipeline(base, dtype=torch.float32, device="cpu")
    both = (pipeline.text_encoder, pipeline.text_encoder_2)
    real = bytes_of([p for encoder in both for p in encoder.parameters()], cuda=False)
    assert setup(0).text_encoders == 0
    assert setup(2).text_encoders == pytest.approx(real, rel=0.02)


@pytest.mark.tiny
def test_plan_chooses_and_refuses(tiny_base: Path, tmp_path: Path) -> None:
    whole = Device("card", 2**40, cuda=True, context=0)
    setup = tiny_setup(tiny_base, cuda=True, dtype="bfloat16", batch=2, accumulation=2, checkpoint="all")
    peaks = {
        level: fit.estimate(replace(setup, checkpoint=level, batch=1, accumulation=4), whole, tmp_path).budget.total
        for level in ("none", "partial", "all")
    }
    assert peaks["none"] > peaks["partial"] > peaks["all"]
    best = fit.fastest(setup, whole, tmp_path)
    assert best is not None
    assert (best.setup.checkpoint, best.setup.batch, best.setup.accumulation) == ("none", 4, 1)
    tight = replace(whole, memory=int(peaks["partial"] / (1 - SPARE)) + 64)
    best = fit.fastest(setup, tight, tmp_path)
    assert best is not None
    assert (best.setup.checkpoint, best.setup.batch, best.spare >= 0) == ("partial", 1, True)
    verdict = fit.estimate(replace(setup, checkpoint="none"), tight, tmp_path)
    assert not verdict.fits
    assert "memory.gradient_checkpointing=partial" in fit.refuse(verdict, tmp_path).hint
    nothing = replace(whole, memory=1000)
    assert fit.fastest(setup, nothing, tmp_path) is None
    assert "adapter.rank" in fit.refuse(verdict.__class__(setup, verdict.budget, nothing), tmp_path).hint


@pytest.mark.tiny
def test_the_command(tiny_base: Path, tmp_path: Path) -> None:
    config = tmp_path / "tiny.yaml"
    config.write_text(f"base: {{model: '{tiny_base}'}}\ndata: {{size: 64}}\n", encoding="utf-8")
    common = ["--config", str(config), "--workspace", str(tmp_path)]
    done = CliRunner().invoke(main, ["plan", *common, "--gpu", "12GB", "--json", "--effective-batch", "2"])
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert facts["fits"] is True
    assert facts["phases"]["encoding"] > CONTEXT
    assert sum(facts["components"].values()) == facts["total"]
    assert facts["settings"][1:] == ["train.batch=1", "train.accumulation=2"]
    assert facts["components"]["context"] == CONTEXT
    done = CliRunner().invoke(main, ["plan", *common])
    assert done.exit_code == 0, done.output
    assert "activations" in done.stdout
    assert "fits," in done.stdout


@pytest.mark.tiny
def test_encoding_is_planned_as_it_is(tiny_base: Path) -> None:
    import gc

    import torch
    from torch.profiler import ProfilerActivity, profile

    from benchmarks.memory.__main__ import running
    from finetune.core.basemodel.load import load_pipeline
    from finetune.latents.cache import NO_VAE
    from finetune.memory.encoding import caching_peak

    base = resolve_base(str(tiny_base))
    vae = load_pipeline(base, dtype=torch.float32, device="cpu", without=NO_VAE).vae
    pictures = torch.zeros(1, 3, 128, 128)
    weights = sum(p.untyped_storage().nbytes() for p in [*vae.parameters(), *vae.buffers(), pictures])
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler, torch.no_grad():
        vae.encode(pictures)
    assert caching_peak(base.config, 128, cuda=False) == pytest.approx(weights + max(running(profiler)), rel=0.1)


@pytest.mark.tiny
def test_encoding_that_does_not_fit_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    small = Device("card", 2**20, cuda=True, context=0)
    with pytest.raises(OutOfMemory, match="encoding pictures of 64 px"):
        phases.encoding_peak(resolve_base(str(tiny_base)).config, 64, small, tmp_path)


def test_a_size_that_is_none_is_refused() -> None:
    assert fit.named_device("12GB").memory == fit.named_device("12").memory == int(11.65 * 2**30)
    for wrong in ("large", "0GB", "-3", "nan"):
        with pytest.raises(ConfigError, match="--gpu takes"):
            fit.named_device(wrong)


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is planned for one preset serves the others: two of them draw with the same adapter."""
    return tmp_path_factory.mktemp("plans")


@pytest.mark.slow
@pytest.mark.parametrize("preset", GPU_PRESETS)
def test_a_presets_header_says_what_the_planner_says(preset: str, plans: Path) -> None:
    import re

    path = find_config(preset, "train")
    purpose, expected, command = path.read_text(encoding="utf-8").splitlines()[:3]
    assert purpose.startswith("# Purpose: ")
    assert command == f"# Command: packshot train SKU --config {preset}"
    config = validate(TrainConfig, read_yaml(path), path.name)
    device = fit.named_device(f"{GPU_PRESETS[preset]}GB")
    folder, _ = plan.base_folder(config)
    verdict = fit.estimate(plan.setup_of(config, unet_config(folder), device), device, plans)
    assert verdict.fits
    found = re.search(r"([\d.]+) GiB planned, ([\d.]+) GiB of it torch's", expected)
    assert found, expected
    assert float(found[1]) == pytest.approx(verdict.budget.total / 2**30, abs=0.1)
    assert float(found[2]) == pytest.approx(verdict.budget.torch_peak / 2**30, abs=0.1)
    drawing = phases.drawing(verdict, plan.pictures_of(config), folder, plans)
    assert drawing is not None
    assert drawing.spare >= 0
    found = re.search(r"([\d.]+) GiB to draw", expected)
    assert bool(found) == (drawing.total > verdict.budget.total), "said where it is the peak"
    if found:
        assert float(found[1]) == pytest.approx(drawing.total / 2**30, abs=0.1)
