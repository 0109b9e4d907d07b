"""Does an adapter work on this base: are its products recognised, do they grow? The rows `adapter` and `growth`.

Makes a workspace of packshots with their true masks, trains with the real command and the shipped configuration, and
draws through the same functions as `packshot place`. All but the measuring itself is up to date on a second call.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.embedded_base.painting import PaintingRoom
from benchmarks.embedded_base.product_reader import Packshots, ProductReader, among_products, validate
from benchmarks.embedded_base.scene_reader import SceneReader
from benchmarks.embedded_base.table import Line
from finetune.core.adapters.versions import find_version
from finetune.core.basemodel.resolve import ResolvedBase
from finetune.core.compositing.placement import (
    around_product,
    box_around,
    default_grow,
    placement_box,
    put_on_canvas,
    whole_frame,
)
from finetune.core.console import say
from finetune.core.errors import RunError
from finetune.core.painting.prompts import resolve_prompt
from finetune.core.pictures.contact_sheet import contact_sheet
from finetune.core.pictures.images import composite, open_picture
from finetune.core.pictures.masks import Box, Mask, dilate
from finetune.core.products.catalog import Workspace
from finetune.core.products.prepared import PreparedSet, require_prepared
from inference.settings import PlaceConfig
from tools.embedded_base.world import World

ADAPTER_BAR, BASE_BAR = 80.0, 25.0
SILHOUETTE = 8
"""Pixels by which the product's silhouette is dilated before what lies outside counts as growth: one latent cell."""
SCENES = (
    "on white marble in front of a white tiled wall, soft daylight",
    "on light oak wood in front of a plain beige wall, soft daylight",
    "on a grey studio backdrop, cool studio light",
    "on concrete in front of a blurred green garden, soft daylight",
    "on dark walnut wood in front of a brick wall, warm sunset light",
    "on sand in front of a sunset sky, warm sunset light",
    "on black marble in front of night city bokeh lights, dramatic dark key light",
    "on terracotta tiles in front of a plain cream wall, hard midday sun",
    "on linen fabric in front of a wooden wall, soft daylight",
    "on cobblestone in front of a blurred green garden, hard midday sun",
)


@dataclass(frozen=True)
class Trained:
    """A product with its prepared set and its adapter."""

    packshots: Packshots
    prepared: PreparedSet
    weights: Path

    @property
    def cutout(self) -> Image.Image:
        """RGBA of the first view."""
        first = min(self.prepared.photos, key=lambda photo: photo.photo)
        return open_picture(self.prepared.cutout_path(first)).convert("RGBA")

    def prompt(self, template: str, scene: str) -> str:
        """A template of `packshot place`, filled in."""
        prepared = self.prepared
        return resolve_prompt(template, token=prepared.token, class_noun=prepared.class_noun, prompt=scene)


def write_set(workspace: Workspace, product: Packshots) -> None:
    """The product as a set of photos and masks, as a user would lay it down; left alone where it is there."""
    folder = workspace.datasets / product.sku
    if (folder / "set.yaml").is_file():
        return
    for name in ("photos", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for view in sorted(product.folder.glob("view_?.png")):
        shutil.copyfile(view, folder / "photos" / view.name)
        shutil.copyfile(view.with_name(f"{view.stem}_mask.png"), folder / "masks" / view.name)
    settings = {"class_noun": product.class_noun, "label_text": [product.label_text]}
    text = "".join(f"{key}: {json.dumps(value)}\n" for key, value in settings.items())
    (folder / "set.yaml").write_text(text, encoding="utf-8")


def train(
    workspace: Workspace, product: Packshots, base: ResolvedBase, settings: Sequence[str], *, threads: int
) -> Trained:
    """Prepare and train with `packshot train --config embedded`; found where nothing has changed.

    Raises:
        RunError: the command failed.
    """
    write_set(workspace, product)
    options = [part for item in (f"base.model={base.model}", *settings) for part in ("--set", item)]
    line = ["train", product.sku, "--config", "embedded", *options, "--workspace", str(workspace.root), "--json"]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "NO_COLOR": "1"}
    say(f"adapter of {product.sku}:")
    command = [sys.executable, "-P", "-m", "finetune.core.commands", *line]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=False)
    if done.returncode:
        raise RunError(f"training {product.sku} failed with code {done.returncode}", "see what it said above")
    prepared = require_prepared(workspace.datasets / product.sku / "prepared", product.sku)
    version = find_version(workspace, product.sku, json.loads(done.stdout)["version"])
    return Trained(product, prepared, version.weights)


@dataclass(frozen=True)
class Easel:
    """Where pictures are painted: the base alone, and the same with each product's adapter."""

    base: ResolvedBase
    folder: Path

    def room(self, trained: Trained | None = None) -> PaintingRoom:
        """A room with the product's adapter, or of the base alone."""
        return PaintingRoom(self.base, self.folder, adapter=trained.weights if trained else None)


def measure_adapters(
    easel: Easel,
    trained: Sequence[Trained],
    products: Sequence[Packshots],
    reader: ProductReader,
    *,
    draws: int,
    sheets: Path,
) -> list[Line]:
    """Draw each product into a box of empty scenes, with its adapter and without, and ask which product it is."""
    known, known_open, scenes = validate(reader, products)
    alone = easel.room()
    right: dict[str, list[bool]] = {"with": [], "without": [], "with, open": [], "without, open": []}
    each, cells, captions = [], [], []
    for item in trained:
        index = reader.skus.index(item.packshots.sku)
        room, hits = easel.room(item), 0
        for number in range(draws):
            scene, box, without, drawn = _insert(easel.base, alone, room, item, number)
            logits = reader.logits([without, drawn], [box, box])
            found, open_found = among_products(logits), logits.argmax(axis=1)
            for place, which in enumerate(("without", "with")):
                right[which].append(bool(found[place] == index))
                right[f"{which}, open"].append(bool(open_found[place] == index))
            hits += int(found[1] == index)
            if number < 4:
                cells += [scene, without, drawn]
                captions += [item.packshots.sku, *(reader.skus[f] for f in found)]
        each.append(f"{item.packshots.sku} {hits}/{draws}")
        say(f"  {each[-1]}")
    if cells:
        sheets.mkdir(parents=True, exist_ok=True)
        contact_sheet(cells, captions, columns=12, cell=128).save(sheets / "adapters.png")
    share = {key: 100 * float(np.mean(values)) if values else None for key, values in right.items()}
    chance = f"chance {100 / len(products):.0f} %"
    own = f"reader on {scenes} real scenes of the {len(products)} products: {100 * known:.0f} %"
    freely = f"reader then {100 * known_open:.0f} % on real scenes"
    what = "drawn in a box, recognised as the SKU"
    return [
        Line(
            "adapter", f"{what}, with adapter", share["with"], "%", ADAPTER_BAR, beside=", ".join([*each, chance, own])
        ),
        Line("adapter", f"{what}, base alone", share["without"], "%", BASE_BAR, "lower", beside=chance),
        Line("adapter", '  with adapter, "another product" allowed', share["with, open"], "%", beside=freely),
        Line("adapter", '  base alone, "another product" allowed', share["without, open"], "%", better="lower"),
    ]


def _insert(
    base: ResolvedBase, alone: PaintingRoom, room: PaintingRoom, item: Trained, number: int
) -> tuple[Image.Image, Box, Image.Image, Image.Image]:
    """Empty scene, the product's box, and what the base alone and the adapter draw there: `packshot place` does so."""
    config = PlaceConfig()
    words = SCENES[number % len(SCENES)]
    cutout = item.cutout
    box = placement_box(cutout.size, base.size)
    blank = whole_frame(base.size, np.random.default_rng([number, 0]))
    scene = alone.paint(blank, item.prompt(config.prompts.scene, words), number)
    job = box_around(scene, box, base.size, margin=config.box_margin)
    prompt = item.prompt(config.prompts.insert, words)
    return scene, box, alone.paint(job, prompt, number), room.paint(job, prompt, number)


def growth_of(found: Mask, silhouette: Mask, *, reach: float = SILHOUETTE) -> float:
    """Area seen as product outside the silhouette dilated by `reach` pixels, over the silhouette's own area.

    Raises:
        ValueError: the silhouette is empty.
    """
    if not silhouette.any():
        raise ValueError("a product without a pixel cannot grow")
    return float((found & ~dilate(silhouette, reach)).sum() / silhouette.sum())


def growth_floor(reader: SceneReader, world: World) -> float:
    """Mean growth the segmenter sees in renders, where there is none: its own error."""
    filled = [i for i, mask in enumerate(world.masks) if (mask > 127).sum() >= 256]
    found = reader.read(world.frames[filled]).products
    return float(np.mean([growth_of(f, world.masks[i] > 127) for i, f in zip(filled, found, strict=True)]))


def placings(trained: Sequence[Trained], count: int) -> Iterator[tuple[int, Trained, str]]:
    """`count` placings: number, product, words; all products take turns and meet different scenes."""
    for number in range(count):
        turn, place = divmod(number, len(trained))
        yield number, trained[place], SCENES[(turn + 3 * place) % len(SCENES)]


def measure_growth(
    easel: Easel, trained: Sequence[Trained], reader: SceneReader, held_out: World, *, scenes: int, sheets: Path
) -> list[Line]:
    """Paint the ground around a kept product with its adapter and without; count what looks like more product."""
    config = PlaceConfig()
    grow = default_grow(easel.base.size) if config.mask_grow is None else config.mask_grow
    alone, rooms = easel.room(), {item.packshots.sku: easel.room(item) for item in trained}
    growths: list[tuple[float, float]] = []
    cells, captions = [], []
    for number, item, words in placings(trained, scenes):
        size, cutout = easel.base.size, item.cutout
        box = placement_box(cutout.size, size)
        placed = put_on_canvas(cutout, box, size)
        ground = around_product(placed, size, grow=grow, rng=np.random.default_rng([number, 0]))
        prompt = item.prompt(config.prompts.place, words)
        pictures = [room.paint(ground, prompt, number) for room in (alone, rooms[item.packshots.sku])]
        whole = np.stack([composite(placed.rgb, placed.matte, np.asarray(p)) for p in pictures])
        found = reader.read(whole).products
        without, with_adapter = (growth_of(f, placed.matte > 0.5) for f in found)
        growths.append((without, with_adapter))
        cells += [Image.fromarray(_marked(w, f)) for w, f in zip(whole, found, strict=True)]
        captions += [f"{item.packshots.sku} alone {without:.2f}", f"with adapter {with_adapter:.2f}"]
    sheets.mkdir(parents=True, exist_ok=True)
    contact_sheet(cells, captions, columns=8, cell=160).save(sheets / "growth.png")
    return growth_lines(growths, growth_floor(reader, held_out))


def growth_lines(growths: Sequence[tuple[float, float]], floor: float) -> list[Line]:
    """The row from pairs (without, with adapter) of growths."""
    without, with_adapter = (100 * float(v) for v in np.mean(growths, axis=0))
    differences = 100 * np.diff(np.array(growths), axis=1)[:, 0]
    error = float(differences.std(ddof=1) / np.sqrt(len(differences))) if len(differences) > 1 else float("nan")
    beside = (
        f"{len(growths)} scenes: base alone {without:.1f} %, difference {differences.mean():+.1f} +- {error:.1f} "
        f"(standard error); held-out renders, where nothing grows, {100 * floor:.1f} %"
    )
    what = "product seen outside its silhouette, with adapter (bar: base alone)"
    return [Line("growth", what, with_adapter, "% of it", without, "lower", strict=True, beside=beside)]


def _marked(picture: np.ndarray, found: Mask) -> np.ndarray:
    """The picture with the outline of what the segmenter sees, in red."""
    marked = picture.copy()
    marked[found & ~dilate(found, -2)] = (255, 0, 0)
    return marked
