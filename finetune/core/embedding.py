"""A vision model from a folder on disk as an `Embedder`: DINOv2, CLIP or SigLIP in transformers' layout.

It never uses the network, and never stands in for a missing model. Preprocessing follows the folder's own
`preprocessor_config.json`, in Pillow and numpy: transformers' processors need torchvision, which Packshot avoids.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from finetune.core.errors import ConfigError
from finetune.core.json_files import read_object
from finetune.core.pictures.images import Array

if TYPE_CHECKING:
    from transformers import PreTrainedModel

IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


class FolderEmbedder:
    """Embeds pictures with a model loaded from a folder; an `Embedder`."""

    def __init__(self, name: str, model: PreTrainedModel, preprocessing: dict[str, Any], side: int) -> None:
        self.name = f"{name}, {side} px"
        self._model, self._side = model, side
        self._mean = np.asarray(preprocessing["image_mean"], dtype=np.float32)
        self._std = np.asarray(preprocessing["image_std"], dtype=np.float32)

    def embed(self, pictures: list[Array]) -> NDArray[np.float32]:
        """Embed N pictures.

        Args:
            pictures: Square, (S, S, 3) uint8 each.

        Returns:
            (N, D) vectors of length 1.
        """
        import torch

        size = (self._side, self._side)
        planes = [np.asarray(Image.fromarray(p).resize(size, Image.Resampling.BICUBIC)) for p in pictures]
        values = (np.stack(planes).astype(np.float32) / 255.0 - self._mean) / self._std
        pixels = torch.from_numpy(values.transpose(0, 3, 1, 2).copy())
        with torch.inference_mode():
            vision = getattr(self._model, "vision_model", self._model)
            output = vision(pixel_values=pixels)
            vectors = output.pooler_output if output.pooler_output is not None else output.last_hidden_state[:, 0]
            vectors = torch.nn.functional.normalize(vectors.float(), dim=-1)
        return np.asarray(vectors.numpy(), dtype=np.float32)


def check_embedder(folder: Path) -> None:
    """Check that a folder looks like a model, before anything is loaded.

    Raises:
        ConfigError: It has no config.json or no safetensors weights.
    """
    if not (folder / "config.json").is_file() or not list(folder.glob("*.safetensors")):
        raise ConfigError(
            f"there is no vision model in '{folder}'",
            "give a folder with config.json and safetensors weights, or leave `embedder` empty",
        )


def load_embedder(folder: Path) -> FolderEmbedder:
    """Load a model from a folder, on the CPU in fp32.

    Raises:
        ConfigError: The folder holds no vision model that transformers can load.
    """
    check_embedder(folder)
    from transformers import AutoModel

    try:
        model = AutoModel.from_pretrained(str(folder), local_files_only=True, use_safetensors=True).eval()
        config = read_object(folder / "config.json", ConfigError)
        side = int(config.get("vision_config", config)["image_size"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"'{folder}' can't be loaded as a vision model: {str(error).splitlines()[0]}",
            "give a model of transformers' DINOv2, CLIP or SigLIP, or leave `embedder` empty",
        ) from error
    path = folder / "preprocessor_config.json"
    preprocessing = IMAGENET | (read_object(path, ConfigError) if path.is_file() else {})
    crop = preprocessing.get("crop_size") or preprocessing.get("size") or side
    if isinstance(crop, dict):
        crop = crop.get("height") or crop.get("shortest_edge") or side
    return FolderEmbedder(folder.name, model, preprocessing, int(crop))
