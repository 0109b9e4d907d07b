"""Memory of encoding a set, before the UNet loads; computed without data, on any machine.

`latents.cache` encodes in two parts that are never in memory together: the text encoders, then the VAE; each in
float32, one picture at a time.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from finetune.memory.budget import bytes_of


def caching_peak(folder: Path, size: int, *, cuda: bool) -> int:
    """Peak bytes of encoding, the process itself not counted.

    Args:
        folder: of a base's configuration files.
        size: side of the pictures in pixels.
    """
    return max(text_encoders(folder, cuda), _vae(folder, size, cuda))


def text_encoders(folder: Path, cuda: bool, names: tuple[str, ...] = ("text_encoder", "text_encoder_2")) -> int:
    """Both text encoders in float32; what a prompt of 77 tokens needs beside them is under a hundredth."""
    import torch
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    kinds = {"text_encoder": CLIPTextModel, "text_encoder_2": CLIPTextModelWithProjection}
    total = 0
    for name in names:
        config = CLIPTextConfig.from_pretrained(str(folder / name), local_files_only=True)
        with torch.device("meta"):
            total += _weights(kinds[name](config), cuda)
    return total


def _vae(folder: Path, size: int, cuda: bool) -> int:
    """The VAE with the activations of its encoder on one picture, traced."""
    import torch
    from diffusers import AutoencoderKL

    from finetune.memory import step_trace

    with torch.device("meta"):
        vae = AutoencoderKL.from_config(AutoencoderKL.load_config(str(folder / "vae"))).requires_grad_(False)
    with torch.device("meta"), torch.no_grad():
        picture = torch.empty(1, 3, size, size)
        watch = step_trace.StorageWatch(cuda=cuda, known=[*vae.parameters(), *vae.buffers()])
        with step_trace.DeviceFunctions(torch.float32, cuda=cuda), watch:
            vae.encode(picture)
    return _weights(vae, cuda) + bytes_of([picture], cuda) + watch.timeline.peak()


def _weights(model: Any, cuda: bool) -> int:
    tensors: Iterable[Any] = [*model.parameters(), *model.buffers()]
    return bytes_of(tensors, cuda)
