"""Formats: what other pictures or other measures make stale, and what they leave alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetune.core.config import validate
from finetune.core.fidelity import measures
from finetune.settings import TrainConfig
from finetune.training.fingerprint import selection_settings

GATE = """
pictures: {scenes: [on oak], seeds: [3], steps: 2, guidance: 5.0, measure_side: 48}
rules: {palette: {bar: 200}}
"""
CHOSEN = {
    "choose": "measured",
    "every": 2,
    "examples": 4,
    "timesteps": 4,
    "seed": 0,
    "patience": 0,
    "candidates": 2,
    "pictures": 2,
    "gate": {
        "pictures": {
            "scenes": ["on oak"],
            "seeds": [3],
            "steps": 2,
            "guidance": 5.0,
            "height": 0.6,
            "ground": 0.85,
            "box_margin": 0.045,
            "measure_side": 48,
        }
    },
    "drawings": 1,
}
"""What the fingerprint of an adapter holds of the choice among its candidates, as stored before measures had a format
of their own (then 1: k-means by hand)."""


def test_an_adapter_chosen_by_earlier_measures_is_up_to_date(tmp_path: Path) -> None:
    gate = tmp_path / "gate.yaml"
    gate.write_text(GATE, encoding="utf-8")
    chosen = {key: CHOSEN[key] for key in ("every", "examples", "timesteps", "candidates", "pictures")}
    data = {"base": {"model": "embedded"}, "train": {"steps": 6}, "validation": chosen | {"gate": str(gate)}}
    config = validate(TrainConfig, data, "test")
    assert measures.MEASURES_FORMAT > 1
    assert selection_settings(config.model_dump(mode="json")) == CHOSEN


def test_other_measures_make_another_report(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from finetune.core.fidelity.gate import load_gate
    from inference import evaluate

    def report_fingerprint() -> str:
        prepared = SimpleNamespace(sku="bottle01", fingerprint="prepared")
        found = evaluate.Evaluation(
            workspace=None,  # type: ignore[arg-type]
            prepared=prepared,  # type: ignore[arg-type]
            siblings={},
            left_out={},
            version=SimpleNamespace(weights=Path(__file__)),  # type: ignore[arg-type]
            base=SimpleNamespace(fingerprint="base"),  # type: ignore[arg-type]
            config=load_gate(),
            cutout=None,  # type: ignore[arg-type]
            box=None,  # type: ignore[arg-type]
        )
        return found.fingerprint

    before = report_fingerprint()
    assert report_fingerprint() == before
    monkeypatch.setattr(evaluate, "MEASURES_FORMAT", measures.MEASURES_FORMAT + 1)
    assert report_fingerprint() != before
