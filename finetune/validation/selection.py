"""Which of a run's candidates becomes the adapter version: chosen by measurement, not by eye. Part of the train recipe.

Every candidate draws the product as `packshot evaluate` has it drawn (`core.fidelity`, the gate's own
scenes and bars), with the UNet that was trained, and is ranked by gate passed, then likeness to the packshots, then
validation loss. Its seeds are never those of the gate: whoever picks the best of several pictures has used them up,
and what is published must be judged on pictures nobody picked by. Siblings are not asked either: a product added to
the catalogue would make every adapter of its category another one. So the values here rank candidates, and claim
nothing: fidelity is what `packshot evaluate` measures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.core.adapters.token_embeddings import Tokens
from finetune.core.basemodel.resolve import ResolvedBase
from finetune.core.console import say, warn
from finetune.core.errors import PackshotError
from finetune.core.fidelity import gate, scoring
from finetune.core.fidelity.insert_pictures import (
    INSERT_FORMAT,
    InsertRenderer,
    InsertRequest,
    product_box,
    requests_for,
)
from finetune.core.fidelity.references import load_references, make_frame
from finetune.core.painting.inpainter import Inpainter, Sampling
from finetune.core.painting.pictures import InsertBox
from finetune.core.pictures.images import open_picture
from finetune.core.products.prepared import PreparedSet
from finetune.settings import TrainConfig
from finetune.unet import lora
from finetune.unet.live_pipeline import live_inpainter
from finetune.validation.candidates import Candidates
from finetune.validation.loss import Record, by_loss

if TYPE_CHECKING:
    import torch

SEED_OFFSET = 1000
"""The choice's seeds are the gate's first seed plus this, counted upwards; as often as needed to share none."""
ELSEWHERE = ("core_difference", "own_nearest", "own_margin", "embedder", "embedder_gain")
"""Scores the choice does not take: of pasted pixels, of siblings, of a vision model."""


@dataclass(frozen=True)
class Measured:
    """What a candidate's pictures came to."""

    distance: float
    """Mean of palette and layout, dE00: the measure candidates are ranked by."""
    passed: bool | None
    """The gate's bars on what is measured here; None where none of them is."""
    values: dict[str, float]
    """Every measure by name."""


@dataclass(frozen=True)
class Candidate:
    """A step's adapter with what is known of it."""

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
        """What the manifest and the run's page say of it."""
        entry: dict[str, Any] = {"step": self.step, "validation_loss": round(self.loss, 6)}
        if self.measured is not None:
            entry["gate"] = {True: "pass", False: "fail", None: "not measured"}[self.measured.passed]
            entry["distance"] = round(self.measured.distance, 4)
            entry |= {name: round(value, 4) for name, value in self.measured.values.items()}
        return entry


@dataclass(frozen=True)
class Choice:
    """The step taken, and why."""

    step: int
    rule: str
    """`measured`, `loss` or `last`: what decided in the end."""
    why: str
    candidates: tuple[Candidate, ...]
    """All that were compared, by step."""

    def as_dict(self) -> dict[str, Any]:
        """For the manifest's story."""
        return {"rule": self.rule, "why": self.why, "candidates": [c.as_dict() for c in self.candidates]}


def weight_settings(config: TrainConfig) -> Any:
    """What of the validation settings decides the weights, for the adapter's fingerprint; None when nothing does.

    The gate's scenes go in by content. A run with one candidate chooses nothing.
    """
    v = config.validation
    rule = v.choose if config.train.steps > v.every > 0 else "last"
    kept: dict[str, Any] = {"choose": rule}
    if rule != "last" or v.patience:
        kept |= v.model_dump(mode="json", include={"every", "examples", "timesteps", "seed", "patience"})
    if rule == "measured":
        # bars are left out: an adapter is judged again when they move, and to move one must not retrain a catalogue
        chosen_by = gate.load_gate(v.gate or None).model_dump(mode="json", include={"pictures"})
        kept |= {"candidates": v.candidates, "pictures": v.pictures, "gate": chosen_by, "drawings": INSERT_FORMAT}
    return kept if len(kept) > 1 else None


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


class Judge:
    """Draws the product with the adapter at hand and measures what came out."""

    def __init__(
        self,
        painter: Inpainter,
        prepared: PreparedSet,
        config: gate.GateConfig,
        *,
        pictures: int,
        cache: Path,
    ) -> None:
        """Set the conditions.

        Args:
            painter: around the UNet that was trained. config: the gate. pictures: that a candidate draws.
            cache: folder of what the base alone paints.

        Raises:
            PackshotError: of the kind that fits: no cutout to compare with, a product that fits into no frame.
        """
        p = config.pictures
        first = min(prepared.photos, key=lambda photo: photo.photo)
        cutout = open_picture(prepared.cutout_path(first)).convert("RGBA")
        box = product_box(cutout.size, painter.size, height=p.height, ground=p.ground)
        self.frame = make_frame(box, p.measure_side)
        self.views = load_references(prepared, {}, {}, self.frame)
        self.requests = make_requests(prepared, p, pictures)
        self.rules = {name: rule for name, rule in config.rules.items() if name not in ELSEWHERE}
        sampling = Sampling(steps=p.steps, guidance=p.guidance)
        where = InsertBox(box, painter.size, p.box_margin)
        self.renderer = InsertRenderer(painter, where, sampling=sampling, cache=cache)

    def measure(self) -> Measured:
        """Draw and measure with the adapter as it is now."""
        pairs = self.renderer.render(self.requests, tell=lambda line: None)
        scored = [scoring.score_pair(pair, self.views, self.frame) for pair in pairs]
        values = {name: value for name, value in scoring.values_of(scored).items() if value is not None}
        scores = gate.score_all(values, self.rules)
        passed = gate.verdict(scores, self.rules) == "pass" if self.rules else None
        return Measured((values["palette"] + values["layout"]) / 2, passed, values)


def choose(
    found: Sequence[Candidate], rule: str, *, last: int, why_not: str = "", judge: Judge | None = None, load: Any = None
) -> Choice:
    """Rank candidates and take the first.

    Args:
        found: by step, at least one for the rules `measured` and `loss`. rule: as configured.
        last: the step the run ended with. why_not: why there is no judge though the rule is `measured`.
        judge, load: draws and measures; puts a step's weights into the judge's UNet.
    """
    if rule == "last" or not found:
        return Choice(last, "last", "validation.choose is last" if found else "nothing was validated", tuple(found))
    if len(found) == 1:
        return Choice(found[0].step, "last", "it is the only candidate", tuple(found))
    if rule == "measured" and judge is not None:
        measured = []
        for candidate in found:
            load(candidate.step)
            result = judge.measure()
            measured.append(Candidate(candidate.step, candidate.loss, result))
            said = {True: "gate passed", False: "gate not passed", None: "no gate"}[result.passed]
            say(f"  candidate {candidate.step}: {result.distance:.2f} dE00 from the packshot, {said}")
        best = min(measured, key=lambda c: c.rank)
        passed = [c for c in measured if c.measured and c.measured.passed is not False]
        among = f"{len(passed)} of which pass the gate, " if passed else "none of which passes the gate, "
        why = f"of {len(measured)} candidates, {among}the nearest to the packshots in pictures of its own seeds"
        return Choice(best.step, "measured", why, tuple(measured))
    best = min(found, key=lambda c: c.rank)
    why = f"lowest validation loss of {len(found)} candidates" + (f"; not measured: {why_not}" if why_not else "")
    return Choice(best.step, "loss", why, tuple(found))


def choose_of_run(
    config: TrainConfig,
    prepared: PreparedSet,
    base: ResolvedBase,
    unet: Any,
    candidates: Candidates,
    records: Sequence[Record],
    *,
    last: int,
    cache: Path,
    dtype: torch.dtype,
    tokens: Callable[[Any], Tokens] | None = None,
) -> Choice:
    """The choice of a run that is through; the UNet holds the chosen step's weights afterwards.

    Args:
        unet: bare, with the last step's adapter. records: of the validations. cache: folder of base pictures.
        tokens: puts the trigger word's own tokens into a pipeline, where they were trained.
    """
    v = config.validation
    found = open_candidates(records, candidates) if records else []

    def load(step: int) -> None:
        lora.load_lora_state(unet, candidates.load(step))

    chosen = None
    why_not = (
        "" if prepared.kind == "sku" and prepared.photos else f"a {prepared.kind} set has no product to compare with"
    )
    if v.choose == "measured" and len(found) > 1 and not why_not:
        say(f"  judging {len(found)} candidates on {v.pictures} pictures each")
        try:
            bars = gate.load_gate(v.gate or None)
            with live_inpainter(base, unet, dtype, tokens) as painter:
                judge = Judge(painter, prepared, bars, pictures=v.pictures, cache=cache)
                chosen = choose(found, v.choose, last=last, judge=judge, load=load)
        except PackshotError as error:  # a GPU too small to draw on, a product that fits into no frame
            why_not = error.message
            warn(f"candidates are ranked by validation loss alone: {error.message}")
    chosen = chosen or choose(found, v.choose, last=last, why_not=why_not)
    if found and chosen.step in candidates.steps():
        load(chosen.step)
    if len(found) > 1:
        say(f"  step {chosen.step} is taken: {chosen.why}")
    return chosen
