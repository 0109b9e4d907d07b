"""The objective on a real UNet: weights against diffusers, regions and gradients against single samples by hand."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import compute_snr
from random_batches import random_batch

from finetune.core.basemodel.load import load_unet
from finetune.core.basemodel.resolve import resolve_base
from finetune.latents.batches import Batch
from finetune.training import loop, objective
from finetune.training.loop import Objective, batch_loss, class_loss, predict
from finetune.training.oom_backoff import BackOff
from finetune.training.trainee import Trainee
from finetune.unet.lora import add_lora, lora_parameters

pytestmark = pytest.mark.tiny
SDXL = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
LORA: dict[str, Any] = {"rank": 4, "alpha": 4, "rslora": False, "dora": False, "targets": "attention", "seed": 0}


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("zero_snr", [False, True])
def test_min_snr_is_diffusers_and_by_hand_at_every_timestep(prediction: str, zero_snr: bool) -> None:
    scheduler = DDPMScheduler(**SDXL, rescale_betas_zero_snr=zero_snr)
    alphas = objective.training_alphas(scheduler.alphas_cumprod, zero_snr=zero_snr)
    every = torch.arange(1000)
    found = objective.snr_weights(alphas, every, 5.0, prediction)
    snr = compute_snr(scheduler, every)
    known = every[:-1] if zero_snr else every  # diffusers divides 0 by 0 at the end
    capped = torch.stack([snr, torch.full_like(snr, 5.0)], dim=1).min(dim=1)[0]
    theirs = capped / (snr if prediction == "epsilon" else snr + 1)  # as in train_text_to_image_sdxl.py
    torch.testing.assert_close(found[known], theirs[known], rtol=1e-4, atol=1e-6)
    a = alphas.double().numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = a / (1 - a)
        by_hand = np.minimum(ratio, 5) / (ratio if prediction == "epsilon" else ratio + 1)
    np.testing.assert_allclose(found.numpy()[known], by_hand[known], rtol=1e-4)
    assert found.min() >= 0
    assert 0 < (ratio > 5).mean() < 1, "both sides of the cap are seen"


@pytest.fixture(scope="module")
def net(tiny_base: Path) -> Any:
    """The tiny UNet with an adapter that does something."""
    unet, _ = load_unet(resolve_base(str(tiny_base)), dtype=torch.float32, device="cpu")
    add_lora(unet, **LORA)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        for weight in lora_parameters(unet):
            weight.add_(0.1 * torch.randn_like(weight))
    return unet.train()


def settings(**changes: Any) -> Objective:
    alphas = DDPMScheduler(**SDXL).alphas_cumprod
    return replace(Objective(alphas, "epsilon", 5.0, 1.0, 0.5, 0.25, prior_weight=0.5), **changes)


def two_products() -> Batch:
    """A product of one latent beside one that fills nearly all, timesteps on both sides of min-SNR's cap."""
    product, ring = torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 8, 8)
    product[0, :, 3, 3] = 1
    ring[0, :, 2, 3] = 0.5
    product[1] = 1
    product[1, :, 0], ring[1, :, 0, :4] = 0, 1
    batch = replace(random_batch(2, seed=4), product=product, ring=ring, timesteps=torch.tensor([40, 700]))
    return replace(batch, prior=random_batch(2, seed=5))


def sample(batch: Batch, number: int) -> Batch:
    one: dict[str, Any] = {}
    for entry in fields(batch):
        value = getattr(batch, entry.name)
        one[entry.name] = sample(value, number) if isinstance(value, Batch) else value
        if isinstance(value, torch.Tensor):
            one[entry.name] = value[number : number + 1]
    return Batch(**one)


def gradients(net: Any, batch: Batch, wanted: Objective) -> list[torch.Tensor]:
    net.zero_grad()
    batch_loss(net, batch, wanted, torch.float32).backward()
    if batch.prior is not None:
        (wanted.prior_weight * class_loss(net, batch.prior, wanted, torch.float32)).backward()
    return [p.grad.clone() for p in lora_parameters(net) if p.grad is not None]


def far(first: list[torch.Tensor], second: list[torch.Tensor]) -> float:
    """Largest difference as a share of the largest gradient."""
    scale = max(float(g.abs().max()) for g in first)
    return max(float((a - b).abs().max()) for a, b in zip(first, second, strict=True)) / scale


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_a_batch_of_two_has_the_mean_of_both_gradients(net: Any, prediction: str) -> None:
    batch, wanted = two_products(), settings(prediction_type=prediction)
    together = gradients(net, batch, wanted)
    first, second = (gradients(net, sample(batch, number), wanted) for number in (0, 1))
    assert len(together) > 60
    assert far(together, [(a + b) / 2 for a, b in zip(first, second, strict=True)]) < 1e-5
    small, large = (sum(float(g.square().sum()) for g in found) ** 0.5 for found in (first, second))
    assert 0.05 < small / large < 20, "one latent of product weighs like a whole picture of it"


def test_the_loss_by_region_by_hand(net: Any, tiny_base: Path) -> None:
    """True noise on product and ring, the bare base's own prediction elsewhere, each by its own area."""
    batch, wanted = two_products(), settings()
    bare, _ = load_unet(resolve_base(str(tiny_base)), dtype=torch.float32, device="cpu")
    noisy = DDPMScheduler(**SDXL).add_noise(batch.latents, batch.noise, batch.timesteps)
    with torch.no_grad():
        found = float(batch_loss(net, batch, wanted, torch.float32))
        prediction, base = (predict(unet, batch, noisy, torch.float32).double().numpy() for unet in (net, bare))
    noise, product, ring = (t.double().numpy() for t in (batch.noise, batch.product, batch.ring))
    losses = []
    for b, timestep in enumerate(batch.timesteps.tolist()):
        errors = []
        for region, goal in ((product, noise), (ring, noise), (1 - product - ring, base)):
            squared = ((prediction[b] - goal[b]) ** 2).mean(axis=0)
            errors.append((squared * region[b, 0]).sum() / region[b, 0].sum())
        a = float(wanted.alphas[timestep])
        weight = min(a / (1 - a), 5) / (a / (1 - a))
        losses.append(weight * np.dot([1, 0.5, 0.25], errors) / 1.75)
    assert found == pytest.approx(np.mean(losses), rel=1e-4)
    assert np.abs(prediction - base).max() > 0.01


@pytest.mark.parametrize(
    ("product", "ring"), [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)], ids=["nothing", "all product", "all ring"]
)
@pytest.mark.parametrize("elsewhere", [0.25, 0.0])
def test_empty_and_full_masks_stay_finite(net: Any, product: float, ring: float, elsewhere: float) -> None:
    batch = sample(two_products(), 0)
    batch = replace(batch, product=torch.full_like(batch.product, product), ring=torch.full_like(batch.ring, ring))
    found = gradients(net, replace(batch, prior=None), settings(elsewhere_weight=elsewhere))
    trained = product + ring > 0 or elsewhere > 0
    assert all(g.isfinite().all() for g in found)
    assert (max((float(g.abs().max()) for g in found), default=0.0) > 0) == trained


def test_two_passes_of_one_are_a_batch_of_two(net: Any, tmp_path: Path) -> None:
    """Through accelerate and the loop's own step, prior preservation included; what an SGD of rate 1 makes of it."""
    from accelerate import Accelerator

    net.zero_grad()
    batch, start = two_products(), [p.detach().clone() for p in lora_parameters(net)]
    moved = []
    for size, passes in ((2, 1), (1, 2)):
        accelerator = Accelerator(gradient_accumulation_steps=passes, cpu=True)
        unet, optimizer = accelerator.prepare(net, torch.optim.SGD(lora_parameters(net), lr=1.0))
        taken = []

        def batch_at(first: int, count: int, taken: list[int] = taken) -> Batch:
            taken.append(first)
            return batch if count == 2 else sample(batch, first)

        memory = BackOff(accelerator, unet, tmp_path / "memory.json", level="none", batch=size, save=lambda step: None)
        trainee = Trainee(accelerator, unet, optimizer, None, torch.float32, memory, 1e9)
        losses = loop.gradients(trainee, 0, batch_at, settings())
        loop.update(trainee)
        assert taken == list(range(0, 2, size))
        step = [(p.detach() - value) for p, value in zip(lora_parameters(net), start, strict=True)]
        moved.append((step, float(torch.stack(losses).mean())))
        with torch.no_grad():
            for weight, value in zip(lora_parameters(net), start, strict=True):
                weight.copy_(value)
    assert far(moved[0][0], moved[1][0]) < 1e-5
    assert moved[0][1] == pytest.approx(moved[1][1], rel=1e-5)
