"""The fidelity report in a version's folder, `fidelity.json`, as everything but the evaluation itself reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from finetune.core.adapters.versions import AdapterVersion
from finetune.core.errors import AdapterError
from finetune.core.json_files import Document, read_json

FILE = "fidelity.json"


class ScoreLine(Document):
    """One score."""

    name: str
    value: float | None
    unit: str
    better: Literal["higher", "lower"]
    bar: float | None
    verdict: str


class FidelityReport(Document):
    """What is read of a report."""

    fingerprint: str
    verdict: str
    scores: tuple[ScoreLine, ...]
    gate_file: str = ""


def read_report(version: AdapterVersion) -> FidelityReport | None:
    """The report of a version; None for one that was not evaluated.

    Raises:
        AdapterError: it is damaged.
    """
    return read_report_file(version.folder / FILE, version.sku, version.number)


def read_report_file(path: Path, sku: str, number: str) -> FidelityReport | None:
    """The report in a file; arguments name the version for the hint. Errors as for `read_report`."""
    if not path.exists():
        return None
    hint = f"run: packshot evaluate {sku} --adapter {number} --force"
    return read_json(path, FidelityReport, AdapterError, what=str(path), hint=hint)
