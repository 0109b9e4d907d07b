"""The few of torchvision's transforms that diffusers' example scripts use, on Pillow; torchvision has no CPU build.

Stands in for three modules at once (`torchvision`, `.transforms`, `.transforms.functional`); see `probe`.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any

import numpy as np
import torch
from PIL import Image

transforms = sys.modules[__name__]


class InterpolationMode(IntEnum):
    """Pillow's own numbers."""

    NEAREST, LANCZOS, BILINEAR, BICUBIC = 0, 1, 2, 3


class Resize:
    """Shorter side to `size`."""

    def __init__(self, size: int, interpolation: InterpolationMode = InterpolationMode.BILINEAR) -> None:
        self.size, self.interpolation = size, interpolation

    def __call__(self, picture: Image.Image) -> Image.Image:
        """Resize a picture."""
        scale = self.size / min(picture.size)
        width, height = (max(self.size, round(side * scale)) for side in picture.size)
        return picture.resize((width, height), Image.Resampling(int(self.interpolation)))


class CenterCrop:
    """The middle square."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, picture: Image.Image) -> Image.Image:
        """Cut a picture."""
        left, top = (picture.width - self.size) // 2, (picture.height - self.size) // 2
        return picture.crop((left, top, left + self.size, top + self.size))


class RandomCrop(CenterCrop):
    """A square somewhere."""

    @staticmethod
    def get_params(picture: Image.Image, size: Sequence[int]) -> tuple[int, int, int, int]:
        """(top, left, height, width)."""
        height, width = size
        top, left = random.randint(0, picture.height - height), random.randint(0, picture.width - width)
        return top, left, height, width


class RandomHorizontalFlip:
    """Mirrors with probability `p`."""

    def __init__(self, p: float = 0.5) -> None:
        self.p = p

    def __call__(self, picture: Image.Image) -> Image.Image:
        """Mirror a picture, or not."""
        mirrored = random.random() < self.p
        return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else picture


class ToTensor:
    """Picture -> (3, H, W) float in 0..1."""

    def __call__(self, picture: Image.Image) -> torch.Tensor:
        """Convert a picture."""
        return torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1).float() / 255


class Normalize:
    """(x - mean) / std."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self.mean, self.std = mean[0], std[0]

    def __call__(self, tensor: torch.Tensor) -> torch.Tensor:
        """Shift and scale a tensor."""
        return (tensor - self.mean) / self.std


class Compose:
    """One after the other."""

    def __init__(self, steps: Sequence[Callable[[Any], Any]]) -> None:
        self.steps = steps

    def __call__(self, value: Any) -> Any:
        """Apply all."""
        for step in self.steps:
            value = step(value)
        return value


def crop(picture: Image.Image, top: int, left: int, height: int, width: int) -> Image.Image:
    """A rectangle of a picture."""
    return picture.crop((left, top, left + width, top + height))
