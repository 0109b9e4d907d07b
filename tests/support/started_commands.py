"""`packshot` commands as processes that can be killed: forked from a server that has imported the libraries once."""

from __future__ import annotations

import multiprocessing
import os
import re
import resource
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["imported_libraries"])
PATIENCE = 600.0


@dataclass(frozen=True)
class At:
    """A place in a program: the n-th audit event (sys.addaudithook) of this name with an argument that matches."""

    event: str
    pattern: str
    """Regular expression, searched in each argument."""
    number: int = 1


@dataclass
class Started:
    """A running command."""

    process: ForkServerProcess
    output: Path

    def wait(self) -> int:
        """Its exit code; -9 for a process that was killed."""
        self.process.join(PATIENCE)
        assert self.process.exitcode is not None, f"still running: {self.said()}"
        return self.process.exitcode

    def said(self) -> str:
        """Its stdout and stderr so far."""
        return self.output.read_text(encoding="utf-8") if self.output.exists() else ""

    def wait_until(self, happened: Callable[[], bool]) -> None:
        """Return as soon as something is so, while the command runs."""
        end = time.monotonic() + PATIENCE
        while not happened():
            assert self.process.is_alive(), self.said()
            assert time.monotonic() < end, self.said()
            time.sleep(0.005)


def start(
    output: Path, *arguments: str, kill: At | None = None, largest_file: int | None = None, **environment: str
) -> Started:
    """Start `packshot` with these arguments.

    Args:
        output: file for its stdout and stderr. kill: where it shall kill itself (SIGKILL). largest_file: bytes after
            which the system refuses to write on in a file. environment: added to ours.
    """
    process = CONTEXT.Process(target=_run, args=(output, arguments, kill, largest_file, environment))
    _ensure_server()
    process.start()
    return Started(process, output)


def _ensure_server() -> None:
    """Start the server; it finds modules by PYTHONPATH alone, and what it can't preload it leaves out in silence."""
    before = os.environ.get("PYTHONPATH")
    here = Path(__file__).parent
    os.environ["PYTHONPATH"] = os.pathsep.join([str(here), str(here.parents[1]), *([before] if before else [])])
    try:
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def stop_server() -> None:
    """End the server and wait for it, so that the time its commands took counts as ours; called when all tests ran."""
    forkserver._forkserver._stop()  # type: ignore[attr-defined]  # Python's own way to end it has no public name


def _run(
    output: Path, arguments: tuple[str, ...], kill: At | None, largest_file: int | None, environment: dict[str, str]
) -> None:
    assert "imported_libraries" in sys.modules, "the server has preloaded nothing"
    import torch

    from finetune.core.commands import main

    os.environ.update(environment)
    sys.argv = ["packshot", *arguments]
    with output.open("ab") as handle:
        os.dup2(handle.fileno(), 1)
        os.dup2(handle.fileno(), 2)
    torch.set_num_threads(1)
    if largest_file:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    if kill:
        sys.addaudithook(_killer(kill))
    main(list(arguments), prog_name="packshot")


def _killer(at: At) -> Callable[[str, tuple[object, ...]], None]:
    seen = [0]

    def look(event: str, arguments: tuple[object, ...]) -> None:
        if event == at.event and any(re.search(at.pattern, str(a)) for a in arguments):
            seen[0] += 1
            if seen[0] == at.number:
                os.kill(os.getpid(), signal.SIGKILL)

    return look


def pair(folder: Path, port: int, *arguments: str, **environment: str) -> list[Started]:
    """Two processes of one run, as `torchrun --nproc-per-node 2` starts them."""
    shared = environment | {
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    return [
        start(folder / f"said-{rank}.txt", *arguments, **shared, RANK=str(rank), LOCAL_RANK=str(rank))
        for rank in range(2)
    ]
