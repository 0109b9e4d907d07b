"""What judges the autoencoder's pictures beside pixels: features of a network that knows photographs, and a critic.

Pixels alone make grey of what cannot be known exactly: the veins of marble, the edges of letters.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from .trunk import build_trunk, trunk_levels

TAPS = {0: 1.0, 2: 1.0, 4: 1.0, 10: 0.5}
"""Blocks of the trunk that are compared (strides 2, 4, 8, 16), and their weights."""
CRITIC_WIDTHS = (32, 64, 96)


class Perception(nn.Module):
    """Distance of two pictures in the features of EfficientNet-Lite0, in the manner of LPIPS (arXiv 1801.03924)."""

    def __init__(self, *, pretrained: bool = True) -> None:
        super().__init__()
        self.trunk = build_trunk(pretrained=pretrained).requires_grad_(False)

    def features(self, pictures: Tensor) -> list[Tensor]:
        """Pictures (n, 3, s, s) in -1..1 to features of unit length at every place and level."""
        levels = trunk_levels(self.trunk, pictures, TAPS, max(TAPS))
        return [functional.normalize(levels[tap], dim=1, eps=1e-4) for tap in TAPS]

    def forward(self, made: Tensor, true: Tensor) -> Tensor:
        """Weighted mean over levels of the squared distance between features (0 to 4), a scalar."""
        with torch.no_grad():
            wanted = self.features(true)
        distance = made.new_zeros(())
        for weight, found, aim in zip(TAPS.values(), self.features(made), wanted, strict=True):
            distance = distance + weight * (found - aim).square().sum(1).mean()
        return distance / sum(TAPS.values())


class PatchCritic(nn.Module):
    """Says of every patch of 22 to 46 pixels whether it is real: positive, or made: negative."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inside = 3
        for width in CRITIC_WIDTHS:
            layers += [spectral_norm(nn.Conv2d(inside, width, 4, 2, 1)), nn.LeakyReLU(0.2)]
            inside = width
        self.layers = nn.Sequential(*layers, spectral_norm(nn.Conv2d(inside, 1, 4, 1, 1)))

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (n, 3, s, s) in -1..1 to verdicts (n, 1, s/8 - 1, s/8 - 1)."""
        verdicts: Tensor = self.layers(pictures)
        return verdicts


def critic_loss(critic: PatchCritic, true: Tensor, made: Tensor) -> Tensor:
    """Hinge loss of the critic: 0 where it is sure and right by a margin of 1, 2 where it says 0 of everything."""
    return functional.relu(1 - critic(true)).mean() + functional.relu(1 + critic(made)).mean()


def balanced_gradient(faithful: Tensor, pleasing: Tensor, made: Tensor, weight: float) -> Tensor:
    """Gradient of two losses with respect to `made` (a leaf), the second scaled to `weight` times the first's norm.

    The balance of Esser et al. (arXiv 2012.09841, eq. 7), taken at the picture instead of at the last layer: it costs
    no pass more, and the critic can never drown the truth.
    """
    (towards_true,) = torch.autograd.grad(faithful, made)
    (towards_real,) = torch.autograd.grad(pleasing, made)
    return towards_true + towards_real * (weight * towards_true.norm() / towards_real.norm().clamp_min(1e-8))
