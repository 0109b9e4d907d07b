"""The recipe `packshot prepare`: product set -> prepared set.

Each photo is read, cut out, measured and made into examples by itself (`finetune.photo_work`), several at once; what
the last prepared set holds of an unchanged photo is taken over. The prepared folder is written as a temporary sibling
and swapped in when complete. What is already up to date by fingerprint is left alone. Called by the command line, by
training's set-up and by `nightly`; never changes a photo.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from finetune.check import REPORT, BrandPicture, CheckReport, examine, examine_brand, write_check_report
from finetune.check_report import Shown
from finetune.core.catalog import ProductSet, Workspace, load_set
from finetune.core.console import say
from finetune.core.errors import PackshotError
from finetune.core.images import write_png
from finetune.core.prepared import PreparedPhoto, PreparedSet, read_prepared, require_prepared
from finetune.cutting import Failure, name_failures, refusals
from finetune.file_hashes import FileHashes
from finetune.held_out import held_out
from finetune.looks import Look, look_from_json
from finetune.photo_work import FOLDERS, RECORDS, PhotoJob, PhotoRecord, prepare_photo, read_record
from finetune.prepared_files import overview, rebuilt, take_over, write_rows
from finetune.set_findings import Remembered
from finetune.settings import DataSection
from finetune.sources import Source, Sources, gather
from finetune.workers import MEMORY_SHARE, Job, free_memory, run_jobs, usable_cores

PREPARE_FORMAT = 4
"""Raised when the same input would give other files."""
COMPARISONS = "comparisons.json"
"""What holding the photos side by side came to, for the next time."""
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
        ConfigError: `data.backdrops` names no folder with pictures.
        PackshotError: a set of one photo, with what is wrong with that photo.
        RunError: a process died over a photo.
    """
    product = load_set(workspace, sku)
    hashes = _hashes(workspace, sku, trust=not force)
    sources = gather(workspace, product, data, hashes, PREPARE_FORMAT)
    hashes.save()
    ready = None if force else read_prepared(product.prepared_dir)
    if ready is not None and ready.fingerprint == sources.fingerprint:
        return ready, False
    with rebuilt(product.prepared_dir) as folder:
        _make_folders(folder, sources)
        done, failures = _photos(folder, sources, data, reuse=not force, jobs=jobs)
        name_failures(sku, len(done), failures)
        found, shown = _examined(folder, product, done, failures, data.size)
        found.warn()
        write_check_report(folder / REPORT, found, shown)
        _describe(folder, sources, data, done)
    return require_prepared(product.prepared_dir, sku), True


def prepared_fingerprint(workspace: Workspace, product: ProductSet, data: DataSection) -> str:
    """The fingerprint the prepared set of a product would have now; nothing is made."""
    hashes = _hashes(workspace, product.sku, trust=True)
    wanted = gather(workspace, product, data, hashes, PREPARE_FORMAT).fingerprint
    hashes.save()
    return wanted


def _hashes(workspace: Workspace, sku: str, *, trust: bool) -> FileHashes:
    return FileHashes(workspace.cache / "hashes" / f"{sku}.json", trust=trust)


def _make_folders(folder: Path, sources: Sources) -> None:
    inner = {str(Path(source.task.name).parent) for source in sources.photos}
    for name in FOLDERS:
        for part in sorted(inner):
            (folder / name / part).mkdir(parents=True, exist_ok=True)


def _photos(
    folder: Path, sources: Sources, data: DataSection, *, reuse: bool, jobs: int | None
) -> tuple[list[Done], list[Failure]]:
    """Bring every photo's files into the new folder: taken over where the task is the same, made otherwise."""
    known = _known(sources) if reuse else {}
    results: dict[int, PhotoRecord | PackshotError] = {}
    todo = []
    for index, (source, key) in enumerate(zip(sources.photos, sources.keys, strict=True)):
        record = _taken_over(source, known.get(key), folder)
        if record is None:
            todo.append((index, Job(str(source.task.photo.path.name), PhotoJob(source.task, key, folder))))
        else:
            results[index] = record
    if todo:
        made = _worked_through([job for _, job in todo], len(results), data, jobs)
        results |= {todo[number][0]: result for number, result in made}
    done, failures = [], [failure for member in sources.members for failure in refusals(member)]
    for index, source in enumerate(sources.photos):
        result = results[index]
        if isinstance(result, PhotoRecord):
            done.append(Done(source, result))
        else:
            failures.append(Failure(source.task.photo, result))
    return done, failures


def _known(sources: Sources) -> dict[str, tuple[Path, str, PhotoRecord]]:
    """Every record of the last prepared set (of a category: of its members' too): key -> (folder, name, record)."""
    known: dict[str, tuple[Path, str, PhotoRecord]] = {}
    for product in dict.fromkeys([sources.product.prepared_dir, *(s.member.prepared_dir for s in sources.photos)]):
        root = product / RECORDS
        for path in sorted(root.rglob("*.json")):
            record = read_record(path)
            if record is not None:
                known.setdefault(record.key, (product, path.relative_to(root).with_suffix("").as_posix(), record))
    return known


def _taken_over(source: Source, known: tuple[Path, str, PhotoRecord] | None, folder: Path) -> PhotoRecord | None:
    if known is None:
        return None
    where, name, record = known
    return record if take_over(record.paths(name), where, folder, record.paths(source.task.name)) else None


def _worked_through(
    todo: list[Job[PhotoJob]], unchanged: int, data: DataSection, jobs: int | None
) -> Iterator[tuple[int, PhotoRecord | PackshotError]]:
    """Prepare the photos that have to be, with a progress bar where someone looks at it."""
    pixels = len(todo) * data.variants * data.size**2
    processes = min(jobs or usable_cores(), len(todo)) if pixels > QUICK_PIXELS else 1
    if processes > 1:
        todo = [Job(job.name, job.given, job.given.task.memory) for job in todo]
    photos = f"{len(todo)} photo{'s' if len(todo) > 1 else ''}"
    kept = f", {unchanged} unchanged" if unchanged else ""
    say(f"preparing {photos}{kept}, {processes} process{'es' if processes > 1 else ''}")
    with _progress(len(todo)) as advance:
        for made in run_jobs(prepare_photo, todo, processes=processes, memory=int(MEMORY_SHARE * free_memory())):
            yield made
            advance()


class _Advance(Protocol):
    def __call__(self) -> None: ...


@contextmanager
def _progress(total: int) -> Iterator[_Advance]:
    """A bar on stderr; nothing where that is no terminal."""
    console = Console(file=sys.stderr)
    columns = (TextColumn("preparing"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("preparing", total=total)
        yield lambda: bar.advance(task)


def _examined(
    folder: Path, product: ProductSet, done: Sequence[Done], failures: Sequence[Failure], size: int
) -> tuple[CheckReport, list[Shown]]:
    """The checks, by what the records say; a cutout is opened only to read its label."""
    shown = [Shown(d.source.file_name, d.record.figures) for d in done]
    if product.config.kind == "brand":
        pictures = [
            BrandPicture(d.source.file_name, d.source.task.content, d.record.cutout["width"],
                         d.record.cutout["height"])
            for d in done
        ]  # fmt: skip
        return examine_brand(product, pictures, failures, size=size), shown
    looks = [_look(d) for d in done]
    cutouts = ((d.source.file_name, _opened(folder / "cutouts" / f"{d.source.task.name}.png")) for d in done)
    known = _comparisons(product.prepared_dir)
    found = examine(product, looks, cutouts, failures, size=size, known=known)
    (folder / COMPARISONS).write_text(json.dumps(known, sort_keys=True, ensure_ascii=False), encoding="utf-8")
    return found, shown


def _comparisons(prepared: Path) -> Remembered:
    """What the last prepared set remembers of photos held side by side; nothing where it is damaged."""
    try:
        known: Remembered = json.loads((prepared / COMPARISONS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known


def _look(done: Done) -> Look:
    assert done.record.look is not None
    return replace(look_from_json(done.record.look), name=done.source.file_name)


def _opened(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        return picture.convert("RGBA")


def _describe(folder: Path, sources: Sources, data: DataSection, done: Sequence[Done]) -> None:
    """Write rows, contact sheet and, last, `prepared.json`."""
    product = sources.product
    variants = 1 if product.config.kind == "brand" else data.variants
    kept = _held_out(done, variants, data.seed)
    rows, photos = [], []
    for item in done:
        name, record = item.source.task.name, item.record
        splits = ["validation" if (item.source.photo, e["variant"]) in kept else "train" for e in record.examples]
        rows += [_row(product, item, example, split) for example, split in zip(record.examples, splits, strict=True)]
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
        fingerprint=sources.fingerprint,
        content=sources.content,
        size=data.size,
        examples=len(rows),
        photos=tuple(photos),
        settings=data.model_dump(mode="json"),
    ).write()


def _held_out(done: Sequence[Done], variants: int, seed: int) -> set[tuple[str, int]]:
    """(photo, variant) kept for validation: of each product as in its own prepared set, so that a category's adapter
    is judged on nothing a member's was trained with."""
    kept: set[tuple[str, int]] = set()
    for sku in dict.fromkeys(item.source.member.sku for item in done):
        photos = {item.source.task.photo.stem: item.source.photo for item in done if item.source.member.sku == sku}
        kept |= {(photos[stem], variant) for stem, variant in held_out(list(photos), variants, seed)}
    return kept


def _row(product: ProductSet, item: Done, example: dict[str, Any], split: str) -> dict[str, Any]:
    """A row of metadata.jsonl."""
    ending = f"{item.source.task.name}-{example['variant']:02d}.png"
    return {
        "file_name": f"images/{ending}",
        "mask_file_name": f"masks/{ending}",
        "matte_file_name": f"mattes/{ending}",
        "text": item.source.text(product, example),
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
