"""Working through the photos of a set: known ones are taken over, the others shared out to processes.

The memory that all processes may need together is limited, and a progress bar is shown on a terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from finetune.core.console import count, say
from finetune.core.machine_memory import machine_memory
from finetune.core.products.set_files import UnusablePhoto
from finetune.dataset.photo_task import MeasureTask
from finetune.dataset.records import PhotoRecord, UnusableRecord, write_record
from finetune.dataset.workers import MEMORY_SHARE, Job, run_jobs, usable_cores

Outcome = PhotoRecord | UnusablePhoto


class JobOfPhoto(Protocol):
    """The work on one photo: `MeasureJob` or `PhotoJob`."""

    @property
    def measure(self) -> MeasureTask:
        """What reading and cutting out the photo depends on."""

    @property
    def record_path(self) -> Path:
        """Where its record goes."""

    @property
    def pixels(self) -> int:
        """Pixels that the time it takes depends on."""

    @property
    def memory(self) -> int:
        """Bytes it is expected to need."""


Work = TypeVar("Work", bound=JobOfPhoto)


@dataclass(frozen=True)
class WorkedThrough(Generic[Work]):
    """The photos of a set after the work on them."""

    done: list[tuple[Work, PhotoRecord]]
    """In the order of the set."""
    unusable: list[tuple[Work, UnusablePhoto]]
    """In the order of the set."""


def work_through(
    work: Sequence[Work],
    known: Callable[[Work], Outcome | None],
    make: Callable[[Work], Outcome],
    *,
    verb: str,
    processes: int | None,
    few_pixels: int,
) -> WorkedThrough[Work]:
    """Work through the photos of a set. New failures are recorded, so that they become known.

    Args:
        work: one job per photo.
        known: gives the outcome of a job that need not be done; None if it must.
        make: does a job; a function of the top level of a module. It writes the record of what it makes.
        verb: for the user, `preparing`.
        processes: at most; None for one per usable core. The outcome is the same for any number.
        few_pixels: pixels of all jobs together up to which one process is used: starting others would take longer.

    Raises:
        PackshotError: as `finetune.dataset.workers.run_jobs`.
    """
    outcomes = [known(job) for job in work]
    todo = [index for index, outcome in enumerate(outcomes) if outcome is None]
    if todo:
        alone = sum(work[index].pixels for index in todo) <= few_pixels
        count = 1 if alone else min(processes or usable_cores(), len(todo))
        _announce(verb, len(todo), len(work) - len(todo), count)
        jobs = [Job(work[i].measure.photo.path.name, work[i], work[i].memory if count > 1 else 0) for i in todo]
        for number, made in _with_progress(verb, make, jobs, count):
            job = work[todo[number]]
            outcomes[todo[number]] = made
            if isinstance(made, UnusablePhoto):
                write_record(UnusableRecord.of(job.measure.failure_key, made), job.record_path)
    result: WorkedThrough[Work] = WorkedThrough([], [])
    for job, outcome in zip(work, outcomes, strict=True):
        if isinstance(outcome, PhotoRecord):
            result.done.append((job, outcome))
        elif outcome is not None:
            result.unusable.append((job, outcome))
    return result


def _announce(verb: str, photos: int, unchanged: int, processes: int) -> None:
    rest = f", {unchanged} unchanged" if unchanged else ""
    say(f"{verb} {count(photos, 'photo')}{rest}, {count(processes, 'process', 'processes')}")


def _with_progress(
    verb: str, make: Callable[[Work], Outcome], jobs: Sequence[Job[Work]], processes: int
) -> Iterator[tuple[int, Outcome]]:
    """Do the jobs, with a bar on stderr if that is a terminal."""
    console = Console(file=sys.stderr)
    columns = (TextColumn(verb), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(verb, total=len(jobs))
        for made in run_jobs(make, jobs, processes=processes, memory=int(MEMORY_SHARE * machine_memory().available)):
            yield made
            bar.advance(task)
