"""The gate: bars, what counts when a score is missing, and settings that are misspelt."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetune.core.errors import ConfigError, GateNotMet
from finetune.core.fidelity.gate import (
    MEASURES,
    GateConfig,
    Rule,
    check_met,
    failing,
    format_value,
    is_enough,
    load_gate,
    not_seen,
    score_all,
    verdict,
)

RULES = {
    "outline_reached": Rule(bar=0),
    "parts_reached": Rule(bar=15, required=False),
    "palette_reached": Rule(bar=30),
    "palette": Rule(bar=15),
    "palette_gain": Rule(bar=10),
    "own_nearest": Rule(bar=75, required=False),
    "core_difference": Rule(bar=0),
}
SEEN = {"outline_reached": "shape", "parts_reached": "structure", "palette_reached": "colour"}
GOOD: dict[str, float | None] = {
    "outline_reached": 20,
    "parts_reached": 40,
    "palette_reached": 60,
    "palette": 9,
    "palette_gain": 40,
    "own_nearest": 100,
    "core_difference": 0,
}


def gate_file(folder: Path, text: str) -> str:
    path = folder / "gate.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_every_score_stands_in_the_report_in_one_order() -> None:
    scores = score_all(GOOD, RULES)
    assert [s.name for s in scores] == list(MEASURES)
    assert {s.name: s.verdict for s in scores if s.bar is not None} == dict.fromkeys(RULES, "pass")
    assert verdict(scores, RULES) == "pass"


@pytest.mark.parametrize(
    ("name", "value"),
    [("palette", 15.1), ("palette_gain", 9.9), ("palette_gain", 0.0), ("own_nearest", 50), ("core_difference", 1)],
)
def test_one_score_off_its_bar_shuts_the_gate_and_is_named(name: str, value: float) -> None:
    scores = score_all(GOOD | {name: value}, RULES)
    assert verdict(scores, RULES) == "fail"
    with pytest.raises(GateNotMet, match=f"{name} .*bar") as caught:
        check_met("p1", "0001", failing(scores, RULES), hint="look")
    assert caught.value.exit_code == 3
    assert str(len(failing(scores, RULES))) == "1"


def test_a_value_on_its_bar_passes() -> None:
    on_bars: dict[str, float | None] = {name: rule.bar for name, rule in RULES.items()}
    scores = score_all(on_bars, RULES)
    assert verdict(scores, RULES) == "pass"
    check_met("p1", "0001", failing(scores, RULES), hint="")


def test_what_was_not_measured_is_never_a_pass() -> None:
    scores = score_all({**GOOD, "palette": None}, RULES)
    assert {s.name: s.verdict for s in scores}["palette"] == "not available"
    assert verdict(scores, RULES) == "fail"


def test_a_score_that_need_not_be_there_is_left_out_but_does_not_pass() -> None:
    alone = {name: value for name, value in GOOD.items() if name != "own_nearest"}
    scores = score_all(alone, RULES)
    assert {s.name: s.verdict for s in scores}["own_nearest"] == "not available"
    assert verdict(scores, RULES) == "pass"


@pytest.mark.parametrize("name", ["outline_reached", "parts_reached", "palette_reached"])
def test_what_a_base_cannot_show_neither_passes_nor_fails(name: str) -> None:
    scores = score_all({**GOOD, name: -50.0}, RULES, {name})
    assert {s.name: s.verdict for s in scores}[name] == "not judged"
    assert failing(scores, RULES) == []
    assert verdict(scores, RULES) == "limited"
    assert not_seen({s.name for s in scores if s.verdict == "pass"}) == [SEEN[name]]


def test_a_bar_that_is_missed_fails_whatever_else_is_not_judged() -> None:
    assert verdict(score_all({**GOOD, "palette": 40}, RULES, {"parts_reached"}), RULES) == "fail"


def test_a_gate_that_judges_colour_alone_is_limited() -> None:
    rules = {"palette": RULES["palette"], "palette_reached": RULES["palette_reached"]}
    assert verdict(score_all(GOOD, rules), rules) == "limited"


def test_what_a_night_publishes_depends_on_the_base() -> None:
    gate = load_gate()
    assert is_enough("pass", gate, "sdxl")
    assert not is_enough("limited", gate, "sdxl")
    assert is_enough("limited", gate, "embedded")
    assert not is_enough("fail", gate, "embedded")


def test_the_shipped_gate_holds_what_the_design_asks_for() -> None:
    gate = load_gate()
    assert {"drawn", *SEEN, "own_nearest", "core_difference"} <= set(gate.rules)
    assert gate.rules["palette_gain"].bar > 0, "an adapter of zeros gains nothing"
    assert gate.rules["core_difference"].bar == 0
    assert gate.rules["own_nearest"].required, "a lone product has decoys"
    assert len(gate.pictures.scenes) * len(gate.pictures.seeds) >= 4


def test_every_bar_of_the_shipped_gate_says_why() -> None:
    from finetune.core.config import presets_dir

    lines = (presets_dir() / "gate.yaml").read_text(encoding="utf-8").splitlines()
    rules = [index for index, line in enumerate(lines) if line.strip().split(":")[0] in load_gate().rules]
    assert len(rules) == len(load_gate().rules)
    assert all(lines[index - 1].strip().startswith("#") for index in rules)


MINIMAL = "pictures: {scenes: [on a table], seeds: [1]}\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (MINIMAL + "rules: {palete: {bar: 1}}", "did you mean 'palette'"),
        (MINIMAL + "rules: {palette: {}}", "rules.palette.bar"),
        (MINIMAL + "rules: {palette: {bar: .nan}}", "rules.palette.bar"),
        (MINIMAL + "rules: {}", "rules"),
        (MINIMAL + "rules: {palette: {bar: 1}}\nembeder: x", "unknown key 'embeder'"),
        ("rules: {palette: {bar: 1}}", "pictures"),
        ("pictures: {scenes: [on a table], seeds: [1, 1]}\nrules: {palette: {bar: 1}}", "distinct"),
        ("pictures: {scenes: [' '], seeds: [1]}\nrules: {palette: {bar: 1}}", "empty"),
        ("pictures: {scenes: [], seeds: [1]}\nrules: {palette: {bar: 1}}", "scenes"),
    ],
)
def test_a_gate_file_with_a_mistake_is_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_gate(gate_file(tmp_path, text))
    assert says in caught.value.message


def test_a_missing_gate_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no gate file .*nowhere\.yaml"):
        load_gate(str(tmp_path / "nowhere.yaml"))


def test_a_setting_can_be_overridden(tmp_path: Path) -> None:
    path = gate_file(tmp_path, MINIMAL + "rules: {palette: {bar: 12}}")
    gate = load_gate(path, ["pictures.seeds=[4, 5]", "rules.palette.bar=9.5"])
    assert gate.pictures.seeds == (4, 5)
    assert gate.rules["palette"].bar == 9.5
    assert isinstance(gate, GateConfig)


def test_values_are_shown_with_their_unit() -> None:
    shown = {s.name: format_value(s) for s in score_all({"palette": 9.04, "structure": 0.5126}, {})}
    assert shown["palette"] == "9.0 dE00"
    assert shown["structure"] == "0.513 SSIM"
    assert shown["embedder"] == "not available"
