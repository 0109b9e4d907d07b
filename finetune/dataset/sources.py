"""What a prepared set is made from: its photos (in a category set its members'), each with its task and its own words.

The fingerprint of a prepared set is decided here, by content alone: set.yaml files, captions and file fingerprints are
read, no picture is decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from finetune.core import fingerprint
from finetune.core.errors import CatalogError, ConfigError
from finetune.core.pictures.images import SUFFIXES
from finetune.core.products.catalog import ProductSet, Workspace, load_set
from finetune.core.products.set_files import Photo
from finetune.core.storage.file_hashes import FileHashes
from finetune.dataset.files import plain_name
from finetune.dataset.photo_task import ExampleSettings, MeasureTask, PhotoTask
from finetune.dataset.records import PREPARE_FORMAT
from finetune.examples.captioner import captioner_fingerprint
from finetune.examples.captions import brand_caption, caption, own_caption
from finetune.examples.facts import ExampleFacts
from finetune.matting.sources import model_fingerprint

HashOf = Callable[[Path], str]
"""Gives a file's fingerprint."""


@dataclass(frozen=True)
class DataSettings:
    """The settings a set is prepared with: the config's section `data`, as plain values."""

    examples: ExampleSettings
    backdrops: str
    """Folder of the user's own pictures for backdrops, relative to the workspace; empty for none."""
    captioner: str
    """Folder of a captioner, relative to the workspace; empty for none."""
    recorded: Mapping[str, object]
    """All settings of the section, as JSON values."""


@dataclass(frozen=True)
class Source:
    """One photo of a prepared set."""

    task: PhotoTask
    member: ProductSet
    """The set that the photo is in: the prepared one itself, or a member of the category."""
    photo: str
    """Its name in rows and `prepared.json`: its stem; in a category set `<sku>/<stem>`."""

    @property
    def file_name(self) -> str:
        """Its name in reports: the file's name, in a category set after its SKU."""
        return self.photo.removesuffix(self.task.photo.stem) + self.task.photo.path.name

    @property
    def description(self) -> str:
        """The user's own words for it; empty without any."""
        return self.task.photo.caption

    def wants_scene(self, examples: Sequence[ExampleFacts]) -> bool:
        """True if any unmodified example lacks a background description, so that a captioner's words would be used."""
        return not self.description and any(facts.original and not facts.words for facts in examples)

    def text(self, product: ProductSet, facts: ExampleFacts, scene: str = "") -> str:
        """The caption of one of its examples.

        Args:
            product: the set that is prepared.
            facts: of the example.
            scene: a captioner's words for the photo's surroundings; empty without any.
        """
        noun = product.config.class_noun
        if product.config.kind == "brand":
            return brand_caption(product.token, self.description or noun)
        if facts.original and self.description:
            own = self.description
            if self.member is not product:  # a category has its own trigger word
                own = " ".join(product.token if w == self.member.token else w for w in own.split())
            return own_caption(product.token, noun, own)
        words = facts.words or (scene if facts.original else "")
        return caption(product.token, noun, words, facts.light, facts.seed, close_up=facts.close_up)


@dataclass(frozen=True, kw_only=True)
class Sources:
    """All that a prepared set is made from."""

    product: ProductSet
    members: tuple[ProductSet, ...]
    """The sets that the photos are in."""
    photos: tuple[Source, ...]
    content: str
    """Fingerprint of the sets alone, without settings: `ProductSet.fingerprint`, and that of each member."""
    contents: dict[str, str]
    """Fingerprints of the set's own files (`ProductSet.contents`)."""
    captioner: str
    """Fingerprint of the captioner; empty for none."""
    everything: str
    """Fingerprint of photos, settings and captioner together."""
    unusable: frozenset[str]
    """Photos that could not be used when they were last tried, and would fail again now."""

    def fingerprint(self, unusable: Collection[str]) -> str:
        """The prepared set's fingerprint.

        Args:
            unusable: names of the photos that cannot be used.
        """
        return fingerprint.of_value([self.everything, sorted(unusable)])


def gather(
    workspace: Workspace,
    product: ProductSet,
    data: DataSettings,
    hashes: FileHashes,
    *,
    unusable: Mapping[str, str],
) -> Sources:
    """Gather everything the prepared set of a product, brand or category is made from.

    Args:
        workspace: that the settings' paths are relative to.
        product: the set to prepare.
        data: its settings.
        hashes: gives fingerprints of files.
        unusable: photos that could not be used when the set was last prepared, with their failure keys of then.

    Raises:
        CatalogError: a category set has no members, or photos of its own.
        ConfigError: `data.backdrops` names no folder with pictures, or `data.captioner` none with a captioner.
    """
    hash_of = hashes.of_file
    captioner = captioner_fingerprint(workspace.root / data.captioner, hash_of) if data.captioner else ""
    members = members_of(workspace, product)
    folder = _backdrops_folder(workspace, data.backdrops) if product.config.kind != "brand" else ()
    photos = []
    for member in members:
        around = (*_brand_photographs(workspace, member), *folder)
        photographs = tuple(sorted((hash_of(path), path) for path in around))
        tasks = measure_tasks(member, hash_of)
        photos += [_source(product, member, task, data.examples, photographs) for task in tasks]
    content = product.fingerprint(hash_of)
    if product.config.kind == "category":
        content = fingerprint.of_value([content, {member.sku: member.fingerprint(hash_of) for member in members}])
    everything = {
        "format": PREPARE_FORMAT,
        "set": content,
        "token": product.token,
        "photos": {source.photo: [source.task.key, source.description] for source in photos},
        "data": {name: value for name, value in data.recorded.items() if name != "captioner"},
        "captioner": captioner,
    }
    return Sources(
        product=product,
        members=members,
        photos=tuple(photos),
        content=content,
        contents=product.contents(hash_of),
        captioner=captioner,
        everything=fingerprint.of_value(everything),
        unusable=frozenset(
            source.photo
            for source in photos
            if source.photo in unusable and unusable[source.photo] == source.task.measure.failure_key
        ),
    )


def measure_tasks(product: ProductSet, hash_of: HashOf) -> tuple[MeasureTask, ...]:
    """What measuring each photo of a set depends on.

    Args:
        product: the set.
        hash_of: gives a file's fingerprint.
    """
    model = model_fingerprint(product.config.cutout, product.config.cutout_model, product.folder)
    return tuple(_measure_task(product, photo, model, hash_of) for photo in product.photos)


def _measure_task(product: ProductSet, photo: Photo, model: str, hash_of: HashOf) -> MeasureTask:
    mask, hint = (hash_of(path) if path else "" for path in (photo.mask, photo.hint))
    return MeasureTask(photo, hash_of(photo.path), mask, product.config, model, hint)


def members_of(workspace: Workspace, product: ProductSet) -> tuple[ProductSet, ...]:
    """The sets whose photos a prepared set shows: the set itself, or the SKUs that name the category.

    Args:
        workspace: with all product sets.
        product: the set to prepare.

    Raises:
        CatalogError: a category set has no members, or photos of its own; a set.yaml cannot be read.
    """
    if product.config.kind != "category":
        return (product,)
    if product.photos:
        raise CatalogError(
            f"the category set '{product.sku}' has photos of its own",
            "move them to a set of their own whose set.yaml names the category",
        )
    every = (load_set(workspace, sku) for sku in workspace.skus() if sku != product.sku)
    members = tuple(s for s in every if s.config.kind == "sku" and s.config.category == product.sku)
    if not members:
        raise CatalogError(
            f"no SKU names the category '{product.sku}'",
            f"add `category: {product.sku}` to the set.yaml of its SKUs",
        )
    return members


def _source(
    product: ProductSet,
    member: ProductSet,
    task: MeasureTask,
    examples: ExampleSettings,
    photographs: tuple[tuple[str, Path], ...],
) -> Source:
    alone, stem = member is product, task.photo.stem
    name = plain_name(stem) if alone else f"{plain_name(member.sku)}/{plain_name(stem)}"
    whole = PhotoTask(sku=member.sku, measure=task, settings=examples, photographs=photographs, name=name)
    return Source(whole, member, stem if alone else f"{member.sku}/{stem}")


def _brand_photographs(workspace: Workspace, member: ProductSet) -> tuple[Path, ...]:
    """Pictures of the brand set that this SKU names: they serve as blurred backdrops."""
    brand = member.config.brand
    if member.config.kind != "sku" or not brand or not (workspace.datasets / brand / "set.yaml").is_file():
        return ()
    return tuple(photo.path for photo in load_set(workspace, brand).photos)


def _backdrops_folder(workspace: Workspace, folder: str) -> tuple[Path, ...]:
    """The user's own pictures for backdrops; none if no folder is set."""
    if not folder:
        return ()
    place = workspace.root / folder
    if not place.is_dir():
        raise ConfigError(f"data.backdrops: there is no folder {place}", "the path is relative to the workspace")
    found = sorted(
        p for p in place.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and p.is_file()
    )
    if not found:
        hint = f"put photographs into it ({' '.join(SUFFIXES)})"
        raise ConfigError(f"data.backdrops: {place} holds no picture", hint)
    return tuple(found)
