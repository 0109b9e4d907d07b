"""The recipe `packshot cutout`: every photo's cutout as a file for people, transparent or on one colour.

What the prepared set has of an unchanged photo is used; other photos, and all where the shadow stays (its place in the
photo is not kept), are cut out anew. Needs no base. Every file is written beside its place and renamed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image, ImageColor

from finetune.core.console import count, say, warn
from finetune.core.errors import CatalogError, ConfigError, PackshotError, RunError
from finetune.core.pictures.images import write_png
from finetune.core.products.catalog import ProductSet, Workspace, load_set
from finetune.core.products.housekeeping import check_folders
from finetune.core.products.set_files import UnusablePhoto
from finetune.core.storage.durable import atomic_write
from finetune.core.storage.file_hashes import FileHashes
from finetune.core.text_files import check_text
from finetune.dataset.files import plain_name
from finetune.dataset.photo_task import MeasureTask
from finetune.dataset.records import RECORDS, PhotoRecord, read_record
from finetune.dataset.sources import measure_tasks
from finetune.matting.cutout_picture import Colour, Layers, Look, cutout_picture
from finetune.matting.photo import cut_photo, unusable, warn_of_unusable

FILL = 0.85
"""Share of the frame that marketplaces want the product to fill."""
QUALITY = 95
"""Of JPEG, without chroma subsampling: a coarser one colours the ground beside the product."""
SMALLEST, LARGEST = 64, 10_000
"""Sides of a picture in pixels."""


def ground_colour(text: str) -> Colour | None:
    """What `--ground` means: `white`, `transparent` (None), or a colour as `#rrggbb` or `#rgb`.

    Raises:
        ConfigError: it is neither.
    """
    if text == "transparent":
        return None
    if text != "white" and not re.fullmatch(r"#([0-9a-fA-F]{3}|[0-9a-fA-F]{6})", text):
        raise ConfigError(f"--ground cannot be '{text}'", "give white, transparent, or a colour as '#f4f1ec'")
    red, green, blue = ImageColor.getrgb(text)[:3]
    return red, green, blue


def picture_size(text: str) -> tuple[int, int]:
    """What `--size` means: (width, height) of `2000x2000`.

    Raises:
        ConfigError: it is no size, or too small or large.
    """
    found = re.fullmatch(r"(\d{1,6})x(\d{1,6})", text.lower())
    if found is None:
        raise ConfigError(f"--size cannot be '{text}'", "give width and height in pixels as 2000x2000")
    size = int(found[1]), int(found[2])
    if min(size) < SMALLEST or max(size) > LARGEST:
        raise ConfigError(f"--size cannot be {text}", f"each side may have {SMALLEST} to {LARGEST} pixels")
    return size


def write_cutouts(workspace: Workspace, sku: str, look: Look, *, out: Path | None = None, force: bool = False) -> Path:
    """Write the cutout of every photo of a set: `<stem>.png`, or on a colour `<stem>.jpg`.

    Args:
        workspace: with the set.
        sku: of the set.
        look: of the pictures.
        out: their folder; by default `cutouts/<sku>` in the workspace.
        force: whether files that are there are replaced.

    Returns:
        The folder.

    Raises:
        CatalogError: the set is unknown, empty, a category or a brand set; none of its photos can be used.
        ConfigError: the folder is no folder or lies in datasets/, or a file would be replaced.
        PackshotError: the only photo of the set cannot be used, for this reason.
        RunError: a file cannot be written, or a folder of the workspace is a link.
    """
    product = load_set(workspace, sku)
    if product.config.kind != "sku":
        cure = "give a SKU that names it" if product.config.kind == "category" else "give the SKU of a product"
        raise CatalogError(f"'{sku}' is a {product.config.kind} set, whose pictures are not cut out", cure)
    folder = workspace.cutouts / sku if out is None else out
    suffix = ".png" if look.ground is None else ".jpg"
    _check_folder(workspace, folder, [photo.stem + suffix for photo in product.photos], force=force)
    check_folders(workspace, sku)
    hashes = FileHashes(workspace.cache / "hashes" / f"{sku}.json")
    tasks = measure_tasks(product, hashes.of_file)
    hashes.save(forget=False)
    if look.fill is None and (look.ground is not None or look.size is not None):
        look = replace(look, fill=FILL)
    failed: list[UnusablePhoto] = list(product.unusable)
    for task in tasks:
        try:
            layers = _layers(product, task, shadow=look.shadow)
        except PackshotError as error:
            failed.append(unusable(task.photo, error))
            continue
        _write(layers, look, folder / (task.photo.stem + suffix))
    written = len(product.photos) + len(product.unusable) - len(failed)
    warn_of_unusable(sku, written, failed)
    say(f"cut out {sku}: {count(written, 'picture')}")
    return folder


def _check_folder(workspace: Workspace, folder: Path, names: Sequence[str], *, force: bool) -> None:
    """Find out before anything is cut out whether the pictures may be written there."""
    check_text(str(folder), "--out", ConfigError)
    if (folder.exists() or folder.is_symlink()) and not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder", "give another --out")
    if folder.resolve().is_relative_to(workspace.datasets.resolve()):
        raise ConfigError(f"{folder} is inside datasets/", "give an --out outside of datasets/")
    there = [name for name in names if (folder / name).exists()]
    if there and not force:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise ConfigError(f"{folder / there[0]}{more} would be replaced", "give --force, or another --out")


def _layers(product: ProductSet, task: MeasureTask, *, shadow: bool) -> Layers:
    """A photo's cutout: out of the prepared set if that has it as the photo is now, else cut out."""
    found = None if shadow else _prepared(product, task)
    if found is not None:
        return found
    cutout = cut_photo(task.photo, task.config).cutout
    return Layers(cutout.rgba, cutout.glass, cutout.box, cutout.shadow if shadow else None, cutout.photo_size)


def _prepared(product: ProductSet, task: MeasureTask) -> Layers | None:
    name = plain_name(task.photo.stem)
    record = read_record(product.prepared_dir / RECORDS / f"{name}.json")
    if not isinstance(record, PhotoRecord) or record.cutout_key != task.key:
        return None
    layers = record.layers(name)
    try:
        rgba = _opened(product.prepared_dir / layers["cutout"])
        glass = _opened(product.prepared_dir / layers["glass"]) if layers["glass"] else None
    except (OSError, ValueError, SyntaxError):  # removed or damaged: the photo itself is there
        return None
    return Layers(rgba, glass)


def _opened(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        return picture.convert("RGBA")


def _write(layers: Layers, look: Look, path: Path) -> None:
    picture, frame = cutout_picture(layers, look)
    if frame.scale > 1:
        warn(f"{path.name}: the product is enlarged {frame.scale:.2f} times; its photo has no more pixels")
    try:
        if look.ground is None:
            write_png(picture, path)
            return
        with atomic_write(path) as part:
            picture.save(part, format="JPEG", quality=QUALITY, subsampling=0, optimize=True)
    except OSError as error:
        raise RunError(f"can't write {path}: {error.strerror or error}", "give another --out, or make room") from error
