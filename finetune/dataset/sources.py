"""What a prepared set is made from: its photos (of a category: its members'), each with its task and its own words.

Decides by content alone what the prepared set would be; reads set.yaml files, sidecars and fingerprints, decodes no
picture and writes nothing but the memory of fingerprints. Called by the recipes `prepare` and `check`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.core import fingerprint
from finetune.core.errors import CatalogError, ConfigError
from finetune.core.pictures.images import SUFFIXES
from finetune.core.products.catalog import Photo, ProductSet, Workspace, load_set
from finetune.core.storage.file_hashes import FileHashes
from finetune.dataset.files import plain_name
from finetune.dataset.photo_task import ExampleSettings, LookTask, PhotoTask
from finetune.examples.captioner import captioner_fingerprint
from finetune.examples.captions import brand_caption, caption, described
from finetune.matting.photo import sidecar
from finetune.matting.sources import model_fingerprint
from finetune.settings import DataSection


@dataclass(frozen=True)
class Source:
    """One photo of a prepared set."""

    task: PhotoTask
    member: ProductSet
    """The set the photo stands in: the prepared one itself, or a member of the category."""
    photo: str
    """How rows and `prepared.json` call it: its stem; in a category `<sku>/<stem>`."""
    description: str
    """The user's own words for it; empty without any."""

    @property
    def file_name(self) -> str:
        """How reports call it: its file's name, in a category after its SKU."""
        return self.photo.removesuffix(self.task.photo.stem) + self.task.photo.path.name

    def wants_scene(self, examples: Sequence[dict[str, Any]]) -> bool:
        """Would a captioner's words be used: does an example show the photo itself, on a ground nobody has named?"""
        return not self.description and any(e["original"] and not e["words"] for e in examples)

    def text(self, product: ProductSet, example: dict[str, Any], scene: str = "") -> str:
        """The caption of one of its examples.

        Args:
            product: the set that is prepared. example: the entry of `PhotoRecord.examples`.
            scene: a captioner's words for the photo's surroundings.
        """
        noun = product.config.class_noun
        if product.config.kind == "brand":
            return brand_caption(product.token, self.description or noun)
        if example["original"] and self.description:
            own = self.description
            if self.member is not product:  # a category has its own trigger word
                own = " ".join(product.token if w == self.member.token else w for w in own.split())
            return described(product.token, noun, own)
        words, light = example["words"] or (scene if example["original"] else ""), example["light"]
        return caption(product.token, noun, words, light, example["seed"], close_up=example["close_up"])


@dataclass(frozen=True)
class Sources:
    """All that a prepared set is made from."""

    product: ProductSet
    members: tuple[ProductSet, ...]
    """The sets the photos stand in."""
    photos: tuple[Source, ...]
    keys: tuple[str, ...]
    """Fingerprint of each photo's task."""
    look_keys: tuple[str, ...]
    """Fingerprint of what each photo's cutout depends on."""
    content: str
    """Fingerprint of the sets alone, without settings: `ProductSet.fingerprint`, and that of each member."""
    whole: str
    """Fingerprint of all of it."""
    captioner: str
    """Fingerprint of the captioner; empty for none."""
    left_out: frozenset[str]
    """Photos that could not be used when they were last tried, if that would be no different now."""
    contents: dict[str, str]
    """Fingerprints of the set's own files (`ProductSet.contents`)."""

    def fingerprint(self, left_out: Collection[str]) -> str:
        """The prepared set's fingerprint, by the names of the photos that cannot be used."""
        return fingerprint.of_value([self.whole, sorted(left_out)])


def gather(
    workspace: Workspace,
    product: ProductSet,
    data: DataSection,
    hashes: FileHashes,
    format: int,
    *,
    left_out: Mapping[str, str],
) -> Sources:
    """Everything the prepared set of a product, brand or category is made from.

    Args:
        format: of the prepared files; joins every fingerprint.
        left_out: photos that could not be used when the set was last prepared, with `LookTask.mark` of then.

    Raises:
        CatalogError: a category without members, or with photos of its own.
        ConfigError: `data.backdrops` names no folder with pictures, `data.captioner` none with a captioner.
    """
    describer = captioner_fingerprint(workspace.root / data.captioner, hashes.of_file) if data.captioner else ""
    members = members_of(workspace, product)
    settings = ExampleSettings(
        data.size, data.buckets, data.variants, data.keep_original, dict(data.mask_shares), data.seed
    )
    folder = _backdrops_folder(workspace, data.backdrops) if product.config.kind != "brand" else ()
    photos = []
    for member in members:
        around = (*_brand_photographs(workspace, member), *folder)
        model = model_fingerprint(member.config.cutout, member.config.cutout_model, member.folder)
        photographs = tuple(sorted((hashes.of_file(path), path) for path in around))
        photos += [
            _source(product, member, photo, settings, model, photographs, hashes.of_file) for photo in member.photos
        ]
    content = product.fingerprint(hashes.of_file)
    if product.config.kind == "category":
        content = fingerprint.of_value([content, {m.sku: m.fingerprint(hashes.of_file) for m in members}])
    keys = tuple(source.task.key(format) for source in photos)
    look_keys = tuple(source.task.look.key(format) for source in photos)
    lost = {s.photo for s in photos if s.photo in left_out and left_out[s.photo] == s.task.look.mark(format)}
    whole = {
        "format": format,
        "set": content,
        "token": product.token,
        "photos": {source.photo: [key, source.description] for source, key in zip(photos, keys, strict=True)},
        "data": data.model_dump(mode="json", exclude={"captioner"}),
        "captioner": describer,
    }
    return Sources(
        product,
        members,
        tuple(photos),
        keys,
        look_keys,
        content,
        fingerprint.of_value(whole),
        describer,
        frozenset(lost),
        product.contents(hashes.of_file),
    )


def look_tasks(product: ProductSet, hash_of: Callable[[Path], str]) -> tuple[LookTask, ...]:
    """The work of looking at each photo of a set."""
    model = model_fingerprint(product.config.cutout, product.config.cutout_model, product.folder)
    return tuple(_look_task(product, photo, model, hash_of) for photo in product.photos)


def _look_task(member: ProductSet, photo: Photo, model: str, hash_of: Callable[[Path], str]) -> LookTask:
    return LookTask(photo, hash_of(photo.path), hash_of(photo.mask) if photo.mask else "", member.config, model)


def members_of(workspace: Workspace, product: ProductSet) -> tuple[ProductSet, ...]:
    """The sets whose photos a prepared set shows: the set itself, or the SKUs that name the category.

    Raises:
        CatalogError: a category without members, or with photos of its own; a set.yaml that cannot be read.
    """
    if product.config.kind != "category":
        return (product,)
    if product.photos:
        raise CatalogError(
            f"'{product.sku}' is a category set and has photos of its own",
            "give them a set of their own that names the category",
        )
    every = (load_set(workspace, sku) for sku in workspace.skus() if sku != product.sku)
    members = tuple(s for s in every if s.config.kind == "sku" and s.config.category == product.sku)
    if not members:
        raise CatalogError(
            f"no SKU names the category '{product.sku}'", f"write `category: {product.sku}` into the set.yaml of some"
        )
    return members


def _source(
    product: ProductSet,
    member: ProductSet,
    photo: Photo,
    settings: ExampleSettings,
    model: str,
    photographs: tuple[tuple[str, Path], ...],
    hash_of: Callable[[Path], str],
) -> Source:
    alone = member is product
    task = PhotoTask(
        sku=member.sku,
        look=_look_task(member, photo, model, hash_of),
        settings=settings,
        photographs=photographs,
        name=plain_name(photo.stem) if alone else f"{plain_name(member.sku)}/{plain_name(photo.stem)}",
    )
    return Source(task, member, photo.stem if alone else f"{member.sku}/{photo.stem}", sidecar(photo))


def _brand_photographs(workspace: Workspace, member: ProductSet) -> tuple[Path, ...]:
    """Pictures of the brand set this SKU names: they serve as blurred backdrops."""
    brand = member.config.brand
    if member.config.kind != "sku" or not brand or not (workspace.datasets / brand / "set.yaml").is_file():
        return ()
    return tuple(photo.path for photo in load_set(workspace, brand).photos)


def _backdrops_folder(workspace: Workspace, folder: str) -> tuple[Path, ...]:
    """The user's own pictures for backdrops; none where no folder is set."""
    if not folder:
        return ()
    place = workspace.root / folder
    if not place.is_dir():
        raise ConfigError(f"data.backdrops: there is no folder {place}", "the path is relative to the workspace")
    found = sorted(
        p for p in place.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and p.is_file()
    )
    if not found:
        raise ConfigError(f"data.backdrops: {place} holds no picture", f"put photographs there ({' '.join(SUFFIXES)})")
    return tuple(found)
