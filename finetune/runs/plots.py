"""The plots of a run's page, as SVG that stands in HTML and follows its light or dark colours.

Numbers in, text out; matplotlib draws without a screen. The same numbers give the same bytes.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

INK, FAINT, ACCENT, SECOND = "#010203", "#808182", "#b4622d", "#3a6ea5"
"""Placeholders for the page's two text colours, replaced by its CSS colours; the colours of the curves."""
AXES = (0.16, 0.16, 0.81, 0.81)
"""Left, bottom, width and height of the axes as shares of the figure: labels of seven digits fit beside them."""
MOST_POINTS = 1500
"""Points of a curve at most."""
SMOOTHING = 0.05
"""Weight of a new step in the smoothed curve."""


@dataclass(frozen=True)
class Line:
    """One curve."""

    steps: Sequence[float]
    values: Sequence[float]
    label: str = ""
    colour: str = ACCENT
    faint: bool = False
    dots: bool = False


@dataclass(frozen=True)
class Plot:
    """One plot: curves over optimizer steps."""

    title: str
    unit: str
    lines: Sequence[Line]
    log: bool = False
    level: tuple[float, str] | None = None
    """A value drawn across, with its name."""
    marked: tuple[float, float, str] | None = None
    """Step and value of a point that is ringed, with its name."""
    from_zero: bool = False
    """Whether the axis of values begins at 0, so that small changes of an amount look small."""
    end: float = 0
    """Last step of the axis."""


def smoothed(values: Sequence[float], weight: float = SMOOTHING) -> list[float]:
    """Exponential moving average with Adam's bias correction; values that are not finite are skipped."""
    mean, norm, result = 0.0, 0.0, []
    for value in values:
        if math.isfinite(value):
            mean, norm = (1 - weight) * mean + weight * value, (1 - weight) * norm + weight
        result.append(mean / norm if norm else math.nan)
    return result


def thinned(steps: Sequence[float], values: Sequence[float]) -> tuple[list[float], list[float]]:
    """At most `MOST_POINTS` points, evenly spaced, including the last."""
    stride = max(1, -(-len(steps) // MOST_POINTS))
    chosen = sorted({*range(0, len(steps), stride), len(steps) - 1} - {-1})
    return [steps[i] for i in chosen], [values[i] for i in chosen]


def draw(plot: Plot) -> str:
    """The plot as an `svg` element."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style = {
        "svg.fonttype": "none",
        "svg.hashsalt": plot.title,  # ids are unique in the page, and the same every time
        "font.family": "sans-serif",
        "font.size": 9,
        "text.color": INK,
        "axes.edgecolor": FAINT,
        "axes.labelcolor": FAINT,
        "xtick.color": FAINT,
        "ytick.color": FAINT,
    }
    with mpl.rc_context(style):
        # fixed margins: a layout engine draws everything once more to measure it, two thirds of a page's time
        figure = Figure(figsize=(5.4, 2.9))
        FigureCanvasSVG(figure)
        axes = figure.add_axes(AXES)
        _curves(axes, plot)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _for_page(file.getvalue(), plot.title)


def _curves(axes: Any, plot: Plot) -> None:
    for line in plot.lines:
        steps, values = thinned(line.steps, line.values)
        dots = line.dots or len(steps) == 1  # a line of one point is invisible
        axes.plot(
            steps,
            values,
            color=line.colour,
            alpha=0.28 if line.faint else 1,
            linewidth=0.8 if line.faint else 1.6,
            marker="o" if dots else None,
            clip_on=not dots,
            markersize=3.5,
            label=line.label or None,
        )
    if plot.level is not None:
        axes.axhline(plot.level[0], color=FAINT, linewidth=1, linestyle=(0, (4, 3)), label=plot.level[1])
    if plot.marked is not None:
        step, value, name = plot.marked
        ring = {"markerfacecolor": "none", "markeredgecolor": SECOND, "markeredgewidth": 2, "markersize": 11}
        axes.plot([step], [value], "o", label=name, clip_on=False, zorder=5, **ring)
    if plot.log and any(value > 0 for line in plot.lines for value in line.values):
        axes.set_yscale("log")
    elif plot.from_zero:
        axes.set_ylim(0, 1.1 * max(value for line in plot.lines for value in line.values if math.isfinite(value)))
    axes.set_xlim(0, plot.end or None)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("step")
    axes.set_ylabel(plot.unit)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=FAINT, alpha=0.25, linewidth=0.6)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8, loc="best")


def _for_page(text: str, title: str) -> str:
    """The `svg` element alone, as wide as its container, in the page's own colours and fonts."""
    svg = text[text.index("<svg") :]
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', rf'\1 role="img" aria-label="{title}"', svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font: \1px inherit; font-family: inherit", svg)
    return svg.replace(INK, "currentColor").replace(FAINT, "var(--faint)")
