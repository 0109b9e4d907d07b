"""Which device a pipeline's models stand on: all on the GPU, or one at a time where it is too small."""

from __future__ import annotations

from typing import TYPE_CHECKING

from finetune.core.console import say
from finetune.core.device import free_gpu_memory

if TYPE_CHECKING:
    from diffusers import StableDiffusionXLInpaintPipeline

OFFLOAD_ABOVE = 0.7
"""Share of the available GPU memory that weights and drawing may take before models are offloaded to the CPU. SDXL in
bf16 with an adapter is 6.8 GiB of weights: offloaded on 8 and 12 GB, not from 16 GB on; with the UNet in nf4 (3.5 GiB)
offloaded on 8 GB."""
DRAWING_BYTES = 3300
"""Memory that drawing takes besides weights, bytes per pixel: the VAE decodes in fp32 (SDXL at 1024 px: 3.2 GiB)."""


def weight_bytes(pipeline: StableDiffusionXLInpaintPipeline, *, on: str = "") -> int:
    """Bytes of the pipeline's weights; with `on` (`cuda`, `cpu`) of those on that type of device."""
    models = (getattr(pipeline, name) for name in ("unet", "vae", "text_encoder", "text_encoder_2"))
    weights = (p for model in models if model is not None for p in model.parameters())
    return sum(p.numel() * p.element_size() for p in weights if on in ("", p.device.type))


def needs_cpu_offload(weights: int, size: int, memory: int) -> bool:
    """Whether the weights would leave too little of a GPU to draw in, so that models are offloaded to the CPU.

    Args:
        weights: Bytes of all models of the pipeline.
        size: Side of the pictures in pixels.
        memory: Bytes of GPU memory this process can have.
    """
    return weights + DRAWING_BYTES * size**2 > OFFLOAD_ABOVE * memory


def bring_to_device(pipeline: StableDiffusionXLInpaintPipeline, where: str) -> None:
    """Move a pipeline to a device, with model CPU offload on a GPU too small for all of it at once."""
    if where.startswith("cuda"):
        memory = free_gpu_memory(where) + weight_bytes(pipeline, on="cuda")
        if needs_cpu_offload(weight_bytes(pipeline), pipeline.unet.config.sample_size * 8, memory):
            say("  model CPU offload: the GPU holds the text encoders, the UNet or the VAE, one at a time")
            pipeline.enable_model_cpu_offload(device=where)
            return
    pipeline.to(where)
