"""Classic prior preservation: its maths by hand and by diffusers, pictures drawn once, a pass of its own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionXLInpaintPipeline
from diffusers.training_utils import compute_snr
from drawn_products import draw_bottle, write_set
from made_once import prepare_once
from random_batches import random_batch
from tiny_training import NOW, tiny_config

from finetune.core.basemodel.load import load_unet
from finetune.core.basemodel.resolve import resolve_base
from finetune.core.products.catalog import Workspace
from finetune.core.products.prepared import PreparedSet
from finetune.core.tracing.device_fit import this_device
from finetune.latents import class_images
from finetune.latents.batches import Batch
from finetune.memory.budget import trace_budget, unet_config
from finetune.plan import setup_of
from finetune.train import check_request, train_adapter, training_fingerprint
from finetune.training.loop import Objective, batch_loss, class_loss, predict

pytestmark = pytest.mark.tiny
PRIOR = ("objective.prior_weight=0.5", "objective.prior_pictures=2", "data.variants=3", "train.steps=2")


@pytest.fixture(scope="module")
def unet(tiny_base: Path) -> Any:
    loaded, scheduler = load_unet(resolve_base(str(tiny_base)), dtype=torch.float32, device="cpu")
    return SimpleNamespace(net=loaded, scheduler=scheduler)


def settings(unet: Any, gamma: float) -> Objective:
    return Objective(unet.scheduler.alphas_cumprod, "epsilon", gamma, 1.0, 0.0, 0.0, prior_weight=0.5)


def squares(unet: Any, batch: Batch) -> torch.Tensor:
    """Mean squared error of each sample, from the noised latents on by diffusers' own scheduler."""
    noisy = unet.scheduler_ddpm.add_noise(batch.latents, batch.noise, batch.timesteps)
    return (predict(unet.net, batch, noisy, torch.float32) - batch.noise).square().mean(dim=(1, 2, 3))


@pytest.fixture(scope="module")
def peer(unet: Any) -> Any:
    from diffusers import DDPMScheduler

    unet.scheduler_ddpm = DDPMScheduler.from_config(unet.scheduler.config)
    return unet


def test_every_class_picture_has_its_own_min_snr_weight(peer: Any) -> None:
    batch = random_batch(3, seed=1)
    with torch.no_grad():
        found = class_loss(peer.net, batch, settings(peer, 5.0), torch.float32)
        errors = squares(peer, batch)
    by_hand = 0.0
    for error, timestep in zip(errors.tolist(), batch.timesteps.tolist(), strict=True):
        a = float(peer.scheduler.alphas_cumprod[timestep])
        snr = a / (1 - a)
        by_hand += min(snr, 5.0) / snr * error / 3
    assert float(found) == pytest.approx(by_hand, rel=1e-4)


def test_the_sum_is_diffusers_where_diffusers_is_right(peer: Any) -> None:
    """Batch 1. Without min-SNR its script adds two means; with it, it weighs the product by a mean of both weights."""
    product = replace(random_batch(1, seed=2), timesteps=torch.tensor([50]))  # SNR above 5
    prior = random_batch(1, seed=3)
    with torch.no_grad():
        errors = [squares(peer, batch) for batch in (product, prior)]
        plain = settings(peer, 0.0)
        ours = batch_loss(peer.net, product, plain, torch.float32) + 0.5 * class_loss(
            peer.net, prior, plain, torch.float32
        )
        assert float(ours) == pytest.approx(float(errors[0].mean() + 0.5 * errors[1].mean()), rel=1e-4)
        weighted = batch_loss(peer.net, product, settings(peer, 5.0), torch.float32)
    snr = compute_snr(peer.scheduler_ddpm, torch.cat([product.timesteps, prior.timesteps]))
    theirs = torch.stack([snr, torch.full_like(snr, 5.0)], dim=1).min(dim=1)[0] / snr
    assert float(weighted) == pytest.approx(float(theirs[0] * errors[0]), rel=1e-4)
    broadcast = float((errors[0] * theirs).mean())
    assert float(weighted) != pytest.approx(broadcast, rel=1e-2)


def train(workspace: Workspace, sku: str, base: Path, *overrides: str) -> tuple[PreparedSet, list[float]]:
    config = tiny_config(base, *PRIOR, *overrides)
    prepared = prepare_once(workspace, sku, config.data)
    result = train_adapter(workspace, prepared, config, base=check_request(config), now=NOW)
    run = json.loads((result.version.folder / "adapter.json").read_text(encoding="utf-8"))["training"]["run"]
    lines = (workspace.runs / sku / run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return prepared, [json.loads(line)["loss"] for line in lines]


def test_pictures_are_drawn_once_and_accumulation_changes_nothing(workspace: Workspace, tiny_base: Path) -> None:
    _, together = train(workspace, "bottle01", tiny_base)
    kept = {path.name: path.stat().st_mtime_ns for path in (workspace.cache / "class").iterdir()}
    assert len(kept) == 2
    _, parts = train(workspace, "bottle01", tiny_base, "train.batch=1", "train.accumulation=2")
    assert parts == pytest.approx(together, rel=1e-4)
    config = tiny_config(tiny_base, *PRIOR, "objective.prior_weight=0")
    prepared = prepare_once(workspace, "bottle01", config.data)
    without = train_adapter(workspace, prepared, config, base=check_request(config), now=NOW)
    assert without.made
    run = max(workspace.runs.glob("bottle01/*/metrics.jsonl"), key=lambda path: path.stat().st_mtime_ns)
    alone = json.loads(run.read_text(encoding="utf-8").splitlines()[0])["loss"]
    assert together[0] > alone + 0.1, "the class pictures' loss is part of what is reported"
    write_set(workspace.root, "bottle02", {"front": draw_bottle(shift=3)})
    train(workspace, "bottle02", tiny_base, "objective.prior_pictures=3")
    again = {path.name: path.stat().st_mtime_ns for path in (workspace.cache / "class").iterdir()}
    assert kept.items() < again.items()
    assert len(again) == 3


def test_all_that_is_encoded_is_encoded_in_one_load_of_each_part(
    cold_workspace: Workspace, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[tuple[str, ...]] = []
    real = StableDiffusionXLInpaintPipeline.from_pretrained

    def counted(*arguments: Any, **named: Any) -> Any:
        pipeline = real(*arguments, **named)
        parts = ("text_encoder", "text_encoder_2", "vae", "unet")
        loads.append(tuple(part for part in parts if getattr(pipeline, part) is not None))
        return pipeline

    monkeypatch.setattr(StableDiffusionXLInpaintPipeline, "from_pretrained", counted)
    watched = ("validation.every=2", "validation.choose=loss", "validation.timesteps=1")
    texts, everything = ("text_encoder", "text_encoder_2"), ("text_encoder", "text_encoder_2", "vae", "unet")
    train(cold_workspace, "bottle01", tiny_base, *watched)
    assert loads == [everything, texts, ("vae",), ("unet",)], "the class is drawn, then all is encoded"
    assert len(list((cold_workspace.cache / "latents").iterdir())) == 8, "4 trained on, 2 held out, 2 of the class"
    loads.clear()
    train(cold_workspace, "bottle01", tiny_base, *watched, "objective.prior_pictures=3")
    assert loads == [everything, ("vae",), ("unet",)], "its one caption is there already"
    loads.clear()
    train(cold_workspace, "bottle01", tiny_base, *watched, "train.seed=1")
    assert loads == [("unet",)], "all is in the cache"


def test_class_rows_are_of_the_asked_size_and_on_four_channels_too(tiny_base_4: Path, tmp_path: Path) -> None:
    said: list[tuple[int, int]] = []
    rows = class_images.class_rows(
        tmp_path,
        resolve_base(str(tiny_base_4)),
        "mug",
        class_images.ClassImages(count=2, weight=1.0, size=128, precision="fp32"),
        device="cpu",
        progress=lambda done, total: said.append((done, total)),
    )
    assert said == [(1, 2), (2, 2)]
    assert [row.picture.shape for row in rows] == [(128, 128, 3)] * 2
    assert [row.mask_kind for row in rows] == ["full", "box"]
    assert {row.text for row in rows} == {"a photo of mug"}
    assert all(0.1 < row.product.mean() < 0.5 for row in rows)
    assert (rows[0].picture != rows[1].picture).any()


def test_idle_settings_do_not_make_another_adapter(workspace: Workspace, tiny_base: Path) -> None:
    config = tiny_config(tiny_base)
    prepared = prepare_once(workspace, "bottle01", config.data)
    base = check_request(config)

    def print_of(*overrides: str) -> str:
        return training_fingerprint(prepared.fingerprint, base, tiny_config(tiny_base, *overrides))

    assert print_of() == print_of("objective.prior_pictures=5")
    prints = {
        print_of("objective.prior_weight=1"),
        print_of("objective.prior_weight=1", "objective.prior_pictures=5"),
        print_of(),
    }
    assert len(prints) == 3


def test_the_planner_counts_gradients_that_are_there_in_the_second_pass(tiny_base: Path) -> None:
    unet = unet_config(tiny_base)
    setup = setup_of(tiny_config(tiny_base, *PRIOR), unet, this_device())
    assert setup.class_pass
    both = trace_budget(setup, context=0)
    once = trace_budget(replace(setup, class_pass=False), context=0)
    accumulated = trace_budget(replace(setup, class_pass=False, accumulation=2), context=0)
    assert both == accumulated
    assert once.total < both.total <= once.total + both.gradients
