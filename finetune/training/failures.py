"""Errors of libraries during a run, mapped to ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from finetune.core.console import is_main_process
from finetune.core.device import is_out_of_memory
from finetune.core.errors import OutOfMemory, PackshotError, RunError
from finetune.runs.folder import RunFolder
from finetune.training import distributed


@contextmanager
def mapped_errors(run: RunFolder) -> Iterator[None]:
    """Map what may go wrong in a run; a run that is refused before its first step leaves no folder.

    Args:
        run: the run's folder.

    Raises:
        RunError: another process of the run has ended.
        OutOfMemory: the device's memory is too small.
    """
    try:
        yield
    except PackshotError:
        if is_main_process():
            run.forget_unless_begun()
        raise
    except (RuntimeError, MemoryError) as error:
        if distributed.lost_another(error):
            raise RunError(
                "another process of this run has ended; its own output says why",
                "run the same command again to resume",
            ) from error
        if is_out_of_memory(error):
            raise OutOfMemory(
                "the device has too little memory for this run",
                "`packshot plan` shows what fits; a smaller preset, adapter.rank or data.size needs less",
            ) from error
        raise
