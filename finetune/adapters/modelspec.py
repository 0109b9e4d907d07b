"""Header entries that ComfyUI, A1111, Civitai and the like display for an adapter file. Plain values in and out.

Sources: ModelSpec 1.0.1 (README of github.com/Stability-AI/ModelSpec) for `modelspec.*`; the metadata of kohya's
sd-scripts (train_network.py, library/sai_model_spec.py) for `ss_*`. No entry is guessed: what Packshot does not know
(author, licence, the base checkpoint's file hash) is left out. The hashes of the tensors are added where the bytes are
known, in `core.adapters.file.write_tensors`.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.core.adapters.token_embeddings import ENTRY
from finetune.core.basemodel.resolve import EMBEDDED, HUB_ID

if TYPE_CHECKING:
    import torch

VERSION = "1.0.1"
SDXL_CONTEXT = 2048
"""Width of SDXL's text embeddings: what tells it from smaller models of its architecture."""
SDXL = "stable-diffusion-xl-v1-base/lora"
"""Also for inpainting bases: the list of architectures has no SDXL inpainting, and the LoRA, which leaves `conv_in`
alone, is loaded like any other of SDXL. The description names the base."""
REDUCED = "stable-diffusion-xl-v1-reduced/lora"
"""Our name for a model with SDXL's architecture and other widths, such as the embedded base: SDXL programs cannot use
it, and this keeps them from trying."""
IMPLEMENTATIONS = {"diffusers": "diffusers", "kohya": "https://github.com/Stability-AI/generative-models"}


def lora_scale(lora_config: dict[str, Any]) -> float:
    """What the product of the matrices is multiplied by: alpha / rank, for rsLoRA alpha / sqrt(rank)."""
    rank = int(lora_config["r"])
    return float(lora_config["lora_alpha"]) / (math.sqrt(rank) if lora_config.get("use_rslora") else rank)


def labels(
    manifest: dict[str, Any],
    state: dict[str, torch.Tensor],
    lora_config: dict[str, Any],
    *,
    layout: str = "diffusers",
    version: str = "",
    date: str = "",
) -> dict[str, str]:
    """The entries for an adapter.

    Args:
        manifest: As `publish.adapter_manifest` makes it.
        state: PEFT keys without prefix -> tensors, of which only shapes are used.
        lora_config: PEFT's LoraConfig as plain values.
        layout: Of the file's keys, `diffusers` or `kohya`.
        version: Number of the version, if it has one already.
        date: ISO 8601; empty leaves it out, so that training again gives the same bytes.
    """
    width = next((int(t.shape[1]) for k, t in state.items() if k.endswith("attn2.to_k.lora_A.weight")), 0)
    sdxl = width == SDXL_CONTEXT
    return (
        {"format": "pt"}
        | _modelspec(manifest, sdxl=sdxl, layout=layout, version=version, date=date)
        | _kohya(manifest, lora_config, sdxl=sdxl, layout=layout, version=version)
    )


def _base_name(manifest: dict[str, Any]) -> str:
    model = str(manifest["base"]["model"])
    return model if model == EMBEDDED or HUB_ID.fullmatch(model) else Path(model).name


def _trigger(manifest: dict[str, Any]) -> str:
    return f"{manifest['token']} {manifest['class_noun']}"


def _modelspec(manifest: dict[str, Any], *, sdxl: bool, layout: str, version: str, date: str) -> dict[str, str]:
    base, sku, kind = manifest["base"], manifest["sku"], manifest["kind"]
    kind = "product" if kind == "sku" else kind
    side = manifest["config"]["data"]["size"]
    inpainting = base["channels"] == 9
    found = {
        "sai_model_spec": VERSION,
        "architecture": SDXL if sdxl else REDUCED,
        "implementation": IMPLEMENTATIONS[layout],
        "title": f"{sku} {version}".strip() + f" ({manifest['class_noun']})",
        "description": f"LoRA of the {kind} '{sku}', a {manifest['class_noun']}, trained by "
        f"{manifest['tool']} on {_base_name(manifest)} ({base['channels']} input channels), "
        f"{manifest['objective']} objective.",
        "resolution": f"{side}x{side}",
        "trigger_phrase": _trigger(manifest),
        "usage_hint": " ".join(
            [f"Trigger: {_trigger(manifest)}."]
            + ["Made for inpainting."] * inpainting
            + _tokens_hint(manifest)
            + ["For diffusers alone: ComfyUI, A1111, Forge and sd-scripts need the file in kohya's layout."]
            * (layout == "diffusers")
        ),
        "prediction_type": "v" if base["prediction_type"] == "v_prediction" else "epsilon",
        "tags": f"{kind}, {manifest['class_noun']}, packshot",
    }
    if date:
        found["date"] = date
    return {f"modelspec.{key}": value for key, value in found.items()}


def _tokens_hint(manifest: dict[str, Any]) -> list[str]:
    """Which tokens belong to the adapter, and how programs that read them from a folder call them."""
    if not (entry := manifest.get(ENTRY)):
        return []
    name = Path(entry["file"]).stem
    return [
        f"{entry['count']} tokens of '{entry['token']}' belong to it: {entry['file']}. With that file in the folder "
        f"`embeddings`, write `{name}` instead of `{entry['token']}` (in ComfyUI `embedding:{name}`)."
    ]


def _kohya(
    manifest: dict[str, Any], lora_config: dict[str, Any], *, sdxl: bool, layout: str, version: str
) -> dict[str, str]:
    """The entries sd-scripts would have written for this training, as far as they have a meaning here."""
    config, examples = manifest["config"], manifest.get("examples")
    often = examples or 1  # older versions do not record how many examples show the trigger
    train, rank = config["train"], int(lora_config["r"])
    alpha = lora_scale(lora_config) * rank if layout == "kohya" else float(lora_config["lora_alpha"])
    found: dict[str, Any] = {
        "output_name": "-".join(part for part in (manifest["sku"], version) if part),
        "training_comment": f"trained by {manifest['tool']}, not by sd-scripts",
        "network_module": "networks.lora",
        "network_dim": rank,
        "network_alpha": f"{alpha:.9g}",
        "network_args": json.dumps({k: True for k in ("use_dora", "use_rslora") if lora_config.get(k)}),
        "base_model_version": "sdxl_base_v1-0" if sdxl else "reduced_sdxl",
        "v2": False,
        "sd_model_name": _base_name(manifest),
        "resolution": f"({config['data']['size']}, {config['data']['size']})",
        "tag_frequency": json.dumps({manifest["sku"]: {manifest["token"]: often, manifest["class_noun"]: often}}),
        "max_train_steps": train["steps"],
        "steps": train["steps"],
        "total_batch_size": train["batch"] * train["accumulation"] * manifest.get("processes", 1),
        "gradient_accumulation_steps": train["accumulation"],
        "learning_rate": train["learning_rate"],
        "unet_lr": train["learning_rate"],
        "lr_scheduler": train["schedule"],
        "lr_warmup_steps": train["warmup"],
        "optimizer": train["optimizer"],
        "max_grad_norm": train["max_grad_norm"],
        "seed": train["seed"],
        "min_snr_gamma": config["objective"]["snr_gamma"],
        "caption_dropout_rate": config["objective"]["caption_dropout"],
        "gradient_checkpointing": config["memory"]["gradient_checkpointing"] not in (False, "none"),
    }
    if examples is not None:
        found["num_train_images"] = examples
    return {f"ss_{key}": str(value) for key, value in found.items()}
