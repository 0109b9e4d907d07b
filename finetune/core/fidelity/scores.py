"""A line of a fidelity report: a value, its bar, and the verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Better = Literal["higher", "lower"]
Verdict = Literal["pass", "fail", "not available", "not judged", "info"]


@dataclass(frozen=True)
class Score:
    """One line of a fidelity report. A score whose value is None is "not available", which is never a pass."""

    name: str
    value: float | None
    unit: str
    better: Better
    bar: float | None
    verdict: Verdict


def score(name: str, value: float | None, unit: str, better: Better, bar: float | None) -> Score:
    """Compare a value with its bar: reaching the bar passes, NaN fails.

    Args:
        name: Of the measure.
        value: None if it could not be measured.
        unit: Of the value and the bar.
        better: Which direction is better.
        bar: The value that just passes; None for a score that is information only.

    Returns:
        The score; "not available" for a value of None, whatever the bar, and "info" without a bar.
    """
    verdict: Verdict
    if value is None:
        verdict = "not available"
    elif bar is None:
        verdict = "info"
    elif math.isnan(value):
        verdict = "fail"
    else:
        verdict = "pass" if (value >= bar if better == "higher" else value <= bar) else "fail"
    return Score(name, value, unit, better, bar, verdict)
