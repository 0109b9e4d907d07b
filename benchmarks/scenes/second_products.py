"""How often a painted scene grows a second product, first candidate, with and without the adapter.

python -m benchmarks.scenes.second_products SKU [SKU ...] --workspace DIR [--seeds 2] [--retries 0] [--out DIR]

Each product is placed in twelve scenes with the shipped settings; without `--retries` (3 in `place`) the first picture
counts, whatever it shows. A piece counts that the shipped segmenter finds beside the placed product (`second_objects`);
`--out` keeps the pictures for the eye.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from finetune.core.compositing.placement import Placed
from finetune.core.painting.inpainter import Inpainter, Sampling, load_inpainter
from finetune.core.painting.pictures import Painted, preserve_picture
from finetune.core.products.catalog import Workspace
from inference.attempts import paint_alone
from inference.place import resolve_request
from inference.request import DrawnWith
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
    parser.add_argument("--retries", type=int, default=0, help="other seeds that are tried, as in `place`")
    parser.add_argument("--out", type=Path, help="folder for the pictures")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(
        "| product | adapter | scenes | with a second product | largest, of the product's area |\n|---|---|---|---|---|"
    )
    for sku in options.skus:
        for adapter in (None, "none"):
            shares = paint(Workspace(options.workspace), sku, adapter, options)
            grown = [share for share in shares if share]
            largest = f"{max(grown):.0%}" if grown else "-"
            name = adapter or "own"
            print(
                f"| {sku} | {name} | {len(shares)} | {len(grown)} ({len(grown) / len(shares):.0%}) | {largest} |",
                flush=True,
            )


def paint(workspace: Workspace, sku: str, adapter: str | None, options: argparse.Namespace) -> list[float]:
    """Area of the largest second product of every scene and seed, over the product's; 0 for none."""
    config = PlaceConfig(size="512")
    shares: list[float] = []
    inpainter = None
    for scene in SCENES:
        request = resolve_request(workspace, sku, scene, config=config, means=DrawnWith(adapter))
        version = request.subject.version
        inpainter = inpainter or load_inpainter(
            request.subject.base, version.adapter if version else None, device="cpu"
        )
        for seed in range(options.seeds):
            prompt, sampling = request.prompts["place"], request.painting.sampling
            made = paint_alone(
                inpainter,
                request.placed.matte,
                partial(_preserve, inpainter, request.placed, prompt, sampling),
                seed=seed,
                retries=options.retries,
                more=lambda steps: None,
            )
            shares.append(made.second[0].share if made.second else 0.0)
            if options.out is not None:
                name = f"{sku}-{adapter or 'own'}-{options.retries}-{len(shares):02d}.png"
                keep(made.painted.picture, made.second[0].box if made.second else None, options.out / name)
    return shares


def _preserve(inpainter: Inpainter, placed: Placed, prompt: str, sampling: Sampling, seed: int) -> Painted:
    return preserve_picture(inpainter, placed, prompt, sampling=sampling, seed=seed)


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
