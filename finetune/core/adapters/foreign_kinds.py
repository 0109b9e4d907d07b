"""What a file that is no LoRA Packshot reads is, by its keys, and what to do with it instead."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

_OTHER_METHODS = {
    r"\.hada_t[12]$": "a Tucker-decomposed LoHa",
    r"\.lokr_t[12]$": "a Tucker-decomposed LoKr",
    r"\.lora_mid\.": "a Tucker-decomposed LoRA",
    r"\.b?oft_": "OFT",
    r"\.[ab][12]\.weight$": "GLoRA",
    r"\.on_input$": "IA3",
    r"\.w_norm$|\.b_norm$": "a LoRA with trained norms",
    r"\.diff(_b)?$": "full differences of weights",
}
_TOKENS = {"clip_l", "clip_g", "emb_params"}
_MODEL = re.compile(
    r"(model\.diffusion_model|first_stage_model|conditioner)\.|(unet\.)?(conv_in|conv_out|down_blocks)\."
)
_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def complaint(name: str, strange: Collection[str], *, layers: int, own: bool) -> tuple[str, str]:
    """Message and hint for a file with keys that are none of a LoRA of SDXL's UNet.

    Args:
        name: The file's.
        strange: Those keys; at least one.
        layers: How many layers for SDXL's UNet are in it besides.
        own: Whether it carries a manifest of Packshot.
    """
    keys = named(strange)
    if set(strange) <= _TOKENS and not layers:
        return (
            f"{name} is a file of tokens (textual inversion), not a LoRA: {keys}",
            "give the LoRA it belongs to; Packshot finds the tokens beside it",
        )
    for sign, method in _OTHER_METHODS.items():
        if any(re.search(sign, key) for key in strange):
            return f"{name} is {method}, not a LoRA: {keys}", "Packshot reads LoRA, DoRA, LoHa and LoKr files"
    if not layers and all(_MODEL.match(key) or "lora" not in key for key in strange):
        if any(_MODEL.match(key) for key in strange):
            return (
                f"{name} is a whole model, not a LoRA: {keys}",
                "give it as --base if it is a checkpoint; as --adapter give a LoRA",
            )
        return f"{name} is no LoRA: {keys}", "give a LoRA that was trained on SDXL"
    if own:
        return (
            f"{name} is an export of Packshot that another program changed: {keys}",
            "export the version again: packshot adapters export",
        )
    return f"{name} is not a LoRA of an SDXL UNet: {keys}", "use a LoRA that was trained on SDXL"


def is_pickle(start: bytes) -> bool:
    """Whether a file that begins so is one of `torch.save` (`.pt`, `.ckpt`, `.bin`), in its new or old format."""
    return start.startswith(_PICKLES)


def named(keys: Iterable[str]) -> str:
    """`3 keys: a, b, c`; of many the first four."""
    listed = sorted(keys)
    shown = ", ".join(listed[:4]) + (", ..." if len(listed) > 4 else "")
    return f"{len(listed)} {'key' if len(listed) == 1 else 'keys'}: {shown}"
