"""SDXL's UNet at full size on the meta device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from finetune.core.basemodel.resolve import single_file_config

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel


def sdxl_unet(channels: int) -> UNet2DConditionModel:
    import torch
    from diffusers import UNet2DConditionModel

    config = UNet2DConditionModel.load_config(str(single_file_config(channels, "x") / "unet"))
    with torch.device("meta"):
        return UNet2DConditionModel.from_config(config)
