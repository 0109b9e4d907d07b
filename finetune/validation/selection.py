"""Which of a run's candidates becomes the adapter version: selected by measurement.

Every candidate draws the product as `packshot evaluate` does (`core.fidelity`, the gate's own scenes and bars), with
the UNet that was trained. Candidates are ranked by gate passed, then likeness to the packshots, then validation loss.
The seeds are never the gate's: pictures that selected an adapter cannot also judge it. Siblings are not compared: a
product added to the catalogue would otherwise change every adapter of its category. The values here rank candidates and
claim nothing more; fidelity is what `packshot evaluate` measures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.core.console import say
from finetune.core.fidelity import gate, scoring
from finetune.core.fidelity.insert_pictures import InsertRenderer, InsertRequest, product_box, requests_for
from finetune.core.fidelity.references import load_references, make_frame
from finetune.core.painting.inpainter import Inpainter, Sampling
from finetune.core.painting.pictures import InsertBox
from finetune.core.pictures.images import open_picture
from finetune.core.products.prepared import PreparedSet
from finetune.core.segmentation.products import find_products
from finetune.runs.validation_records import Record, by_loss
from finetune.validation.candidates import Candidates

SEED_OFFSET = 1000
"""The selection's seeds start this far above the gate's first; further, in steps of it, while they share any."""
ELSEWHERE = ("core_difference", "own_nearest", "own_margin", "embedder", "embedder_gain")
"""Scores the selection leaves out: those of pasted pixels, siblings and vision models."""


@dataclass(frozen=True)
class Measured:
    """Measurements of a candidate's pictures."""

    distance: float
    """Mean of palette and layout, dE00: the measure candidates are ranked by."""
    passed: bool | None
    """The gate's bars on what is measured here; None where none of them is."""
    values: dict[str, float]
    """Every measure by name."""


@dataclass(frozen=True)
class Candidate:
    """The adapter of a step, with its loss and measurements."""

    step: int
    loss: float
    measured: Measured | None = None

    @property
    def rank(self) -> tuple[Any, ...]:
        """The lower the better: gate, likeness, validation loss, the earlier step."""
        if self.measured is None:
            return (not math.isfinite(self.loss), self.loss, self.step)
        return (self.measured.passed is False, self.measured.distance, self.loss, self.step)

    def as_dict(self) -> dict[str, Any]:
        """Its entry in the manifest and on the run's page."""
        entry: dict[str, Any] = {"step": self.step, "validation_loss": round(self.loss, 6)}
        if self.measured is not None:
            entry["gate"] = {True: "pass", False: "fail", None: "not measured"}[self.measured.passed]
            entry["distance"] = round(self.measured.distance, 4)
            entry |= {name: round(value, 4) for name, value in self.measured.values.items()}
        return entry


@dataclass(frozen=True)
class Choice:
    """The step that was taken, and why."""

    step: int
    rule: str
    """`measured`, `loss` or `last`: what decided in the end."""
    why: str
    candidates: tuple[Candidate, ...]
    """All that were compared, by step."""

    def as_dict(self) -> dict[str, Any]:
        """Its entry in the manifest."""
        return {"rule": self.rule, "why": self.why, "candidates": [c.as_dict() for c in self.candidates]}


def open_candidates(records: Sequence[Record], candidates: Candidates) -> list[Candidate]:
    """The candidates of a run that are on disk: lowest loss, and the last step."""
    ranked = by_loss(records)
    wanted = {record.step for record in ranked[: candidates.keep]} | {records[-1].step}
    present = wanted & set(candidates.steps())
    return [Candidate(record.step, record.loss) for record in records if record.step in present]


def offset_seeds(seeds: Sequence[int], rounds: int) -> list[int]:
    """`rounds` seeds none of which is among `seeds`."""
    offset = SEED_OFFSET
    while set(range(min(seeds) + offset, min(seeds) + offset + rounds)) & set(seeds):
        offset += SEED_OFFSET
    return [min(seeds) + offset + number for number in range(rounds)]


def make_requests(prepared: PreparedSet, pictures: gate.PicturesSection, count: int) -> list[InsertRequest]:
    """The gate's scenes in turn with a seed of the choice's own, then again with the next, `count` in all."""
    rounds = -(-count // len(pictures.scenes))
    pairs = [(scene, seed) for seed in offset_seeds(pictures.seeds, rounds) for scene in pictures.scenes]
    return requests_for(pairs[:count], token=prepared.token, class_noun=prepared.class_noun)


class CandidateScorer:
    """Draws the product with the adapter that is loaded, and measures the pictures."""

    def __init__(
        self,
        painter: Inpainter,
        prepared: PreparedSet,
        config: gate.GateConfig,
        *,
        pictures: int,
        cache: Path,
    ) -> None:
        """Fix scenes, seeds, frame and references.

        Args:
            painter: around the UNet that was trained.
            prepared: whose cutouts are the references.
            config: the gate, with its scenes and bars.
            pictures: how many each candidate draws.
            cache: folder of what the base alone paints.

        Raises:
            PackshotError: there is no cutout to compare with, or the product fits into no frame.
        """
        p = config.pictures
        first = min(prepared.photos, key=lambda photo: photo.photo)
        cutout = open_picture(prepared.cutout_path(first)).convert("RGBA")
        box = product_box(cutout.size, painter.size, height=p.height, ground=p.ground)
        self.frame = make_frame(box, p.measure_side)
        self.views = load_references(prepared, {}, {}, self.frame, decoys=False)
        self.known: dict[tuple[str, int], scoring.ScoredPair] = {}
        self.requests = make_requests(prepared, p, pictures)
        self.rules = {name: rule for name, rule in config.rules.items() if name not in ELSEWHERE}
        sampling = Sampling(steps=p.steps, guidance=p.guidance)
        where = InsertBox(box, painter.size, p.box_margin)
        self.renderer = InsertRenderer(painter, where, cutout, sampling=sampling, cache=cache)

    def measure(self, drawn: Callable[[], object] = lambda: None) -> Measured:
        """Draw and measure with the adapter as it is now.

        Args:
            drawn: called after each of its pictures.
        """
        pairs = self.renderer.render(self.requests, tell=lambda line: drawn())
        scored = []
        for pair in pairs:
            key = (pair.request.scene, pair.request.seed)
            found = scoring.score_pair(pair, self.views, self.frame, find_products, self.known.get(key))
            self.known[key] = found
            scored.append(found)
        spans = scoring.spans_of(scored)
        values = {name: value for name, value in scoring.values_of(scored, spans).items() if value is not None}
        unjudged = {f"{name}_reached" for name, span in spans.items() if not span.judged}
        scores = gate.score_all(values, self.rules, unjudged)
        passed = gate.verdict(scores, self.rules) != "fail" if self.rules else None
        return Measured((values["palette"] + values["layout"]) / 2, passed, values)


def choose(
    found: Sequence[Candidate],
    rule: str,
    *,
    last: int,
    why_not: str = "",
    measure: Callable[[int], Measured] | None = None,
) -> Choice:
    """Rank the candidates and take the best.

    Args:
        found: in order of steps; at least one for the rules `measured` and `loss`.
        rule: `measured`, `loss` or `last`, as configured.
        last: the step the run ended with.
        why_not: why nothing can be measured though the rule is `measured`.
        measure: draws and measures with the adapter of a step.
    """
    if rule == "last" or not found:
        return Choice(last, "last", "validation.choose is last" if found else "nothing was validated", tuple(found))
    if len(found) == 1:
        return Choice(found[0].step, "last", "it is the only candidate", tuple(found))
    if rule == "measured" and measure is not None:
        return _choose_measured(found, measure)
    best = min(found, key=lambda c: c.rank)
    why = f"lowest validation loss of {len(found)} candidates" + (f"; not measured: {why_not}" if why_not else "")
    return Choice(best.step, "loss", why, tuple(found))


def _choose_measured(found: Sequence[Candidate], measure: Callable[[int], Measured]) -> Choice:
    measured = []
    for candidate in found:
        result = measure(candidate.step)
        measured.append(Candidate(candidate.step, candidate.loss, result))
        verdict = {True: "passes the gate", False: "fails the gate", None: "no gate"}[result.passed]
        say(f"  candidate {candidate.step}: {result.distance:.2f} dE00 from the packshot, {verdict}")
    best = min(measured, key=lambda c: c.rank)
    passed = sum(c.measured is not None and c.measured.passed is not False for c in measured)
    among = f"{passed} of which pass the gate" if passed else "none of which passes the gate"
    why = f"closest to the packshots of {len(measured)} candidates, {among}; drawn with seeds the gate does not use"
    return Choice(best.step, "measured", why, tuple(measured))
