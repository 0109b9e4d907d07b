"""The scene reader's network: a trunk that knows photographs, answers about the scene, and a product mask.

The trunk is EfficientNet-Lite0 with ImageNet weights (`tools/embedded_base/trunk.py`): fifteen hundred renders are too
few to learn from nothing what marble looks like, and enough to tell a network that has seen photographs what to say.
Tuning the trunk too made the answers no better and took ten times as long.
Used by `scene_reader`; the taps by the product reader too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.embedded_base import tint
from tools.embedded_base.trunk import build_trunk, trunk_levels

HIDDEN = 128
TAPS = {0: 16, 2: 24, 4: 40, 10: 112, 15: 320}
"""Blocks of the trunk that are read, strides 2 to 32, and their channels."""
SIDE_WIDTH = 24
BANDS = 3
"""Horizontal bands the means are taken over: wall, product, surface."""
FINE = (0, 2, 4)
"""Taps whose energy is read as well: how rough a surface is and how hard a shadow."""


def block(inside: int, outside: int, stride: int) -> nn.Sequential:
    """Convolution, normalisation, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inside, outside, 3, stride, 1, bias=False), nn.BatchNorm2d(outside), nn.ReLU(inplace=True)
    )


class ReaderNetwork(nn.Module):
    """A frozen trunk; answers from band means of its levels, the product from the levels themselves."""

    def __init__(self, answers: Mapping[str, int], *, pretrained: bool) -> None:
        """`answers`: how many names each question has."""
        super().__init__()
        self.trunk = build_trunk(pretrained=pretrained).requires_grad_(False)
        width = BANDS * (sum(TAPS.values()) + sum(TAPS[tap] for tap in FINE)) + tint.WIDTH
        self.scale = nn.BatchNorm1d(width, affine=False)
        self.hidden = nn.ModuleDict(
            {q: nn.Sequential(nn.Dropout(0.3), nn.Linear(width, HIDDEN), nn.ReLU()) for q in answers}
        )
        self.answers = nn.ModuleDict(
            {q: nn.Sequential(nn.Dropout(0.5), nn.Linear(HIDDEN, count)) for q, count in answers.items()}
        )
        self.sides = nn.ModuleList(nn.Conv2d(channels, SIDE_WIDTH, 1) for channels in TAPS.values())
        self.joints = nn.ModuleList(block(SIDE_WIDTH, SIDE_WIDTH, 1) for _ in list(TAPS)[:-1])
        self.product = nn.ConvTranspose2d(SIDE_WIDTH, 1, 4, 2, 1)

    def train(self, mode: bool = True) -> ReaderNetwork:
        """As for any module, but the trunk always stays in evaluation: its statistics are ImageNet's."""
        super().train(mode)
        self.trunk.eval()
        return self

    @torch.no_grad()
    def look(self, pictures: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Pictures (n, 3, s, s) in -1..1 to what the trunk sees: means (n, width), and the levels, finest first."""
        levels = trunk_levels(self.trunk, pictures, TAPS, max(TAPS))
        found = [_bands(level) for level in levels.values()]
        found += [_bands(levels[tap].square()) for tap in FINE]
        seen = ((pictures.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
        found.append(torch.from_numpy(tint.statistics_of(seen)))
        return torch.cat(found, 1), list(levels.values())

    def answer(self, means: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Means (n, width) to logits by question, and the layer before them (n, questions x 128)."""
        scaled = self.scale(means)
        hidden = {q: layer(scaled) for q, layer in self.hidden.items()}
        return {q: head(hidden[q]) for q, head in self.answers.items()}, torch.cat(list(hidden.values()), 1)

    def find(self, levels: Sequence[Tensor]) -> Tensor:
        """Levels to product logits (n, s, s)."""
        top = self.sides[-1](levels[-1])
        for side, joint, level in zip(self.sides[-2::-1], self.joints, levels[-2::-1], strict=True):
            top = joint(functional.interpolate(top, size=level.shape[-2:], mode="nearest") + side(level))
        found: Tensor = self.product(top)[:, 0]
        return found


def _bands(level: Tensor) -> Tensor:
    return functional.adaptive_avg_pool2d(level, (BANDS, 1)).flatten(1)
