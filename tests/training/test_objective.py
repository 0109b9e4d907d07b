"""The objective as arithmetic: targets, SNR weights, and the loss by region."""

from __future__ import annotations

import pytest
import torch

from finetune.training import objective

ALPHAS = torch.tensor([0.99, 0.5, 0.1, 0.0])


def test_noise_and_targets_are_consistent() -> None:
    torch.manual_seed(0)
    x0, noise = torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3)
    t = torch.tensor([0, 2])
    noisy = objective.add_noise(x0, noise, ALPHAS, t)
    a = ALPHAS[t].view(-1, 1, 1, 1)
    v = objective.target(x0, noise, ALPHAS, t, "v_prediction")
    torch.testing.assert_close(a.sqrt() * noisy - (1 - a).sqrt() * v, x0)
    torch.testing.assert_close(objective.target(x0, noise, ALPHAS, t, "epsilon"), noise)
    with pytest.raises(ValueError, match="is unknown"):
        objective.target(x0, noise, ALPHAS, t, "sample")


def test_snr_weights_follow_the_paper() -> None:
    t = torch.tensor([0, 1, 2, 3])
    snr = ALPHAS / (1 - ALPHAS)
    epsilon = objective.snr_weights(ALPHAS, t, 5.0, "epsilon")
    torch.testing.assert_close(epsilon[:3], snr[:3].clamp_max(5) / snr[:3])
    assert epsilon[3] == 1  # the limit at zero terminal SNR
    v = objective.snr_weights(ALPHAS, t, 5.0, "v_prediction")
    torch.testing.assert_close(v, snr.clamp_max(5) / (snr + 1))
    assert torch.equal(objective.snr_weights(ALPHAS, t, 0.0, "epsilon"), torch.ones(4))


def _regions(product_share: float) -> tuple[torch.Tensor, torch.Tensor]:
    product = torch.zeros(1, 1, 10, 10)
    product.view(-1)[: int(product_share * 100)] = 1
    return product, 1 - product


def test_a_small_product_gets_its_full_gradient() -> None:
    for share in (0.1, 0.5, 0.9):
        product, rest = _regions(share)
        prediction = torch.zeros(1, 4, 10, 10, requires_grad=True)
        loss = objective.region_loss(
            prediction, [torch.ones_like(prediction)] * 2, [product, rest], [1.0, 0.0], torch.ones(1)
        )
        loss.backward()
        assert loss.item() == pytest.approx(1.0)
        assert prediction.grad is not None
        assert prediction.grad.sum().item() == pytest.approx(-2.0)
        assert (prediction.grad * rest).abs().max() == 0


def test_an_empty_region_neither_divides_by_zero_nor_dilutes() -> None:
    empty, full = torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4)
    prediction = torch.zeros(1, 4, 4, 4)
    goal = torch.full_like(prediction, 2.0)
    loss = objective.region_loss(prediction, [goal, goal], [empty, full], [1.0, 0.5], torch.ones(1))
    assert loss.item() == pytest.approx(4.0)


def test_batch_loss_is_the_mean_of_single_losses() -> None:
    torch.manual_seed(1)
    prediction, goal = torch.randn(3, 4, 6, 6), torch.randn(3, 4, 6, 6)
    product = (torch.rand(3, 1, 6, 6) > 0.7).float()
    weights = torch.tensor([0.3, 1.0, 0.7])

    def loss(index: slice) -> torch.Tensor:
        return objective.region_loss(
            prediction[index],
            [goal[index], goal[index] * 0],
            [product[index], 1 - product[index]],
            [1.0, 0.5],
            weights[index],
        )

    singles = torch.stack([loss(slice(i, i + 1)) for i in range(3)])
    torch.testing.assert_close(loss(slice(0, 3)), singles.mean())


def test_a_sample_of_nothing_trains_nothing_and_stays_finite() -> None:
    prediction = torch.randn(2, 4, 4, 4, requires_grad=True)
    product = torch.zeros(2, 1, 4, 4)
    product[1] = 1
    goal = torch.zeros_like(prediction)
    loss = objective.region_loss(prediction, [goal, goal], [product, product * 0], [1.0, 1.0], torch.ones(2))
    loss.backward()
    assert loss.item() == pytest.approx(float(prediction.detach()[1].square().mean()) / 2, rel=1e-4)
    assert prediction.grad is not None
    assert prediction.grad[0].abs().max() == 0
    assert prediction.grad.isfinite().all()
