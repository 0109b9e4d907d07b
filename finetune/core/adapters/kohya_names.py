"""The names LoRA files give the modules of SDXL's UNet, each mapped to diffusers' name, one to one.

kohya's sd-scripts train SDXL on Stability's own UNet, whose blocks are numbered (`input_blocks.4.1.proj_in`), and
write its names with underscores behind `lora_unet_`; other trainers write diffusers' names that way
(`lora_unet_down_blocks_1_attentions_0_proj_in`), or dotted behind `unet.`; ComfyUI's own save Stability's names dotted
behind `diffusion_model.`. Only names are handled here, no files and no tensors.

Why a table and not diffusers' `lora_state_dict`: that finds 794 of SDXL's 794 layers by Stability's names, but merges
`add_embedding.linear_1` and `.linear_2` into one when they are spelt diffusers' way, has no way back, and takes what
it does not know for something near instead of naming it (seen in diffusers 0.42.1).
"""

from __future__ import annotations

from collections.abc import Iterable

KOHYA = "lora_unet_"

_OUTSIDE_BLOCKS = {
    "conv_in": "input_blocks.0.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}
_INSIDE_RESNETS = {
    "conv1": "in_layers.2",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}


def stability_name(module: str, layers_per_block: int) -> str:
    """Stability's name of a layer of SDXL's UNet.

    Args:
        module: diffusers' name, for example `down_blocks.1.attentions.0.proj_in`.
        layers_per_block: as in the UNet's configuration (SDXL: 2). Down blocks have one place more, for the
            downsampler; up blocks have one resnet more.

    Raises:
        ValueError: no layer of such a UNet has that name.

    Source: `UNetModel` of Stability's generative-models; blocks counted through, downsamplers as places of their own.
    """
    if module in _OUTSIDE_BLOCKS:
        return _OUTSIDE_BLOCKS[module]
    parts, places = module.split("."), layers_per_block + 1
    try:
        match parts:
            case ["mid_block", "resnets", index, rest]:
                return f"middle_block.{2 * int(index)}.{_INSIDE_RESNETS[rest]}"
            case ["mid_block", "attentions", "0", *rest] if rest:
                return ".".join(["middle_block", "1", *rest])
            case ["down_blocks", block, "downsamplers", "0", "conv"]:
                return f"input_blocks.{(int(block) + 1) * places}.0.op"
            case ["up_blocks", block, "upsamplers", "0", "conv"]:  # behind resnet and attention: SDXL has both there
                return f"output_blocks.{int(block) * places + layers_per_block}.2.conv"
            case [("down_blocks" | "up_blocks") as side, block, "resnets", index, rest]:
                return f"{_place(side, int(block) * places + int(index))}.0.{_INSIDE_RESNETS[rest]}"
            case [("down_blocks" | "up_blocks") as side, block, "attentions", index, *rest] if rest:
                return ".".join([_place(side, int(block) * places + int(index)), "1", *rest])
    except KeyError:
        pass
    raise ValueError(f"'{module}' is not a layer of an SDXL UNet")


def _place(side: str, count: int) -> str:
    return f"input_blocks.{count + 1}" if side == "down_blocks" else f"output_blocks.{count}"


def kohya_name(module: str, layers_per_block: int) -> str:
    """kohya's name of a layer (`lora_unet_input_blocks_4_1_proj_in`); see `stability_name`."""
    return KOHYA + stability_name(module, layers_per_block).replace(".", "_")


def spellings(modules: Iterable[str], layers_per_block: int) -> dict[str, str]:
    """Every name a LoRA file may give these layers -> diffusers' name.

    Raises:
        ValueError: Two layers share a name, or one is not a layer of an SDXL UNet.
    """
    table: dict[str, str] = {}
    for module in modules:
        names = {
            kohya_name(module, layers_per_block),
            KOHYA + module.replace(".", "_"),
            "unet." + module,
            "diffusion_model." + stability_name(module, layers_per_block),
        }
        for name in names:
            if table.setdefault(name, module) != module:
                raise ValueError(f"'{name}' means both '{table[name]}' and '{module}'")
    return table
