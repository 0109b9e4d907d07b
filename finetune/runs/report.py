"""`report.html` of a run: curves, candidates, previews, configuration, environment, in one self-contained file.

A pure function of the run's folder: the page can be rebuilt at any time, and the same files give the same page.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from finetune.core.console import warn
from finetune.core.errors import PackshotError, RunError
from finetune.core.json_files import read_object
from finetune.core.pages.render import inline_picture, render
from finetune.core.pictures.images import open_picture
from finetune.core.storage.durable import write_text
from finetune.core.yaml_files import read_yaml
from finetune.runs import plots
from finetune.runs.folder import ChoiceFile, RunFolder, read_metrics
from finetune.runs.plots import Line, Plot
from finetune.runs.validation_records import BASE, Record, read_records

CELL = 256
"""Side of a preview on the page, pixels."""
MOST_ROWS = 8
"""Steps whose previews are shown at most."""
QUALITY = 90
"""Of the previews' JPEG."""
PREVIEW = re.compile(r"(\d{6})-(.+)\.png")
COLUMNS = {
    "step": ("step", "{:d}"),
    "validation_loss": ("validation loss", "{:.4f}"),
    "gate": ("gate", "{}"),
    "distance": ("distance, dE00", "{:.2f}"),
    "palette": ("palette, dE00", "{:.2f}"),
    "palette_gain": ("palette gain, %", "{:.1f}"),
    "layout": ("layout, dE00", "{:.2f}"),
    "structure": ("structure, SSIM", "{:.3f}"),
    "structure_gain": ("structure gain", "{:+.3f}"),
}
"""Columns of the table of candidates: key -> heading, format."""


@contextmanager
def reported_if_stopped(run: RunFolder, *, main: bool) -> Iterator[None]:
    """Write the page if the run inside the block is interrupted or fails; the exception is raised again.

    Args:
        run: The run's folder.
        main: Whether this is the process that writes.
    """
    try:
        yield
    except BaseException as error:
        if main:
            interrupted = "interrupted; the same command continues from the last checkpoint"
            write_report(run, interrupted if isinstance(error, KeyboardInterrupt) else f"stopped: {error}")
        raise


def write_report(run: RunFolder, state: str) -> None:
    """Write `report.html`. If it can't be written, warn; the run does not fail for that.

    Args:
        run: The run's folder.
        state: One line on how the run ended.
    """
    try:
        write_text(run.report, make_page(run, state))
    except (OSError, PackshotError) as error:
        warn(f"the run's report.html could not be written: {error}")


def make_page(run: RunFolder, state: str) -> str:
    """The page's HTML.

    Args:
        run: The run's folder.
        state: One line on how the run ended.
    """
    metrics = read_metrics(run.metrics)
    config = read_yaml(run.config, RunError)
    choice = read_object(run.choice, RunError, shape=ChoiceFile) if run.choice.exists() else None
    drawn = run_plots(metrics, read_records(run.validation), choice, config) if metrics else []
    done = metrics[-1]["step"] if metrics else 0
    return render(
        "run.html",
        title=f"{run.path.parent.name} · training {run.path.name}",
        lead=f"{done} of {config['train']['steps']} steps; {state}",
        plots=[{"title": plot.title, "svg": plots.draw(plot)} for plot in drawn],
        candidates=_candidates(choice),
        previews=_previews(run.previews, config["preview"]["scenes"]),
        config=run.config.read_text(encoding="utf-8").rstrip(),
        environment=list(run.info().environment.items()),
    )


def run_plots(
    metrics: Sequence[dict[str, Any]], records: Sequence[Record], choice: dict[str, Any] | None, config: dict[str, Any]
) -> list[Plot]:
    """The plots of a run.

    Args:
        metrics: One entry per step, at least one.
        records: Of the validations.
        choice: What was chosen, if something was.
        config: The run's configuration, values as text.
    """
    steps = [line["step"] for line in metrics]
    end = max(steps[-1], int(config["train"]["steps"]))

    def column(name: str) -> list[float]:
        return [line.get(name, math.nan) for line in metrics]

    found = [Plot("Training loss", "loss", _scattered(steps, column("loss")), end=end)]
    taken = [record for record in records if record.step != BASE]
    if taken:
        base = next((record.loss for record in records if record.step == BASE), None)
        chosen = next((r for r in taken if choice and r.step == choice["step"]), None)
        found.append(
            Plot(
                "Validation loss",
                "loss",
                [Line([r.step for r in taken], [r.loss for r in taken], "held-out examples", dots=True)],
                level=(base, "base alone") if base is not None else None,
                marked=(chosen.step, chosen.loss, f"chosen: step {chosen.step}") if chosen else None,
                end=end,
            )
        )
    clip = float(config["train"]["max_grad_norm"])
    norms = column("grad_norm")
    near = max(norms) > clip / 10  # a level far above the curve would flatten it
    shown = [
        *found,
        Plot(
            "Gradient norm, before clipping",
            "norm",
            _scattered(steps, norms),
            log=True,
            level=(clip, f"clipped at {clip:g}") if near else None,
            end=end,
        ),
        Plot("Learning rate", "rate", [Line(steps, column("learning_rate"))], end=end),
        Plot("Peak memory", "MiB", [Line(steps, column("memory_mib"))], from_zero=True, end=end),
        Plot("Time per step", "seconds", _scattered(steps, column("seconds")), from_zero=True, end=end),
    ]
    return [plot for plot in shown if any(math.isfinite(v) for line in plot.lines for v in line.values)]


def _scattered(steps: list[int], values: list[float]) -> list[Line]:
    """The values of single steps, faint, and their smoothed curve."""
    return [Line(steps, values, "each step", faint=True), Line(steps, plots.smoothed(values), "smoothed")]


def _candidates(choice: dict[str, Any] | None) -> dict[str, Any] | None:
    """The table of candidates; None if nothing was compared."""
    if choice is None or not choice["candidates"]:
        return None
    rows = choice["candidates"]
    columns = {key: shown for key, shown in COLUMNS.items() if any(key in row for row in rows)}
    return {
        "step": choice["step"],
        "why": choice["why"],
        "measured": choice["rule"] == "measured",
        "head": [name for name, _ in columns.values()],
        "rows": [
            {
                "chosen": row["step"] == choice["step"],
                "cells": [shown.format(row[key]) if key in row else "" for key, (_, shown) in columns.items()],
            }
            for row in rows
        ],
    }


def _previews(folder: Path, scenes: Sequence[str]) -> dict[str, Any] | None:
    """The table of previews, a row per step and a column per kind of picture; None if none were drawn."""
    found = {match: path for path in folder.glob("*.png") if (match := PREVIEW.fullmatch(path.name))}
    if not found:
        return None
    by_place = {(int(match[1]), match[2]): path for match, path in found.items()}
    steps, names = sorted({step for step, _ in by_place}), sorted({name for _, name in by_place})
    if len(steps) > MOST_ROWS:
        steps = sorted({steps[i * (len(steps) - 1) // (MOST_ROWS - 1)] for i in range(MOST_ROWS)})
    return {
        "head": [_titled(name, scenes) for name in names],
        "rows": [
            {"step": step, "pictures": [_picture(by_place.get((step, name))) for name in names]} for step in steps
        ],
    }


def _titled(name: str, scenes: Sequence[str]) -> str:
    """`0-place` as `place: on a white marble vanity`."""
    number, _, kind = name.partition("-")
    return f"{kind}: {scenes[int(number)]}" if int(number) < len(scenes) else name


def _picture(path: Path | None) -> dict[str, Any] | None:
    if path is None:
        return None
    picture = open_picture(path, min_side=1).convert("RGB")
    picture.thumbnail((CELL, CELL), Image.Resampling.LANCZOS)
    return {"source": inline_picture(picture, QUALITY), "width": picture.width, "height": picture.height}
