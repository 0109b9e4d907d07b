"""The training objective as pure functions: noise, timesteps and masks are arguments, nothing is random inside.

Notation: x0 latents, e noise, a_t the cumulative product of (1 - beta) at timestep t, SNR(t) = a_t / (1 - a_t).
All of them act per sample; the batch mean is taken last, so that accumulation and several GPUs change nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def add_noise(x0: Tensor, noise: Tensor, alphas: Tensor, timesteps: Tensor) -> Tensor:
    """Noised latents sqrt(a_t) x0 + sqrt(1 - a_t) e (DDPM, arXiv 2006.11239, eq. 4).

    Args:
        x0, noise: (B, 4, h, w). alphas: (T,) cumulative products. timesteps: (B,) int64 in 0..T-1.
    """
    a = alphas[timesteps].view(-1, 1, 1, 1)
    return a.sqrt() * x0 + (1 - a).sqrt() * noise


def target(x0: Tensor, noise: Tensor, alphas: Tensor, timesteps: Tensor, prediction_type: str) -> Tensor:
    """What the UNet should predict: e, or v = sqrt(a_t) e - sqrt(1 - a_t) x0 (arXiv 2202.00512, app. D)."""
    if prediction_type == "epsilon":
        return noise
    if prediction_type == "v_prediction":
        a = alphas[timesteps].view(-1, 1, 1, 1)
        return a.sqrt() * noise - (1 - a).sqrt() * x0
    raise ValueError(f"prediction type {prediction_type!r} is unknown")


def training_alphas(alphas: Tensor, *, zero_snr: bool) -> Tensor:
    """The schedule to train with, (T,) cumulative products; its last is exactly 0 where the base ends in pure noise.

    Zero terminal SNR by arXiv 2305.08891, algorithm 1: sqrt(a_t) is shifted so that the last is 0 and scaled so that
    the first stays. diffusers' schedulers do that, but some write 2**-24 for the 0, since they divide by it in
    sampling, and some don't know the setting at all.

    Args:
        alphas: (T,) as the base's scheduler has them. zero_snr: whether the base asks for zero terminal SNR.
    """
    if not zero_snr:
        return alphas
    if alphas[-1] <= 2**-24:
        return torch.cat([alphas[:-1], torch.zeros_like(alphas[-1:])])
    roots = alphas.double().sqrt()
    scaled = (roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])
    return scaled.square().to(alphas.dtype)


def snr_weights(alphas: Tensor, timesteps: Tensor, gamma: float, prediction_type: str) -> Tensor:
    """Min-SNR-gamma weights, (B,): min(SNR, g)/SNR for epsilon, min(SNR, g)/(SNR + 1) for v (arXiv 2303.09556).

    gamma 0 gives ones. At zero terminal SNR (a_T = 0) the epsilon weight is 1, its limit, and that of v is 0: both
    weigh the picture's own error by min(SNR, g), and there SNR is 0. To train that timestep too, take gamma 0.
    """
    if gamma == 0:
        return torch.ones_like(timesteps, dtype=torch.float32)
    a = alphas[timesteps].float()
    snr = a / (1 - a).clamp_min(1e-12)
    capped = snr.clamp_max(gamma)
    if prediction_type == "v_prediction":
        return capped / (snr + 1)
    return torch.where(snr > 0, capped / snr.clamp_min(1e-12), torch.ones_like(snr))


def region_loss(
    prediction: Tensor, targets: list[Tensor], regions: list[Tensor], weights: list[float], sample_weights: Tensor
) -> Tensor:
    """Squared error by region, each normalised by its own area in each sample; then the mean over samples.

    For sample b:  L_b = s_b * sum_r w_r E_br / sum_r w_r [area_br > 0],  E_br = mean of (p - t_r)^2 over region r.
    So a bottle that fills a tenth of the picture gets its full gradient, and an empty region never divides by zero.

    Args:
        prediction: (B, 4, h, w). targets: for each region, (B, 4, h, w).
        regions: for each region, (B, 1, h, w) in 0..1: how much of each latent belongs to it.
        weights: for each region, its weight >= 0. sample_weights: (B,), for example of min-SNR.

    Returns:
        Scalar.
    """
    channels = prediction.shape[1]
    total = torch.zeros(prediction.shape[0], device=prediction.device)
    norm = torch.zeros_like(total)
    for goal, region, weight in zip(targets, regions, weights, strict=True):
        if weight == 0:
            continue
        area = region.sum(dim=(1, 2, 3)).float()
        squared = (prediction.float() - goal.float()).square() * region
        error = squared.sum(dim=(1, 2, 3)) / (channels * area).clamp_min(1e-6)
        present = (area > 0).float() * weight
        total = total + present * error
        norm = norm + present
    return (sample_weights * total / norm.clamp_min(1e-6)).mean()
