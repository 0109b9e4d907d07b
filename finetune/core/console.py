"""Talk to the user on stderr, and keep the libraries' own chatter out of it.

stdout is data and is written by the commands alone; everything said in passing goes through `say` and `warn`.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Sequence

NOISY_LOGGERS = (
    "diffusers",
    "transformers",
    "peft",
    "accelerate",
    "datasets",
    "bitsandbytes",
    "huggingface_hub",
    "torch.distributed",
    "PIL",
    "matplotlib",
)
SLOW = 0.01
"""Steps a second under which a pace is told in seconds a step."""
_EARLIER_WARNINGS: set[str] = set()


def is_main_process() -> bool:
    """Whether this process prints and writes for its run: the only one, or the first of those `torchrun` started."""
    return "LOCAL_RANK" not in os.environ or os.environ.get("RANK", "0") == "0"


def say(text: str) -> None:
    """Write one line to stderr; only a run's main process does."""
    if is_main_process():
        print(text, file=sys.stderr, flush=True)


def warn(text: str) -> None:
    """Write one warning to stderr; a process writes each text once."""
    if text not in _EARLIER_WARNINGS:
        _EARLIER_WARNINGS.add(text)
        say(f"Warning: {text}")


def span(seconds: float) -> str:
    """A duration in seconds in the usual units: `45 s`, `3 min 12 s`, `2 h 5 min`."""
    whole = round(max(seconds, 0))
    if whole < 60:
        return f"{whole} s"
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {whole % 60} s"


def pace(steps_per_second: float) -> str:
    """How fast steps are: `0.85 steps/s`, or `240 s a step` where a figure in steps a second would read as zero."""
    if 0 < steps_per_second < SLOW:
        return f"{1 / steps_per_second:.0f} s a step"
    return f"{steps_per_second:.2f} steps/s"


def count(number: int, noun: str, plural: str = "") -> str:
    """`1 photo`, `2 photos`.

    Args:
        number: How many.
        noun: What, one of it.
        plural: What, several of it; by default the noun with an s.
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def amount(size: float) -> str:
    """Bytes of memory in words: `604 MiB`, `12.3 GiB`."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:,.0f} MiB"


def listed(names: Sequence[str], most: int = 5) -> str:
    """Names in one line: at most so many of them, the others counted."""
    more = [f"{len(names) - most} more"] if len(names) > most else []
    return ", ".join([*names[:most], *more])


def quiet_libraries() -> None:
    """Silence the libraries' chatter, and what they report home, before they are imported.

    Only what users cannot act on is silenced: import-time notices of parts Packshot does not use, progress bars of
    loaders, deprecations inside libraries. Exceptions are untouched. `datasets` reports loads to a server, even of
    local folders, and onnxruntime, which diffusers imports if it is installed, sends events; both are turned off.
    """
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_UPDATE_DOWNLOAD_COUNTS", "0")
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("BITSANDBYTES_NOWELCOME", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for name in NOISY_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    if not sys.warnoptions:  # the tests run with warnings as errors, and must go on seeing them
        warnings.simplefilter("ignore")
