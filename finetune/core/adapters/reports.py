"""The fidelity report in a version's folder, `fidelity.json`, as everything but the evaluation itself reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from finetune.core.adapters.versions import AdapterVersion
from finetune.core.errors import AdapterError
from finetune.core.json_files import Document, read_json

FILE = "fidelity.json"
REPORT_FORMAT = 3
"""Reports of other formats were made by another gate: such an adapter counts as not evaluated."""


class ScoreLine(Document):
    """One score."""

    name: str
    value: float | None
    unit: str
    better: Literal["higher", "lower"]
    bar: float | None
    verdict: str


class JudgedBase(Document):
    """The base an adapter was judged on."""

    model: str = ""


class FidelityReport(Document):
    """What is read of a report."""

    format: int
    fingerprint: str
    verdict: str
    base: JudgedBase = JudgedBase()
    scores: tuple[ScoreLine, ...]
    gate_file: str = ""


def read_report(version: AdapterVersion) -> FidelityReport | None:
    """The report of a version; None for one that was not evaluated, or by an earlier gate.

    Raises:
        AdapterError: it is damaged.
    """
    return read_report_file(version.folder / FILE, version.sku, version.number)


def standing(version: AdapterVersion) -> str:
    """What the gate said of a version, in words that follow "adapter 0002, ": `passed the gate`, `never evaluated`."""
    try:
        report = read_report(version)
    except AdapterError:
        return "its fidelity report is damaged"
    words = {"pass": "passed the gate", "limited": "passed the gate as far as its base can show it"}
    return words.get(report.verdict, "failed the gate") if report else "never evaluated"


def read_report_file(path: Path, sku: str, number: str) -> FidelityReport | None:
    """The report in a file; arguments name the version for the hint. Errors as for `read_report`."""
    if not path.exists():
        return None
    hint = f"run: packshot evaluate {sku} --adapter {number} --force"
    report = read_json(path, FidelityReport, AdapterError, what=str(path), hint=hint)
    return report if report.format == REPORT_FORMAT else None
