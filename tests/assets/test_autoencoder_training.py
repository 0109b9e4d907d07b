"""The embedded base's autoencoder: what judges its pictures, and a run that is killed and goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rendered_worlds import Killed, make_world, record, tiny_autoencoder

from tools.embedded_base import autoencoder
from tools.embedded_base.judges import PatchCritic, Perception, balanced_gradient, critic_loss
from tools.embedded_base.sharpness import fine_energy

pytestmark = pytest.mark.tiny


def train_small(folder: Path, monkeypatch: pytest.MonkeyPatch, kill_at: int | None = None) -> list[dict[str, Any]]:
    """An autoencoder of a dozen samples, half of them judged by the critic; losses and rate of every step it ran."""
    plan = autoencoder.AutoencoderPlan(
        12, batch=1, crops=((0.5, 32), (1.0, 64)), critic_from=0.5, anchor_until=0.3, save_minutes=0.0
    )
    lines: list[dict[str, Any]] = []
    step = autoencoder.train_step

    def noted(run: autoencoder.AutoencoderRun, *others: Any) -> float:
        if run.step == kill_at:
            raise Killed
        share = step(run, *others)
        rate = run.optimizer.param_groups[0]["lr"]
        lines.append({"step": run.step, "samples": run.samples, "rate": rate, **run.parts})
        return share

    with monkeypatch.context() as patched:
        patched.setattr(autoencoder, "LEAVES", 2)
        patched.setattr(autoencoder, "build_autoencoder", tiny_autoencoder)
        patched.setattr(autoencoder, "train_step", noted)
        world = make_world([record(i, empty=i == 2) for i in range(4)])
        try:
            model = autoencoder.train_autoencoder(world, folder, plan, torch.device("cpu"))
        except Killed:
            model = None
    assert (model is None) == (kill_at is not None)
    return lines


def test_a_run_that_is_killed_goes_on_as_if_it_had_not_been(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train_small(tmp_path / "whole", monkeypatch)
    assert [line["samples"] for line in whole] == [0, 2, 4, 6, 7, 8, 9, 10, 11]
    assert "critic" not in whole[2]
    assert "critic" in whole[3]
    parts = [train_small(tmp_path / "parts", monkeypatch, kill_at=at) for at in (2, 6)]
    parts.append(train_small(tmp_path / "parts", monkeypatch))
    assert [len(part) for part in parts] == [2, 4, 3]
    for straight, resumed in zip(whole, [line for part in parts for line in part], strict=True):
        assert straight == pytest.approx(resumed, rel=1e-4)
    states = [torch.load(tmp_path / name / "autoencoder.pt", weights_only=True) for name in ("whole", "parts")]
    assert [(state["step"], state["samples"]) for state in states] == [(9, 12), (9, 12)]
    for name, weights in states[0]["average"].items():
        torch.testing.assert_close(weights, states[1]["average"][name], rtol=1e-3, atol=1e-5)


def test_the_critic_is_right_of_what_it_learned_and_never_drowns_the_truth() -> None:
    torch.manual_seed(0)
    critic = PatchCritic()
    true, made = torch.rand(2, 3, 64, 64) * 2 - 1, torch.zeros(2, 3, 64, 64)
    optimizer = torch.optim.AdamW(critic.parameters(), lr=3e-3)
    first = critic_loss(critic, true, made).item()
    for _ in range(30):
        optimizer.zero_grad()
        critic_loss(critic, true, made).backward()
        optimizer.step()
    assert critic_loss(critic, true, made).item() < 0.5 * first
    seen = made.clone().requires_grad_()
    (plain,) = torch.autograd.grad((seen - true).abs().mean(), seen)
    for weight in (0.0, 0.4):
        gradient = balanced_gradient((seen - true).abs().mean(), -1000 * critic(seen).mean(), seen, weight)
        assert float((gradient - plain).norm()) == pytest.approx(weight * float(plain.norm()), rel=1e-3)


def test_features_and_fine_energy_see_blur_that_pixels_hardly_do() -> None:
    rng = np.random.default_rng(0)
    sharp = np.repeat(rng.integers(60, 190, (2, 32, 32, 3)), 2, 1).repeat(2, 2).astype(np.uint8)
    soft = np.stack([np.asarray(Image.fromarray(p).resize((24, 24)).resize((64, 64))) for p in sharp])
    darker = (sharp * 0.93).astype(np.uint8)
    perception = Perception()
    signed = [torch.from_numpy(p.copy()).permute(0, 3, 1, 2) / 127.5 - 1 for p in (sharp, soft, darker)]
    blurred, dimmed = (float(perception(picture, signed[0])) for picture in signed[1:])
    assert blurred > 3 * dimmed
    assert float(perception(signed[0], signed[0])) == pytest.approx(0, abs=1e-6)
    assert fine_energy(sharp, sharp) == pytest.approx(1)
    assert fine_energy(soft, sharp) < 0.6
    assert fine_energy(darker, sharp) == pytest.approx(0.93**2, abs=0.02)
    flat = np.full_like(sharp, 90)
    both = np.concatenate([sharp, flat])
    assert fine_energy(both, both) == pytest.approx(1), "flat pictures do not count"
    assert np.isnan(fine_energy(sharp, flat))
