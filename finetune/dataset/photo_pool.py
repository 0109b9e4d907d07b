"""Photos worked through by several processes within the machine's memory, with a progress bar where someone looks.

Called by the recipes `prepare` and `check`; what is done with a photo is theirs to say.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from finetune.core.console import say
from finetune.dataset.workers import MEMORY_SHARE, Job, free_memory, run_jobs

Given = TypeVar("Given")
Made = TypeVar("Made")


def work_through(
    function: Callable[[Given], Made], todo: Sequence[Job[Given]], *, verb: str, unchanged: int, processes: int
) -> Iterator[tuple[int, Made]]:
    """Do the work on every photo; yield (its index, what came of it) as they end.

    Args:
        verb: what is being done, `preparing`. unchanged: photos that need none of it, for the line that says so.
        processes: at most.

    Raises:
        PackshotError: as `finetune.dataset.workers.run_jobs`.
    """
    processes = min(processes, len(todo))
    photos = f"{len(todo)} photo{'s' if len(todo) > 1 else ''}"
    kept = f", {unchanged} unchanged" if unchanged else ""
    say(f"{verb} {photos}{kept}, {processes} process{'es' if processes > 1 else ''}")
    with _progress(verb, len(todo)) as advance:
        for made in run_jobs(function, todo, processes=processes, memory=int(MEMORY_SHARE * free_memory())):
            yield made
            advance()


class _Advance(Protocol):
    def __call__(self) -> None: ...


@contextmanager
def _progress(verb: str, total: int) -> Iterator[_Advance]:
    """A bar on stderr; nothing where that is no terminal."""
    console = Console(file=sys.stderr)
    columns = (TextColumn(verb), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(verb, total=total)
        yield lambda: bar.advance(task)
