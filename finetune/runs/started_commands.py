"""A `packshot` command as a process of its own, and why it failed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from finetune.core.commands import ERROR_FILE
from finetune.core.errors import PackshotError
from finetune.core.json_files import Document, read_json


def run_command(workspace: Path, arguments: list[str], log: Path, timeout_minutes: float) -> tuple[int, str]:
    """Run `packshot ARGUMENTS` as a process of its own.

    Args:
        workspace: Its folder, given to the command.
        arguments: The command and its arguments.
        log: Its stdout and stderr are appended to this file.
        timeout_minutes: It is stopped after that.

    Returns:
        Its exit code, and why it failed (empty if it did not).
    """
    line = [sys.executable, "-P", "-m", "finetune.core.commands", *arguments, "--workspace", str(workspace)]
    problem = log.with_suffix(".error.json")
    problem.unlink(missing_ok=True)
    with log.open("ab") as handle:
        handle.write(f"$ packshot {' '.join(arguments)}\n".encode())
        handle.flush()
        try:
            code = subprocess.run(
                line,
                stdin=subprocess.DEVNULL,
                stdout=handle,
                stderr=handle,
                env=os.environ | {"NO_COLOR": "1", ERROR_FILE: str(problem)},
                timeout=timeout_minutes * 60,
            ).returncode
        except subprocess.TimeoutExpired:
            return 1, f"stopped after {timeout_minutes:g} minutes (timeout_minutes)"
    return code, _why(code, problem, log) if code else ""


class _Problem(Document):
    """What a command that failed leaves for the program that started it."""

    message: str


def _why(code: int, problem: Path, log: Path) -> str:
    """What a command wrote about its failure; a crashed or killed one wrote nothing."""
    try:
        return read_json(problem, _Problem, PackshotError).message
    except PackshotError:
        ended = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        return f"{ended}, see {log.name}"
    finally:
        problem.unlink(missing_ok=True)
