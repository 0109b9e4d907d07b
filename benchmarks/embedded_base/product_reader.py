"""A small network that says which of the packshot products a crop shows, or that it shows another one.

Trained on the packshots cut out, lit at random and put on the training frames of the world, with products of those
frames as "another product", in about a minute of one CPU core. Validated on the products' own rendered scenes. Used by
the row on adapters. It reads the product's box scaled to a square, so the box's own proportions tell it nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.embedded_base.reader_network import TAPS
from benchmarks.embedded_base.scene_reader import optimizer_of, take_step, to_signed
from finetune.core import fingerprint
from finetune.core.console import say
from finetune.core.pictures.images import Array, resize_rgba, to_linear, to_srgb8
from finetune.core.pictures.masks import Box, bounding_box
from tools.embedded_base.trunk import build_trunk, trunk_levels
from tools.embedded_base.world import World

FORMAT = 2
SIDE = 96
MARGIN = 0.08
"""What is read around the product's box, as a share of its longer side."""
CUTOUT = 96
"""Longer side of the cutouts kept in memory for training."""
READ, CELLS = (4, 10, 15), 2
"""Levels of the trunk that are read, each as the means of two by two quarters."""
ROUNDS = 15
BLUR, WARP = 6.0, 2.5
"""Largest blur and displacement of an example, pixels: what a small base draws is soft and crooked. Without them the
reader knew the rendered scenes as well, but took a black jar drawn without a label for a white bottle."""
OTHER_SHARE = 0.3
OTHERS = 400


@dataclass(frozen=True)
class Packshots:
    """A product of `packshots/`: its views cut out along their true masks."""

    sku: str
    class_noun: str
    label_text: str
    clear: bool
    """Of clear glass: what is behind it shows through."""
    folder: Path
    views: tuple[Image.Image, ...]
    """RGBA, cropped to the product."""


def read_packshots(folder: Path) -> list[Packshots]:
    """Every product under `folder`, by name."""
    found = []
    for path in sorted(folder.glob("*/meta.json")):
        meta = json.loads(path.read_text(encoding="utf-8"))
        product = meta["product"]
        views = tuple(_cut(path.parent / v["file"], path.parent / v["mask"]) for v in meta["views"])
        clear = product["colour"] == "clear"
        found.append(Packshots(meta["sku"], product["noun"], product["label_text"], clear, path.parent, views))
    return found


def _cut(photo: Path, mask: Path) -> Image.Image:
    with Image.open(photo) as opened, Image.open(mask) as cover:
        picture, alpha = opened.convert("RGB"), cover.convert("L")
    picture.putalpha(alpha)
    return _cropped(picture)


def _cropped(cutout: Image.Image) -> Image.Image:
    """The RGBA cropped to what is not transparent, its longer side at most 96 px."""
    box = bounding_box(np.asarray(cutout.getchannel("A")) > 127)
    assert box is not None
    small = cutout.crop(box)
    scale = min(1.0, CUTOUT / max(small.size))
    return resize_rgba(small, (max(2, round(small.width * scale)), max(2, round(small.height * scale))))


def other_products(world: World, count: int = OTHERS) -> list[Image.Image]:
    """Cutouts of at most `count` products of the world's frames, whole ones, evenly chosen."""
    boxes = {index: bounding_box(mask > 127) for index, mask in enumerate(world.masks)}
    whole = [
        i for i, box in boxes.items() if box and box.left > 0 and box.right < 255 and min(box.width, box.height) > 23
    ]
    chosen = whole[:: max(1, len(whole) // count)][:count]
    return [_cropped(Image.fromarray(np.dstack([world.frames[i], world.masks[i]]))) for i in chosen]


def compose_example(cutout: Image.Image, ground: Array, rng: np.random.Generator, *, clear: bool) -> Array:
    """A cutout lit at random on a piece of ground (h, w, 3), as it is read: (96, 96, 3) uint8."""
    side = max(cutout.size)
    around = rng.uniform(0.3, 1.6, 4) * MARGIN * side
    canvas = (round(cutout.width + around[0] + around[1]), round(cutout.height + around[2] + around[3]))
    large = np.asarray(Image.fromarray(ground).resize(canvas, Image.Resampling.BICUBIC))
    under = to_linear(large)
    left, top = round(float(around[0])), round(float(around[2]))
    part = np.s_[top : top + cutout.height, left : left + cutout.width]
    pixels = np.asarray(cutout)
    colour, alpha = to_linear(pixels[..., :3]), pixels[..., 3:].astype(np.float32) / 255
    slope = rng.uniform(-0.6, 0.6) * np.linspace(-1, 1, cutout.width, dtype=np.float32)[None, :, None]
    light = _tint(rng) * np.float32(2 ** rng.uniform(-2.0, 0.6)) * (1 + slope)
    if clear:  # packshots of glass show white through it; here it lets the ground through
        colour = colour * under[part] / max(0.05, float(under[part].mean())) * 0.7
    inner = under[part].copy()
    under[part] = inner * (1 - alpha) + colour * light.astype(np.float32) * alpha
    picture = Image.fromarray(to_srgb8(under)).resize((SIDE, SIDE), Image.Resampling.BOX)
    array = np.asarray(picture).astype(np.float32)
    array = _warped(array + rng.normal(0, rng.uniform(0, 5), array.shape), rng)
    blur = BLUR * float(rng.random()) ** 1.5
    return np.asarray(np.clip(ndimage.gaussian_filter(array, (blur, blur, 0)) + 0.5, 0, 255), dtype=np.uint8)


def _warped(picture: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Pushed about smoothly by up to `WARP` pixels, most of the time: a small base draws no straight line."""
    if rng.random() < 0.3:
        return picture
    strength = WARP * float(rng.random())
    rows, columns = np.mgrid[0 : picture.shape[0], 0 : picture.shape[1]].astype(np.float64)
    for axis in (rows, columns):
        push = ndimage.gaussian_filter(rng.normal(0, 1, picture.shape[:2]), 8)
        axis += strength * push / np.abs(push).max()
    planes = [ndimage.map_coordinates(picture[..., c], (rows, columns), order=1, mode="nearest") for c in range(3)]
    return np.stack(planes, axis=-1)


def _tint(rng: np.random.Generator) -> NDArray[np.float32]:
    """The light's colour: from blue studio light to low sun."""
    warmth = rng.uniform(-0.35, 0.9)
    return np.array([1 + 0.25 * warmth, 1.0, 1 - 0.45 * warmth], dtype=np.float32)


class ProductNetwork(nn.Module):
    """A frozen trunk and one answer: the products, then "another product"."""

    def __init__(self, answers: int, *, pretrained: bool) -> None:
        super().__init__()
        self.trunk = build_trunk(pretrained=pretrained).requires_grad_(False)
        width = CELLS**2 * sum(TAPS[tap] for tap in READ)
        self.answer = nn.Sequential(
            nn.BatchNorm1d(width, affine=False),
            nn.Dropout(0.2),
            nn.Linear(width, 256),
            nn.ReLU(),
            nn.Dropout(0.4),
            nn.Linear(256, answers),
        )

    def train(self, mode: bool = True) -> ProductNetwork:
        """As for any module, but the trunk always stays in evaluation: its statistics are ImageNet's."""
        super().train(mode)
        self.trunk.eval()
        return self

    @torch.no_grad()
    def look(self, pictures: Tensor) -> Tensor:
        """Pictures (n, 3, s, s) in -1..1 to what the trunk sees in quarters: (n, width)."""
        levels = trunk_levels(self.trunk, pictures, TAPS, max(TAPS))
        return torch.cat([functional.adaptive_avg_pool2d(levels[tap], CELLS).flatten(1) for tap in READ], 1)

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (n, 3, s, s) in -1..1 to logits."""
        logits: Tensor = self.answer(self.look(pictures))
        return logits


class ProductReader:
    """The trained network with the names of the products."""

    name = (
        "EfficientNet-Lite0 (ImageNet) under an answer learned on packshots lit and composited; "
        f"crop: product box + {MARGIN:.0%}, squared to {SIDE} px"
    )

    def __init__(self, network: ProductNetwork, skus: tuple[str, ...]) -> None:
        self.network, self.skus = network.eval(), skus

    @torch.no_grad()
    def logits(self, pictures: Sequence[Image.Image], boxes: Sequence[Box]) -> NDArray[np.float32]:
        """(n, products + 1) of the boxed parts of n pictures, the mean over each and its mirror image."""
        crops = np.stack([crop_of(p, b) for p, b in zip(pictures, boxes, strict=True)])
        signed = to_signed(crops)
        return np.asarray((self.network(signed) + self.network(signed.flip(3))).numpy(), dtype=np.float32)


def among_products(logits: NDArray[np.float32]) -> NDArray[np.int64]:
    """(n,) index of the likeliest product, "another product" left aside."""
    return np.asarray(logits[:, :-1].argmax(axis=1), dtype=np.int64)


def crop_of(picture: Image.Image, box: Box) -> Array:
    """What is read of a picture: the box with a margin, squared, (96, 96, 3)."""
    margin = MARGIN * max(box.width, box.height)
    edges = (
        max(0.0, box.left - margin),
        max(0.0, box.top - margin),
        min(float(picture.width), box.right + margin),
        min(float(picture.height), box.bottom + margin),
    )
    return np.asarray(picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX, box=edges))


def _grounds(world: World, count: int, rng: np.random.Generator) -> list[Array]:
    """Pieces of frames, away from the product where there is room."""
    found = []
    for _ in range(count):
        index, side = int(rng.integers(len(world))), int(rng.integers(64, 160))
        top, left = (int(rng.integers(0, 256 - side)) for _ in range(2))
        found.append(world.frames[index][top : top + side, left : left + side])
    return found


def make_batch(
    products: Sequence[Packshots], others: Sequence[Image.Image], world: World, size: int, rng: np.random.Generator
) -> tuple[Array, NDArray[np.int64]]:
    """`size` examples (size, 96, 96, 3) and the index of each one's product."""
    pictures, labels = [], []
    for ground in _grounds(world, size, rng):
        if rng.random() < OTHER_SHARE:
            cutout, label, clear = others[int(rng.integers(len(others)))], len(products), False
        else:
            label = int(rng.integers(len(products)))
            product = products[label]
            cutout = product.views[int(rng.integers(len(product.views)))]
            clear = product.clear and rng.random() < 0.8
        pictures.append(compose_example(cutout, ground, rng, clear=clear))
        labels.append(label)
    return np.stack(pictures), np.array(labels, dtype=np.int64)


def load_or_train(
    products: Sequence[Packshots], world: World, folder: Path, *, steps: int = 160, batch: int = 48, seed: int = 0
) -> ProductReader:
    """The reader of these products: from its file in `folder`, or trained now on the training frames and kept."""
    skus = tuple(p.sku for p in products)
    contents = [fingerprint.of_bytes(view.tobytes()) for p in products for view in p.views]
    key = fingerprint.of_value([FORMAT, skus, contents, [r["index"] for r in world.records], steps, batch, seed])
    path = folder / f"product-reader-{key}.pt"
    network = ProductNetwork(len(products) + 1, pretrained=not path.is_file())
    if path.is_file():
        network.load_state_dict(torch.load(path, weights_only=True))
        return ProductReader(network, skus)
    say(f"training the product reader, {steps} batches")
    torch.manual_seed(seed)
    network = ProductNetwork(len(products) + 1, pretrained=True)
    _train(network, products, world, steps=steps, batch=batch, seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)
    return ProductReader(network, skus)


def _train(
    network: ProductNetwork, products: Sequence[Packshots], world: World, *, steps: int, batch: int, seed: int
) -> None:
    """Look at `steps` batches of examples, then learn the answers from all that was seen."""
    rng, others = np.random.default_rng(seed), other_products(world)
    seen: list[Tensor] = []
    names: list[Tensor] = []
    for step in range(steps):
        pictures, labels = make_batch(products, others, world, batch, rng)
        signed = to_signed(pictures)
        mirrored = torch.from_numpy(rng.random(batch) < 0.5)[:, None, None, None]
        seen.append(network.look(torch.where(mirrored, signed.flip(3), signed)))
        names.append(torch.from_numpy(labels))
        if step % 40 == 39:
            say(f"  product reader: {step + 1} of {steps} batches seen")
    means, labels_seen = torch.cat(seen), torch.cat(names)
    optimizer, schedule = optimizer_of(list(network.answer.parameters()), ROUNDS * len(seen), decay=0.3)
    network.train()
    for _ in range(ROUNDS):
        for chosen in torch.randperm(len(means)).chunk(len(seen)):
            loss = functional.cross_entropy(network.answer(means[chosen]), labels_seen[chosen], label_smoothing=0.05)
            take_step(loss, optimizer, schedule)
    say(f"  product reader: learned, loss {loss.item():.3f}")


def scenes_of(product: Packshots) -> tuple[list[Image.Image], list[Box]]:
    """The product's rendered scenes, each with the box of its true mask."""
    pictures, boxes = [], []
    for path in sorted((product.folder / "scenes").glob("?.jpg")):
        with Image.open(path) as opened, Image.open(path.with_name(f"{path.stem}_mask.png")) as mask:
            box = bounding_box(np.asarray(mask.convert("L")) > 127)
            if box is not None:
                pictures.append(opened.convert("RGB"))
                boxes.append(box)
    return pictures, boxes


def validate(reader: ProductReader, products: Sequence[Packshots]) -> tuple[float, float, int]:
    """Share of scenes recognised among the products, the same with "another product" allowed, and how many scenes."""
    right, right_open, count = 0, 0, 0
    for index, product in enumerate(products):
        logits = reader.logits(*scenes_of(product))
        right += int((among_products(logits) == index).sum())
        right_open += int((logits.argmax(axis=1) == index).sum())
        count += len(logits)
    return right / count, right_open / count, count
