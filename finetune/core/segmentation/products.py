"""Where products are in any picture, by the small network that ships with Packshot (1.6 MB).

It answers "what in this picture is a product": on a painted scene it finds a second one that nobody asked for, and in
an insert picture what was drawn. It is no cutout: its outline is 2 to 4 px soft at 256 px. Trained on rendered scenes
by `tools/product_segmenter`, whose README states how right it is.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from finetune.core.pictures.images import Floats

if TYPE_CHECKING:
    from finetune.core.segmentation.network import ProductNetwork

WEIGHTS = Path(__file__).with_name("products.safetensors")
SEEN_SIDE = 256
"""Longer side in pixels at which a picture is looked at, as in training."""


def find_products(picture: Image.Image) -> Floats:
    """How sure the network is of a product, pixel by pixel.

    Args:
        picture: Of any mode and size.

    Returns:
        (h, w) probabilities 0..1 of the picture reduced (or enlarged) to a longer side of 256 px; h and w are
        multiples of 16.
    """
    import torch

    from finetune.core.segmentation.network import to_input

    flat = picture.convert("RGB").resize(seen_size(*picture.size), Image.Resampling.BOX)
    with torch.no_grad():
        logits = _network()(to_input(torch.from_numpy(np.asarray(flat)[None].copy())))
    found: Floats = logits.sigmoid()[0].numpy()
    return found


def seen_size(width: int, height: int) -> tuple[int, int]:
    """(width, height) at which a picture is looked at: multiples of 16, the longer side 256."""
    from finetune.core.segmentation.network import MULTIPLE

    scale = SEEN_SIDE / max(width, height)
    across, down = (max(MULTIPLE, round(side * scale / MULTIPLE) * MULTIPLE) for side in (width, height))
    return across, down


@functools.lru_cache(maxsize=1)
def _network() -> ProductNetwork:
    from safetensors.torch import load_file

    from finetune.core.segmentation.network import ProductNetwork

    network = ProductNetwork()
    network.load_state_dict({name: tensor.float() for name, tensor in load_file(WEIGHTS).items()})
    return network.eval()
