"""Memory of drawing a picture with the UNet in training; what training keeps meanwhile is not counted here."""

from __future__ import annotations

from pathlib import Path

import torch

from finetune.core.painting import cost
from finetune.core.painting.cost import DrawingCost
from finetune.memory import step_trace
from finetune.memory.budget import Setup
from finetune.unet import nf4


def trace_drawing(folder: Path, setup: Setup, size: int) -> DrawingCost:
    """Trace the parts of a base that draws; takes seconds at SDXL's size.

    Args:
        folder: of the base's configuration files.
        setup: of the UNet with its adapter (rank 0: without), and the precision of all parts; what else it says of
            training does not matter here.
        size: side of the picture in pixels.
    """
    kind = getattr(torch, setup.dtype)
    unet = step_trace.unet_without_data(
        setup.unet, dtype=kind, rank=setup.rank, targets=setup.targets, dora=setup.dora, nf4=setup.nf4
    )
    return cost.trace_drawing(folder, unet, kind, size, cuda=setup.cuda, beside=nf4.scales_of(unet))
