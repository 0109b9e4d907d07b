"""What the segmenter learns from: rendered scenes, and pictures made of them that renders do not show.

Frames have one product or none. Scenes that are painted can have two, or one beside mush, or one as sharp as a photo
on ground as soft as the base's autoencoder leaves it: those are put together here. Empty windows of frames and of the
gallery's plates say what is no product.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from finetune.core.pictures.images import Array

SIDE = 192
"""Side of an example in pixels; frames of 256 px are seen a little reduced, as `find_products` sees pictures."""
SHARES = {"frame": 0.45, "pasted": 0.30, "mosaic": 0.07, "empty": 0.10, "plate": 0.08}
"""How often each kind of example is made."""
SOFT_GROUND_SHARE = 0.4
"""Pasted examples whose ground went through the embedded base's autoencoder while the product stayed sharp."""
RECONSTRUCTED_SHARE = 0.3
"""Other examples that went through it whole."""
SOFT_STRIDE = 4
"""Every so many frames are reconstructed: on a CPU the autoencoder takes longer than the training."""
LEAST_WINDOW = 80
"""Shortest side of an empty window, pixels."""


@dataclass(frozen=True)
class Source:
    """Pictures to make examples of."""

    frames: Array
    """(n, s, s, 3) rendered scenes."""
    soft: Array
    """(n / 4, s, s, 3) every fourth of them through the embedded base's autoencoder."""
    masks: NDArray[np.uint8]
    """(n, s, s), 255 where the product is."""
    plates: Sequence[Array]
    """Empty scenes, (h, w, 3) each."""


def make_batch(source: Source, rng: np.random.Generator, count: int) -> tuple[Array, NDArray[np.uint8]]:
    """Pictures (count, 192, 192, 3) and their masks (count, 192, 192), 0..255."""
    made = [make_example(source, rng) for _ in range(count)]
    return np.stack([picture for picture, _ in made]), np.stack([mask for _, mask in made])


def make_example(source: Source, rng: np.random.Generator) -> tuple[Array, NDArray[np.uint8]]:
    """One picture (192, 192, 3) with its mask (192, 192)."""
    kind = rng.choice(list(SHARES), p=list(SHARES.values()))
    if kind == "frame":
        picture, mask = _crop(*_frame(source, rng), rng)
    elif kind == "pasted":
        picture, mask = _crop(*_pasted(source, rng), rng)
    elif kind == "mosaic":
        picture, mask = _mosaic(source, rng)
    elif kind == "empty":
        picture, mask = _empty_window(source, rng)
    else:
        picture, mask = _plate(source, rng)
    if rng.random() < 0.5:
        picture, mask = picture[:, ::-1], mask[:, ::-1]
    return _seen_otherwise(np.ascontiguousarray(picture), rng), np.ascontiguousarray(mask)


def _frame(source: Source, rng: np.random.Generator) -> tuple[Array, NDArray[np.uint8]]:
    if rng.random() < RECONSTRUCTED_SHARE:
        return _soft(source, rng)
    index = int(rng.integers(len(source.frames)))
    return source.frames[index], source.masks[index]


def _soft(source: Source, rng: np.random.Generator) -> tuple[Array, NDArray[np.uint8]]:
    """A frame that went through the autoencoder."""
    index = int(rng.integers(len(source.soft)))
    return source.soft[index], source.masks[index * SOFT_STRIDE]


def _pasted(source: Source, rng: np.random.Generator) -> tuple[Array, NDArray[np.uint8]]:
    """A frame with the product of another frame laid over it, anywhere: a second product, or the first one's cover."""
    soft = rng.random() < SOFT_GROUND_SHARE
    ground, mask = _soft(source, rng) if soft else _frame(source, rng)
    return _paste_one(source, ground, mask, rng)


def _paste_one(
    source: Source, ground: Array, mask: NDArray[np.uint8], rng: np.random.Generator
) -> tuple[Array, NDArray[np.uint8]]:
    other = int(rng.integers(len(source.frames)))
    if not source.masks[other].any():
        return ground, mask
    rows, columns = (np.flatnonzero(source.masks[other].any(axis)) for axis in (1, 0))
    window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    cut = np.dstack([source.frames[other][window], source.masks[other][window]])
    factor = float(rng.uniform(0.35, 1.1))
    size = [
        max(6, min(round(side * factor), limit))
        for side, limit in zip(cut.shape[1::-1], ground.shape[1::-1], strict=False)
    ]
    small = np.asarray(Image.fromarray(cut).resize((size[0], size[1]), Image.Resampling.BILINEAR))
    left, top = (int(rng.integers(0, limit - side + 1)) for side, limit in zip(size, ground.shape[1::-1], strict=True))
    place = np.s_[top : top + size[1], left : left + size[0]]
    alpha = small[..., 3:].astype(np.float32) / 255
    picture, found = ground.copy(), mask.copy()
    picture[place] = np.round(alpha * small[..., :3] + (1 - alpha) * picture[place]).astype(np.uint8)
    found[place] = np.maximum(found[place], small[..., 3])
    return picture, found


def _crop(picture: Array, mask: NDArray[np.uint8], rng: np.random.Generator) -> tuple[Array, NDArray[np.uint8]]:
    """A square window of at least half the picture's side, or all of it."""
    side = picture.shape[0]
    span = side if rng.random() < 0.4 else int(rng.integers(side // 2, side + 1))
    top, left = rng.integers(0, side - span + 1, 2)
    window = np.s_[top : top + span, left : left + span]
    return _resized(picture[window]), _resized(mask[window])


def _mosaic(source: Source, rng: np.random.Generator) -> tuple[Array, NDArray[np.uint8]]:
    """Two or four frames beside each other: small products, and several."""
    frames = [_frame(source, rng) for _ in range(4)]
    half = [(_resized(p, SIDE // 2), _resized(m, SIDE // 2)) for p, m in frames]
    rows = [[np.concatenate([half[i][part], half[i + 1][part]], 1) for i in (0, 2)] for part in (0, 1)]
    return np.concatenate(rows[0], 0), np.concatenate(rows[1], 0)


def _empty_window(source: Source, rng: np.random.Generator) -> tuple[Array, NDArray[np.uint8]]:
    """A window of a frame without a pixel of product."""
    for _ in range(12):
        picture, mask = _frame(source, rng)
        side = picture.shape[0]
        span = int(rng.integers(LEAST_WINDOW, side + 1))
        top, left = rng.integers(0, side - span + 1, 2)
        window = np.s_[top : top + span, left : left + span]
        if not mask[window].any():
            return _resized(picture[window]), _resized(mask[window])
    return _plate(source, rng)


def _plate(source: Source, rng: np.random.Generator) -> tuple[Array, NDArray[np.uint8]]:
    """A window of a plate, now and then with a product on it."""
    plate = source.plates[int(rng.integers(len(source.plates)))]
    span = int(rng.integers(min(plate.shape[:2]) // 3, min(plate.shape[:2]) + 1))
    top, left = (int(rng.integers(0, limit - span + 1)) for limit in plate.shape[:2])
    picture = _resized(plate[top : top + span, left : left + span], source.frames.shape[1])
    mask = np.zeros(picture.shape[:2], np.uint8)
    if rng.random() < 0.3:
        picture, mask = _paste_one(source, picture, mask, rng)
    return _resized(picture), _resized(mask)


def _resized(pixels: Array, side: int = SIDE) -> Array:
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR))


def _seen_otherwise(picture: Array, rng: np.random.Generator) -> Array:
    """Another light, less colour, out of focus, noise, JPEG: what says nothing about products."""
    values = picture.astype(np.float32) / 255
    if rng.random() < 0.7:
        values = np.clip(
            values * rng.uniform(0.7, 1.25, 3).astype(np.float32) * np.float32(rng.uniform(0.6, 1.2)), 0, 1
        )
        values = values ** np.float32(rng.uniform(0.75, 1.35))
    if rng.random() < 0.3:
        grey = values.mean(2, keepdims=True)
        values = grey + np.float32(rng.uniform(0, 1)) * (values - grey)
    if rng.random() < 0.15:
        values = values[..., rng.permutation(3)]
    if rng.random() < 0.25:
        values = values + rng.normal(0, rng.uniform(0.005, 0.04), values.shape).astype(np.float32)
    made = Image.fromarray(np.round(np.clip(values, 0, 1) * 255).astype(np.uint8))
    if rng.random() < 0.3:
        small = int(rng.integers(SIDE // 4, SIDE))
        made = made.resize((small, small), Image.Resampling.BILINEAR).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    if rng.random() < 0.3:
        file = io.BytesIO()
        made.save(file, "JPEG", quality=int(rng.integers(40, 95)))
        made = Image.open(file).convert("RGB")
    return np.asarray(made)
