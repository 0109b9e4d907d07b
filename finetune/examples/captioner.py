"""Words for the surroundings of a photo, by a captioner from local weights (BLIP; optional, off by default).

For photos whose ground Packshot cannot name itself: those on no plain ground and without a caption of their own.
Nothing is downloaded and no code of the folder is run: transformers' own classes, safetensors weights. It runs on the
CPU and deterministically, so that the same photo gets the same words everywhere.

BLIP: Li et al. 2022, "Bootstrapping Language-Image Pre-training", arXiv 2201.12086.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from finetune.core import fingerprint
from finetune.core.errors import ConfigError
from finetune.core.json_files import read_object
from finetune.core.storage.safetensors_header import UnreadableHeader, read_safetensors_header

FORMAT = 1
"""Raise it when the same photo and weights would give other words."""
WEIGHTS = "model.safetensors"
NEEDED = (
    ("config.json",),
    (WEIGHTS,),
    ("preprocessor_config.json", "processor_config.json"),
    ("tokenizer.json", "vocab.txt"),
)
"""One file of each group is needed: transformers has written them under both names."""
LONGEST = 24
"""Most tokens of a description."""
PLACE = re.compile(
    r"\b(on|in|at|against|by|near|next to|beside|under|among|before|in front of|surrounded by|outside|inside|"
    r"sitting|standing|lying|laying|leaning|hanging|placed|resting)\b.*"
)
"""Where the words for a place begin; what BLIP writes before them describes the product."""
LEAST_WORDS = 2
"""Words under which a description of the place is dropped."""
BACK_TO_THE_PRODUCT = re.compile(r"\b(it|its|with|that|which|and)\b.*")
"""Where the words return to the product: `on a table with a gold cap`, `on it`."""


def captioner_files(folder: Path) -> tuple[Path, ...]:
    """The files of a captioner that its words depend on.

    Args:
        folder: with the model and its processor.

    Raises:
        ConfigError: the folder does not exist, lacks a file, or holds another kind of model.
    """
    if not folder.is_dir():
        raise ConfigError(
            f"data.captioner: there is no folder {folder}", "name a folder with a BLIP model, or remove the setting"
        )
    there = [[name for name in names if (folder / name).is_file()] for names in NEEDED]
    if missing := [names[0] for names, found in zip(NEEDED, there, strict=True) if not found]:
        raise ConfigError(
            f"data.captioner: {folder} has no {missing[0]}",
            "save a BLIP model and its processor there with transformers' save_pretrained (safetensors)",
        )
    config = folder / "config.json"
    kind = read_object(config, ConfigError, what=f"data.captioner: {config}", hint="copy the model again").get(
        "model_type"
    )
    if kind != "blip":
        raise ConfigError(f"data.captioner: {folder} is a model of type '{kind}'", "only BLIP (`blip`) is supported")
    try:
        read_safetensors_header(folder / WEIGHTS)
    except (OSError, UnreadableHeader) as error:
        raise ConfigError(f"data.captioner: {folder / WEIGHTS} is damaged", "copy the file again") from error
    return tuple(folder / name for found in there for name in found)


def captioner_fingerprint(folder: Path, hash_of: Callable[[Path], str] = fingerprint.of_file) -> str:
    """Fingerprint of a captioner's weights, words and settings.

    Args:
        folder: with the model and its processor.
        hash_of: gives a file's fingerprint; pass one that remembers, so that files are not read twice.

    Raises:
        ConfigError: as `captioner_files`; or a file cannot be read.
    """
    files = captioner_files(folder)
    try:
        return fingerprint.of_value([FORMAT, fingerprint.of_files(files, folder, hash_of)])
    except PermissionError as error:
        raise ConfigError(
            f"data.captioner: {error.filename} cannot be read: permission denied", "grant read permission"
        ) from error


class Captioner:
    """A loaded BLIP."""

    def __init__(self, folder: Path) -> None:
        """Load it.

        Args:
            folder: with the model and its processor.

        Raises:
            ConfigError: the folder's files are damaged or do not fit together.
        """
        from transformers import BertTokenizer, BlipForConditionalGeneration
        from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil  # needs no torchvision

        captioner_files(folder)
        try:
            self._words = BertTokenizer.from_pretrained(folder, local_files_only=True)
            self._pixels = BlipImageProcessorPil.from_pretrained(folder, local_files_only=True)
            self._model: Any = BlipForConditionalGeneration.from_pretrained(
                folder, local_files_only=True, use_safetensors=True
            ).eval()
        except Exception as error:  # transformers, tokenizers and safetensors have no common error
            raise ConfigError(
                f"data.captioner: {folder} cannot be loaded ({_first_line(error)})", "copy the model again"
            ) from error

    def surroundings(self, picture: Image.Image, class_noun: str) -> str:
        """Words for where the product is: `on a wooden table`; empty if BLIP names no place.

        BLIP continues the text "a photo of a perfume bottle" (conditional captioning), so its words follow the noun.

        Args:
            picture: RGB or RGBA, upright sRGB.
            class_noun: what the product is.
        """
        import torch

        asked = self._words([f"a photo of a {class_noun}"], return_tensors="pt", return_token_type_ids=False)
        pixels = self._pixels(images=picture.convert("RGB"), return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            tokens = self._model.generate(
                pixel_values=pixels,
                input_ids=asked["input_ids"],
                attention_mask=asked["attention_mask"],
                max_new_tokens=LONGEST,
                num_beams=3,
                do_sample=False,
                no_repeat_ngram_size=2,
            )
        before = asked["input_ids"].shape[1] - 1  # the decoder does not get the closing token
        return place_words(str(self._words.decode(tokens[0, before:], skip_special_tokens=True)))


def place_words(text: str) -> str:
    """The part of a description that names the place: `with a gold cap on a wooden table` -> `on a wooden table`."""
    place = PLACE.search(" ".join(text.lower().split()))
    if place is None:
        return ""
    words = BACK_TO_THE_PRODUCT.sub("", place[0]).strip(" .,;")
    return words if len(words.split()) >= LEAST_WORDS else ""


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
