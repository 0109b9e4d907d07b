"""The network that finds products in any picture: the first eleven blocks of EfficientNet-Lite0 and a small decoder.

The blocks come with ImageNet weights, so that they know photographs; their normalisation is folded into the
convolutions. (Tan and Le, "EfficientNet", ICML 2019; the Lite variants of its authors have no squeeze-and-excitation
and ReLU6. Sandler et al., "MobileNetV2", CVPR 2018, section 3, for the block.) The decoder joins five levels from
coarse to fine, as a feature pyramid does (Lin et al., CVPR 2017), and sees the mean of the coarsest one: what is a
product depends on the rest of the picture.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

MULTIPLE = 16
"""Width and height of a picture have to be multiples of this."""
SIDE_WIDTH = 48
"""Channels of the decoder."""


class Block(NamedTuple):
    """One inverted bottleneck of the encoder."""

    inside: int
    outside: int
    kernel: int
    stride: int
    expansion: int
    level: bool
    """Whether the decoder reads its output."""


BLOCKS = (
    Block(32, 16, 3, 1, 1, level=True),
    Block(16, 24, 3, 2, 6, level=False),
    Block(24, 24, 3, 1, 6, level=True),
    Block(24, 40, 5, 2, 6, level=False),
    Block(40, 40, 5, 1, 6, level=True),
    Block(40, 80, 3, 2, 6, level=False),
    Block(80, 80, 3, 1, 6, level=False),
    Block(80, 80, 3, 1, 6, level=True),
    Block(80, 112, 5, 1, 6, level=False),
    Block(112, 112, 5, 1, 6, level=False),
    Block(112, 112, 5, 1, 6, level=True),
)
"""EfficientNet-Lite0 up to stride 16."""


class SamePadded(nn.Conv2d):
    """A convolution padded as TensorFlow's "same": with stride 2 the odd pixel goes to the right and below."""

    def forward(self, input: Tensor) -> Tensor:
        """(n, c, h, w) to (n, c', h / stride, w / stride)."""
        spare = self.kernel_size[0] - self.stride[0]
        near = spare // 2
        padded = functional.pad(input, (near, spare - near, near, spare - near))
        return functional.conv2d(padded, self.weight, self.bias, self.stride, 0, 1, self.groups)


class Bottleneck(nn.Module):
    """Expand, filter each channel, project; added to its input where the shapes agree."""

    def __init__(self, block: Block) -> None:
        """Build the block."""
        super().__init__()
        wide = block.inside * block.expansion
        self.expand = nn.Conv2d(block.inside, wide, 1) if block.expansion > 1 else nn.Identity()
        self.filter = SamePadded(wide, wide, block.kernel, block.stride, groups=wide)
        self.project = nn.Conv2d(wide, block.outside, 1)
        self.expands = block.expansion > 1
        self.adds = block.stride == 1 and block.inside == block.outside

    def forward(self, x: Tensor) -> Tensor:
        """(n, inside, h, w) to (n, outside, h / stride, w / stride)."""
        wide = functional.relu6(self.expand(x)) if self.expands else x
        out: Tensor = self.project(functional.relu6(self.filter(wide)))
        return out + x if self.adds else out


class ProductNetwork(nn.Module):
    """RGB pictures to the logit of "this pixel is a product"."""

    def __init__(self) -> None:
        """Build it with random weights."""
        super().__init__()
        self.stem = SamePadded(3, BLOCKS[0].inside, 3, 2)
        self.blocks = nn.ModuleList(Bottleneck(block) for block in BLOCKS)
        read = [block.outside for block in BLOCKS if block.level]
        self.whole = nn.Linear(read[-1], SIDE_WIDTH)
        self.sides = nn.ModuleList(nn.Conv2d(channels, SIDE_WIDTH, 1) for channels in read)
        self.joints = nn.ModuleList(
            nn.Sequential(nn.Conv2d(SIDE_WIDTH, SIDE_WIDTH, 3, padding=1), nn.GroupNorm(4, SIDE_WIDTH), nn.ReLU())
            for _ in read
        )
        self.product = nn.ConvTranspose2d(SIDE_WIDTH, 1, 4, 2, 1)

    def levels(self, pictures: Tensor) -> list[Tensor]:
        """The outputs that the decoder reads, finest first."""
        x = functional.relu6(self.stem(pictures))
        read = []
        for block, module in zip(BLOCKS, self.blocks, strict=True):
            x = module(x)
            if block.level:
                read.append(x)
        return read

    def decode(self, levels: list[Tensor]) -> Tensor:
        """Levels, finest first, to logits."""
        whole = self.whole(levels[-1].mean((2, 3)))[..., None, None]
        top = self.joints[-1](self.sides[-1](levels[-1]) + whole)
        for side, joint, level in zip(self.sides[-2::-1], self.joints[-2::-1], levels[-2::-1], strict=True):
            top = joint(functional.interpolate(top, size=level.shape[-2:], mode="nearest") + side(level))
        found: Tensor = self.product(top)[:, 0]
        return found

    def forward(self, pictures: Tensor) -> Tensor:
        """Find products.

        Args:
            pictures: (n, 3, h, w) sRGB in -1..1; h and w multiples of 16.

        Returns:
            (n, h, w) logits.
        """
        return self.decode(self.levels(pictures))


def to_input(pictures: Tensor) -> Tensor:
    """(n, h, w, 3) uint8 to (n, 3, h, w) float in -1..1."""
    return pictures.permute(0, 3, 1, 2).to(torch.float32).div(127.5).sub(1)
