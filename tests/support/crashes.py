"""Runs that crash at a chosen step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


class Killed(Exception):
    """Stands for a crash in the middle of a run."""


@contextmanager
def training_dies(after: int) -> Iterator[None]:
    """Training crashes when it computes the loss of one batch more than `after`, and that is expected."""
    from finetune.training import loop

    real, calls, patch = loop.batch_loss, [], pytest.MonkeyPatch()

    def dies(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) > after:
            raise Killed
        return real(*arguments)

    patch.setattr(loop, "batch_loss", dies)
    try:
        with pytest.raises(Killed):
            yield
    finally:
        patch.undo()
