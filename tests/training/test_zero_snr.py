"""Schedules that end in pure noise (zero terminal SNR): trained as they are, sampled by the base's own spacing."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, EulerDiscreteScheduler
from PIL import Image
from tiny_training import losses, tiny_config, train

from finetune.core.basemodel.load import load_unet
from finetune.core.basemodel.resolve import resolve_base
from finetune.core.errors import BaseModelError
from finetune.core.painting.inpainter import Sampling, load_inpainter
from finetune.core.products.catalog import Workspace
from finetune.train import check_request
from finetune.training import objective
from finetune.training.requirements import check_schedule

pytestmark = pytest.mark.tiny
SDXL = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def base_with(tiny_base: Path, folder: Path, **scheduler: object) -> Path:
    """A copy of the tiny base with other settings of its scheduler."""
    shutil.copytree(tiny_base, folder)
    file = folder / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | scheduler), encoding="utf-8")
    return folder


@pytest.fixture
def zero_snr_base(tiny_base: Path, tmp_path: Path) -> Path:
    settings = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing", "prediction_type": "v_prediction"}
    return base_with(tiny_base, tmp_path / "zero", **settings)


def test_rescaled_alphas_are_diffusers_and_end_in_zero() -> None:
    plain = DDPMScheduler(**SDXL).alphas_cumprod
    reference = DDPMScheduler(**SDXL, rescale_betas_zero_snr=True).alphas_cumprod
    euler = EulerDiscreteScheduler(**SDXL, rescale_betas_zero_snr=True).alphas_cumprod
    assert euler[-1] > 0, "diffusers' stand-in, which sampling divides by"
    for alphas in (plain, euler):  # of a scheduler that does not know the setting, and of one that does
        found = objective.training_alphas(alphas, zero_snr=True)
        torch.testing.assert_close(found, reference, rtol=1e-4, atol=1e-6)
        assert found[-1] == 0
        assert (found.diff() < 0).all()
    assert objective.training_alphas(plain, zero_snr=False) is plain


def test_pure_noise_has_a_target_and_a_finite_weight() -> None:
    alphas = objective.training_alphas(DDPMScheduler(**SDXL).alphas_cumprod, zero_snr=True)
    last = torch.tensor([999])
    x0, noise = torch.randn(1, 4, 2, 2), torch.randn(1, 4, 2, 2)
    assert torch.equal(objective.add_noise(x0, noise, alphas, last), noise)
    assert torch.equal(objective.target(x0, noise, alphas, last, "v_prediction"), -x0)
    every = torch.arange(1000)
    weights = objective.snr_weights(alphas, every, 5.0, "v_prediction")
    assert weights.isfinite().all()
    assert weights[-1] == 0
    # the picture's own error, weighted by min(SNR, 5), is the same number: |x0 - x0'|^2 = (1 - a) |v - v'|^2
    snr = alphas / (1 - alphas)
    torch.testing.assert_close(weights, snr.clamp_max(5.0) * (1 - alphas), rtol=1e-4, atol=1e-6)
    assert objective.snr_weights(alphas, last, 0.0, "v_prediction") == 1


def test_a_zero_snr_base_trains_and_paints_from_its_last_timestep(zero_snr_base: Path, workspace: Workspace) -> None:
    config = tiny_config(zero_snr_base, "train.steps=2", "data.variants=3")
    base = check_request(config)
    assert (base.zero_snr, base.prediction_type) == (True, "v_prediction")
    train(workspace, config)
    assert np.isfinite(losses(workspace)).all()
    inpainter = load_inpainter(base, None, device="cpu")
    picture = inpainter.paint(
        Image.new("RGB", (64, 64)), np.ones((64, 64), bool), "mug", sampling=Sampling(steps=4), seed=0
    )
    assert inpainter.pipeline.scheduler.timesteps[0] == 999
    assert np.asarray(picture).std() > 1


def test_leading_spacing_stays_where_the_base_says_so(tiny_base: Path) -> None:
    inpainter = load_inpainter(resolve_base(str(tiny_base)), None, device="cpu")
    inpainter.pipeline.scheduler.set_timesteps(4)
    assert inpainter.pipeline.scheduler.timesteps[0] == 751


@pytest.mark.parametrize("prediction", ["epsilon", "sample"])
def test_what_can_not_be_trained_is_refused_with_its_cure(tiny_base: Path, tmp_path: Path, prediction: str) -> None:
    folder = base_with(tiny_base, tmp_path / "odd", rescale_betas_zero_snr=True, prediction_type=prediction)
    with pytest.raises(BaseModelError) as caught:
        check_request(tiny_config(folder))
    said = {"epsilon": "ends in pure noise", "sample": "predicts 'sample'"}[prediction]
    assert said in caught.value.message
    assert prediction == "sample" or "v_prediction in scheduler_config.json" in caught.value.hint


def test_a_checkpoints_cure_names_its_marks(tiny_base: Path) -> None:
    base = replace(resolve_base(str(tiny_base)), layout="single-file", zero_snr=True)
    with pytest.raises(BaseModelError, match="ends in pure noise") as caught:
        check_schedule(base)
    assert "`v_pred`" in caught.value.hint
    assert "`ztsnr` from the checkpoint" in caught.value.hint


def test_the_schedule_is_that_of_the_base(tiny_base: Path, zero_snr_base: Path) -> None:
    _, plain = load_unet(resolve_base(str(tiny_base)), dtype=torch.float32, device="cpu")
    _, zero = load_unet(resolve_base(str(zero_snr_base)), dtype=torch.float32, device="cpu")
    assert plain.alphas_cumprod[-1] > 1e-3
    assert zero.alphas_cumprod[-1] < 1e-6
