"""Memory of drawing a picture, by the pipeline's parts; computed without data, on any machine.

Previews, candidates and class pictures are all drawn by `core.painting.inpainter.Inpainter`: it encodes prompts, then
the masked picture, samples with guidance (a batch of 2, no gradients) and decodes. What training keeps in memory
meanwhile is not counted here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL

from finetune.memory import step_trace
from finetune.memory.budget import CUBLAS, Setup, bytes_of
from finetune.memory.encoding import text_encoders
from finetune.training.loop import predict
from finetune.unet import nf4

GUIDED = 2
"""Pictures in the UNet's batch: with the prompt and without (classifier-free guidance)."""


@dataclass(frozen=True)
class DrawingCost:
    """Bytes of a pipeline's parts, and of what each part needs beside its weights while it works."""

    text: int
    """Weights of both text encoders; beside them a prompt needs next to nothing."""
    text_2: int
    """Those of the second alone."""
    unet: int
    """Weights, the adapter's included."""
    predicting: int
    vae: int
    encoding: int
    """With its weights turned to float32 where the VAE asks for that (`force_upcast`)."""
    decoding: int
    pictures: int
    """The given picture, its mask and what the mask leaves of it; on a GPU they stay with the machine."""
    libraries: int

    @property
    def weights(self) -> int:
        """All parts' weights."""
        return self.text + self.unet + self.vae

    def peak(self, *, offloaded: bool) -> int:
        """Largest sum in the course of a picture.

        Args:
            offloaded: whether the parts take turns on the device (model CPU offload). The second text encoder then
                stays until the UNet comes, and the VAE, loaded before the UNet, stays with it.
        """
        stages = [
            (self.text, 0),
            (self.text_2 + self.vae, self.encoding),
            (self.unet + self.vae, self.predicting),
            (self.vae, self.decoding),
        ]
        most = max((weights if offloaded else self.weights) + use for weights, use in stages)
        return most + self.pictures + self.libraries


def trace_drawing(folder: Path, setup: Setup, size: int) -> DrawingCost:
    """Trace the parts of a base that draws; takes seconds at SDXL's size.

    Args:
        folder: of the base's configuration files.
        setup: of the UNet with its adapter (rank 0: without), and the precision of all parts; what else it says of
            training does not matter here.
        size: side of the picture in pixels.
    """
    kind, cuda = getattr(torch, setup.dtype), setup.cuda
    share = kind.itemsize
    unet = step_trace.unet_without_data(
        setup.unet, dtype=kind, rank=setup.rank, targets=setup.targets, dora=setup.dora, nf4=setup.nf4
    )
    vae, encoding, decoding = _vae(folder, size, kind, cuda)
    return DrawingCost(
        text=text_encoders(folder, cuda) * share // 4,
        text_2=text_encoders(folder, cuda, ("text_encoder_2",)) * share // 4,
        unet=_weights(unet, cuda),
        predicting=_prediction(unet, size, kind, cuda),
        vae=vae,
        encoding=encoding,
        decoding=decoding,
        pictures=0 if cuda else (3 + 1 + 3) * 4 * size * size,
        libraries=CUBLAS if cuda else 0,
    )


def _prediction(unet: Any, size: int, dtype: torch.dtype, cuda: bool) -> int:
    """What the UNet needs for a prediction with guidance; no autocast, as in placing."""
    functions = step_trace.DeviceFunctions(torch.float32, cuda=cuda)
    with torch.device("meta"), torch.no_grad():
        unet.eval()
        batch = step_trace.fake_batch(unet, size=size, batch=GUIDED)
        known = [*unet.parameters(), *unet.buffers(), *(value for value in vars(batch).values() if value is not None)]
        watch = step_trace.StorageWatch(cuda=cuda, known=known)
        with functions, watch:
            predict(unet, batch, batch.latents, dtype)
    return watch.timeline.peak()


def _vae(folder: Path, size: int, dtype: torch.dtype, cuda: bool) -> tuple[int, int, int]:
    """(weights, use of encoding the masked picture, use of decoding the drawn one)."""
    config = AutoencoderKL.load_config(str(folder / "vae"))
    upcast = torch.float32 if config.get("force_upcast", True) else dtype
    weights = _weights(_vae_without_data(config, dtype), cuda)
    side = size // 8
    uses = []
    for method, kind, shape in (("encode", upcast, (1, 3, size, size)), ("decode", torch.float32, (1, 4, side, side))):
        vae = _vae_without_data(config, kind)
        with torch.device("meta"), torch.no_grad():
            given = torch.empty(*shape, dtype=kind)
            watch = step_trace.StorageWatch(cuda=cuda, known=[*vae.parameters(), *vae.buffers(), given])
            with step_trace.DeviceFunctions(torch.float32, cuda=cuda), watch:
                getattr(vae, method)(given)
        uses.append(_weights(vae, cuda) - weights + (bytes_of([given], cuda) if cuda else 0) + watch.timeline.peak())
    return weights, uses[0], uses[1]


def _vae_without_data(config: Any, dtype: torch.dtype) -> Any:
    with torch.device("meta"):
        return AutoencoderKL.from_config(config).to(dtype).requires_grad_(False)


def _weights(model: Any, cuda: bool) -> int:
    return bytes_of([*model.parameters(), *model.buffers(), *nf4.scales_of(model)], cuda)
