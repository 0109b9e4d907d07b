"""Base + picture + mask + prompt + adapter -> picture: the one way to a generated picture.

A thin shell over diffusers' StableDiffusionXLInpaintPipeline: it fixes size, mask and seed conventions and hides
nothing else. It never pastes the product back: that is compositing (`finetune.core.painting.pictures`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from finetune.core.adapters import file as adapter_file
from finetune.core.adapters import foreign, token_embeddings
from finetune.core.adapters.file import AdapterHeader
from finetune.core.adapters.foreign import Adapter, ForeignAdapter
from finetune.core.basemodel.load import load_pipeline
from finetune.core.basemodel.resolve import ResolvedBase
from finetune.core.console import count, warn
from finetune.core.device import forget_frames, is_out_of_memory, pick_device, pick_dtype
from finetune.core.errors import ConfigError, OutOfMemory, RunError
from finetune.core.painting.early_look import EarlyLook
from finetune.core.painting.offload import bring_to_device
from finetune.core.pictures.masks import Mask

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, StableDiffusionXLInpaintPipeline, UNet2DConditionModel
    from torch import Tensor

MAX_PROMPT_TOKENS = 77
"""Tokens CLIP's text encoders read of a prompt, start and end included."""
STYLE_NAME = "style"
"""PEFT's name for a style's adapter; a product's is `packshot`."""


@dataclass(frozen=True)
class Sampling:
    """How a picture is sampled."""

    steps: int = 20
    guidance: float = 5.0
    strength: float = 1.0
    """1 starts from pure noise; less keeps some of the picture under the mask."""
    negative: str = ""

    @property
    def steps_run(self) -> int:
        """Sampler steps that are really taken: less strength begins later."""
        return min(int(self.steps * self.strength), self.steps)


class Style(NamedTuple):
    """A second adapter, of a look rather than of a product."""

    adapter: AdapterHeader
    weight: float
    """Its strength, 1 as trained."""


class Inpainter:
    """A loaded base, with or without an adapter, that paints what a mask marks."""

    def __init__(
        self,
        base: ResolvedBase,
        pipeline: StableDiffusionXLInpaintPipeline,
        modules: int = 0,
        tokens: token_embeddings.Tokens | None = None,
    ) -> None:
        """Wrap a loaded pipeline.

        Args:
            base: The base the pipeline was loaded from.
            pipeline: On its device, with the adapter in its UNet if there is one.
            modules: Modules the adapter was injected into; 0 without an adapter.
            tokens: The trigger word's own tokens, of an adapter that has some.
        """
        self.base = base
        self.tokens = tokens
        self.size = base.size
        self.pipeline = pipeline
        self.modules = modules
        self.scale = 1.0
        """Strength of the adapter; set by `set_adapter_scale`."""
        self.style_weight = 0.0
        """Strength of a style's adapter, which stays on while the product's is off; 0 without one."""
        self.after_step: Callable[[], object] | None = None
        """Called after each sampler step."""
        self.look: EarlyLook | None = None
        """Looks at each picture before it is finished, and may stop it."""

    def set_adapter_scale(self, scale: float) -> None:
        """Set the strength of the adapter: 1 as trained, 0 the base alone."""
        self.scale = scale
        if self.tokens:
            self.tokens.on = scale != 0
        if not self.modules and not self.style_weight:
            return
        wanted = {adapter_file.ADAPTER_NAME: scale if self.modules else 0.0, STYLE_NAME: self.style_weight}
        active = {name: weight for name, weight in wanted.items() if weight}
        if not active:  # switched off, not scaled: DoRA's magnitudes would go on acting at scale 0
            self.pipeline.unet.disable_lora()
        else:
            self.pipeline.unet.enable_lora()
            self.pipeline.unet.set_adapters(list(active), weights=list(active.values()))

    @contextmanager
    def without_adapter(self) -> Iterator[None]:
        """Paint with the base alone inside the block; afterwards the adapter is as strong as before."""
        scale = self.scale
        if scale == 0:
            yield
            return
        self.set_adapter_scale(0.0)
        try:
            yield
        finally:
            self.set_adapter_scale(scale)

    def prompt_tokens(self, prompt: str) -> int:
        """Number of tokens of a prompt, start and end included."""
        return len(self.pipeline.tokenizer(self._read(prompt)).input_ids)

    def check_prompts(self, prompts: Iterable[str]) -> None:
        """Check that the base reads every prompt to its end.

        Raises:
            ConfigError: A prompt has more than 77 tokens; CLIP would cut off the rest.
        """
        for prompt in prompts:
            if (tokens := self.prompt_tokens(prompt)) > MAX_PROMPT_TOKENS:
                raise ConfigError(
                    f"the prompt has {tokens} tokens, but the base reads only {MAX_PROMPT_TOKENS}: '{prompt}'",
                    "shorten the prompt",
                )

    def _read(self, prompt: str) -> str:
        return self.tokens.expand(prompt) if self.tokens else prompt

    def paint(self, picture: Image.Image, mask: Mask, prompt: str, *, sampling: Sampling, seed: int) -> Image.Image:
        """Paint the masked part of a picture.

        Args:
            picture: RGB; its sides are multiples of 8, best the base's native size.
            mask: (H, W) bool, True = painted. To be sampled without loss it must be constant on each 8 x 8 block
                (`masks.latent_mask` and `masks.to_pixels` make it so).
            prompt: At most 77 tokens; see `check_prompts`.
            sampling: Steps, guidance, strength, negative prompt.
            seed: Of a CPU generator, so that a seed means the same picture on every device.

        Returns:
            RGB of the same size: all of it decoded from latents, the unmasked part too.

        Raises:
            OutOfMemory: The device has too little memory.
            Stopped: `look` gave the picture up.
            RunError: The base computes NaN or infinity, in fp32 too.
        """
        import torch

        width, height = picture.size
        if mask.shape != (height, width):
            raise ValueError(f"mask {mask.shape} does not match picture {(height, width)}")
        with self._drawing(picture.size):
            latents = self._latents(picture, mask, prompt, sampling, seed)
            if not torch.isfinite(latents).all():
                self._compute_in_fp32(seed)
                latents = self._latents(picture, mask, prompt, sampling, seed)
            return self._decoded(latents)

    def _latents(self, picture: Image.Image, mask: Mask, prompt: str, sampling: Sampling, seed: int) -> Tensor:
        import torch

        latents: Tensor = self.pipeline(
            prompt=self._read(prompt),
            negative_prompt=self._read(sampling.negative) or None,
            image=picture.convert("RGB"),
            mask_image=Image.fromarray(mask.astype(np.uint8) * 255),
            width=picture.width,
            height=picture.height,
            num_inference_steps=sampling.steps,
            guidance_scale=sampling.guidance,
            strength=sampling.strength,
            generator=torch.Generator("cpu").manual_seed(seed),
            output_type="latent",
            **self._watched(),
        ).images
        return latents

    def _compute_in_fp32(self, seed: int) -> None:
        """From now on, after a picture whose numbers overflowed.

        Raises:
            RunError: It was fp32 already, or the UNet is quantised and cannot change.
        """
        import torch

        unet = self.pipeline.unet
        if unet.dtype == torch.float32 or getattr(unet, "is_quantized", False):
            raise RunError(
                f"the base computes NaN or infinity instead of a picture (seed {seed})",
                "check the adapter and the base: packshot doctor --base REF, packshot adapters verify SKU",
            )
        precision = str(unet.dtype).removeprefix("torch.")
        warn(f"values overflowed in {precision} (seed {seed}): this picture and all that follow are painted in fp32")
        self.pipeline.to(torch.float32)

    @contextmanager
    def _drawing(self, size: tuple[int, int]) -> Iterator[None]:
        """Afterwards the models are back where they wait; too little memory is told as `OutOfMemory`."""
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            forget_frames(error)
            raise OutOfMemory(
                f"the device has too little memory to draw a picture of {size[0]}x{size[1]} pixels",
                "close other programs that use the device",
            ) from error
        finally:
            self.pipeline.maybe_free_model_hooks()

    def reconstruct(self, picture: Image.Image) -> Image.Image:
        """A picture through the base's autoencoder and back: the best the base can show of it.

        Args:
            picture: RGB; its sides are multiples of 8.

        Raises:
            OutOfMemory: The device has too little memory.
        """
        import torch

        pixels = torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)[None].float() / 127.5 - 1
        with torch.no_grad(), self._drawing(picture.size), self._exact_vae() as vae:
            encoded = vae.encode(pixels.to(self.pipeline._execution_device)).latent_dist.mode()
            return self._as_picture(vae.decode(encoded, return_dict=False)[0])

    def _watched(self) -> dict[str, Any]:
        """What has the pipeline call `after_step` and `look`; neither changes latents."""
        told, look = self.after_step, self.look
        if told is None and look is None:
            return {}

        def after(pipeline: object, step: int, time: object, given: dict[str, Any]) -> dict[str, Any]:
            if told is not None:
                told()
            if look is not None:
                look.after_step(pipeline, step, given["latents"], self._decoded)
            return given

        return {"callback_on_step_end": after}

    def _decoded(self, latents: Tensor) -> Image.Image:
        """The picture of (1, 4, h, w) scaled latents, decoded in fp32 whatever dtype the pipeline computes in.

        In bf16, with its 8 significant bits, colours are up to two levels of 255 off (docs/log.md), and fp16
        overflows in SDXL's autoencoder. The pipeline itself would decode in bf16.
        """
        import torch

        vae = self.pipeline.vae
        mean, std = (getattr(vae.config, name, None) for name in ("latents_mean", "latents_std"))
        latents = latents.float()
        if mean is not None and std is not None:  # some bases normalise each latent channel
            mean, std = (torch.tensor(values, device=latents.device).view(1, -1, 1, 1) for values in (mean, std))
            unscaled = latents * std / vae.config.scaling_factor + mean
        else:
            unscaled = latents / vae.config.scaling_factor
        with torch.no_grad(), self._exact_vae():
            return self._as_picture(vae.decode(unscaled, return_dict=False)[0])

    @contextmanager
    def _exact_vae(self) -> Iterator[AutoencoderKL]:
        """The autoencoder in fp32 inside the block, whatever dtype the pipeline computes in."""
        import torch

        vae = self.pipeline.vae
        dtype = vae.dtype
        vae.to(dtype=torch.float32)
        try:
            yield vae
        finally:
            vae.to(dtype=dtype)

    def _as_picture(self, decoded: Tensor) -> Image.Image:
        picture: Image.Image = self.pipeline.image_processor.postprocess(decoded, output_type="pil")[0]
        return picture.convert("RGB")


def load_inpainter(
    base: ResolvedBase,
    adapter: Adapter | None,
    *,
    scale: float = 1.0,
    precision: str = "auto",
    device: str = "auto",
    style: Style | None = None,
) -> Inpainter:
    """Load a base and, where given, an adapter into it: Packshot's own or another trainer's.

    Args:
        base: The base.
        adapter: The adapter, its header read; None for the base alone.
        scale: Strength of the adapter, 1 as trained.
        precision: `auto`, `fp32`, `bf16` or `fp16`.
        device: `auto`, `cpu`, `cuda` or `cuda:1`.
        style: A second adapter, which stays on in `Inpainter.without_adapter`.

    Raises:
        AdapterMismatch: An adapter does not fit the base.
        AdapterError: Its tokens are missing or damaged.
        BaseModelError: The base cannot be loaded.
    """
    where = pick_device(device)
    if adapter is not None:
        adapter_file.check_fits(adapter.manifest, base)
    if isinstance(adapter, ForeignAdapter):
        foreign.check_foreign(adapter, base)
        if adapter.text_encoder:
            warn(
                f"Packshot ignores {count(adapter.text_encoder, 'text encoder layer')} in {adapter.path.name}: it "
                "adapts the UNet alone, so pictures may differ from those of other programs"
            )
    # a file that Packshot exported for other programs carries its tokens too
    embeddings = token_embeddings.read_embeddings(adapter.path, adapter.manifest) if adapter is not None else None
    pipeline = load_pipeline(base, dtype=pick_dtype(precision, where), device="cpu")
    modules = _attach(pipeline.unet, adapter, base) if adapter is not None else 0
    tokens = token_embeddings.add_tokens(pipeline, *embeddings) if embeddings else None
    if style is not None:
        adapter_file.check_fits(style.adapter.manifest, base)
        adapter_file.attach(pipeline.unet, style.adapter, name=STYLE_NAME)
    bring_to_device(pipeline, where)
    inpainter = Inpainter(base, pipeline, modules, tokens)
    inpainter.style_weight = style.weight if style else 0.0
    inpainter.set_adapter_scale(scale)
    return inpainter


def _attach(unet: UNet2DConditionModel, adapter: Adapter, base: ResolvedBase) -> int:
    if isinstance(adapter, ForeignAdapter):
        return foreign.attach_foreign(unet, adapter, base.name)
    return adapter_file.attach(unet, adapter)
