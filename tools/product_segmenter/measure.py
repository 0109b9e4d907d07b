"""How right the segmenter is: on held-out frames, on empty ones, and on two products in one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from finetune.core.pictures.images import Array, Floats
from finetune.core.segmentation.products import find_products
from finetune.core.segmentation.second_objects import second_objects
from tools.embedded_base.world import World

PHOTO_ENDINGS = {".jpg", ".jpeg", ".png", ".avif", ".webp"}


def measure(world: World, photos: Sequence[Path]) -> list[str]:
    """Lines of figures, for people.

    Args:
        world: Held-out frames.
        photos: Pictures without a product.
    """
    found = [find_products(Image.fromarray(frame)) for frame in world.frames]
    empty = np.array([bool(record["empty"]) for record in world.records])
    ious = [iou(f, m) for f, m, e in zip(found, world.masks, empty, strict=True) if not e]
    false = [float((f > 0.5).mean()) for f, e in zip(found, empty, strict=True) if e]
    false += [float((find_products(Image.open(photo)) > 0.5).mean()) for photo in photos]
    lines = [
        f"{len(ious)} held-out frames with a product: IoU mean {np.mean(ious):.3f}, median {np.median(ious):.3f}, "
        f"under 0.5 in {np.mean(np.array(ious) < 0.5):.1%}",
        f"{len(false)} empty pictures: false area mean {np.mean(false):.2%}, 95th percentile "
        f"{np.percentile(false, 95):.2%}, any in {np.mean(np.array(false) > 0):.0%}",
    ]
    kept = [
        second_objects(f, (m / 255).astype(np.float32))
        for f, m, e in zip(found, world.masks, empty, strict=True)
        if not e
    ]
    lines.append(f"one product, called two: {np.mean([bool(k) for k in kept]):.1%} of {len(kept)}")
    seen = [bool(second_objects(find_products(Image.fromarray(p)), m)) for p, m in two_products(world)]
    lines.append(f"two products, the second one seen: {np.mean(seen):.1%} of {len(seen)}")
    return lines


def iou(found: Floats, mask: NDArray[np.uint8]) -> float:
    """Intersection over union of what was found and the true mask, at the size looked at."""
    size = (found.shape[1], found.shape[0])
    true = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.BOX)) > 127
    sure = found > 0.5
    return float((sure & true).sum() / max(1, (sure | true).sum()))


def two_products(world: World, count: int = 120) -> list[tuple[Array, Floats]]:
    """Frames with the product of another frame beside the first, and the first one's matte."""
    rng = np.random.default_rng(5)
    made: list[tuple[Array, Floats]] = []
    products = [i for i, record in enumerate(world.records) if not record["empty"] and record["mask_area"] < 0.25]
    while len(made) < count:
        first, second = rng.choice(products, 2, replace=False)
        rows, columns = (np.flatnonzero(world.masks[second].any(axis)) for axis in (1, 0))
        window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        cut = np.dstack([world.frames[second][window], world.masks[second][window]])
        factor = float(rng.uniform(0.4, 0.8))
        size = (max(8, round(cut.shape[1] * factor)), max(8, round(cut.shape[0] * factor)))
        small = np.asarray(Image.fromarray(cut).resize(size, Image.Resampling.BILINEAR))
        side = world.frames.shape[1]
        if max(size) >= side:
            continue
        left, top = (int(rng.integers(0, side - extent)) for extent in size)
        place = np.s_[top : top + size[1], left : left + size[0]]
        if (world.masks[first][place] > 0).any():
            continue
        alpha = small[..., 3:] / 255
        picture = world.frames[first].copy()
        picture[place] = np.round(alpha * small[..., :3] + (1 - alpha) * picture[place]).astype(np.uint8)
        made.append((picture, (world.masks[first] / 255).astype(np.float32)))
    return made


def photos_in(folder: Path) -> list[Path]:
    """The pictures of a folder."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in PHOTO_ENDINGS)
