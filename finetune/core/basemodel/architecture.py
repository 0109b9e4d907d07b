"""Whether configurations and weights are those of an SDXL that Packshot can train and paint with.

A base that calls itself SDXL and is not is refused before anything loads: latents with other channels or another scale,
another noise process, another conditioning, weights that do not belong to their configuration. Only values that were
read from JSON files and headers are looked at; no file is read here.
"""

from __future__ import annotations

from typing import Any

from finetune.core.errors import BaseModelError

HINT = "use a base with SDXL's architecture: 4 or 9 input channels, 4 latent channels, epsilon or v prediction"
INCOMPLETE = "download the complete model again"
OTHER_NOISE = ("EDM", "FlowMatch")
"""Beginnings of the class names of schedulers that are not variance-preserving (Karras' EDM, rectified flow)."""
FIRST_LAYERS = {
    "unet": "conv_in.weight",
    "vae": "encoder.conv_in.weight",
    "text_encoder": "embeddings.token_embedding.weight",
    "text_encoder_2": "embeddings.token_embedding.weight",
}
"""Ending of the name of a tensor that identifies a part's weights; text encoders are saved with or without a prefix."""
SINGLE_FILE_PARTS = {
    "conditioner.embedders.0.transformer.text_model.embeddings.position_embedding.weight": "first text encoder",
    "conditioner.embedders.1.model.positional_embedding": "second text encoder",
    "first_stage_model.decoder.conv_in.weight": "VAE",
}
"""A tensor of each part of a checkpoint in the original layout (Stability's generative-models)."""
UNET_INPUT = "model.diffusion_model.input_blocks.0.0.weight"
UNET_VECTOR = "model.diffusion_model.label_emb.0.0.weight"
REFINER_VECTOR = 2560
"""Width of the vector that SDXL's refiner is conditioned on, which includes the aesthetic score; the base's is 2816."""


def checked_channels(channels: object, model: str) -> int:
    """Input channels of a UNet: 4 or 9."""
    if channels not in (4, 9):
        raise BaseModelError(f"base '{model}' has {channels} input channels; SDXL has 4 or 9", HINT)
    return int(str(channels))


def check_architecture(
    index: dict[str, Any], unet: dict[str, Any], vae: dict[str, Any], scheduler: dict[str, Any], model: str
) -> None:
    """Compare configurations with SDXL's.

    Args:
        index: Content of `model_index.json`.
        unet: Content of the UNet's configuration file.
        vae: Content of the VAE's.
        scheduler: Content of the scheduler's.
        model: The base, for messages.

    Raises:
        BaseModelError: It names what differs from SDXL.
    """
    checked_channels(unet.get("in_channels"), model)
    entry = index.get("scheduler")
    named = entry[1] if isinstance(entry, list) and len(entry) == 2 else ""
    classes = [str(name or "") for name in (named, scheduler.get("_class_name"))]
    strange = ""
    if unet.get("addition_embed_type") != "text_time":
        strange = "its UNet is not conditioned on sizes and pooled text as SDXL's is (addition_embed_type: text_time)"
    elif unet.get("out_channels") != 4 or vae.get("latent_channels") != 4:
        strange = (
            f"its latents have {vae.get('latent_channels')} channels, the UNet predicts {unet.get('out_channels')}"
        )
    elif len(vae.get("block_out_channels") or ()) != 4:
        strange = "its VAE does not shrink pictures by 8"
    elif vae.get("latents_mean") or vae.get("latents_std"):
        strange = "its latents are scaled channel by channel (latents_mean and latents_std in vae/config.json)"
    elif other := [name for name in classes if name.startswith(OTHER_NOISE)]:
        strange = f"its noise process is that of {other[0]}"
    elif not isinstance(unet.get("sample_size"), int):
        strange = "its UNet's configuration names no sample_size"
    if strange:
        raise BaseModelError(f"base '{model}' is not a supported SDXL model: {strange}", HINT)


def check_weights(part: str, shapes: dict[str, tuple[int, ...]], config: dict[str, Any], model: str) -> None:
    """Compare the tensors of a part's weight files with its configuration.

    Args:
        part: Name of its folder.
        shapes: Shape of every tensor of all its files, by name.
        config: Content of its configuration file.
        model: The base, for messages.

    Raises:
        BaseModelError: They are weights of something else.
    """
    ending = FIRST_LAYERS[part]
    found = next((shape for name, shape in shapes.items() if f".{name}".endswith(f".{ending}")), None)
    if found is None:
        raise BaseModelError(
            f"base '{model}': the weights in {part}/ are not those of a {part}, since they lack {ending}",
            INCOMPLETE,
        )
    wanted = {"unet": (1, "in_channels"), "vae": (1, "in_channels")}.get(part, (0, "vocab_size"))
    if wanted[1] in config and found[wanted[0]] != config[wanted[1]]:
        raise BaseModelError(
            f"base '{model}': weights and configuration in {part}/ differ: {ending} has "
            f"{found[wanted[0]]} {wanted[1]}, not {config[wanted[1]]}",
            INCOMPLETE,
        )


def check_single_file(shapes: dict[str, tuple[int, ...]], name: str) -> int:
    """Hold the tensors of a checkpoint in the original layout against SDXL's; returns the UNet's input channels.

    Raises:
        BaseModelError: it is another model, the refiner, or lacks a part.
    """
    hint = "use an SDXL base or inpainting checkpoint"
    if UNET_INPUT not in shapes or UNET_VECTOR not in shapes:
        raise BaseModelError(f"'{name}' is not an SDXL checkpoint", hint)
    if shapes[UNET_VECTOR][-1:] == (REFINER_VECTOR,):
        raise BaseModelError(f"'{name}' is SDXL's refiner, which is not trained on its own", hint)
    if missing := [key for key in SINGLE_FILE_PARTS if key not in shapes]:
        parts = ", ".join(SINGLE_FILE_PARTS[key] for key in missing)
        raise BaseModelError(f"checkpoint '{name}' has no {parts}", "use one that includes text encoders and VAE")
    return int(shapes[UNET_INPUT][1])
