"""The work on one photo: cut it out, measure it, make its examples, write all of its files and its record.

A pure function of its task, so that photos can be prepared by several processes, and a photo whose task is the same as
before need not be prepared again: its files are taken over. Captions are not part of it (`finetune.captions` fills them
in from the words recorded here), so a changed caption redoes no picture. Called by the recipe `finetune.prepare`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from finetune.backdrops import Photographs
from finetune.buckets import frames, nearest
from finetune.check_report import figures
from finetune.core import fingerprint
from finetune.core.catalog import Photo, SetConfig
from finetune.core.errors import PackshotError
from finetune.core.images import read_picture, write_png
from finetune.cutting import cut_photo
from finetune.examples import (
    Example,
    Plan,
    at_photo_scale,
    derive_seed,
    letterboxed,
    make_example,
    plan_variants,
    shrunk,
)
from finetune.glass import GLASS_NOUNS
from finetune.looks import look_at

WORDS_ONLY = {"class_noun", "token", "brand", "category", "label_text", "height_mm"}
"""Keys of set.yaml that no picture depends on, but for glass, which nouns make likely; everything else counts, what is
yet to come too."""
RECORDS = "records"
LAYERS = {"cutout": "cutouts", "glass": "glass", "shadow": "shadows"}
"""Folder of every picture a cutout may consist of."""
FOLDERS = ("images", "masks", "mattes", *LAYERS.values(), RECORDS)
"""Folders of a prepared set."""
EXAMPLE_BYTES = 260
"""Bytes of memory an example takes while it is made, for each of its pixels: about twenty planes of float32 in three
channels. An estimate."""
PHOTO_BYTES = 150
"""The same for each pixel of a photo: cutting out takes about 110 (docs/log.md); the picture and its copies stay."""
PROCESS_BYTES = 150 << 20
"""What a process takes before it sees a photo: numpy, scipy, Pillow and scikit-image. An estimate."""


@dataclass(frozen=True)
class ExampleSettings:
    """What the examples of a set are made with."""

    size: int
    buckets: bool
    variants: int
    keep_original: float
    mask_shares: Mapping[str, float]
    seed: int


@dataclass(frozen=True)
class PhotoTask:
    """Everything the work on one photo depends on."""

    sku: str
    photo: Photo
    content: str
    """Fingerprint of the photo's file."""
    mask_content: str
    """Fingerprint of its mask; empty without one."""
    config: SetConfig
    settings: ExampleSettings
    model: str
    """Fingerprint of the learned model that set.yaml names; empty where it names none."""
    photographs: tuple[tuple[str, Path], ...]
    """Pictures for blurred backdrops, by fingerprint."""
    name: str
    """What its files are called in the prepared folder, without ending; may hold a folder."""

    def key(self, format: int) -> str:
        """Fingerprint of all that the files depend on. `name` and the path are not part of it."""
        return fingerprint.of_value(
            {
                "format": format,
                "photo": f"{self.sku}/{self.photo.stem}",
                "content": [self.content, self.mask_content, self.photo.path.name],
                "config": self.config.model_dump(mode="json", exclude=WORDS_ONLY),
                "settings": asdict(self.settings),
                "glass is likely": bool(GLASS_NOUNS.search(self.config.class_noun)),
                "model": self.model,
                "photographs": [content for content, _ in self.photographs],
            }
        )

    @property
    def memory(self) -> int:
        """Bytes the work is expected to need; by the picture's header, so a photo that cannot be read counts little."""
        try:
            with Image.open(self.photo.path) as opened:
                pixels = opened.width * opened.height
        except (OSError, ValueError, SyntaxError):
            pixels = 0
        pixels = min(pixels, int(self.config.max_megapixels * 1e6))  # larger ones are read in strips
        return PROCESS_BYTES + PHOTO_BYTES * pixels + EXAMPLE_BYTES * self.settings.size**2


@dataclass(frozen=True)
class PhotoRecord:
    """What came of the work on one photo: enough to describe it, judge it and show it without opening it again."""

    key: str
    cutout: dict[str, Any]
    """Fields of `finetune.core.prepared.PreparedPhoto` but its name, split and paths."""
    look: dict[str, Any] | None
    """`finetune.looks.Look` as JSON; None in a brand set."""
    figures: str
    """Its pictures on the report's page."""
    examples: list[dict[str, Any]]
    """One entry a variant: what its row says, but for names, split and caption."""
    files: list[list[str]]
    """[folder, ending] of every file: `<folder>/<name><ending>`."""

    def write(self, folder: Path, name: str) -> None:
        """Write the record."""
        path = folder / RECORDS / f"{name}.json"
        path.write_text(json.dumps(asdict(self), ensure_ascii=False), encoding="utf-8")

    def layers(self, name: str) -> dict[str, str]:
        """The cutout's pictures of a photo of that name by kind, relative to the prepared folder; empty for none."""
        there = {folder for folder, _ in self.files}
        return {layer: f"{folder}/{name}.png" if folder in there else "" for layer, folder in LAYERS.items()}

    def paths(self, name: str) -> list[str]:
        """Every file of a photo of that name, relative to the prepared folder; the record is the last."""
        return [*(f"{folder}/{name}{ending}" for folder, ending in self.files), f"{RECORDS}/{name}.json"]


def read_record(path: Path) -> PhotoRecord | None:
    """Read a record; None where it is damaged or of another form."""
    try:
        return PhotoRecord(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


@dataclass(frozen=True)
class PhotoJob:
    """A task and where its files go."""

    task: PhotoTask
    key: str
    folder: Path


def prepare_photo(job: PhotoJob) -> PhotoRecord | PackshotError:
    """Do the work on one photo.

    Returns:
        Its record, written too; or what is wrong with the photo or its mask.

    Raises:
        PackshotError: what is wrong lies elsewhere (a picture for backdrops cannot be read).
    """
    make = _brand_picture if job.task.config.kind == "brand" else _product_photo
    made = make(job)
    if isinstance(made, PhotoRecord):
        made.write(job.folder, job.task.name)
    return made


def _product_photo(job: PhotoJob) -> PhotoRecord | PackshotError:
    task, options = job.task, job.task.settings
    try:
        cut = cut_photo(task.photo, task.config)
    except PackshotError as error:
        return error
    files = []
    layers = {"cutout": cut.cutout.rgba, "glass": cut.cutout.glass, "shadow": cut.cutout.shadow}
    for layer, picture in layers.items():
        if picture is not None:
            write_png(picture, job.folder / LAYERS[layer] / f"{task.name}.png")
            files.append([LAYERS[layer], ".png"])
    look = look_at(cut, task.content)
    pictures = figures(task.photo.path.name, cut.picture, cut.cutout.rgba)
    box = cut.cutout.box
    facts = {"source": cut.cutout.source, "width": box.width, "height": box.height}
    plans = plan_variants(
        f"{task.sku}/{task.photo.stem}",
        seed=options.seed,
        variants=options.variants,
        keep_original=options.keep_original,
        mask_shares=options.mask_shares,
    )
    choice = frames(options.size, buckets=options.buckets)
    side = max(max(frame) for frame in choice)
    small = shrunk(cut.cutout, side)
    photographs = Photographs([path for _, path in task.photographs], side)
    examples = []
    for plan in plans:
        example = make_example(
            cut.picture, small, plan, frames=choice, mirror=task.config.mirror, photographs=photographs
        )
        examples.append(_write_example(job, example, files))
    return PhotoRecord(job.key, facts, look.as_json(), pictures, examples, files)


def _brand_picture(job: PhotoJob) -> PhotoRecord | PackshotError:
    """A brand set's picture: whole, letterboxed, one example, painted in full."""
    task, options = job.task, job.task.settings
    try:
        picture = read_picture(task.photo.path, max_pixels=int(task.config.max_megapixels * 1e6)).picture
    except PackshotError as error:
        return error
    frame = nearest(picture.width / picture.height, frames(options.size, buckets=options.buckets))
    image, _, box = letterboxed(picture, frame)
    nothing = np.zeros((frame[1], frame[0]), dtype=np.float32)
    plan = Plan(0, True, "full", derive_seed(options.seed, f"{task.sku}/{task.photo.stem}", 0))
    whole = at_photo_scale(frame, box.width / picture.width)
    files: list[list[str]] = []
    example = _write_example(job, Example(image, nothing > 0, nothing, "", "", plan, whole, (0, 0)), files)
    facts = {"source": "picture", "width": picture.width, "height": picture.height}
    return PhotoRecord(job.key, facts, None, figures(task.photo.path.name, picture, None), [example], files)


def _write_example(job: PhotoJob, example: Example, files: list[list[str]]) -> dict[str, Any]:
    """Write an example's three pictures and return what its row says; `files` grows by them."""
    ending = f"-{example.plan.variant:02d}.png"
    pictures = {
        "images": example.image,
        "masks": Image.fromarray(example.product.astype(np.uint8) * 255),
        "mattes": Image.fromarray((example.matte * 255 + 0.5).astype(np.uint8)),
    }
    for folder, picture in pictures.items():
        picture.save(job.folder / folder / f"{job.task.name}{ending}", compress_level=1)
        files.append([folder, ending])
    return {
        "variant": example.plan.variant,
        "original": example.plan.original,
        "mask_kind": example.plan.mask_kind,
        "seed": example.plan.seed,
        "words": example.words,
        "light": example.light,
        "close_up": example.close_up,
        "original_width": example.original_size[0],
        "original_height": example.original_size[1],
        "crop_top": example.crop_top_left[0],
        "crop_left": example.crop_top_left[1],
        "target_width": example.image.width,
        "target_height": example.image.height,
    }
