"""`python -m tools.product_segmenter`: trains the segmenter on rendered scenes and writes its weights."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from finetune.core.pictures.images import Array
from tools.embedded_base.world import World, load_worlds
from tools.product_segmenter.examples import SOFT_STRIDE, Source
from tools.product_segmenter.measure import measure, photos_in
from tools.product_segmenter.train import save_weights, train

BATCH_OF_RECONSTRUCTIONS = 4


def main() -> None:
    """Train from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.product_segmenter")
    parser.add_argument("--world", type=Path, action="append", required=True, help="folder of frames; repeatable")
    parser.add_argument(
        "--work", type=Path, default=Path(".cache/segmenter"), help="folder for the checkpoint and reconstructions"
    )
    parser.add_argument("--plates", type=Path, default=Path("inference/plates"), help="folder of the gallery's plates")
    parser.add_argument("--out", type=Path, default=Path("finetune/core/segmentation/products.safetensors"))
    parser.add_argument("--steps", type=int, default=1600)
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--measure", action="store_true", help="state how right the weights in the package are")
    parser.add_argument("--photos", type=Path, help="folder of photographs without a product, for --measure")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.measure:
        photos = photos_in(options.photos) if options.photos else []
        print("\n".join(measure(load_worlds(options.world, held_out=True), photos)))
        return
    options.work.mkdir(parents=True, exist_ok=True)
    world = load_worlds(options.world, held_out=False)
    source = Source(world.frames, reconstructions(world, options.work), world.masks, read_plates(options.plates))
    checkpoint = options.work / "state.pt"
    network = train(source, steps=options.steps, batch=options.batch, seed=options.seed, checkpoint=checkpoint)
    save_weights(network, options.out)
    print(f"wrote {options.out}, {options.out.stat().st_size / 1e6:.2f} MB")


def read_plates(folder: Path) -> list[Array]:
    """The gallery's pictures at half size."""
    plates = []
    for path in sorted(folder.glob("*/plate.avif")):
        with Image.open(path) as picture:
            plates.append(np.asarray(picture.convert("RGB").reduce(2)))
    return plates


@torch.no_grad()
def reconstructions(world: World, work: Path) -> Array:
    """Every fourth frame through the embedded base's autoencoder; kept in the work folder."""
    from diffusers import AutoencoderKL

    path = work / "soft.npy"
    frames = world.frames[::SOFT_STRIDE]
    if path.exists() and len(kept := np.load(path, mmap_mode="r")) == len(frames):
        return np.asarray(kept)
    vae = AutoencoderKL.from_pretrained(Path("finetune/embedded/vae")).eval()
    soft = np.empty_like(frames)
    for first in range(0, len(frames), BATCH_OF_RECONSTRUCTIONS):
        some = np.s_[first : first + BATCH_OF_RECONSTRUCTIONS]
        pictures = torch.from_numpy(frames[some]).permute(0, 3, 1, 2).float() / 127.5 - 1
        made = vae.decode(vae.encode(pictures).latent_dist.mode()).sample
        soft[some] = ((made.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    np.save(path, soft)
    return soft


if __name__ == "__main__":
    main()
