"""Whether configurations and weights are those of an SDXL that Packshot can train and paint with.

Called by `basemodel` on what it read from JSON files and headers, so that a base that calls itself SDXL and is not is
refused before anything loads: latents of other channels or another scale, another noise process, another conditioning,
weights that do not belong to their configuration. It reads no file.
"""

from __future__ import annotations

from typing import Any

from finetune.core.errors import BaseModelError

HINT = "use a base of SDXL's architecture: 4 or 9 input channels, 4 latent channels, noise or v predicted"
OTHER_NOISE = ("EDM", "FlowMatch")
"""How the classes of schedulers begin whose noise is no variance-preserving diffusion (Karras' EDM, rectified flow)."""
FIRST_LAYERS = {
    "unet": "conv_in.weight",
    "vae": "encoder.conv_in.weight",
    "text_encoder": "embeddings.token_embedding.weight",
    "text_encoder_2": "embeddings.token_embedding.weight",
}
"""How the name of a tensor ends by which a part's weights are known; text encoders are saved with prefix or without."""
SINGLE_FILE_PARTS = {
    "conditioner.embedders.0.transformer.text_model.embeddings.position_embedding.weight": "first text encoder",
    "conditioner.embedders.1.model.positional_embedding": "second text encoder",
    "first_stage_model.decoder.conv_in.weight": "VAE",
}
"""A tensor of each part of a checkpoint in the original layout (Stability's generative-models)."""
UNET_INPUT = "model.diffusion_model.input_blocks.0.0.weight"
UNET_VECTOR = "model.diffusion_model.label_emb.0.0.weight"
REFINER_VECTOR = 2560
"""Width of the vector that SDXL's refiner is conditioned on, its aesthetic score among it; the base's is 2816."""


def checked_channels(channels: object, model: str) -> int:
    """Input channels of a UNet: 4 or 9."""
    if channels not in (4, 9):
        raise BaseModelError(f"base '{model}' has {channels} input channels; SDXL has 4 or 9", HINT)
    return int(str(channels))


def check_architecture(
    index: dict[str, Any], unet: dict[str, Any], vae: dict[str, Any], scheduler: dict[str, Any], model: str
) -> None:
    """Hold configurations against SDXL's.

    Args:
        index: of `model_index.json`. unet, vae, scheduler: of their configuration files.

    Raises:
        BaseModelError: with what is other than in SDXL.
    """
    checked_channels(unet.get("in_channels"), model)
    entry = index.get("scheduler")
    named = entry[1] if isinstance(entry, list) and len(entry) == 2 else ""
    classes = [str(name or "") for name in (named, scheduler.get("_class_name"))]
    strange = ""
    if unet.get("addition_embed_type") != "text_time":
        strange = "its UNet is not told sizes and pooled text, as SDXL's is (addition_embed_type: text_time)"
    elif unet.get("out_channels") != 4 or vae.get("latent_channels") != 4:
        strange = (
            f"its latents have {vae.get('latent_channels')} channels, the UNet predicts {unet.get('out_channels')}"
        )
    elif len(vae.get("block_out_channels") or ()) != 4:
        strange = "its VAE does not shrink pictures by 8"
    elif vae.get("latents_mean") or vae.get("latents_std"):
        strange = "its latents are scaled channel by channel (latents_mean and latents_std in vae/config.json)"
    elif other := [name for name in classes if name.startswith(OTHER_NOISE)]:
        strange = f"its noise is that of {other[0]}"
    elif not isinstance(unet.get("sample_size"), int):
        strange = "its UNet's configuration names no sample_size"
    if strange:
        raise BaseModelError(f"base '{model}' is no SDXL that Packshot knows: {strange}", HINT)


def check_weights(part: str, shapes: dict[str, tuple[int, ...]], config: dict[str, Any], model: str) -> None:
    """Hold the tensors of a part's weight files against its configuration.

    Args:
        shapes: of all tensors of all its files, by name.

    Raises:
        BaseModelError: they are weights of something else.
    """
    ending = FIRST_LAYERS[part]
    found = next((shape for name, shape in shapes.items() if f".{name}".endswith(f".{ending}")), None)
    if found is None:
        raise BaseModelError(
            f"base '{model}': the weights in {part}/ are no {part}'s, they lack {ending}",
            "download it again, whole",
        )
    wanted = {"unet": (1, "in_channels"), "vae": (1, "in_channels")}.get(part, (0, "vocab_size"))
    if wanted[1] in config and found[wanted[0]] != config[wanted[1]]:
        raise BaseModelError(
            f"base '{model}': weights and configuration in {part}/ differ, {ending} has "
            f"{found[wanted[0]]} {wanted[1]}, not {config[wanted[1]]}",
            "download it again, whole",
        )


def check_single_file(shapes: dict[str, tuple[int, ...]], name: str) -> int:
    """Hold the tensors of a checkpoint in the original layout against SDXL's; returns the UNet's input channels.

    Raises:
        BaseModelError: it is another model, the refiner, or lacks a part.
    """
    hint = "give an SDXL base or inpainting checkpoint"
    if UNET_INPUT not in shapes or UNET_VECTOR not in shapes:
        raise BaseModelError(f"'{name}' is no SDXL checkpoint", hint)
    if shapes[UNET_VECTOR][-1:] == (REFINER_VECTOR,):
        raise BaseModelError(f"'{name}' is SDXL's refiner, which is not trained on its own", hint)
    if missing := [key for key in SINGLE_FILE_PARTS if key not in shapes]:
        parts = ", ".join(SINGLE_FILE_PARTS[key] for key in missing)
        raise BaseModelError(f"checkpoint '{name}' has no {parts}", "give one with text encoders and VAE baked in")
    return int(shapes[UNET_INPUT][1])
