"""The recipe `packshot check`: the pre-flight report of a product set.

Every photo that neither the prepared set nor an earlier check knows is cut out and measured, several at once. The
checks turn the measures into findings, and the page is written. Photos and prepared sets are never changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from PIL import Image

from finetune.checks.answer_cache import FILE as ANSWERS
from finetune.checks.answer_cache import AnswerCache, read_answers
from finetune.checks.examination import CheckedPhoto, CheckReport, examine, write_check_report
from finetune.core.console import count, say
from finetune.core.errors import CatalogError, ConfigError
from finetune.core.products.catalog import ProductSet, Workspace, load_set
from finetune.core.products.housekeeping import check_folders
from finetune.core.storage.durable import may_become_file
from finetune.core.storage.file_hashes import FileHashes
from finetune.dataset.files import plain_name
from finetune.dataset.photo_pool import Outcome, WorkedThrough, work_through
from finetune.dataset.photo_task import MeasureJob, MeasureTask, check_photo
from finetune.dataset.records import RECORDS, PhotoRecord, UnusableRecord, read_record
from finetune.dataset.sources import measure_tasks
from finetune.matting.photo import cut_photo

REPORT = "report.html"
FEW_PHOTO_PIXELS = 8_000_000
"""Pixels of photos up to which one process checks them: starting more would take longer than it saves."""


def check_set(
    workspace: Workspace, sku: str, *, size: int, report: Path | None = None, force: bool = False, jobs: int | None = 1
) -> tuple[CheckReport, Path]:
    """Check one product set and write its page. Photos that the prepared set or an earlier check knows are not opened.

    Args:
        workspace: with the set.
        sku: of the set.
        size: side of the training examples in pixels.
        report: path of the page; by default `report.html` in the set's folder, beside the prepared set.
        force: measure every photo again.
        jobs: processes at most; None for one per core. The findings are the same for any number.

    Returns:
        The findings, and the path of the page.

    Raises:
        CatalogError: the set is unknown, empty or a category set.
        ConfigError: the page cannot be written there.
        RunError: a process died over a photo.
    """
    product = load_set(workspace, sku)
    if product.config.kind == "category":
        raise CatalogError(f"'{sku}' is a category set", "check the SKUs that name it")
    check_folders(workspace, sku)
    path = report or product.folder / REPORT
    if not may_become_file(path) or not path.parent.is_dir():
        raise ConfigError(f"the report cannot be written to {path}", "name a file in an existing folder")
    hashes = FileHashes(workspace.cache / "hashes" / f"{sku}.json", trust=not force)
    tasks = measure_tasks(product, hashes.of_file)
    hashes.save(forget=False)
    folder = workspace.cache / "checks" / sku
    worked = _measured(product, tasks, folder, reuse=not force, jobs=jobs)
    answers = AnswerCache() if force else read_answers(folder / ANSWERS, product.prepared_dir / ANSWERS)
    photos = [_checked(job.task, record) for job, record in worked.done]
    unusable = [*product.unusable, *(photo for _, photo in worked.unusable)]
    found, answers = examine(product, photos, unusable, size=size, answers=answers)
    answers.write(folder / ANSWERS)
    write_check_report(path, found, photos)
    say(
        f"checked {sku}: {found.usable} of {count(found.photos, 'photo')} can be used, "
        f"{count(found.count('error'), 'error')}, {count(found.count('warning'), 'warning')}, "
        f"{count(found.count('note'), 'note')}"
    )
    return found, path


def _measured(
    product: ProductSet, tasks: Sequence[MeasureTask], folder: Path, *, reuse: bool, jobs: int | None
) -> WorkedThrough[MeasureJob]:
    """Measure every photo of a set. Records that the prepared set lacks are kept in `folder`; old ones are removed."""
    work = [MeasureJob(task, folder / f"{task.key}.json") for task in tasks]
    current = {folder / ANSWERS, *(job.record_path for job in work)}

    def known(job: MeasureJob) -> Outcome | None:
        prepared = product.prepared_dir / RECORDS / f"{plain_name(job.task.photo.stem)}.json"
        return _known(job.task, (prepared, job.record_path)) if reuse else None

    result = work_through(work, known, check_photo, verb="checking", processes=jobs, few_pixels=FEW_PHOTO_PIXELS)
    for stale in set(folder.glob("*.json")) - current:
        stale.unlink(missing_ok=True)
    return result


def _known(task: MeasureTask, paths: Sequence[Path]) -> Outcome | None:
    """The outcome in the first record that is of this photo as it is now."""
    for path in paths:
        record = read_record(path)
        if isinstance(record, PhotoRecord) and record.cutout_key == task.key:
            return record
        if isinstance(record, UnusableRecord) and record.failure_key == task.failure_key:
            return record.photo(task.photo.path)
    return None


def _checked(task: MeasureTask, record: PhotoRecord) -> CheckedPhoto:
    return CheckedPhoto(
        name=task.photo.path.name,
        content=task.content,
        key=record.cutout_key,
        size=(record.cutout.width, record.cutout.height),
        facts=record.facts,
        figures=record.figures,
        open_cutout=partial(_cutout, task),
    )


def _cutout(task: MeasureTask) -> Image.Image:
    return cut_photo(task.photo, task.config).cutout.rgba
