"""Writes the embedded base's folder: diffusers' layout, half-precision safetensors, no pickles."""

from __future__ import annotations

import copy
import json
import shutil
import tempfile
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionXLInpaintPipeline, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from .architecture import build_autoencoder, build_scheduler, build_text_encoders, build_unet
from .vocabulary import END, SECOND_PAD, write_tokenizer

LIMIT_MIB = 24.0
KEPT = ("README.md", "LICENSE", "sheet.jpg")
PARTS = ("unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler")


def load_tokenizers(folder: Path) -> tuple[CLIPTokenizer, CLIPTokenizer]:
    """Writes both tokenizers under the folder and opens them."""
    write_tokenizer(folder / "tokenizer", END)
    write_tokenizer(folder / "tokenizer_2", SECOND_PAD)
    first = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    second = CLIPTokenizer.from_pretrained(folder / "tokenizer_2")
    return first, second


def fresh_text_encoders(folder: Path) -> tuple[CLIPTextModel, CLIPTextModelWithProjection]:
    """Untrained text encoders that match the tokenizers under the folder."""
    first, second = load_tokenizers(folder)
    return build_text_encoders(len(first), first.bos_token_id, first.eos_token_id, second.pad_token_id)


def write_base(
    folder: Path,
    unet: UNet2DConditionModel,
    vae: AutoencoderKL,
    text_encoder: CLIPTextModel,
    text_encoder_2: CLIPTextModelWithProjection,
) -> None:
    """Writes the whole folder beside its place, checks it, then moves part after part into place.

    The card, the licence and the sheet that lie in the folder stay. Everything is
    converted to float16 on the way out; the modules passed in are left as they are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".embedded-") as name:
        new = Path(name)
        write_tokenizer(new / "tokenizer", END)
        write_tokenizer(new / "tokenizer_2", SECOND_PAD)
        modules = {"unet": unet, "vae": vae, "text_encoder": text_encoder, "text_encoder_2": text_encoder_2}
        for part, module in modules.items():
            save_half(module, new / part)
        build_scheduler().save_pretrained(new / "scheduler")
        write_index(new)
        StableDiffusionXLInpaintPipeline.from_pretrained(new)
        check_size(new)
        for part in PARTS:
            replace_folder(new / part, folder / part)
        (new / "model_index.json").replace(folder / "model_index.json")


def save_half(module: torch.nn.Module, folder: Path) -> None:
    """Saves a float16 copy of a module as safetensors with its config."""
    half = copy.deepcopy(module).to(device="cpu", dtype=torch.float16)
    half.save_pretrained(folder, safe_serialization=True)  # type: ignore[operator]
    for file in folder.iterdir():
        file.chmod(0o644)
    scrub_config(folder / "config.json")


def scrub_config(path: Path) -> None:
    """Drops the folder name that the libraries note; has text encoders load as float32.

    transformers loads weights in the type that the config names, diffusers in
    float32: left at float16, the pipeline's halves would not fit together.
    """
    config = json.loads(path.read_text(encoding="utf-8"))
    config.pop("_name_or_path", None)
    if "dtype" in config:
        config["dtype"] = "float32"
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def write_index(folder: Path) -> None:
    """Writes model_index.json for SDXL's inpainting pipeline."""
    index = {
        "_class_name": "StableDiffusionXLInpaintPipeline",
        "force_zeros_for_empty_prompt": True,
        "requires_aesthetics_score": False,
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "scheduler": ["diffusers", "EulerDiscreteScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "tokenizer_2": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def replace_folder(new: Path, old: Path) -> None:
    """Puts a folder in another's place; readers see the old one or the new one."""
    aside = old.with_name(f".{old.name}-old")
    if old.exists():
        old.replace(aside)
    new.replace(old)
    shutil.rmtree(aside, ignore_errors=True)


def size_mib(folder: Path) -> float:
    """Size of all files under the folder, in MiB."""
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 2**20


def check_size(folder: Path) -> None:
    """Raises when the folder is over its limit."""
    if (size := size_mib(folder)) > LIMIT_MIB:
        raise ValueError(f"the folder takes {size:.2f} MiB, more than {LIMIT_MIB} MiB")


def write_untrained(folder: Path) -> None:
    """Writes the folder with untrained weights, for trying out code that loads it."""
    with tempfile.TemporaryDirectory() as name:
        first, second = fresh_text_encoders(Path(name))
    write_base(folder, build_unet(), build_autoencoder(), first, second)
