"""A pool of processes for many small jobs, one process per core, within the machine's memory.

Processes are spawned (they inherit no state), compute with one thread each, and ignore Ctrl-C: the caller gets it, ends
them, and cleans up. The results do not depend on which process does what.

Why not `concurrent.futures.ProcessPoolExecutor`: when a process dies it fails every pending job alike, so that the
photo at which memory ran out could not be named; and it starts jobs without regard to their memory.
"""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Generic, TypeVar

from finetune.core.errors import PackshotError, RunError

Given = TypeVar("Given")
Made = TypeVar("Made")

MEMORY_SHARE = 0.7
"""Share of the free memory that all running jobs together may be expected to need."""
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables by which numerical libraries limit their threads."""


@dataclass(frozen=True)
class Job(Generic[Given]):
    """One piece of work."""

    name: str
    """Its name in errors."""
    given: Given
    """Argument of the function; it must be picklable if there are several processes."""
    memory: int = 0
    """Bytes it is expected to need."""


def usable_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_jobs(
    function: Callable[[Given], Made], jobs: Sequence[Job[Given]], *, processes: int, memory: int
) -> Iterator[tuple[int, Made]]:
    """Do every job, and yield its index and its result as it ends, in any order.

    Args:
        function: does a job; it stands at the top level of a module.
        jobs: to do.
        processes: at most; with 1 the work is done in this process.
        memory: bytes that the jobs running at once are expected to need together at most; one always runs.

    Raises:
        PackshotError: a job raised it.
        RunError: a job failed otherwise, or its process died; the message names the job.
    """
    if min(processes, len(jobs)) <= 1:
        for index, job in enumerate(jobs):
            yield index, function(job.given)
        return
    pool = _Pool(function, min(processes, len(jobs)))
    try:
        yield from pool.work(jobs, memory)
    finally:
        pool.end()


class _Pool(Generic[Given, Made]):
    """The processes, and which job each of them is doing."""

    def __init__(self, function: Callable[[Given], Made], size: int) -> None:
        context = get_context("spawn")
        self._idle: list[tuple[SpawnProcess, Connection]] = []
        self._busy: dict[Connection, tuple[SpawnProcess, int]] = {}
        with _interrupts_blocked(), _environment(dict.fromkeys(THREAD_VARIABLES, "1")):
            for _ in range(size):
                ours, theirs = context.Pipe()
                process = context.Process(target=_serve, args=(theirs, function), daemon=True)
                process.start()
                theirs.close()
                self._idle.append((process, ours))

    def work(self, jobs: Sequence[Job[Given]], memory: int) -> Iterator[tuple[int, Made]]:
        waiting = list(range(len(jobs)))[::-1]
        while waiting or self._busy:
            self._hand_out(jobs, waiting, memory)
            for ready in wait(list(self._busy)):
                assert isinstance(ready, Connection)
                process, index = self._busy.pop(ready)
                yield index, self._received(ready, process, jobs[index].name)
                self._idle.append((process, ready))

    def _hand_out(self, jobs: Sequence[Job[Given]], waiting: list[int], memory: int) -> None:
        needed = sum(jobs[index].memory for _, index in self._busy.values())
        while waiting and self._idle:
            job = jobs[waiting[-1]]
            if self._busy and needed + job.memory > memory:
                return
            process, connection = self._idle.pop()
            self._busy[connection] = (process, waiting.pop())
            needed += job.memory
            try:
                connection.send(job.given)
            except BrokenPipeError as error:
                raise _died(process, job.name) from error

    def _received(self, connection: Connection, process: SpawnProcess, name: str) -> Made:
        try:
            kind, value = connection.recv()
        except (EOFError, ConnectionResetError) as error:
            raise _died(process, name) from error
        if kind == "error":
            raise value
        if kind == "traceback":
            failed = RunError(f"{name}: {value.strip().splitlines()[-1]}", "report what --debug prints")
            failed.add_note(value)
            raise failed
        made: Made = value
        return made

    def end(self) -> None:
        """End every process; those that are working are terminated."""
        every = [*self._idle, *((process, connection) for connection, (process, _) in self._busy.items())]
        for process, connection in every:
            connection.close()
            if any(process is busy for busy, _ in self._busy.values()):
                process.terminate()
        for process, _ in every:
            process.join(5)
            if process.is_alive():
                process.kill()
                process.join()


def _died(process: SpawnProcess, name: str) -> RunError:
    process.join(5)
    code = process.exitcode
    reason = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"
    hint = "memory most likely ran out: use --jobs 1, or a smaller photo"
    return RunError(f"{name}: the process working on it {reason}", hint)


def _serve(connection: Connection, function: Callable[[Any], Any]) -> None:
    """The loop of a process: receive a job, do it, send the result, until the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            given = connection.recv()
        except (EOFError, ConnectionResetError):
            return
        try:
            answer: tuple[str, Any] = ("made", function(given))
        except (PackshotError, OSError) as error:
            answer = ("error", error)
        except Exception:
            answer = ("traceback", traceback.format_exc())
        try:
            connection.send(answer)
        except BrokenPipeError:
            return


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Processes started here never receive Ctrl-C, not even while they start; this one receives it right after."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for processes started here."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
