"""How often a painted scene grows a second product, first candidate, with and without the adapter.

python -m benchmarks.scenes.second_products SKU [SKU ...] --workspace DIR [--seeds 2] [--out DIR]

Each product is placed in twelve scenes with the shipped settings, the first picture of each. A piece counts that the
shipped segmenter finds beside the placed product (`second_objects`); `--out` keeps the pictures for the eye.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from finetune.core.painting.inpainter import load_inpainter
from finetune.core.painting.pictures import preserve_picture
from finetune.core.products.catalog import Workspace
from finetune.core.segmentation.products import find_products
from finetune.core.segmentation.second_objects import second_objects
from inference.place import resolve_request
from inference.settings import PlaceConfig

SCENES = (
    "on a white marble vanity, soft daylight",
    "on a wooden table, warm light",
    "on wet stone, hard sunlight",
    "on sand, morning light",
    "on a terracotta tile floor, plain mint wall",
    "on black marble, studio light",
    "on a concrete shelf, brick wall",
    "on linen, window light",
    "on moss in a forest, dappled light",
    "on snow, overcast",
    "on a glossy black table, night bar",
    "on a pastel pink plinth, studio light",
)


def main() -> None:
    """Measure from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scenes.second_products")
    parser.add_argument("skus", nargs="+")
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=2, help="seeds of each scene")
    parser.add_argument("--out", type=Path, help="folder for the pictures")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(
        "| product | adapter | scenes | with a second product | largest, of the product's area |\n|---|---|---|---|---|"
    )
    for sku in options.skus:
        for adapter in (None, "none"):
            shares = paint(Workspace(options.workspace), sku, adapter, options.seeds, options.out)
            grown = [share for share in shares if share]
            largest = f"{max(grown):.0%}" if grown else "-"
            name = adapter or "own"
            print(
                f"| {sku} | {name} | {len(shares)} | {len(grown)} ({len(grown) / len(shares):.0%}) | {largest} |",
                flush=True,
            )


def paint(workspace: Workspace, sku: str, adapter: str | None, seeds: int, out: Path | None) -> list[float]:
    """Area of the largest second product of every scene and seed, over the product's; 0 for none."""
    config = PlaceConfig(size="512")
    shares: list[float] = []
    inpainter = None
    for scene in SCENES:
        request = resolve_request(workspace, sku, scene, config=config, adapter=adapter)
        version = request.subject.version
        inpainter = inpainter or load_inpainter(
            request.subject.base, version.adapter if version else None, device="cpu"
        )
        for seed in range(seeds):
            how = request.painting
            made = preserve_picture(
                inpainter, request.placed, request.prompts["place"], sampling=how.sampling, seed=seed
            )
            found = second_objects(find_products(made.picture), request.placed.matte)
            shares.append(found[0].share if found else 0.0)
            if out is not None:
                keep(
                    made.picture,
                    found[0].box if found else None,
                    out / f"{sku}-{adapter or 'own'}-{len(shares):02d}.png",
                )
    return shares


def keep(picture: Image.Image, box: tuple[float, float, float, float] | None, path: Path) -> None:
    """Write a picture with a frame around its second product."""
    pixels = np.asarray(picture).copy()
    if box is not None:
        left, top, right, bottom = (round(side * picture.width) for side in box)
        pixels[top:bottom, [left, min(right, picture.width) - 1]] = (255, 0, 80)
        pixels[[top, min(bottom, picture.height) - 1], left:right] = (255, 0, 80)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


if __name__ == "__main__":
    main()
