"""`report.html` of a run: curves, previews, candidates, configuration, environment, in one self-contained file.

Called by the train recipe when a run ends or is interrupted. A pure function of the run's folder: what it shows are the
files there, so a page can be made again at any time, and the same files give the same page.
"""

from __future__ import annotations

import base64
import html
import io
import json
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from finetune.core.console import warn
from finetune.core.errors import PackshotError
from finetune.core.pictures.images import open_picture
from finetune.core.storage.durable import write_text
from finetune.runs import plots as run_plots
from finetune.runs.folder import RunFolder
from finetune.runs.plots import Line, Plot
from finetune.validation.loss import BASE, Record, read_records

CELL = 256
"""Side of a preview on the page, pixels."""
MOST_ROWS = 8
"""Steps whose previews are shown."""
PREVIEW = re.compile(r"(\d{6})-(.+)\.png")
STYLE = """
:root { color-scheme: light dark; --ground: #f6f5f3; --card: #fff; --ink: #1d1c1a; --faint: #6d6961; --line: #e4e1db;
  --mark: #fbeee4; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #171614; --card: #211f1c; --ink: #efece6; --faint: #a19b90; --line: #35322d; --mark: #3a2a1d; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 80rem; padding: 2.5rem clamp(1rem, 4vw, 3rem); background: var(--ground);
  color: var(--ink); font: 16px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
h1 { font-weight: 600; font-size: 1.6rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-weight: 600; font-size: 1.1rem; margin: 2.2rem 0 .8rem; }
h3 { font-weight: 600; font-size: .95rem; margin: 0 0 .4rem; }
p { margin: .3rem 0 .8rem; max-width: 50rem; }
p.faint, .faint { color: var(--faint); }
.plots { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 27rem), 1fr)); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 1rem; }
.card svg { display: block; width: 100%; height: auto; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .35rem .8rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { font-weight: 400; color: var(--faint); white-space: normal; vertical-align: bottom; line-height: 1.25; }
th:first-child, td:first-child { text-align: left; padding-left: .4rem; }
tr.chosen td { background: var(--mark); font-weight: 600; }
.facts td { text-align: left; white-space: normal; overflow-wrap: anywhere; }
.facts td:first-child { color: var(--faint); white-space: nowrap; }
.pictures td, .pictures th { border: 0; padding: .3rem; text-align: left; vertical-align: middle; }
.pictures th { max-width: 16rem; }
.pictures img { display: block; border-radius: 6px; max-width: 38vw; height: auto; }
pre { margin: 0; font: 13px/1.5 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; }
.two { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); }
"""
COLUMNS = {
    "step": ("step", "{:d}"),
    "validation_loss": ("validation loss", "{:.4f}"),
    "gate": ("gate's bars", "{}"),
    "distance": ("distance, dE00", "{:.2f}"),
    "palette": ("palette, dE00", "{:.2f}"),
    "palette_gain": ("palette gain, %", "{:.1f}"),
    "layout": ("layout, dE00", "{:.2f}"),
    "structure": ("structure, SSIM", "{:.3f}"),
    "structure_gain": ("structure gain", "{:+.3f}"),
}
"""What the table of candidates shows."""


@contextmanager
def reported_if_stopped(run: RunFolder, *, main: bool) -> Iterator[None]:
    """Write the page when a run is interrupted or diverges; the exception goes on.

    Args:
        main: is this the process that writes?
    """
    try:
        yield
    except BaseException as error:
        if main:
            interrupted = "interrupted; the same command goes on from the last checkpoint"
            write_report(run, interrupted if isinstance(error, KeyboardInterrupt) else f"stopped: {error}")
        raise


def write_report(run: RunFolder, state: str) -> None:
    """Write `report.html`. A page that can't be written is said and spoils no run.

    Args:
        state: one line on how the run ended.
    """
    try:
        write_text(run.report, make_page(run, state))
    except (OSError, PackshotError) as error:
        warn(f"no report.html: {error}")


def make_page(run: RunFolder, state: str) -> str:
    """The page's HTML."""
    lines = run.metrics.read_text(encoding="utf-8").splitlines() if run.metrics.is_file() else []
    metrics = [json.loads(line) for line in lines]
    config = yaml.safe_load((run.path / "config.yaml").read_text(encoding="utf-8"))
    records = read_records(run.validation)
    choice = json.loads(run.choice.read_text(encoding="utf-8")) if run.choice.is_file() else None
    title = html.escape(f"{run.path.parent.name} · training {run.path.name}")
    done = metrics[-1]["step"] if metrics else 0
    parts = [
        f"<h1>{title}</h1>",
        f'<p class="faint">{done} of {config["train"]["steps"]} steps; {html.escape(state)}</p>',
        "<h2>Curves</h2>",
        f'<div class="plots">{"".join(map(_card, plots(metrics, records, choice, config)))}</div>'
        if metrics
        else "<p>No step was done.</p>",
        _candidates(choice),
        _previews(run.previews, config["preview"]["scenes"]),
        "<h2>Settings and surroundings</h2>",
        '<div class="two">',
        f'<section class="card"><h3>Configuration</h3><pre>{html.escape(_yaml(config))}</pre></section>',
        f'<section class="card wide"><h3>Environment</h3>{_facts(run.info()["environment"])}</section>',
        "</div>",
    ]
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>{STYLE}</style></head>
<body>
{"".join(part for part in parts if part)}
</body></html>
"""


def plots(
    metrics: Sequence[dict[str, Any]], records: Sequence[Record], choice: dict[str, Any] | None, config: dict[str, Any]
) -> list[Plot]:
    """The plots of a run of at least one step."""
    steps = [line["step"] for line in metrics]
    end = max(steps[-1], config["train"]["steps"])

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
    clip = config["train"]["max_grad_norm"]
    norms = column("grad_norm")
    near = max(norms) > clip / 10  # a level far above the curve would press it flat
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
        Plot("Time a step", "seconds", _scattered(steps, column("seconds")), from_zero=True, end=end),
    ]
    return [plot for plot in shown if any(math.isfinite(v) for line in plot.lines for v in line.values)]


def _scattered(steps: list[int], values: list[float]) -> list[Line]:
    """A curve of single steps, faint, and where it goes."""
    return [Line(steps, values, "each step", faint=True), Line(steps, run_plots.smoothed(values), "smoothed")]


def _card(plot: Plot) -> str:
    return f'<section class="card"><h3>{html.escape(plot.title)}</h3>{run_plots.draw(plot)}</section>\n'


def _candidates(choice: dict[str, Any] | None) -> str:
    if choice is None or not choice["candidates"]:
        return ""
    rows = choice["candidates"]
    columns = {key: shown for key, shown in COLUMNS.items() if any(key in row for row in rows)}
    head = "".join(f"<th>{html.escape(name)}</th>" for name, _ in columns.values())
    body = ""
    for row in rows:
        cells = "".join(
            f"<td>{shown.format(row[key]) if key in row else ''}</td>" for key, (_, shown) in columns.items()
        )
        marked = ' class="chosen"' if row["step"] == choice["step"] else ""
        body += f"<tr{marked}>{cells}</tr>\n"
    note = (
        " Drawn with seeds of the choice's own: these values rank candidates, and are no report of fidelity; that is "
        "<code>packshot evaluate</code>."
        if choice["rule"] == "measured"
        else ""
    )
    return (
        f"<h2>Candidates</h2><p>Step {choice['step']} is the adapter: {html.escape(choice['why'])}.{note}</p>"
        f'<div class="card wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _previews(folder: Path, scenes: Sequence[str]) -> str:
    found = {match: path for path in folder.glob("*.png") if (match := PREVIEW.fullmatch(path.name))}
    if not found:
        cure = "<p>None were drawn; <code>--set preview.every=100</code> draws the product every 100 steps.</p>"
        return f"<h2>Previews</h2>{cure}"
    by_place = {(int(match[1]), match[2]): path for match, path in found.items()}
    steps, names = sorted({step for step, _ in by_place}), sorted({name for _, name in by_place})
    if len(steps) > MOST_ROWS:
        steps = sorted({steps[i * (len(steps) - 1) // (MOST_ROWS - 1)] for i in range(MOST_ROWS)})
    head = "".join(f"<th>{html.escape(_titled(name, scenes))}</th>" for name in names)
    body = ""
    for step in steps:
        cells = "".join(f"<td>{_picture(by_place.get((step, name)), f'step {step}')}</td>" for name in names)
        body += f'<tr><td class="faint">step {step}</td>{cells}</tr>\n'
    return (
        '<h2>Previews</h2><div class="card wide"><table class="pictures">'
        f"<thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _titled(name: str, scenes: Sequence[str]) -> str:
    """`0-place` as `place: on a white marble vanity`."""
    number, _, kind = name.partition("-")
    return f"{kind}: {scenes[int(number)]}" if int(number) < len(scenes) else name


def _picture(path: Path | None, alt: str) -> str:
    if path is None:
        return ""
    picture = open_picture(path, min_side=1).convert("RGB")
    picture.thumbnail((CELL, CELL), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=90)
    data = base64.b64encode(file.getvalue()).decode()
    return (
        f'<img src="data:image/jpeg;base64,{data}" width="{picture.width}" height="{picture.height}" '
        f'alt="{html.escape(alt)}">'
    )


def _yaml(config: dict[str, Any]) -> str:
    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=60).rstrip()


def _facts(values: dict[str, str]) -> str:
    rows = "".join(f"<tr><td>{html.escape(k)}</td><td>{html.escape(str(v))}</td></tr>" for k, v in values.items())
    return f'<table class="facts">{rows}</table>'
