"""What one looks at after evaluating: the sheet of pictures, worst first, and the page with every score."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from finetune.core.fidelity.gate import MEASURES, format_value
from finetune.core.fidelity.scores import Score
from finetune.core.fidelity.scoring import Reading, ScoredPair
from finetune.core.pages.render import render
from finetune.core.pictures.contact_sheet import contact_sheet
from finetune.core.pictures.images import write_png
from finetune.core.storage.durable import write_text

PAGE, SHEET = "report.html", "fidelity.png"
CELL = 256
"""Side of a picture on the sheet, pixels."""


def write_sheet(scored: Sequence[ScoredPair], cutout: Image.Image, names: tuple[str, str], path: Path) -> None:
    """Write packshot | without the adapter | with it | the most the base can show, a row for each pair, worst first.

    Args:
        scored: The pairs.
        cutout: The packshot's.
        names: SKU and version.
        path: Of the PNG.
    """
    cells: list[Image.Image] = []
    captions: list[str] = []
    for s in sorted(scored, key=lambda s: -s.drawn.likeness.distance):
        cells += [cutout, s.pair.without, s.pair.with_adapter, s.pair.ceiling]
        captions += [
            f"{names[0]}: packshot ({s.pair.request.scene}, seed {s.pair.request.seed})",
            f"without adapter: {_caption(s.base)}",
            f"adapter {names[1]}: {_caption(s.drawn)}",
            f"the most this base can show: {_caption(s.ceiling)}",
        ]
    write_png(contact_sheet(cells, captions, columns=4, cell=CELL), path)


def _caption(reading: Reading) -> str:
    parts = reading.likeness.parts
    told = f"dE00 {reading.likeness.distance:.1f}, outline {reading.outline:.2f}"
    return told if parts is None else f"{told}, parts {parts:.2f}"


def write_page(report: dict[str, Any], path: Path) -> None:
    """Write the page of a report; it needs the sheet beside it.

    Args:
        report: As in `fidelity.json`.
        path: Of the page.
    """
    scores = [Score(**entry) for entry in report["scores"]]
    base, gate = report["base"]["model"], report["gate"]["pictures"]
    page = render(
        "fidelity.html",
        title=f"{report['sku']} · adapter {report['version']}: {report['verdict']}",
        lead=f"Does the adapter draw this product? {len(report['pictures'])} pictures on base '{base}'.",
        scores=[_score_row(score) for score in scores if score.value is not None or score.bar is not None],
        spans=[{"name": name, **_span_row(span)} for name, span in report["spans"].items()],
        sheet=SHEET,
        rows=[
            ("adapter of", report.get("trained_on") or "an unnamed product"),
            ("scenes", "; ".join(gate["scenes"])),
            ("seeds", ", ".join(map(str, gate["seeds"]))),
            ("told apart from", ", ".join([*report["references"]["siblings"], *report["references"]["decoys"]])),
            ("compared", report["crop"]),
            *report["models"].items(),
        ],
    )
    write_text(path, page)


def _score_row(score: Score) -> dict[str, str]:
    bar = "" if score.bar is None else f"{'at least' if score.better == 'higher' else 'at most'} {score.bar:g}"
    meaning = MEASURES[score.name].meaning
    return {"name": score.name, "value": format_value(score), "bar": bar, "verdict": score.verdict, "meaning": meaning}


def _span_row(span: dict[str, Any]) -> dict[str, str]:
    reached = span["reached"]
    return {name: f"{span[name]:.3f}" for name in ("floor", "value", "ceiling", "spread")} | {
        "reached": "no span" if reached is None else f"{reached:.0f} %",
        "judged": "yes" if span["judged"] else "no: this base cannot show it",
    }
