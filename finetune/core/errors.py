"""Every error Packshot shows a user, in one tree.

    PackshotError                  exit 1
    ├── ConfigError                a setting is misspelt, out of range, or clashes with another
    ├── CatalogError               a product set is unknown, empty or malformed
    ├── ImageError                 a picture cannot be read or used
    ├── CutoutError                a product cannot be separated from its ground
    ├── BaseModelError             a base is not on disk, incomplete, or not SDXL
    ├── AdapterError               an adapter file or version is missing or damaged
    │   └── AdapterMismatch        an adapter does not fit the base it was given
    ├── RunError                   a run cannot start, resume or write
    │   ├── OutOfMemory            the device has too little memory
    │   └── StateWriteError        the disk refused a file that a run has to keep
    └── GateNotMet                 exit 3: a fidelity gate was not met

Each carries a one-line message and, where there is a cure, a hint. Foreign exceptions are mapped to these at the
seam where they arise; `finetune.core.commands` is the one place that prints them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PackshotError(Exception):
    """Something the user can fix. `message` says what is wrong, `hint` what to do about it."""

    exit_code = 1
    of_one_process = False
    """Whether a single process of a run may raise it, which then has to print it; otherwise all processes raise it, and
    only the main one prints."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class ConfigError(PackshotError):
    """A setting is misspelt, out of range, or clashes with another."""


class CatalogError(PackshotError):
    """A product set is unknown, empty or malformed."""


class ImageError(PackshotError):
    """A picture cannot be read or used."""


class CutoutError(PackshotError):
    """A product cannot be separated from its ground."""


class BaseModelError(PackshotError):
    """A base is not on disk, incomplete, or not an SDXL model."""


class AdapterError(PackshotError):
    """An adapter file or version is missing or damaged."""


class AdapterMismatch(AdapterError):
    """An adapter does not fit the base it was given."""


class RunError(PackshotError):
    """A run cannot start, resume or write."""

    def __init__(self, message: str, hint: str = "", *, of_one_process: bool = True) -> None:
        super().__init__(message, hint)
        self.of_one_process = of_one_process


class OutOfMemory(RunError):
    """The device has too little memory."""


class StateWriteError(RunError):
    """The disk refused a file that a run has to keep."""


class GateNotMet(PackshotError):
    """A fidelity gate was not met."""

    exit_code = 3


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?` for the nearest of `known`; an empty string if none is near."""
    found = nearest(word, known)
    return f"did you mean '{found}'?" if found else ""


def nearest(word: str, known: Iterable[str]) -> str:
    """The one of `known` that is most similar to `word`, regardless of case; empty if none is."""
    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), list(by_lower), n=1, cutoff=0.6)
    return by_lower[near[0]] if near else ""
