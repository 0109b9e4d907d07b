"""Words for the surroundings of a photo by a captioner from local weights (BLIP; optional, off by default).

Used where Packshot cannot tell the ground by itself: an original photo that stands on no plain ground and has no
caption of its own. Nothing is downloaded and no code of the folder is run: transformers' own classes, safetensors
weights. Works on the CPU, without chance, so that the same photo gets the same words everywhere. Called by the recipe
`prepare`.

BLIP: Li et al. 2022, "Bootstrapping Language-Image Pre-training", arXiv 2201.12086.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from safetensors import SafetensorError, safe_open

from finetune.core import fingerprint
from finetune.core.errors import ConfigError

FORMAT = 1
"""Raised when the same photo and weights would give other words."""
WEIGHTS = "model.safetensors"
NEEDED = (
    ("config.json",),
    (WEIGHTS,),
    ("preprocessor_config.json", "processor_config.json"),
    ("tokenizer.json", "vocab.txt"),
)
"""Of each of these one is needed: transformers has written them under both names."""
LONGEST = 24
"""Tokens a description may have."""
PLACE = re.compile(
    r"\b(on|in|at|against|by|near|next to|beside|under|among|before|in front of|surrounded by|outside|inside|"
    r"sitting|standing|lying|laying|leaning|hanging|placed|resting)\b.*"
)
"""Where the words for a place begin; what BLIP says before them is of the product."""
LEAST_WORDS = 2
BACK_TO_THE_PRODUCT = re.compile(r"\b(it|its|with|that|which|and)\b.*")
"""Where the words leave the place again: `on a table with a gold cap`, `on it`."""


def captioner_files(folder: Path) -> tuple[Path, ...]:
    """The files of a captioner that its words depend on.

    Raises:
        ConfigError: the folder is not there, lacks a file, or holds another kind of model.
    """
    if not folder.is_dir():
        raise ConfigError(
            f"data.captioner: there is no folder {folder}", "name a folder with a BLIP model, or leave it out"
        )
    there = [[name for name in names if (folder / name).is_file()] for names in NEEDED]
    if missing := [names[0] for names, found in zip(NEEDED, there, strict=True) if not found]:
        raise ConfigError(
            f"data.captioner: {folder} holds no {missing[0]}",
            "save a BLIP model and its processor there with transformers' save_pretrained (safetensors)",
        )
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type", "")
    except (OSError, ValueError, AttributeError) as error:
        raise ConfigError(f"data.captioner: {folder}/config.json cannot be read", "copy the model again") from error
    if kind != "blip":
        raise ConfigError(f"data.captioner: {folder} is a model of type '{kind}'", "only BLIP (`blip`) is known")
    try:
        with safe_open(folder / WEIGHTS, framework="np"):  # the header, held against the file's size
            pass
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"data.captioner: {folder / WEIGHTS} is damaged", "copy the file again") from error
    return tuple(folder / name for found in there for name in found)


def captioner_fingerprint(folder: Path, hash_of: Callable[[Path], str] = fingerprint.of_file) -> str:
    """Fingerprint of a captioner's weights, words and settings.

    Args:
        hash_of: gives a file's fingerprint, for a caller that remembers them.

    Raises:
        ConfigError: as `captioner_files`; or a file may not be read.
    """
    files = captioner_files(folder)
    try:
        return fingerprint.of_value([FORMAT, fingerprint.of_files(files, folder, hash_of)])
    except PermissionError as error:
        raise ConfigError(f"data.captioner: {error.filename} may not be read", "give yourself permission") from error


class Captioner:
    """A loaded BLIP."""

    def __init__(self, folder: Path) -> None:
        """Load it.

        Raises:
            ConfigError: the folder's files are damaged or don't belong together.
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
        """Words for where the product is: `on a wooden table`; empty where it says nothing of the kind.

        BLIP goes on from "a photo of a perfume bottle" (conditional captioning), so its words follow the noun.

        Args:
            picture: RGB or RGBA, upright sRGB.
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
        before = asked["input_ids"].shape[1] - 1  # the closing token is not given to the decoder
        return place_words(str(self._words.decode(tokens[0, before:], skip_special_tokens=True)))


def place_words(text: str) -> str:
    """What of a description names the place: `with a gold cap on a wooden table` -> `on a wooden table`."""
    place = PLACE.search(" ".join(text.lower().split()))
    if place is None:
        return ""
    words = BACK_TO_THE_PRODUCT.sub("", place[0]).strip(" .,;")
    return words if len(words.split()) >= LEAST_WORDS else ""


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
