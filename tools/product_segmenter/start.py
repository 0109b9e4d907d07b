"""The network before training: EfficientNet-Lite0's blocks with ImageNet weights, normalisation folded in."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from finetune.core.segmentation.network import BLOCKS, ProductNetwork
from tools.embedded_base.trunk import build_trunk


@torch.no_grad()
def start_network() -> ProductNetwork:
    """A network whose encoder knows photographs and whose decoder knows nothing.

    Raises:
        ConfigError: The extra `bench` is not installed.
    """
    trunk, network = build_trunk(pretrained=True), ProductNetwork()
    _fold(trunk._conv_stem.weight, trunk._bn0, network.stem)
    for number, block in enumerate(BLOCKS):
        theirs, ours = trunk._blocks[number], network.blocks[number]
        if block.expansion > 1:
            _fold(theirs._expand_conv.weight, theirs._bn0, ours.expand)
        _fold(theirs._depthwise_conv.weight, theirs._bn1, ours.filter)
        _fold(theirs._project_conv.weight, theirs._bn2, ours.project)
    return network


def _fold(weight: Tensor, norm: nn.BatchNorm2d, into: nn.Conv2d) -> None:
    """Copy a convolution without bias and the normalisation behind it into one convolution with bias."""
    assert norm.running_var is not None
    assert norm.running_mean is not None
    assert into.bias is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    into.weight.copy_(weight * scale[:, None, None, None])
    into.bias.copy_(norm.bias - norm.running_mean * scale)
