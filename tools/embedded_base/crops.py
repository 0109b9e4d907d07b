"""What the autoencoder is shown: crops of the world's frames and of made-up textures."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from .world import World, may_mirror

TEXTURE_SHARE = 0.15
HOLE_SHARE = 0.12
"""Crops with a grey box; what the denoiser is to paint is grey in the pictures that are encoded for it."""
KEPT_SHARE = 0.06
"""Crops of frames that are grey but for the product, as in preserve mode."""


def to_signed(pixels: np.ndarray) -> torch.Tensor:
    """Pictures (n, h, w, 3) uint8 to (n, 3, h, w) float in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1


def crop_frame(rng: np.random.Generator, world: World, size: int) -> np.ndarray:
    """A crop (size, size, 3) at one to one, or of the frame made smaller; often on the product."""
    i = int(rng.integers(len(world)))
    frame, mask = world.frames[i], world.masks[i]
    height, width = frame.shape[:2]
    scale = 1.0 if rng.random() < 0.6 else float(rng.uniform(max(0.4, size / height), 1.0))
    span = min(height, round(size / scale))
    inside = np.argwhere(mask[::8, ::8] > 127) * 8 if rng.random() < 0.6 else np.empty((0, 2), int)
    centre = inside[rng.integers(len(inside))] if len(inside) else rng.integers(0, height, 2)
    top, left = np.clip(
        centre + rng.integers(-span // 4, span // 4 + 1, 2) - span // 2, 0, (height - span, width - span)
    )
    crop = frame[top : top + span, left : left + span]
    if rng.random() < KEPT_SHARE and mask.any():
        crop = np.where(mask[top : top + span, left : left + span, None] > 127, crop, np.uint8(128))
    if span != size:
        crop = np.asarray(Image.fromarray(crop).resize((size, size), Image.Resampling.LANCZOS))
    if rng.random() < 0.5 and may_mirror(world.records[i]):
        crop = crop[:, ::-1]
    return np.asarray(crop)


def make_batch(rng: np.random.Generator, world: World, leaves: np.ndarray, size: int, count: int) -> torch.Tensor:
    """A batch (n, 3, size, size) in [-1, 1]: mostly frames, some textures (k, s, s, 3), colours varied."""
    crops = []
    for _ in range(count):
        if rng.random() < TEXTURE_SHARE:
            leaf = leaves[rng.integers(len(leaves))]
            y, x = rng.integers(0, leaf.shape[0] - size + 1, 2)
            crops.append(leaf[y : y + size, x : x + size])
        else:
            crops.append(crop_frame(rng, world, size))
    batch = to_signed(np.stack(crops))
    for i in range(len(batch)):
        if rng.random() < 0.15:
            batch[i] = batch[i, torch.from_numpy(rng.permutation(3))]
        if rng.random() < 0.15:
            batch[i] = batch[i] * float(rng.uniform(0.6, 1.15)) + float(rng.uniform(-0.3, 0.3))
        if rng.random() < HOLE_SHARE:
            y, x, h, w = np.add(rng.integers(0, size // 2, 4), (0, 0, 8, 8)).tolist()
            batch[i, :, y : y + h, x : x + w] = 0
    return batch.clamp(-1, 1)
