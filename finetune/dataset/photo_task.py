"""The work on one photo: cut it out, measure it, make its examples, write all of its files and its record.

A pure function of its task, so that photos can be prepared by several processes, and a photo whose task is the same as
before need not be prepared again: its files are taken over. Captions are not part of it (`finetune.examples.captions` fills them
in from the words recorded here), so a changed caption redoes no picture. Called by the recipe `finetune.prepare`; the
recipe `finetune.check` calls its first half, which makes no examples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from finetune.checks.photo_facts import look_at
from finetune.checks.report import figures
from finetune.core import fingerprint
from finetune.core.errors import PackshotError
from finetune.core.pictures.images import read_picture, write_png
from finetune.core.products.catalog import Photo, SetConfig
from finetune.dataset.records import LAYERS, RECORDS, PhotoRecord, write_record
from finetune.examples.backdrops import Photographs
from finetune.examples.buckets import frames, nearest
from finetune.examples.composite import (
    Example,
    Plan,
    at_photo_scale,
    derive_seed,
    letterboxed,
    make_example,
    plan_variants,
    shrunk,
)
from finetune.matting.glass_detection import GLASS_NOUNS
from finetune.matting.photo import Cut, cut_photo
from finetune.matting.sources import circumstances

WORDS_ONLY = {"class_noun", "token", "brand", "category", "label_text", "height_mm"}
"""Keys of set.yaml that no picture depends on, but for glass, which nouns make likely; everything else counts, what is
yet to come too."""
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
class LookTask:
    """Everything that reading, cutting out and measuring one photo depends on."""

    photo: Photo
    content: str
    """Fingerprint of the photo's file."""
    mask_content: str
    """Fingerprint of its mask; empty without one."""
    config: SetConfig
    model: str
    """Fingerprint of the learned model that set.yaml names; empty where it names none."""

    def key(self, format: int) -> str:
        """Fingerprint of all that the cutout depends on. The photo's folder is not part of it."""
        return fingerprint.of_value(
            {
                "format": format,
                "content": [self.content, self.mask_content, self.photo.path.name],
                "config": self.config.model_dump(mode="json", exclude=WORDS_ONLY),
                "glass is likely": bool(GLASS_NOUNS.search(self.config.class_noun)),
                "model": self.model,
            }
        )

    def mark(self, format: int) -> str:
        """Fingerprint under which a failure is remembered: the key, and what is installed to read and cut with.

        So a photo that failed is tried again once a model or an extra has been installed, and not before.
        """
        folder = self.photo.path.parent.parent
        return fingerprint.of_value(
            [self.key(format), circumstances(self.config.cutout, self.config.cutout_model, folder)]
        )

    @property
    def pixels(self) -> int:
        """Pixels that will be worked on, by the picture's header: a photo that cannot be read counts little."""
        try:
            with Image.open(self.photo.path) as opened:
                pixels = opened.width * opened.height
        except (OSError, ValueError, SyntaxError):
            return 0
        return min(pixels, int(self.config.max_megapixels * 1e6))  # larger ones are read in strips

    @property
    def memory(self) -> int:
        """Bytes that reading, cutting out and measuring is expected to need."""
        return PROCESS_BYTES + PHOTO_BYTES * self.pixels


@dataclass(frozen=True)
class PhotoTask:
    """Everything the work on one photo depends on."""

    sku: str
    look: LookTask
    settings: ExampleSettings
    photographs: tuple[tuple[str, Path], ...]
    """Pictures for blurred backdrops, by fingerprint."""
    name: str
    """What its files are called in the prepared folder, without ending; may hold a folder."""

    @property
    def photo(self) -> Photo:
        """The photo."""
        return self.look.photo

    def key(self, format: int) -> str:
        """Fingerprint of all that the files depend on. `name` and the path are not part of it."""
        return fingerprint.of_value(
            {
                "photo": f"{self.sku}/{self.photo.stem}",
                "look": self.look.key(format),
                "settings": asdict(self.settings),
                "photographs": [content for content, _ in self.photographs],
            }
        )

    @property
    def memory(self) -> int:
        """Bytes the work is expected to need."""
        return self.look.memory + EXAMPLE_BYTES * self.settings.size**2


@dataclass(frozen=True)
class LookJob:
    """A photo to be looked at, and where its record goes."""

    task: LookTask
    key: str
    path: Path


@dataclass(frozen=True)
class PhotoJob:
    """A task and where its files go."""

    task: PhotoTask
    key: str
    look_key: str
    folder: Path


def look_at_photo(job: LookJob) -> PhotoRecord | PackshotError:
    """Read, cut out and measure one photo, and keep what was found but for its pictures: `packshot check`'s work.

    Returns:
        Its record, written too; or what is wrong with the photo or its mask.
    """
    task = job.task
    try:
        if task.config.kind == "brand":
            made = _seen(_read(task), task, "", job.key)
        else:
            made = _looked(cut_photo(task.photo, task.config), task, "", job.key)
    except PackshotError as error:
        return error
    write_record(made, job.path)
    return made


def prepare_photo(job: PhotoJob) -> PhotoRecord | PackshotError:
    """Do the work on one photo.

    Returns:
        Its record, written too; or what is wrong with the photo or its mask.

    Raises:
        PackshotError: what is wrong lies elsewhere (a picture for backdrops cannot be read).
    """
    make = _brand_picture if job.task.look.config.kind == "brand" else _product_photo
    made = make(job)
    if isinstance(made, PhotoRecord):
        write_record(made, job.folder / RECORDS / f"{job.task.name}.json")
    return made


def _looked(cut: Cut, task: LookTask, key: str, look_key: str) -> PhotoRecord:
    """The record of a cut-out photo, without examples."""
    box = cut.cutout.box
    facts = {"source": cut.cutout.source, "width": box.width, "height": box.height}
    pictures = figures(task.photo.path.name, cut.picture, cut.cutout.rgba)
    return PhotoRecord(key, look_key, facts, look_at(cut, task.content).as_json(), pictures, [], [])


def _seen(picture: Image.Image, task: LookTask, key: str, look_key: str) -> PhotoRecord:
    """The record of a brand set's picture, without its example."""
    facts = {"source": "picture", "width": picture.width, "height": picture.height}
    return PhotoRecord(key, look_key, facts, None, figures(task.photo.path.name, picture, None), [], [])


def _read(task: LookTask) -> Image.Image:
    return read_picture(task.photo.path, max_pixels=int(task.config.max_megapixels * 1e6)).picture


def _product_photo(job: PhotoJob) -> PhotoRecord | PackshotError:
    task, options = job.task, job.task.settings
    try:
        cut = cut_photo(task.photo, task.look.config)
    except PackshotError as error:
        return error
    record = _looked(cut, task.look, job.key, job.look_key)
    layers = {"cutout": cut.cutout.rgba, "glass": cut.cutout.glass, "shadow": cut.cutout.shadow}
    for layer, picture in layers.items():
        if picture is not None:
            write_png(picture, job.folder / LAYERS[layer] / f"{task.name}.png")
            record.files.append([LAYERS[layer], ".png"])
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
    for plan in plans:
        example = make_example(
            cut.picture, small, plan, frames=choice, mirror=task.look.config.mirror, photographs=photographs
        )
        record.examples.append(_write_example(job, example, record.files))
    return record


def _brand_picture(job: PhotoJob) -> PhotoRecord | PackshotError:
    """A brand set's picture: whole, letterboxed, one example, painted in full."""
    task, options = job.task, job.task.settings
    try:
        picture = _read(task.look)
    except PackshotError as error:
        return error
    record = _seen(picture, task.look, job.key, job.look_key)
    frame = nearest(picture.width / picture.height, frames(options.size, buckets=options.buckets))
    image, _, box = letterboxed(picture, frame)
    nothing = np.zeros((frame[1], frame[0]), dtype=np.float32)
    plan = Plan(0, True, "full", derive_seed(options.seed, f"{task.sku}/{task.photo.stem}", 0))
    whole = at_photo_scale(frame, box.width / picture.width)
    example = Example(image, nothing > 0, nothing, "", "", plan, whole, (0, 0))
    record.examples.append(_write_example(job, example, record.files))
    return record


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
