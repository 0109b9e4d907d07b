"""The recipe `packshot check`: the pre-flight report of a product set. `prepare` calls `examine` with its own records.

Cuts out and measures every photo that neither the prepared set nor an earlier check knows, several at once, turns the
measures into findings, and writes the page. Never changes a photo or a prepared set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from finetune.checks.answer_cache import FILE as REMEMBERED
from finetune.checks.answer_cache import Remembered, read_remembered
from finetune.checks.photo_facts import Look, look_from_json
from finetune.checks.photo_findings import Finding, photo_findings
from finetune.checks.report import Shown, write_report
from finetune.checks.set_findings import count_views, set_findings
from finetune.core.console import say, warn
from finetune.core.errors import CatalogError, ConfigError, PackshotError
from finetune.core.label_ocr import Labelled, label_findings, open_reader
from finetune.core.products.catalog import ProductSet, Workspace, load_set
from finetune.core.storage.file_hashes import FileHashes
from finetune.dataset.files import plain_name
from finetune.dataset.photo_pool import work_through
from finetune.dataset.photo_task import LookJob, LookTask, look_at_photo
from finetune.dataset.records import PREPARE_FORMAT, RECORDS, LeftOut, PhotoRecord, read_record, write_record
from finetune.dataset.sources import look_tasks
from finetune.dataset.workers import Job, usable_cores
from finetune.matting.photo import Failure, cut_photo, refusals

REPORT = "report.html"
QUICK_PIXELS = 8_000_000
"""Pixels of photos for which starting more processes takes longer than it saves."""


@dataclass(frozen=True)
class CheckReport:
    """What the checks found on a set."""

    sku: str
    photos: int
    """Photos in the folder."""
    usable: int
    """Of these, how many can be trained on."""
    views: int
    """Photos that are left when near duplicates count once."""
    findings: tuple[Finding, ...]
    """Worst first."""

    @property
    def trainable(self) -> bool:
        """Is there anything to train on?"""
        return self.usable > 0

    def count(self, severity: str) -> int:
        """How many findings are of this severity."""
        return sum(finding.severity == severity for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        counts = {f"{name}s": self.count(name) for name in ("error", "warning", "note")}
        facts = {"sku": self.sku, "photos": self.photos, "usable": self.usable, "views": self.views}
        return facts | counts | {"findings": [asdict(finding) for finding in self.findings]}

    def warn(self) -> None:
        """Say each error and warning in one line on stderr; photos left out are named where they are left out."""
        for finding in self.findings:
            if finding.severity != "note" and finding.check != "file":
                warn(finding.line(self.sku))


@dataclass(frozen=True)
class Looked:
    """A photo that was looked at, now or earlier."""

    name: str
    """File name; in a category after its SKU."""
    content: str
    """Fingerprint of the file's bytes."""
    record: PhotoRecord
    open_cutout: Callable[[], Image.Image]
    """Gives its cutout, RGBA."""


def check_set(
    workspace: Workspace, sku: str, *, size: int, report: Path | None = None, force: bool = False, jobs: int | None = 1
) -> tuple[CheckReport, Path]:
    """Check one product set and write its page. Photos that the prepared set or an earlier check knows are not opened.

    Args:
        size: side of the training examples in pixels.
        report: the page's file; default: `report.html` in the set's folder, beside the prepared set.
        force: look at every photo again.
        jobs: processes at most; None for one a core. What is found is the same for any number.

    Returns:
        What was found, and where the page stands.

    Raises:
        CatalogError: unknown or empty set, or a category set.
        ConfigError: the page cannot be written there.
        RunError: a process died over a photo.
    """
    product = load_set(workspace, sku)
    if product.config.kind == "category":
        raise CatalogError(f"'{sku}' is a category set", "check the SKUs that name it")
    path = report or product.folder / REPORT
    if path.is_dir() or not path.parent.is_dir():
        raise ConfigError(f"the report cannot be written to {path}", "name a file in a folder that is there")
    hashes = FileHashes(workspace.cache / "hashes" / f"{sku}.json", trust=not force)
    tasks = look_tasks(product, hashes.of_file)
    hashes.save(forget=False)
    folder = workspace.cache / "checks" / sku
    looked, failures = _look_through(product, tasks, folder, reuse=not force, jobs=jobs)
    memory = Remembered() if force else read_remembered(folder / REMEMBERED, product.prepared_dir / REMEMBERED)
    found = examine(product, looked, failures, size=size, memory=memory)
    memory.write(folder / REMEMBERED)
    write_check_report(path, found, looked)
    say(
        f"checked {sku}: {found.usable} of {found.photos} photos can be used, {found.count('error')} errors, "
        f"{found.count('warning')} warnings, {found.count('note')} notes"
    )
    return found, path


def _look_through(
    product: ProductSet, tasks: Sequence[LookTask], folder: Path, *, reuse: bool, jobs: int | None
) -> tuple[list[Looked], list[Failure]]:
    """Look at every photo of a set; the records of those the prepared set does not hold are kept in `folder`."""
    results: dict[int, PhotoRecord | PackshotError] = {}
    todo, kept = [], {folder / REMEMBERED}
    for index, task in enumerate(tasks):
        key = task.key(PREPARE_FORMAT)
        prepared = product.prepared_dir / RECORDS / f"{plain_name(task.photo.stem)}.json"
        own = folder / f"{key}.json"
        found = _known(task, key, (prepared, own)) if reuse else None
        if found is None:
            todo.append((index, LookJob(task, key, own)))
        else:
            results[index] = found
        kept.add(own)
    if todo:
        processes = (jobs or usable_cores()) if sum(job.task.pixels for _, job in todo) > QUICK_PIXELS else 1
        work = [Job(job.task.photo.path.name, job, job.task.memory) for _, job in todo]
        made = work_through(look_at_photo, work, verb="checking", unchanged=len(results), processes=processes)
        for number, result in made:
            index, job = todo[number]
            results[index] = result
            if isinstance(result, PackshotError):
                write_record(LeftOut.of(job.task.mark(PREPARE_FORMAT), result), job.path)
    for stale in set(folder.glob("*.json")) - kept:
        stale.unlink(missing_ok=True)
    looked, failures = [], refusals(product)
    for index, task in enumerate(tasks):
        result = results[index]
        if isinstance(result, PhotoRecord):
            looked.append(Looked(task.photo.path.name, task.content, result, partial(_cutout, task)))
        else:
            failures.append(Failure(task.photo, result))
    return looked, failures


def _known(task: LookTask, key: str, paths: Sequence[Path]) -> PhotoRecord | PackshotError | None:
    """What the first record says that is of this photo as it is now."""
    for path in paths:
        record = read_record(path)
        if isinstance(record, PhotoRecord) and record.look_key == key:
            return record
        if isinstance(record, LeftOut) and record.mark == task.mark(PREPARE_FORMAT):
            return record.as_error()
    return None


def _cutout(task: LookTask) -> Image.Image:
    return cut_photo(task.photo, task.config).cutout.rgba


def examine(
    product: ProductSet, looked: Sequence[Looked], failures: Sequence[Failure], *, size: int, memory: Remembered
) -> CheckReport:
    """Check a set by what its photos' records say; a cutout is opened only to read its label.

    Args:
        failures: photos that could not be read or cut out. size: side of the training examples in pixels.
        memory: of an earlier call; brought up to date.
    """
    if product.config.kind == "brand":
        facts = [(one, one.record.cutout) for one in looked]
        pictures = [BrandPicture(one.name, one.content, cutout["width"], cutout["height"]) for one, cutout in facts]
        return examine_brand(product, pictures, failures, size=size)
    looks = [_look(one) for one in looked]
    plural = _is_plural(product.config.class_noun)
    found = _left_out(failures, len(looks))
    for look in looks:
        found += photo_findings(look, size=size, plural=plural)
    if product.config.kind != "category":  # its members are meant to differ
        found += set_findings(looks, memory.colours)
    if product.config.label_text and looks:
        cutouts = (Labelled(one.record.look_key, one.open_cutout) for one in looked)
        found += label_findings(product.config.label_text, cutouts, open_reader(), memory.labels)
    return _report(product.sku, len(looks), failures, count_views(looks), found)


def _look(one: Looked) -> Look:
    assert one.record.look is not None
    return replace(look_from_json(one.record.look), name=one.name)


@dataclass(frozen=True)
class BrandPicture:
    """What the checks need of a brand set's picture."""

    name: str
    """File name."""
    content: str
    """Fingerprint of the file's bytes."""
    width: int
    height: int


def examine_brand(
    product: ProductSet, pictures: Sequence[BrandPicture], failures: Sequence[Failure], *, size: int
) -> CheckReport:
    """Check the pictures of a brand set: they are learned whole, so only their size and copies matter."""
    found = _left_out(failures, len(pictures))
    seen: dict[str, str] = {}
    for picture in pictures:
        name = picture.name
        if min(picture.width, picture.height) < size:
            what = f"the picture is {picture.width}x{picture.height} pixels, under the training size {size}"
            why = "it is enlarged for training, and the adapter learns the softness"
            found.append(Finding("resolution", "warning", name, what, why, "give a larger picture"))
        if picture.content in seen:
            what, why = f"the same file as {seen[picture.content]}", "it adds nothing, and counts twice in training"
            found.append(Finding("duplicate", "warning", name, what, why, "leave one out"))
        seen.setdefault(picture.content, name)
    return _report(product.sku, len(pictures), failures, len(seen), found)


def _left_out(failures: Sequence[Failure], good: int) -> list[Finding]:
    """A photo that cannot be used: an error where no other is left to train on, else a warning."""
    return [
        Finding(
            "file",
            "warning" if good else "error",
            failure.photo.path.name,
            f"left out: {failure.error.message}",
            "nothing is learned from it" if good else "there is no photo left to train on",
            failure.error.hint or "mend or remove it",
        )
        for failure in failures
    ]


def _report(sku: str, good: int, failures: Sequence[Failure], views: int, found: list[Finding]) -> CheckReport:
    order = {"error": 0, "warning": 1, "note": 2}
    ranked = tuple(sorted(found, key=lambda finding: (order[finding.severity], finding.photo)))
    return CheckReport(sku, good + len(failures), good, views, ranked)


def _is_plural(noun: str) -> bool:
    """Does the noun name a pair or a set (loafers, earrings), so that several pieces are one product?"""
    last = noun.split()[-1].lower()
    return (last.endswith("s") and not last.endswith("ss")) or last in ("pair", "set")


def write_check_report(path: Path, found: CheckReport, looked: Sequence[Looked]) -> None:
    """Write the page of a check: every photo with what was found on it."""
    facts = f"{found.usable} of {found.photos} photos can be used, {found.views} views"
    write_report(path, found.sku, facts, found.findings, [Shown(one.name, one.record.figures) for one in looked])
