"""Memory of encoding a set, before the UNet loads; computed without data, on any machine.

`latents.cache` encodes in two parts that are never in memory together: the text encoders, then the VAE; each in
float32, one picture at a time.
"""

from __future__ import annotations

from pathlib import Path


def caching_peak(folder: Path, size: int, *, cuda: bool) -> int:
    """Peak bytes of encoding, the process itself not counted.

    Args:
        folder: of a base's configuration files.
        size: side of the pictures in pixels.
    """
    from finetune.core.painting.cost import text_encoders

    return max(text_encoders(folder, cuda), _vae(folder, size, cuda))


def _vae(folder: Path, size: int, cuda: bool) -> int:
    """The VAE with the activations of its encoder on one picture, traced."""
    import torch
    from diffusers import AutoencoderKL

    from finetune.core.painting.cost import bytes_of, weights_of
    from finetune.core.tracing.storages import DeviceFunctions, StorageWatch

    with torch.device("meta"):
        vae = AutoencoderKL.from_config(AutoencoderKL.load_config(str(folder / "vae"))).requires_grad_(False)
    with torch.device("meta"), torch.no_grad():
        picture = torch.empty(1, 3, size, size)
        watch = StorageWatch(cuda=cuda, known=[*vae.parameters(), *vae.buffers()])
        with DeviceFunctions(torch.float32, cuda=cuda), watch:
            vae.encode(picture)
    return weights_of(vae, cuda) + bytes_of([picture], cuda) + watch.timeline.peak()
