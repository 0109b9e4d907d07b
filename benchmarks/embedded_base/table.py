"""The lines of the table: a value, its bar, and what to hold it beside. Pure; used by every row and by the tests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from finetune.core.fidelity.scores import Better, Verdict, score


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    row: str
    """The row of `--only` it belongs to."""
    what: str
    value: float | None
    """None: could not be measured here, which is never a pass."""
    unit: str = ""
    bar: float | None = None
    """None: the line is there to read the others by."""
    better: Better = "higher"
    strict: bool = False
    """Equal to the bar is not enough."""
    beside: str = ""
    """Chance, the base's own value, how many pictures: what makes the number mean something."""
    trusted: bool = True
    """False: what it was measured with did not prove good enough, so the number is shown and judges nothing."""

    @property
    def verdict(self) -> Verdict:
        """Hold the value against the bar."""
        if self.bar is not None and not self.trusted:
            return "not available"
        if self.strict and self.value is not None and self.value == self.bar:
            return "fail"
        return score(self.what, self.value, self.unit, self.better, self.bar).verdict

    def as_dict(self) -> dict[str, Any]:
        """JSON values; a NaN becomes null."""
        value = None if self.value is None or math.isnan(self.value) else round(self.value, 4)
        return asdict(self) | {"value": value, "verdict": self.verdict}


def format_table(lines: Sequence[Line]) -> str:
    """The table as text: what, bar, value, verdict, and what stands beside it."""
    cells = [("what", "bar", "value", "", "beside")]
    for line in lines:
        sign = {"higher": ">" if line.strict else ">=", "lower": "<" if line.strict else "<="}[line.better]
        bar = "" if line.bar is None else f"{sign} {_number(line.bar)} {line.unit}".rstrip()
        value = "-" if line.value is None else f"{_number(line.value)} {line.unit}".rstrip()
        cells.append((f"{line.row}: {line.what}", bar, value, line.verdict, line.beside))
    widths = [max(len(row[i]) for row in cells) for i in range(4)]
    return "\n".join(
        "  ".join([*(f"{cell:<{width}}" for cell, width in zip(row[:4], widths, strict=True)), row[4]]).rstrip()
        for row in cells
    )


def _number(value: float) -> str:
    """Three significant digits, and no fewer than there are before the point."""
    if math.isnan(value):
        return "nan"
    digits = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
    text = f"{value:.{min(digits, 3)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def verdict_line(lines: Sequence[Line]) -> str:
    """How many bars are met, missed, and not judged."""
    judged = [line for line in lines if line.bar is not None or line.value is None]
    met = sum(line.verdict == "pass" for line in judged)
    missed = sum(line.verdict == "fail" for line in judged)
    return f"{met} bars met, {missed} missed, {len(judged) - met - missed} not judged"
