"""The gate: which pictures an adapter is scored on, what each score has to reach, and the verdict.

Reads `configs/gate.yaml` (or the user's own file) into strict settings and compares measured values with the bars. It
measures nothing and knows no pictures: numbers come by name.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

from pydantic import Field, field_validator

from finetune.core.config import Strict, apply_overrides, gate_path, validate
from finetune.core.errors import ConfigError, GateNotMet, did_you_mean
from finetune.core.fidelity.scores import Better, Score, score
from finetune.core.yaml_files import read_yaml


class Measure(NamedTuple):
    """A number that evaluation derives from its pictures."""

    unit: str
    better: Better
    meaning: str


MEASURES: dict[str, Measure] = {
    "drawn": Measure("%", "higher", "pictures in which a product of the packshot's outline is found"),
    "outline": Measure("IoU", "higher", "agreement of what is found as product with the packshot's outline"),
    "outline_reached": Measure("%", "higher", "outline between the base alone (0) and the packshot (100)"),
    "parts": Measure("NCC", "higher", "parts of the packshot found again in place: print, cap, handle"),
    "parts_reached": Measure("%", "higher", "parts between the base alone (0) and the packshot (100)"),
    "unmirrored": Measure("%", "higher", "which way round: 100 as the packshot, -100 its mirror image"),
    "palette": Measure("dE00", "lower", "distance of the drawn product's colours from the packshot's"),
    "palette_base": Measure("dE00", "lower", "palette without the adapter"),
    "palette_gain": Measure("%", "higher", "by how much the adapter lowers the palette distance"),
    "palette_reached": Measure("%", "higher", "palette between the base alone (0) and the packshot (100)"),
    "layout": Measure("dE00", "lower", "colour difference in place, after a blur"),
    "layout_base": Measure("dE00", "lower", "layout without the adapter"),
    "layout_gain": Measure("%", "higher", "by how much the adapter lowers the layout difference"),
    "layout_reached": Measure("%", "higher", "layout between the base alone (0) and the packshot (100)"),
    "structure": Measure("SSIM", "higher", "lightness structure inside the silhouette"),
    "structure_base": Measure("SSIM", "higher", "structure without the adapter"),
    "structure_gain": Measure("SSIM", "higher", "structure with the adapter minus without"),
    "own_nearest": Measure("%", "higher", "pictures nearer to this product than to each sibling and each decoy"),
    "own_margin": Measure("dE00", "higher", "how much nearer than the nearest sibling or decoy, on average"),
    "embedder": Measure("cosine", "higher", "likeness to the packshot according to a vision model"),
    "embedder_gain": Measure("cosine", "higher", "embedder with the adapter minus without"),
    "core_difference": Measure("8-bit steps", "lower", "largest change of the product's core in a preserve picture"),
}
"""Every score of a fidelity report, in its order."""
SEES = {
    "shape": ("outline_reached",),
    "structure": ("parts_reached",),
    "colour": ("palette_reached", "layout_reached"),
}
"""What a whole judgement has seen of the product, and the scores that show it."""
GateVerdict = Literal["pass", "limited", "fail"]
"""`limited`: no bar is missed, but shape, structure or colour could not be judged on this base."""


class PicturesSection(Strict):
    """The insert pictures an adapter is scored on: every scene with every seed."""

    scenes: tuple[str, ...] = Field(min_length=1)
    """Where the product is drawn, as one would say it to `place --prompt`."""
    seeds: tuple[int, ...] = Field(min_length=1)
    """Seeds of each scene."""
    steps: int = Field(default=20, ge=1, le=200)
    """Sampler steps."""
    guidance: float = Field(default=5.0, ge=0, le=30)
    """Classifier-free guidance."""
    height: float = Field(default=0.6, gt=0.1, le=0.8)
    """Height of the product as a share of the frame."""
    ground: float = Field(default=0.85, gt=0.2, le=0.9)
    """The ground line on which it stands: 0 top edge, 1 bottom edge."""
    box_margin: float = Field(default=0.045, ge=0, le=0.2)
    """Margin of the painted box around the product, as a share of the frame: the middle of training's range."""
    measure_side: int = Field(default=128, ge=48, le=1024)
    """Longer side of the product in pixels when it is compared. Bars are comparable between bases at one side only."""

    @field_validator("scenes")
    @classmethod
    def _not_empty(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any(not scene.strip() for scene in value):
            raise ValueError("a scene is empty")
        return value

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) != len(value) or any(seed < 0 for seed in value):
            raise ValueError("the seeds must be distinct and not negative")
        return value


class Rule(Strict):
    """What a score has to reach."""

    bar: float
    """The value that just passes."""
    required: bool = True
    """Whether the gate fails when the score is not available; if false, such a score is ignored."""


class GateConfig(Strict):
    """The gate's scenes and bars."""

    REFERENCE = "the keys of gate.yaml are described in docs/settings.md, section 'The gate'"

    pictures: PicturesSection
    rules: dict[str, Rule] = Field(min_length=1)
    """Score -> rule; a score without a rule is information only."""
    promote: Literal["pass", "limited"] = "pass"
    """The least verdict with which a night publishes an adapter."""
    promote_on: dict[str, Literal["pass", "limited"]] = Field(default_factory=dict)
    """Base -> the least verdict there, where it differs."""
    embedder: str = ""
    """Folder of a vision model in transformers' layout (DINOv2, CLIP, SigLIP); empty: `embedder` is not available."""

    @field_validator("rules")
    @classmethod
    def _known(cls, value: dict[str, Rule]) -> dict[str, Rule]:
        for name in value:
            if name not in MEASURES:
                raise ValueError(f"unknown score '{name}'; {did_you_mean(name, MEASURES) or ', '.join(MEASURES)}")
        return value


def load_gate(path: str | None = None, overrides: Iterable[str] = ()) -> GateConfig:
    """Read a gate file.

    Args:
        path: The file, or the name of a preset; the shipped `configs/gate.yaml` by default.
        overrides: `key=value` settings that replace those of the file.

    Raises:
        ConfigError: There is no such file, or something in it is misspelt or out of range.
    """
    file = gate_path(path)
    if not file.is_file():
        raise ConfigError(f"there is no gate file '{file}'", "give a YAML file like configs/gate.yaml")
    return validate(GateConfig, apply_overrides(read_yaml(file), overrides), file.name)


def score_all(
    values: Mapping[str, float | None], rules: Mapping[str, Rule], unjudged: Container[str] = ()
) -> list[Score]:
    """Score every measure by its rule, in the order of `MEASURES`; what was not measured is "not available".

    Args:
        values: By name.
        rules: By name.
        unjudged: Names of scores that this base cannot show: whatever their value, they neither pass nor fail.
    """
    scores = []
    for name, measure in MEASURES.items():
        bar = rules[name].bar if name in rules else None
        found = score(name, values.get(name), measure.unit, measure.better, bar)
        scores.append(replace(found, verdict="not judged") if bar is not None and name in unjudged else found)
    return scores


def verdict(scores: Sequence[Score], rules: Mapping[str, Rule]) -> GateVerdict:
    """Whether the gate is met.

    Returns:
        `fail` where a score misses its bar, or is not available though its rule requires it; `pass` where all the
        bars are reached and at least one of shape, structure and colour each was judged; `limited` otherwise.
    """
    if failing(scores, rules):
        return "fail"
    passed = {s.name for s in scores if s.verdict == "pass"}
    return "limited" if not_seen(passed) else "pass"


def not_seen(passed: Container[str]) -> list[str]:
    """Which of shape, structure and colour no score that passed has shown."""
    return [what for what, names in SEES.items() if not any(name in passed for name in names)]


def is_enough(found: str, config: GateConfig, base: str) -> bool:
    """Whether a verdict is good enough for a night to publish an adapter on a base."""
    least = config.promote_on.get(base, config.promote)
    return found == "pass" or (found == "limited" and least == "limited")


def failing(scores: Sequence[Score], rules: Mapping[str, Rule]) -> list[Score]:
    """The scores because of which the gate is not met."""
    return [
        s
        for s in scores
        if s.verdict == "fail" or (s.verdict == "not available" and s.name in rules and rules[s.name].required)
    ]


def check_met(sku: str, version: str, failed: Sequence[Score], *, hint: str) -> None:
    """Do nothing when no score failed.

    Args:
        sku: Of the adapter.
        version: Of the adapter.
        failed: From `failing`.
        hint: Where to look.

    Raises:
        GateNotMet: Naming each failed score with its value and its bar.
    """
    if not failed:
        return
    reasons = "; ".join(f"{s.name} {format_value(s)}, bar {s.bar:g}" for s in failed)
    raise GateNotMet(f"adapter {version} of '{sku}' does not meet the gate: {reasons}", hint)


def format_value(found: Score) -> str:
    """A score's value for people: `12.3 dE00`, `not available`."""
    if found.value is None:
        return "not available"
    digits = 3 if found.unit in ("SSIM", "cosine", "IoU", "NCC") else 1
    value = "NaN" if math.isnan(found.value) else f"{found.value:.{digits}f}"
    return f"{value} {found.unit}"
