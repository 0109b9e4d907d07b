"""The recipe `packshot prepare`: product set -> prepared set.

Reads the photos, cuts the product out of each, checks them (`finetune.check`, on the same cutouts), makes the training
examples and writes the prepared folder: into a temporary sibling first, swapped in when complete. What is already up to
date by fingerprint is left alone. Called by the command line, by training's set-up and by `nightly`; never changes a
photo.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from finetune.captions import brand_caption
from finetune.check import REPORT, examine, examine_brand, write_check_report
from finetune.core import fingerprint
from finetune.core.catalog import ProductSet, Workspace, load_set
from finetune.core.console import say
from finetune.core.errors import CatalogError
from finetune.core.images import write_png
from finetune.core.prepared import PreparedPhoto, PreparedSet, read_prepared, require_prepared
from finetune.cutting import Cut, cut_all, name_failures, open_all, sidecar
from finetune.examples import Example, Plan, derive_seed, letterboxed, make_example, plan_variants, shrunk
from finetune.matte_sources import model_fingerprint
from finetune.prepared_files import FOLDERS, overview, rebuilt, write_example, write_layers, write_rows
from finetune.settings import DataSection

PREPARE_FORMAT = 3
"""Raised when the same input would give other files."""
HELD_OUT_VARIANTS = 4
"""Examples kept for validation where there are too few photos to keep a whole one."""
MANY_PHOTOS = 4
"""Photos from which on a whole one is kept for validation."""


def prepare_set(workspace: Workspace, sku: str, *, data: DataSection, force: bool = False) -> tuple[PreparedSet, bool]:
    """Prepare one product set.

    Args:
        data: size, variants, shares and seed of the examples.
        force: make it even if it is up to date.

    Returns:
        The prepared set, and whether it was made by this call.

    Raises:
        CatalogError: unknown or empty set; no photo of it could be used; a kind that cannot be prepared.
        PackshotError: a set of one photo, with what is wrong with that photo.
    """
    product = load_set(workspace, sku)
    if product.config.kind == "category":
        raise CatalogError(
            f"'{sku}' is a category set", "prepare the SKUs that name it; categories are not trained yet"
        )
    photographs = _brand_photographs(workspace, product)
    wanted = _fingerprint(product, photographs, data)
    ready = None if force else read_prepared(product.prepared_dir)
    if ready is not None and ready.fingerprint == wanted:
        return ready, False
    if product.config.kind == "brand":
        return _prepare_brand(product, data, wanted), True
    cuts, failures = cut_all(product)
    name_failures(sku, len(cuts), failures)
    found = examine(product, cuts, failures, size=data.size)
    found.warn()
    with rebuilt(product.prepared_dir) as folder:
        write_check_report(folder / REPORT, found, [(cut.photo, cut.picture, cut.cutout.rgba) for cut in cuts])
        _write_examples(folder, product, cuts, photographs, data, wanted)
    return _read_back(product), True


def prepared_fingerprint(workspace: Workspace, product: ProductSet, data: DataSection) -> str:
    """The fingerprint the prepared set of a product would have now; nothing is made."""
    return _fingerprint(product, _brand_photographs(workspace, product), data)


def _fingerprint(product: ProductSet, photographs: tuple[Path, ...], data: DataSection) -> str:
    sidecars = {p.stem: sidecar(p) for p in product.photos}
    return fingerprint.of_value(
        {
            "format": PREPARE_FORMAT,
            "set": product.fingerprint(),
            "token": product.token,
            "model": model_fingerprint(product.config.cutout, product.config.cutout_model, product.folder),
            "captions": {stem: text for stem, text in sidecars.items() if text},
            "brand": {path.name: fingerprint.of_file(path) for path in photographs},
            "data": data.model_dump(mode="json"),
        }
    )


def _brand_photographs(workspace: Workspace, product: ProductSet) -> tuple[Path, ...]:
    """Pictures of the brand set this SKU names: they serve as blurred backdrops."""
    brand = product.config.brand
    if product.config.kind != "sku" or not brand or not (workspace.datasets / brand / "set.yaml").is_file():
        return ()
    return tuple(photo.path for photo in load_set(workspace, brand).photos)


def _write_examples(
    folder: Path, product: ProductSet, cuts: list[Cut], photographs: tuple[Path, ...], data: DataSection, wanted: str
) -> None:
    """Write cutouts, examples, rows, contact sheet and, last, `prepared.json`."""
    for name in FOLDERS:
        (folder / name).mkdir()
    plans = [
        plan_variants(
            cut.photo.stem,
            seed=data.seed,
            variants=data.variants,
            keep_original=data.keep_original,
            mask_shares=data.mask_shares,
        )
        for cut in cuts
    ]
    held_out = _held_out([cut.photo.stem for cut in cuts], data.variants, data.seed)
    rows: list[dict[str, Any]] = []
    photos = []
    for cut, variants in zip(cuts, plans, strict=True):
        say(f"preparing {cut.photo.path.name}: {cut.cutout.source}, {len(variants)} examples")
        paths = write_layers(folder, cut.cutout, cut.photo.stem)
        small = shrunk(cut.cutout, data.size)
        for plan in variants:
            example = make_example(
                cut.picture,
                small,
                plan,
                size=data.size,
                token=product.token,
                class_noun=product.config.class_noun,
                description=cut.description,
                mirror=product.config.mirror,
                photographs=photographs,
            )
            split = "validation" if (cut.photo.stem, plan.variant) in held_out else "train"
            rows.append(write_example(folder, len(rows), example, cut.photo.stem, split))
        kept = all((cut.photo.stem, plan.variant) in held_out for plan in variants)
        box = cut.cutout.box
        photos.append(
            PreparedPhoto(
                photo=cut.photo.stem,
                source=cut.cutout.source,
                width=box.width,
                height=box.height,
                split="validation" if kept else "train",
                **paths,
            )
        )
    write_rows(folder, rows)
    sheet = overview(folder, [(cut.photo.path.name, cut.cutout.rgba) for cut in cuts], rows)
    write_png(sheet, folder / "contact_sheet.png")
    _describe(folder, product, data, wanted, len(rows), tuple(photos)).write()


def _held_out(stems: Sequence[str], variants: int, seed: int) -> set[tuple[str, int]]:
    """(photo, variant) pairs kept for validation: with 4 or more photos one of them whole, but never the first (most
    often the front view); otherwise 4 examples, and never more than a third of all."""
    rng = np.random.default_rng(derive_seed(seed, "held out", *stems))
    if len(stems) >= MANY_PHOTOS:
        chosen = stems[int(rng.integers(1, len(stems)))]
        return {(chosen, variant) for variant in range(variants)}
    every = [(stem, variant) for stem in stems for variant in range(variants)]
    picked = rng.permutation(len(every))[: min(HELD_OUT_VARIANTS, len(every) // 3)]
    return {every[i] for i in picked}


def _describe(
    folder: Path, product: ProductSet, data: DataSection, wanted: str, examples: int, photos: tuple[PreparedPhoto, ...]
) -> PreparedSet:
    return PreparedSet(
        folder=folder,
        sku=product.sku,
        kind=product.config.kind,
        class_noun=product.config.class_noun,
        token=product.token,
        fingerprint=wanted,
        content=product.fingerprint(),
        size=data.size,
        examples=examples,
        photos=photos,
        settings=data.model_dump(mode="json"),
    )


def _prepare_brand(product: ProductSet, data: DataSection, wanted: str) -> PreparedSet:
    """A brand set: whole pictures, letterboxed, one example each, painted in full."""
    pictures, failures = open_all(product)
    name_failures(product.sku, len(pictures), failures)
    found = examine_brand(product, pictures, failures, size=data.size)
    found.warn()
    held_out = _held_out([photo.stem for photo, _ in pictures], 1, data.seed)
    with rebuilt(product.prepared_dir) as folder:
        write_check_report(folder / REPORT, found, [(photo, picture, None) for photo, picture in pictures])
        for name in FOLDERS:
            (folder / name).mkdir()
        rows: list[dict[str, Any]] = []
        photos = []
        for photo, picture in pictures:
            split = "validation" if (photo.stem, 0) in held_out else "train"
            image, _ = letterboxed(picture, data.size)
            nothing = np.zeros((data.size, data.size), dtype=np.float32)
            plan = Plan(0, True, "full", derive_seed(data.seed, photo.stem, 0))
            text = brand_caption(product.token, sidecar(photo) or product.config.class_noun)
            example = Example(image, nothing > 0, nothing, text, plan, picture.size, (0, 0))
            rows.append(write_example(folder, len(rows), example, photo.stem, split))
            photos.append(PreparedPhoto(photo.stem, "", "picture", picture.width, picture.height, split))
        write_rows(folder, rows)
        write_png(overview(folder, [], rows), folder / "contact_sheet.png")
        _describe(folder, product, data, wanted, len(rows), tuple(photos)).write()
    return _read_back(product)


def _read_back(product: ProductSet) -> PreparedSet:
    return require_prepared(product.prepared_dir, product.sku)
