"""Memory of drawing a picture, by the pipeline's parts; computed without data, on any machine.

Previews, candidates, class pictures, placing and evaluating all draw by `core.painting.inpainter.Inpainter`: it encodes
prompts, then the masked picture, samples with guidance (a batch of 2, no gradients) and decodes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

from finetune.core.tracing.storages import DeviceFunctions, StorageWatch

CUBLAS = 2 * 8_519_680
"""cuBLAS's workspace (torch's default `:4096:2:16:8`), once for the forward and once for the backward thread."""
CPU_LIBRARIES = 70 << 20
"""What oneDNN, OpenMP and picture libraries take for themselves once they work (measured, docs/memory.md)."""
PREDICTING_LIBRARIES = 20 << 20
"""The same for a UNet that predicts once, without a VAE and without pictures."""
KEPT_WHILE_DRAWING = 2.25
"""Anonymous memory of a process on a CPU for each byte that drawing is traced to use: oneDNN copies the inputs and the
results of convolutions, and what is freed in small pieces stays with the allocator (measured, docs/memory.md)."""
GUIDED = 2
"""Pictures in the UNet's batch: with the prompt and without (classifier-free guidance)."""
TOKENS = 77
"""Length of a prompt, padded."""


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

    @property
    def process_peak(self) -> int:
        """What a process on a CPU takes for it: the parts, and what libraries and allocator keep beside them."""
        use = max(self.encoding, self.predicting, self.decoding)
        return self.weights + self.pictures + int(KEPT_WHILE_DRAWING * use) + CPU_LIBRARIES


def trace_drawing(
    folder: Path, unet: Any, dtype: torch.dtype, size: int, *, cuda: bool, beside: Iterable[torch.Tensor] = ()
) -> DrawingCost:
    """Trace the parts of a base that draws; takes seconds at SDXL's size.

    Args:
        folder: of the base's configuration files.
        unet: with its adapter where it has one, on the meta device.
        dtype: of all parts.
        size: side of the picture in pixels.
        cuda: whether as on a CUDA device; else as on a CPU.
        beside: tensors that belong to the UNet and are no parameters of it (a 4-bit layer's scales).
    """
    share = dtype.itemsize
    vae, encoding, decoding = _vae(folder, size, dtype, cuda)
    return DrawingCost(
        text=text_encoders(folder, cuda) * share // 4,
        text_2=text_encoders(folder, cuda, ("text_encoder_2",)) * share // 4,
        unet=weights_of(unet, cuda, *beside),
        predicting=prediction(unet, size, dtype, cuda=cuda),
        vae=vae,
        encoding=encoding,
        decoding=decoding,
        pictures=0 if cuda else (3 + 1 + 3) * 4 * size * size,
        libraries=CUBLAS if cuda else 0,
    )


def unet_alone(folder: Path, dtype: torch.dtype) -> Any:
    """A base's UNet without an adapter, on the meta device: every shape and no memory.

    Args:
        folder: of the base's configuration files.
        dtype: of its weights.
    """
    config = UNet2DConditionModel.load_config(str(folder / "unet"))
    with torch.device("meta"):
        return UNet2DConditionModel.from_config(config).to(dtype).requires_grad_(False)


def prediction(unet: Any, size: int, dtype: torch.dtype, *, cuda: bool) -> int:
    """Bytes the UNet needs beside its weights for a prediction with guidance; no autocast, as in placing.

    Args:
        unet: on the meta device.
        size: side of the picture in pixels.
        dtype: of the computation.
        cuda: whether as on a CUDA device.
    """
    config, side = unet.config, size // 8
    pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
    with torch.device("meta"), torch.no_grad():
        unet.eval()
        latents = torch.empty(GUIDED, config.in_channels, side, side, dtype=dtype)
        text = torch.empty(GUIDED, TOKENS, config.cross_attention_dim, dtype=dtype)
        added = {"text_embeds": torch.empty(GUIDED, pooled, dtype=dtype), "time_ids": torch.empty(GUIDED, 6)}
        time = torch.zeros(GUIDED, dtype=torch.long)
        known = [*unet.parameters(), *unet.buffers(), text, *added.values(), time]
        watch = StorageWatch(cuda=cuda, known=known)
        with DeviceFunctions(torch.float32, cuda=cuda), watch:
            given = latents.clone()  # the sampler's input counts: the latents twice, for guidance
            unet(given, time, text, added_cond_kwargs=added, return_dict=False)
    return watch.timeline.peak()


def text_encoders(folder: Path, cuda: bool, names: tuple[str, ...] = ("text_encoder", "text_encoder_2")) -> int:
    """Bytes of text encoders in float32; what a prompt of 77 tokens needs beside them is under a hundredth.

    Args:
        folder: of the base's configuration files.
        cuda: whether on a CUDA device.
        names: which of them.
    """
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    kinds = {"text_encoder": CLIPTextModel, "text_encoder_2": CLIPTextModelWithProjection}
    total = 0
    for name in names:
        config = CLIPTextConfig.from_pretrained(str(folder / name), local_files_only=True)
        with torch.device("meta"):
            # transformers makes the weights in the dtype that the configuration was saved with
            total += weights_of(kinds[name](config).float(), cuda)
    return total


def _vae(folder: Path, size: int, dtype: torch.dtype, cuda: bool) -> tuple[int, int, int]:
    """(weights, use of encoding the masked picture, use of decoding the drawn one)."""
    config = AutoencoderKL.load_config(str(folder / "vae"))
    upcast = torch.float32 if config.get("force_upcast", True) else dtype
    weights = weights_of(_vae_without_data(config, dtype), cuda)
    side = size // 8
    uses = []
    for method, kind, shape in (("encode", upcast, (1, 3, size, size)), ("decode", torch.float32, (1, 4, side, side))):
        vae = _vae_without_data(config, kind)
        with torch.device("meta"), torch.no_grad():
            given = torch.empty(*shape, dtype=kind)
            watch = StorageWatch(cuda=cuda, known=[*vae.parameters(), *vae.buffers(), given])
            with DeviceFunctions(torch.float32, cuda=cuda), watch:
                getattr(vae, method)(given)
        uses.append(weights_of(vae, cuda) - weights + (bytes_of([given], cuda) if cuda else 0) + watch.timeline.peak())
    return weights, uses[0], uses[1]


def _vae_without_data(config: Any, dtype: torch.dtype) -> Any:
    with torch.device("meta"):
        return AutoencoderKL.from_config(config).to(dtype).requires_grad_(False)


def weights_of(model: Any, cuda: bool, *more: torch.Tensor) -> int:
    """Bytes of a model's parameters and buffers, and of more tensors that belong to it."""
    return bytes_of([*model.parameters(), *model.buffers(), *more], cuda)


def bytes_of(tensors: Iterable[torch.Tensor], cuda: bool) -> int:
    """Bytes of tensors; on CUDA in units of its allocator, 512 bytes."""
    unit = 512 if cuda else 1
    return sum(-(-t.numel() * t.element_size() // unit) * unit for t in tensors)
