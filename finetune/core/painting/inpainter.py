"""Base + picture + mask + prompt + adapter -> picture. Serves previews, placing and evaluation alike.

A thin shell over diffusers' StableDiffusionXLInpaintPipeline: it fixes size, mask and seed conventions and hides
nothing else. It never pastes the product back; that is compositing, and stands in `inference.delivery`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from finetune.core.adapters import file as adapter_file
from finetune.core.adapters import foreign, token_embeddings
from finetune.core.adapters.foreign import Adapter, ForeignAdapter
from finetune.core.basemodel.load import load_pipeline
from finetune.core.basemodel.resolve import ResolvedBase
from finetune.core.console import say, warn
from finetune.core.device import forget_frames, free_gpu_memory, is_out_of_memory, pick_device, pick_dtype
from finetune.core.errors import OutOfMemory
from finetune.core.pictures.masks import Mask

if TYPE_CHECKING:
    from diffusers import StableDiffusionXLInpaintPipeline, UNet2DConditionModel
    from torch import Tensor

MAX_PROMPT_TOKENS = 77
CROWDED = 0.7
"""Share of the memory a GPU has for us that weights and drawing may take before parts take turns. SDXL in bf16 with an
adapter is 6.8 GiB of weights: on 8 and 12 GB they do, from 16 GB on they don't; with the UNet in nf4 (3.5 GiB) on 8."""
DRAWING_BYTES = 3300
"""What drawing takes beside weights, bytes a pixel: the VAE decodes in fp32 (SDXL at 1024 px: 3.2 GiB)."""


@dataclass(frozen=True)
class Sampling:
    """How a picture is sampled."""

    steps: int = 20
    guidance: float = 5.0
    strength: float = 1.0
    """1 starts from pure noise; less keeps some of the picture under the mask."""
    negative: str = ""


class Inpainter:
    """A loaded base, with or without an adapter, that paints what a mask marks."""

    def __init__(
        self,
        base: ResolvedBase,
        pipeline: StableDiffusionXLInpaintPipeline,
        modules: int = 0,
        tokens: token_embeddings.Tokens | None = None,
    ) -> None:
        self.base = base
        self.tokens = tokens
        """The trigger word's own tokens, of an adapter that has such."""
        self.size = base.size
        self.pipeline = pipeline
        self.modules = modules
        """Modules the adapter was injected into; 0 without an adapter."""

    def set_adapter_scale(self, scale: float) -> None:
        """Strength of the adapter: 1 as trained, 0 the base alone."""
        if not self.modules:
            return
        if self.tokens:
            self.tokens.on = scale != 0
        if scale == 0:  # switched off, not scaled: DoRA's magnitudes would go on acting at scale 0
            self.pipeline.unet.disable_lora()
        else:
            self.pipeline.unet.enable_lora()
            self.pipeline.unet.set_adapters(adapter_file.ADAPTER_NAME, weights=scale)

    def prompt_tokens(self, prompt: str) -> int:
        """Tokens of a prompt with start and end; more than 77 are cut off by CLIP."""
        return len(self.pipeline.tokenizer(self._read(prompt)).input_ids)

    def _read(self, prompt: str) -> str:
        return self.tokens.expand(prompt) if self.tokens else prompt

    def paint(self, picture: Image.Image, mask: Mask, prompt: str, *, sampling: Sampling, seed: int) -> Image.Image:
        """Paint the masked part of a picture.

        Args:
            picture: RGB; its sides multiples of 8, best the base's native size.
            mask: (H, W) bool, True = painted. To be sampled without loss it must be constant on each 8 x 8 block
                (`masks.latent_mask` and `masks.to_pixels` make it so).
            seed: Of a CPU generator, so that a seed means the same picture on every device.

        Returns:
            RGB of the same size: all of it decoded from latents, the unmasked part too.

        Raises:
            OutOfMemory: the device's memory does not suffice.
        """
        import torch

        width, height = picture.size
        if mask.shape != (height, width):
            raise ValueError(f"mask {mask.shape} does not match picture {(height, width)}")
        generator = torch.Generator("cpu").manual_seed(seed)
        try:
            latents = self.pipeline(
                prompt=self._read(prompt),
                negative_prompt=self._read(sampling.negative) or None,
                image=picture.convert("RGB"),
                mask_image=Image.fromarray(mask.astype(np.uint8) * 255),
                width=width,
                height=height,
                num_inference_steps=sampling.steps,
                guidance_scale=sampling.guidance,
                strength=sampling.strength,
                generator=generator,
                output_type="latent",
            ).images
            return self._decode(latents)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            forget_frames(error)
            raise OutOfMemory(
                f"the device's memory does not suffice to draw {width}x{height}",
                "close other programs, or use a smaller --size",
            ) from error

    def _decode(self, latents: Tensor) -> Image.Image:
        """The picture of (1, 4, h, w) scaled latents, decoded in fp32 whatever the pipeline computes in.

        In bf16, with its 8 significant bits, colours come out up to two levels of 255 off (docs/log.md), and fp16
        overflows in SDXL's autoencoder. The pipeline itself would decode in bf16.
        """
        import torch

        vae = self.pipeline.vae
        mean, std = (getattr(vae.config, name, None) for name in ("latents_mean", "latents_std"))
        latents = latents.float()
        if mean is not None and std is not None:  # of some bases: their channels are normalised one by one
            mean, std = (torch.tensor(values, device=latents.device).view(1, -1, 1, 1) for values in (mean, std))
            unscaled = latents * std / vae.config.scaling_factor + mean
        else:
            unscaled = latents / vae.config.scaling_factor
        dtype = vae.dtype
        vae.to(dtype=torch.float32)
        try:
            with torch.no_grad():
                decoded = vae.decode(unscaled, return_dict=False)[0]
        finally:
            vae.to(dtype=dtype)
        self.pipeline.maybe_free_model_hooks()
        painted: Image.Image = self.pipeline.image_processor.postprocess(decoded, output_type="pil")[0]
        return painted.convert("RGB")


def weight_bytes(pipeline: StableDiffusionXLInpaintPipeline, *, on: str = "") -> int:
    """Bytes of all its models' weights; `on`: of those on that type of device alone."""
    models = (getattr(pipeline, name) for name in ("unet", "vae", "text_encoder", "text_encoder_2"))
    weights = (p for model in models if model is not None for p in model.parameters())
    return sum(p.numel() * p.element_size() for p in weights if on in ("", p.device.type))


def crowds(weights: int, size: int, memory: int) -> bool:
    """Whether parts have to take turns on a GPU: their weights would leave too little of it to draw in.

    Args:
        weights: bytes of all parts. size: side of the pictures in pixels. memory: bytes this process can have.
    """
    return weights + DRAWING_BYTES * size**2 > CROWDED * memory


def bring_to_device(pipeline: StableDiffusionXLInpaintPipeline, where: str) -> None:
    """Move a pipeline to a device; on a GPU that its parts would crowd they take turns there, and that is said."""
    if where.startswith("cuda"):
        memory = free_gpu_memory(where) + weight_bytes(pipeline, on="cuda")
        if crowds(weight_bytes(pipeline), pipeline.unet.config.sample_size * 8, memory):
            say("  the GPU holds one part of the base at a time: text encoders, UNet, VAE")
            pipeline.enable_model_cpu_offload(device=where)
            return
    pipeline.to(where)


def load_inpainter(
    base: ResolvedBase,
    adapter: Adapter | None,
    *,
    scale: float = 1.0,
    precision: str = "auto",
    device: str = "auto",
) -> Inpainter:
    """Load a base and, where given, an adapter into it: Packshot's own or another trainer's.

    Raises:
        AdapterMismatch: the adapter does not fit the base.
        AdapterError: its tokens are missing or damaged.
        BaseModelError: the base cannot be loaded.
    """
    where = pick_device(device)
    if adapter is not None:
        adapter_file.check_fits(adapter.manifest, base)
    if isinstance(adapter, ForeignAdapter):
        foreign.check_foreign(adapter, base)
        if adapter.text_encoder:
            warn(
                f"{adapter.text_encoder} layers of text encoders in {adapter.path.name} are left out: Packshot adapts "
                "the UNet alone, so pictures may differ from those of other programs"
            )
    # a file that Packshot exported names its tokens too
    embeddings = token_embeddings.read_embeddings(adapter.path, adapter.manifest) if adapter is not None else None
    pipeline = load_pipeline(base, dtype=pick_dtype(precision, where), device="cpu")
    modules = _attach(pipeline.unet, adapter, base) if adapter is not None else 0
    tokens = token_embeddings.add_tokens(pipeline, *embeddings) if embeddings else None
    bring_to_device(pipeline, where)
    inpainter = Inpainter(base, pipeline, modules, tokens)
    inpainter.set_adapter_scale(scale)
    return inpainter


def _attach(unet: UNet2DConditionModel, adapter: Adapter, base: ResolvedBase) -> int:
    if isinstance(adapter, ForeignAdapter):
        return foreign.attach_foreign(unet, adapter, base.name)
    return adapter_file.attach(unet, adapter)
