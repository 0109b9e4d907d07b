"""Loading a base. No other module calls `from_pretrained` or `from_single_file` of a diffusion model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from finetune.core.basemodel.base_files import PARTS
from finetune.core.basemodel.clip_vocabulary import load_tokenizer
from finetune.core.basemodel.resolve import ResolvedBase, single_file_config
from finetune.core.basemodel.separate_vae import SeparateVae
from finetune.core.basemodel.weight_files import DIFFUSERS_PARTS
from finetune.core.device import is_out_of_memory
from finetune.core.errors import BaseModelError, OutOfMemory

if TYPE_CHECKING:
    import torch
    from diffusers import AutoencoderKL, StableDiffusionXLInpaintPipeline, UNet2DConditionModel


def load_pipeline(
    base: ResolvedBase, *, dtype: torch.dtype, device: str, without: tuple[str, ...] = ()
) -> StableDiffusionXLInpaintPipeline:
    """Load a base as diffusers' inpainting pipeline.

    Args:
        base: A base that is on disk.
        dtype: Of its weights.
        device: Where they go.
        without: Parts left out, for example `("unet",)` while encoding.

    Raises:
        BaseModelError: Weights are missing or do not fit their configuration.
        OutOfMemory: They do not fit the machine.
    """
    from diffusers.utils import logging as diffusers_logging

    diffusers_logging.disable_progress_bar()  # the loader's bar has no setting in the environment
    left_out: dict[str, Any] = dict.fromkeys(without)
    try:
        if base.vae and "vae" not in left_out:
            left_out["vae"] = _load_vae(base.vae, dtype)  # given to the loaders as a part that is there
        if base.layout == "single-file":
            pipeline = _load_single_file(base, dtype, left_out)
        else:
            pipeline = _load_folder(base, dtype, left_out)
    except (OSError, ValueError, KeyError, RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            raise OutOfMemory(
                f"there is not enough memory to load base '{base.name}'", "close other programs"
            ) from error
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise BaseModelError(
            f"base '{base.name}' could not be loaded: {reason}", "check that the download is complete"
        ) from error
    pipeline.set_progress_bar_config(disable=True)
    pipeline.to(device)
    return pipeline


def _load_vae(vae: SeparateVae, dtype: torch.dtype) -> AutoencoderKL:
    """A separate VAE, from the files that resolving it has found."""
    from diffusers import AutoencoderKL

    if vae.single_file:
        given: Any = {"config": str(vae.config.parent), "subfolder": vae.config.name}
        made = AutoencoderKL.from_single_file(str(vae.path), dtype=dtype, local_files_only=True, **given)
    else:
        made = AutoencoderKL.from_pretrained(
            str(vae.path), variant=vae.variant, use_safetensors=True, local_files_only=True, torch_dtype=dtype
        )
    loaded: AutoencoderKL = made
    return loaded


def _load_folder(base: ResolvedBase, dtype: torch.dtype, left_out: dict[str, Any]) -> StableDiffusionXLInpaintPipeline:
    """Load each part from the files that resolving the base has found."""
    from diffusers import AutoencoderKL, StableDiffusionXLInpaintPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    kinds: dict[str, Any] = {
        "unet": UNet2DConditionModel,
        "vae": AutoencoderKL,
        "text_encoder": CLIPTextModel,
        "text_encoder_2": CLIPTextModelWithProjection,
    }
    parts = dict(left_out)
    for files in base.weights:
        if files.part in left_out:
            continue
        # transformers and diffusers do not agree on the name of this setting
        kind, precision = kinds[files.part], "torch_dtype" if files.part in DIFFUSERS_PARTS else "dtype"
        parts[files.part] = kind.from_pretrained(
            str(base.path),
            subfolder=files.part,
            variant=files.variant,
            use_safetensors=True,
            local_files_only=True,
            **{precision: dtype},
        )
    for part in ("tokenizer", "tokenizer_2"):
        if part not in left_out:
            parts[part] = load_tokenizer(
                base.path / part, standard=single_file_config(base.channels, base.model) / part
            )
    return StableDiffusionXLInpaintPipeline.from_pretrained(
        str(base.path), dtype=dtype, local_files_only=True, use_safetensors=True, add_watermarker=False, **parts
    )


def _load_single_file(
    base: ResolvedBase, dtype: torch.dtype, left_out: dict[str, Any]
) -> StableDiffusionXLInpaintPipeline:
    """Load a checkpoint in the original layout, from it and the shipped configuration alone."""
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLInpaintPipeline

    scheduler = EulerDiscreteScheduler.from_pretrained(str(base.config), subfolder="scheduler", local_files_only=True)
    if base.prediction_type == "v_prediction":
        settings: dict[str, Any] = {"prediction_type": "v_prediction"}
        if base.zero_snr:
            # the last timestep is then pure noise, and has to be among those that sampling takes
            settings |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
        scheduler = EulerDiscreteScheduler.from_config(scheduler.config, **settings)
    # diffusers (seen in 0.42.1) asks the hub for the tokenizers' vocabulary even with local_files_only: pass them in
    tokenizers = {t: load_tokenizer(base.config / t) for t in ("tokenizer", "tokenizer_2") if t not in left_out}
    parts = {"scheduler": scheduler, **tokenizers, **left_out}
    return StableDiffusionXLInpaintPipeline.from_single_file(
        str(base.path),
        config=str(base.config),
        dtype=dtype,
        local_files_only=True,
        add_watermarker=False,
        **parts,
    )


def load_unet(base: ResolvedBase, *, dtype: torch.dtype, device: str) -> tuple[UNet2DConditionModel, Any]:
    """The frozen UNet and the noise scheduler of a base; nothing else stays in memory."""
    others = tuple(p for p in PARTS if p not in ("unet", "scheduler"))
    pipeline = load_pipeline(base, dtype=dtype, device=device, without=others)
    unet = pipeline.unet.requires_grad_(False)
    return unet, pipeline.scheduler
