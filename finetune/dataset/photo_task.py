"""The work on one photo: cut it out, measure it, make its examples, write its files and its record.

A pure function of its task, so that photos can be worked on by several processes, and a photo whose task is unchanged
is taken over instead. Captions are not part of it: they are filled in from the words recorded here, so that a changed
caption redoes no picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from finetune.checks.matte_findings import shown_findings
from finetune.checks.photo_facts import measure_photo
from finetune.checks.report import enlarged, figures
from finetune.core import fingerprint
from finetune.core.errors import PackshotError
from finetune.core.pictures.buckets import bucket_sizes, nearest
from finetune.core.pictures.images import read_picture, write_png
from finetune.core.products.catalog import SetConfig
from finetune.core.products.set_files import Photo, UnusablePhoto
from finetune.dataset.records import LAYERS, PREPARE_FORMAT, RECORDS, CutoutSize, GlassVote, PhotoRecord, write_record
from finetune.examples.backdrops import Photographs
from finetune.examples.composite import (
    Example,
    Variant,
    derive_seed,
    example_of,
    letterboxed,
    make_example,
    plan_variants,
    shrunk,
)
from finetune.examples.facts import ExampleFacts
from finetune.matting.glass_detection import GLASS_NOUNS
from finetune.matting.photo import CutPhoto, cut_photo, unusable
from finetune.matting.sources import environment

WORDS_ONLY = {"class_noun", "token", "brand", "category", "label_text", "height_mm", "pose"}
"""set.yaml keys that do not affect pixels (class_noun does via the glass heuristic). Any key not listed here, including
future ones, invalidates the photo."""
FOLDERS = ("images", "masks", "mattes", *LAYERS.values(), RECORDS)
"""Folders of a prepared set."""
EXAMPLE_BYTES = 260
"""Estimated bytes of memory per pixel of an example being made: about twenty planes of float32 in three channels."""
PHOTO_BYTES = 150
"""Bytes of memory per pixel of a photo: cutting out takes about 110 (docs/log.md), the picture and copies the rest."""
PROCESS_BYTES = 150 << 20
"""Estimated bytes that a process takes before it opens a photo: numpy, scipy, Pillow and scikit-image."""


@dataclass(frozen=True)
class ExampleSettings:
    """The settings that the examples of a set are made with, as in the config's section `data`."""

    size: int
    buckets: bool
    variants: int
    keep_original: float
    mask_shares: Mapping[str, float]
    seed: int


@dataclass(frozen=True)
class MeasureTask:
    """Everything that reading, cutting out and measuring one photo depends on."""

    photo: Photo
    content: str
    """Fingerprint of the photo's file."""
    mask_content: str
    """Fingerprint of its mask; empty without one."""
    config: SetConfig
    model: str
    """Fingerprint of the learned model that set.yaml names; empty if it names none."""
    hint_content: str = ""
    """Fingerprint of its hint; empty without one."""
    vote: GlassVote | None = None
    """What its set decided on glass; None before that. It follows from the keys of the set, so no key holds it."""

    @cached_property
    def key(self) -> str:
        """Fingerprint of all that the cutout depends on. The photo's folder is not part of it."""
        return fingerprint.of_value(
            {
                "format": PREPARE_FORMAT,
                "content": [self.content, self.mask_content, self.photo.path.name, *filter(None, [self.hint_content])],
                "config": self.config.model_dump(mode="json", exclude=WORDS_ONLY),
                "glass is likely": bool(GLASS_NOUNS.search(self.config.class_noun)),
                "model": self.model,
            }
        )

    @cached_property
    def failure_key(self) -> str:
        """Fingerprint under which a failure is remembered: the key, and what is installed to read and cut with.

        So a photo that failed is tried again once a model or an extra has been installed, and not before.
        """
        folder = self.photo.path.parent.parent
        return fingerprint.of_value([self.key, environment(self.config.cutout, self.config.cutout_model, folder)])

    @property
    def pixels(self) -> int:
        """Pixels that will be worked on, from the picture's header; 0 for a photo that cannot be opened."""
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
    """Everything that the work on one photo depends on."""

    sku: str
    measure: MeasureTask
    settings: ExampleSettings
    photographs: tuple[tuple[str, Path], ...]
    """Pictures for blurred backdrops, with their fingerprints before them."""
    name: str
    """Name of its files in the prepared folder, without ending; may contain a folder."""

    @property
    def photo(self) -> Photo:
        """The photo."""
        return self.measure.photo

    @cached_property
    def key(self) -> str:
        """Fingerprint of all that the files depend on. `name` and the path are not part of it."""
        return fingerprint.of_value(
            {
                "photo": f"{self.sku}/{self.photo.stem}",
                "look": self.measure.key,
                "settings": asdict(self.settings),
                "photographs": [content for content, _ in self.photographs],
            }
        )


@dataclass(frozen=True)
class MeasureJob:
    """A photo to be measured, and where its record goes."""

    task: MeasureTask
    record_path: Path

    @property
    def measure(self) -> MeasureTask:
        """What reading and cutting out depends on."""
        return self.task

    @property
    def pixels(self) -> int:
        """Pixels of the photo."""
        return self.task.pixels

    @property
    def memory(self) -> int:
        """Bytes the work is expected to need."""
        return self.task.memory


@dataclass(frozen=True)
class PhotoJob:
    """A photo to be prepared, and the folder its files go to."""

    task: PhotoTask
    folder: Path

    @property
    def measure(self) -> MeasureTask:
        """What reading and cutting out depends on."""
        return self.task.measure

    @property
    def record_path(self) -> Path:
        """Where its record goes."""
        return self.folder / RECORDS / f"{self.task.name}.json"

    @property
    def pixels(self) -> int:
        """Pixels of all its examples."""
        return self.task.settings.variants * self.task.settings.size**2

    @property
    def memory(self) -> int:
        """Bytes the work is expected to need."""
        return self.measure.memory + EXAMPLE_BYTES * self.task.settings.size**2


def check_photo(job: MeasureJob) -> PhotoRecord | UnusablePhoto:
    """Read, cut out and measure one photo; its pictures are not kept.

    Returns:
        Its record, written too; or why the photo is unusable.
    """
    task = job.task
    try:
        if task.config.kind == "brand":
            made = _picture_record(_read(task), task)
        else:
            made = _cutout_record(cut_photo(task.photo, task.config), task)
    except PackshotError as error:
        return unusable(task.photo, error)
    write_record(made, job.record_path)
    return made


def prepare_photo(job: PhotoJob) -> PhotoRecord | UnusablePhoto:
    """Do all the work on one photo.

    Returns:
        Its record, written too; or why the photo is unusable.

    Raises:
        PackshotError: the fault is not the photo's (a picture for backdrops cannot be read).
    """
    make = _brand_picture if job.measure.config.kind == "brand" else _product_photo
    made = make(job)
    if isinstance(made, PhotoRecord):
        write_record(made, job.record_path)
    return made


def _cutout_record(cut: CutPhoto, task: MeasureTask) -> PhotoRecord:
    """The record of a cut-out photo without files."""
    box, name, facts = cut.cutout.box, task.photo.path.name, measure_photo(cut, task.content)
    shown = figures(name, cut.picture, cut.cutout.rgba) + enlarged(name, cut.picture, cut.cutout, shown_findings(facts))
    return PhotoRecord(
        key="",
        cutout_key=task.key,
        cutout=CutoutSize(source=cut.cutout.source, width=box.width, height=box.height),
        facts=facts,
        figures=shown,
        glass=task.vote or GlassVote(own=facts.matte.transparent if facts.matte else 0.0),
        examples=(),
        files=(),
    )


def _picture_record(picture: Image.Image, task: MeasureTask) -> PhotoRecord:
    """The record of a brand set's picture without files."""
    return PhotoRecord(
        key="",
        cutout_key=task.key,
        cutout=CutoutSize(source="picture", width=picture.width, height=picture.height),
        facts=None,
        figures=figures(task.photo.path.name, picture, None),
        examples=(),
        files=(),
    )


def _read(task: MeasureTask) -> Image.Image:
    return read_picture(task.photo.path, max_pixels=int(task.config.max_megapixels * 1e6)).picture


def _product_photo(job: PhotoJob) -> PhotoRecord | UnusablePhoto:
    task = job.task
    try:
        vote = job.measure.vote
        cut = cut_photo(task.photo, job.measure.config, vote.verdict if vote else "")
    except PackshotError as error:
        return unusable(task.photo, error)
    files = _write_layers(job, cut)
    examples = []
    for example in _examples(task, cut):
        files += _write_example(job, example)
        examples.append(example.facts)
    return _with_files(_cutout_record(cut, job.measure), task, examples, files)


def _examples(task: PhotoTask, cut: CutPhoto) -> Iterator[Example]:
    """Make the examples of a cut-out photo."""
    options = task.settings
    buckets = bucket_sizes(options.size, aspect=options.buckets)
    side = max(max(bucket) for bucket in buckets)
    small = shrunk(cut.cutout, side)
    photographs = Photographs([path for _, path in task.photographs], side)
    variants = plan_variants(
        f"{task.sku}/{task.photo.stem}",
        seed=options.seed,
        variants=options.variants,
        keep_original=options.keep_original,
        mask_shares=options.mask_shares,
    )
    mirror = task.measure.config.mirror
    for variant in variants:
        yield make_example(cut.picture, small, variant, buckets=buckets, mirror=mirror, photographs=photographs)


def _brand_picture(job: PhotoJob) -> PhotoRecord | UnusablePhoto:
    """A brand set's picture: one example, the whole picture letterboxed, painted in full."""
    task, options = job.task, job.task.settings
    try:
        picture = _read(job.measure)
    except PackshotError as error:
        return unusable(task.photo, error)
    bucket = nearest(picture.width / picture.height, bucket_sizes(options.size, aspect=options.buckets))
    image, _, box = letterboxed(picture, bucket)
    variant = Variant(0, True, "full", derive_seed(options.seed, f"{task.sku}/{task.photo.stem}", 0))
    no_product = np.zeros((image.height, image.width), dtype=np.float32)
    example = example_of(variant, image, no_product, box.width / picture.width)
    files = _write_example(job, example)
    return _with_files(_picture_record(picture, job.measure), task, [example.facts], files)


def _with_files(
    record: PhotoRecord, task: PhotoTask, examples: Sequence[ExampleFacts], files: Sequence[tuple[str, str]]
) -> PhotoRecord:
    return record.model_copy(update={"key": task.key, "examples": tuple(examples), "files": tuple(files)})


def _write_layers(job: PhotoJob, cut: CutPhoto) -> list[tuple[str, str]]:
    """Write the pictures a cutout consists of; returns their folders and endings."""
    layers = {"cutout": cut.cutout.rgba, "glass": cut.cutout.glass, "shadow": cut.cutout.shadow}
    files = []
    for layer, picture in layers.items():
        if picture is not None:
            write_png(picture, job.folder / LAYERS[layer] / f"{job.task.name}.png")
            files.append((LAYERS[layer], ".png"))
    return files


def _write_example(job: PhotoJob, example: Example) -> list[tuple[str, str]]:
    """Write an example's three pictures; returns their folders and endings."""
    ending = f"-{example.facts.variant:02d}.png"
    pictures = {
        "images": example.image,
        "masks": Image.fromarray(example.product.astype(np.uint8) * 255),
        "mattes": Image.fromarray((example.matte * 255 + 0.5).astype(np.uint8)),
    }
    for folder, picture in pictures.items():
        picture.save(job.folder / folder / f"{job.task.name}{ending}", compress_level=1)
    return [(folder, ending) for folder in pictures]
