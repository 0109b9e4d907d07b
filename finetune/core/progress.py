"""Progress of work in parts: a bar on a terminal, a line every tenth of it in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from finetune.core.console import is_main_process, say, span

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

TENTHS = 10


class Progress:
    """How much of some work is done, told on stderr."""

    def __init__(self, what: str, total: int = 0, stream: Any = None) -> None:
        """Nothing is shown before the block begins.

        Args:
            what: The work, in words: `painting`.
            total: How many parts it has; `reached` may name another number.
            stream: Where a terminal is looked for; stderr by default.
        """
        self.what, self.total, self.done = what, total, 0
        self._stream = stream
        self._began = time.perf_counter()
        self._bar: Bar | None = None
        self._task: Any = None

    def __enter__(self) -> Self:
        """Show the bar where someone looks at a terminal."""
        self._began = time.perf_counter()
        stream = self._stream or sys.stderr
        if stream.isatty() and is_main_process():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
            )
            self._bar = Bar(*columns, console=Console(file=stream), transient=True)
            self._task = self._bar.add_task(self.what, total=self.total or None)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away."""
        if self._bar:
            self._bar.stop()
            self._bar = None

    def advance(self) -> None:
        """One more part is done."""
        self.reached(self.done + 1, self.total)

    def extend(self, parts: int) -> None:
        """So many parts more are to be done than was thought."""
        self.total += parts

    def reached(self, done: int, total: int) -> None:
        """So many parts of so many are done."""
        before, self.done, self.total = self.done, done, total
        if self._bar:
            self._bar.update(self._task, completed=done, total=total)
        elif total and done * TENTHS // total > before * TENTHS // total:
            left = (time.perf_counter() - self._began) / done * (total - done)
            say(f"  {self.what}: {done}/{total}" + (f", {span(left)} left" if done < total else ""))
