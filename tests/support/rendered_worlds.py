"""Small rendered worlds as Blender's renderer leaves them, and an autoencoder small enough to encode them at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from tools.embedded_base.world import World

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

    from tools.embedded_base.latents import LatentCache


SOFT, SUNNY = "soft daylight", "hard midday sun"


def record(index: int, *, empty: bool = False, surface: str = "sand", light: str = SOFT, **more: Any) -> dict[str, Any]:
    product = None if empty else {"colour": "red", "material": "plastic", "shape": "", "size": "", "parts": ""}
    place = {"surface": surface, "backdrop": "brick wall", "backdrop_type": "brick wall", "backdrop_colour": ""}
    return {
        "index": index,
        "file_name": f"frames/{index}.png",
        "mask": f"masks/{index}.png",
        "caption": f"a photo on {surface}",
        "empty": empty,
        "class_noun": "" if empty else "mug",
        "label_text": "",
        "lighting": light,
        "mask_area": 0.0 if empty else 0.12,
        "product": product,
        **place,
        **more,
    }


def make_world(records: list[dict[str, Any]]) -> World:
    """Red boxes on grounds of one grey each, as many shades as frames."""
    count = len(records)
    frames, masks = np.empty((count, 256, 256, 3), np.uint8), np.zeros((count, 256, 256), np.uint8)
    for i, entry in enumerate(records):
        frames[i] = 100 + 10 * i
        if not entry["empty"]:
            frames[i, 80:180, 90:170], masks[i, 80:180, 90:170] = (200, 30, 30), 255
    return World(records, frames, masks)


def write_world(folder: Path) -> Path:
    """Ten frames in a world's folder, two of them without a product, two held out."""
    (folder / "frames").mkdir(parents=True)
    (folder / "masks").mkdir()
    world = make_world([record(i, empty=i in (3, 7)) for i in range(10)])
    for entry, frame, mask in zip(world.records, world.frames, world.masks, strict=True):
        Image.fromarray(frame).save(folder / entry["file_name"])
        Image.fromarray(mask).save(folder / entry["mask"])
    lines = [json.dumps(entry) for entry in world.records]
    (folder / "metadata.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


def tiny_autoencoder() -> AutoencoderKL:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(8,) * 4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=4,
    )


def small_cache(world: World, folder: Path, size: int = 128, variants: int = 3) -> LatentCache:
    import torch

    from tools.embedded_base import latents

    torch.manual_seed(0)
    indices = range(len(world))
    return latents.build_cache(
        tiny_autoencoder(), world, indices, size, variants, torch.device("cpu"), folder / "latents.pt"
    )


class Killed(Exception):
    """What ends a run in the middle of a test."""
