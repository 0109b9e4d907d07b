"""The recipe `packshot prepare`: product set -> prepared set.

Each photo is read, cut out, measured and made into examples by itself (`finetune.dataset.photo_task`), several at once; what
the last prepared set holds of an unchanged photo is taken over. The prepared folder is written as a temporary sibling
and swapped in when complete. What is already up to date by fingerprint is left alone. Called by the command line, by
training's set-up and by `nightly`; never changes a photo.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from finetune.check import REPORT, Looked, examine, write_check_report
from finetune.checks.answer_cache import FILE as REMEMBERED
from finetune.checks.answer_cache import Remembered, read_remembered
from finetune.core import fingerprint
from finetune.core.console import say
from finetune.core.errors import CatalogError, PackshotError
from finetune.core.pictures.images import read_picture, write_png
from finetune.core.products.catalog import ProductSet, Workspace, load_set
from finetune.core.products.prepared import PreparedPhoto, PreparedSet, read_prepared, require_prepared
from finetune.core.storage.durable import atomic_folder
from finetune.core.storage.file_hashes import FileHashes
from finetune.dataset.files import overview, take_over, write_rows
from finetune.dataset.photo_pool import work_through
from finetune.dataset.photo_task import FOLDERS, PhotoJob, prepare_photo
from finetune.dataset.records import PREPARE_FORMAT, RECORDS, Known, LeftOut, PhotoRecord, known_records, write_record
from finetune.dataset.sources import Source, Sources, gather
from finetune.dataset.split import held_out
from finetune.dataset.workers import Job, usable_cores
from finetune.examples.captioner import Captioner
from finetune.matting.photo import Failure, name_failures, refusals
from finetune.settings import DataSection

QUICK_PIXELS = 3_000_000
"""Pixels of examples for which starting more processes takes longer than it saves."""


@dataclass(frozen=True)
class Done:
    """A photo whose files stand in the new folder."""

    source: Source
    record: PhotoRecord


def prepare_set(
    workspace: Workspace, sku: str, *, data: DataSection, force: bool = False, jobs: int | None = 1
) -> tuple[PreparedSet, bool]:
    """Prepare one product, brand or category set.

    Args:
        data: size, variants, shares and seed of the examples.
        force: make all of it, even what is up to date.
        jobs: processes at most; None for one a core. What comes out is the same for any number.

    Returns:
        The prepared set, and whether it was made by this call.

    Raises:
        CatalogError: unknown or empty set; no photo of it could be used; a category without members.
        ConfigError: `data.backdrops` names no folder with pictures, `data.captioner` none with a captioner.
        PackshotError: a set of one photo, with what is wrong with that photo.
        RunError: a process died over a photo.
    """
    product = load_set(workspace, sku)
    hashes = _hashes(workspace, sku, trust=not force)
    ready = None if force else read_prepared(product.prepared_dir)
    left_out = ready.left_out if ready else {}
    sources = gather(workspace, product, data, hashes, PREPARE_FORMAT, left_out=left_out)
    hashes.save()
    if ready is not None and ready.fingerprint == sources.fingerprint(sources.left_out):
        return ready, False
    if ready is not None and (changes := ready.changes(product, hashes.of_file)):
        say(f"{sku} since it was prepared: {changes}")
    with atomic_folder(product.prepared_dir, replace=True) as folder:
        _make_folders(folder, sources)
        done, lost = _photos(folder, sources, data, reuse=not force, jobs=jobs)
        failures = [failure for member in sources.members for failure in refusals(member)]
        failures += [Failure(source.task.photo, error) for source, error in lost]
        name_failures(sku, len(done), failures)
        memory = Remembered() if force else read_remembered(product.prepared_dir / REMEMBERED)
        looked = [_looked(folder, item) for item in done]
        found = examine(product, looked, failures, size=data.size, memory=memory)
        memory.scenes = _scenes(workspace, sources, data, done, memory.scenes)
        memory.write(folder / REMEMBERED)
        found.warn()
        write_check_report(folder / REPORT, found, looked)
        left_out = {s.photo: s.task.look.mark(PREPARE_FORMAT) for s, _ in lost}
        _describe(folder, sources, data, done, left_out, memory.scenes)
    return require_prepared(product.prepared_dir, sku), True


def prepared_fingerprint(workspace: Workspace, product: ProductSet, data: DataSection) -> str:
    """The fingerprint the prepared set of a product would have now; nothing is made.

    Photos that could not be used when it was last prepared count as left out as long as nothing has changed that could
    help; others count as good.
    """
    hashes = _hashes(workspace, product.sku, trust=True)
    try:
        ready = read_prepared(product.prepared_dir)
    except CatalogError:  # damaged: nothing is known
        ready = None
    sources = gather(workspace, product, data, hashes, PREPARE_FORMAT, left_out=ready.left_out if ready else {})
    hashes.save()
    return sources.fingerprint(sources.left_out)


def _hashes(workspace: Workspace, sku: str, *, trust: bool) -> FileHashes:
    return FileHashes(workspace.cache / "hashes" / f"{sku}.json", trust=trust)


def _make_folders(folder: Path, sources: Sources) -> None:
    inner = {str(Path(source.task.name).parent) for source in sources.photos}
    for name in FOLDERS:
        for part in sorted(inner):
            (folder / name / part).mkdir(parents=True, exist_ok=True)


def _photos(
    folder: Path, sources: Sources, data: DataSection, *, reuse: bool, jobs: int | None
) -> tuple[list[Done], list[tuple[Source, PackshotError]]]:
    """Bring every photo's files into the new folder: taken over where the task is the same, made otherwise.

    Returns:
        The photos whose files stand there, and those that cannot be used.
    """
    last = [sources.product.prepared_dir, *(s.member.prepared_dir for s in sources.photos)]  # of a category: members'
    known = known_records(dict.fromkeys(last)) if reuse else Known()
    results: dict[int, PhotoRecord | PackshotError] = {}
    todo = []
    for index, (source, key) in enumerate(zip(sources.photos, sources.keys, strict=True)):
        found = _taken_over(source, key, known, folder)
        if found is None:
            job = PhotoJob(source.task, key, sources.look_keys[index], folder)
            todo.append((index, Job(source.task.photo.path.name, job)))
        else:
            results[index] = found
    if todo:
        made = _worked_through([job for _, job in todo], len(results), data, jobs)
        results |= {todo[number][0]: result for number, result in made}
    done, lost = [], []
    for index, source in enumerate(sources.photos):
        result = results[index]
        if isinstance(result, PhotoRecord):
            done.append(Done(source, result))
        else:
            lost.append((source, result))
            record = LeftOut.of(source.task.look.mark(PREPARE_FORMAT), result)
            write_record(record, folder / RECORDS / f"{source.task.name}.json")
    return done, lost


def _taken_over(source: Source, key: str, known: Known, folder: Path) -> PhotoRecord | PackshotError | None:
    if key in known.made:
        where, name, record = known.made[key]
        return record if take_over(record.paths(name), where, folder, record.paths(source.task.name)) else None
    if known.left_out and (found := known.left_out.get(source.task.look.mark(PREPARE_FORMAT))):
        return found.as_error()
    return None


def _worked_through(
    todo: list[Job[PhotoJob]], unchanged: int, data: DataSection, jobs: int | None
) -> Iterator[tuple[int, PhotoRecord | PackshotError]]:
    """Prepare the photos that have to be."""
    pixels = len(todo) * data.variants * data.size**2
    processes = min(jobs or usable_cores(), len(todo)) if pixels > QUICK_PIXELS else 1
    if processes > 1:
        todo = [Job(job.name, job.given, job.given.task.memory) for job in todo]
    return work_through(prepare_photo, todo, verb="preparing", unchanged=unchanged, processes=processes)


def _looked(folder: Path, item: Done) -> Looked:
    """What the checks need of a photo."""
    cutout = partial(_opened, folder / "cutouts" / f"{item.source.task.name}.png")
    return Looked(item.source.file_name, item.source.task.look.content, item.record, cutout)


def _opened(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        return picture.convert("RGBA")


def _scenes(
    workspace: Workspace, sources: Sources, data: DataSection, done: Sequence[Done], known: dict[str, str]
) -> dict[str, str]:
    """A captioner's words for the surroundings of the photos that want them, by `_scene_key`; asked once a photo."""
    asked = [item for item in done if sources.captioner and item.source.wants_scene(item.record.examples)]
    keys = [_scene_key(sources, item) for item in asked]
    found = {key: known[key] for key in keys if key in known}
    todo = [(key, item.source.task.look) for key, item in zip(keys, asked, strict=True) if key not in found]
    if todo:
        say(f"describing the surroundings on {len(todo)} photo{'s' if len(todo) > 1 else ''}")
        captioner = Captioner(workspace.root / data.captioner)
        for key, look in todo:
            picture = read_picture(look.photo.path, max_pixels=int(look.config.max_megapixels * 1e6)).picture
            found[key] = captioner.surroundings(picture, look.config.class_noun)
    return found


def _scene_key(sources: Sources, item: Done) -> str:
    look = item.source.task.look
    return fingerprint.of_value([sources.captioner, look.content, look.config.class_noun, look.config.max_megapixels])


def _describe(
    folder: Path,
    sources: Sources,
    data: DataSection,
    done: Sequence[Done],
    left_out: dict[str, str],
    scenes: dict[str, str],
) -> None:
    """Write rows, contact sheet and, last, `prepared.json`."""
    product = sources.product
    variants = 1 if product.config.kind == "brand" else data.variants
    kept = _held_out(done, variants, data.seed)
    rows, photos = [], []
    for item in done:
        name, record = item.source.task.name, item.record
        splits = ["validation" if (item.source.photo, e["variant"]) in kept else "train" for e in record.examples]
        scene = scenes.get(_scene_key(sources, item), "")
        texts = [item.source.text(product, example, scene) for example in record.examples]
        rows += [_row(item, *each) for each in zip(record.examples, splits, texts, strict=True)]
        whole = "train" if "train" in splits else "validation"
        photos.append(PreparedPhoto(photo=item.source.photo, split=whole, **(record.cutout | record.layers(name))))
    write_rows(folder, rows)
    pictures = [(item.source.photo, folder / photo.cutout) for item, photo in zip(done, photos, strict=True)]
    sheet = overview(folder, [] if product.config.kind == "brand" else pictures, rows)
    write_png(sheet, folder / "contact_sheet.png")
    PreparedSet(
        folder=folder,
        sku=product.sku,
        kind=product.config.kind,
        class_noun=product.config.class_noun,
        token=product.token,
        fingerprint=sources.fingerprint(left_out),
        content=sources.content,
        contents=sources.contents,
        size=data.size,
        examples=len(rows),
        photos=tuple(photos),
        settings=data.model_dump(mode="json"),
        left_out=left_out,
    ).write()


def _held_out(done: Sequence[Done], variants: int, seed: int) -> set[tuple[str, int]]:
    """(photo, variant) kept for validation: of each product as in its own prepared set, so that a category's adapter
    is judged on nothing a member's was trained with."""
    kept: set[tuple[str, int]] = set()
    for sku in dict.fromkeys(item.source.member.sku for item in done):
        photos = {item.source.task.photo.stem: item.source.photo for item in done if item.source.member.sku == sku}
        kept |= {(photos[stem], variant) for stem, variant in held_out(list(photos), variants, seed)}
    return kept


def _row(item: Done, example: dict[str, Any], split: str, text: str) -> dict[str, Any]:
    """A row of metadata.jsonl."""
    ending = f"{item.source.task.name}-{example['variant']:02d}.png"
    return {
        "file_name": f"images/{ending}",
        "mask_file_name": f"masks/{ending}",
        "matte_file_name": f"mattes/{ending}",
        "text": text,
        "variant": example["variant"],
        "split": split,
        "sku": item.source.member.sku,
        "photo": item.source.photo,
    } | {name: example[name] for name in ROW_FIELDS}


ROW_FIELDS = (
    *("mask_kind", "seed", "original_width", "original_height"),
    *("crop_top", "crop_left", "target_width", "target_height"),
)
"""What a row takes over from the record as it is."""
