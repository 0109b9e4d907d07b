"""The embedded base's denoiser: runs that stop and go on, its held-out loss, and the command with its export."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from diffusers import UNet2DConditionModel
from rendered_worlds import Killed, make_world, record, tiny_autoencoder, write_world

from finetune.core.basemodel.load import load_pipeline
from finetune.core.basemodel.resolve import EMBEDDED, resolve_base
from tools.embedded_base import denoiser
from tools.embedded_base.__main__ import main
from tools.embedded_base.export import fresh_text_encoders
from tools.embedded_base.held_out import held_out_loss

pytestmark = pytest.mark.tiny


def tiny_unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=9,
        out_channels=4,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        attention_head_dim=2,
        cross_attention_dim=256,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=32,
        projection_class_embeddings_input_dim=160 + 6 * 32,
        norm_num_groups=4,
    )


def denoise_small(
    folder: Path, monkeypatch: pytest.MonkeyPatch, kill_at: int | None = None, **settings: float
) -> list[dict[str, Any]]:
    """A denoiser of sixteen samples at two sizes; loss and rate of every step it ran."""
    sizes = {"early_size": 64, "late_size": 128, "early_batch": 2, "late_batch": 4}
    plan = denoiser.DenoiserPlan(16, save_minutes=0.0, **sizes, **settings)  # type: ignore[arg-type]
    lines: list[dict[str, Any]] = []
    measure, paced = denoiser.loss_of, denoiser.set_rate

    def noted(model: denoiser.Denoiser, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, float]]:
        loss, parts = measure(model, batch)
        lines.append({"size": 8 * batch["noisy"].shape[-1], "batch": len(batch["noisy"]), **parts})
        return loss, parts

    def paced_or_killed(optimizer: torch.optim.Optimizer, rate: float) -> None:
        if kill_at is not None and len(lines) > kill_at:
            lines.pop()
            raise Killed
        lines[-1]["rate"] = rate
        paced(optimizer, rate)

    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    with monkeypatch.context() as patched:
        patched.setattr(denoiser, "build_unet", tiny_unet)
        patched.setattr(denoiser, "loss_of", noted)
        patched.setattr(denoiser, "set_rate", paced_or_killed)
        world = make_world([record(i, empty=i == 2) for i in range(4)])
        vae, device = tiny_autoencoder(), torch.device("cpu")
        if kill_at is None:
            denoiser.train_denoiser(world, vae, folder, None, plan, device)
        else:
            with pytest.raises(Killed):
                denoiser.train_denoiser(world, vae, folder, None, plan, device)
    return lines


def test_the_denoiser_goes_on_with_the_loss_and_the_rate_it_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = denoise_small(tmp_path / "whole", monkeypatch)
    assert [(line["size"], line["batch"]) for line in whole] == [(64, 2)] * 4 + [(128, 4)] * 2
    assert len({line["rate"] for line in whole}) == 6
    parts = [denoise_small(tmp_path / "parts", monkeypatch, kill_at=at) for at in (3, 2)]
    parts.append(denoise_small(tmp_path / "parts", monkeypatch))
    assert [len(part) for part in parts] == [3, 2, 1]
    for straight, resumed in zip(whole, [line for part in parts for line in part], strict=True):
        assert straight == pytest.approx(resumed, rel=1e-4)
    states = [torch.load(tmp_path / name / "denoiser.pt", weights_only=True) for name in ("whole", "parts")]
    assert [(state["step"], state["samples"]) for state in states] == [(6, 16), (6, 16)]


def test_a_start_with_a_limit_cools_down_saves_and_is_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (only,) = denoise_small(tmp_path, monkeypatch, end_minutes=1e-6)  # over before its first step
    assert only["rate"] == 0
    state = torch.load(tmp_path / "denoiser.pt", weights_only=True)
    assert (state["step"], state["samples"]) == (1, 2)
    rest = denoise_small(tmp_path, monkeypatch)
    assert [line["batch"] for line in rest] == [2, 2, 2, 4, 4]
    assert all(line["rate"] > 0 for line in rest)


def test_the_held_out_loss_is_of_the_model_alone(tmp_path: Path) -> None:
    world = make_world([record(8), record(9), record(18)])
    torch.manual_seed(0)
    vae = tiny_autoencoder()
    model = denoiser.Denoiser(tiny_unet(), *fresh_text_encoders(tmp_path))
    sizes = {"size": 64, "frames": 3, "draws": 16}
    found = [held_out_loss(model, vae, world, tmp_path, torch.device("cpu"), **sizes) for _ in range(2)]
    assert found[0] == found[1]
    assert found[0] > 0.05
    with torch.no_grad():
        model.unet.conv_out.bias += 0.5
    assert held_out_loss(model, vae, world, tmp_path, torch.device("cpu"), **sizes) > found[0]


@pytest.fixture
def world_on_disk(tmp_path: Path) -> Path:
    return write_world(tmp_path / "world")


@pytest.mark.slow
def test_the_denoiser_trains_stops_resumes_and_is_exported(world_on_disk: Path, tmp_path: Path) -> None:
    base, work = tmp_path / "base", tmp_path / "work"
    shutil.copytree(resolve_base(EMBEDDED).path, base)
    before = 0
    for samples in ("8", "16"):
        line = ["denoiser", "--world", str(world_on_disk), "--work", str(work), "--base", str(base), "--from-base"]
        line += ["--device", "cpu", "--samples", samples, "--early-batch", "2", "--late-batch", "2"]
        line += ["--mask-variants", "1", "--late-mask-variants", "1", "--composites", "0.5"]
        result = CliRunner().invoke(main, line, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        state = torch.load(work / "denoiser.pt", weights_only=True)
        assert state["step"] > before
        assert state["samples"] == int(samples)
        before = state["step"]
    shipped = load_pipeline(resolve_base(EMBEDDED), dtype=torch.float32, device="cpu").unet.state_dict()
    result = CliRunner().invoke(main, ["export", "--work", str(work), "--base", str(base)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    trained = load_pipeline(resolve_base(str(base)), dtype=torch.float32, device="cpu").unet.state_dict()
    assert trained.keys() == shipped.keys()
    assert any((trained[name] != shipped[name]).any() for name in shipped)
    assert all(torch.isfinite(weight).all() for weight in trained.values())
