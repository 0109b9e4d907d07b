"""What differs between the adapter that is there and the one asked for: told by name, and where it has no effect."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from tiny_training import tiny_config, train

from finetune.core.adapters import versions
from finetune.core.basemodel.resolve import resolve_base
from finetune.core.commands import main
from finetune.core.config import validate, with_recorded_names
from finetune.core.products.catalog import Workspace
from finetune.settings import TrainConfig
from finetune.training.fingerprint import changed_settings, counted_settings, ineffective_settings, why_stale

pytestmark = pytest.mark.tiny


def plain(**sections: dict[str, object]) -> dict[str, object]:
    return with_recorded_names(validate(TrainConfig, sections, "test").model_dump(mode="json"))


def test_settings_that_change_weights_are_told_with_both_values() -> None:
    before, now = plain(), plain(train={"steps": 500, "learning_rate": 2e-4}, adapter={"rank": 8})
    assert changed_settings(before, now) == [
        "adapter.rank 16 -> 8",
        "train.steps 300 -> 500",
        "train.learning_rate 0.0001 -> 0.0002",
    ]
    elsewhere = plain(objective={"base_preservation_weight": 0.25})
    assert changed_settings(before, elsewhere) == ["objective.base_preservation_weight 0.5 -> 0.25"]
    assert changed_settings(before, plain(preview={"every": 5}, memory={"check": False})) == []


def test_settings_that_change_none_are_told_as_such() -> None:
    now = plain(preview={"every": 5}, memory={"check": False}, train={"checkpoint_every": 7})
    assert ineffective_settings(plain(), now) == ["train.checkpoint_every=7", "memory.check=false", "preview.every=5"]
    assert counted_settings(plain()) == counted_settings(now)


def test_more_than_five_are_counted() -> None:
    now = plain(train={"steps": 500, "seed": 3, "batch": 2, "accumulation": 2, "weight_decay": 0, "schedule": "cosine"})
    manifest = {"prepared": "p", "base": {"fingerprint": "b"}, "config": plain()}
    assert why_stale(manifest, "p", "b", now, photos="").endswith(", 1 more")
    assert why_stale(manifest, "p", "c", plain(), photos="") == "the base changed"
    assert why_stale(manifest, "q", "b", plain(data={"variants": 30}), photos="") == "data.variants 24 -> 30"
    assert why_stale(manifest, "q", "b", plain(), photos="photos/a.png changed") == "photos/a.png changed"
    assert why_stale({}, "q", "b", plain(), photos="") == "photos, settings or base changed"


def test_a_warmup_that_is_too_long_is_cut_told_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    cut = validate(TrainConfig, {"train": {"steps": 20, "warmup": 20}}, "test")
    assert cut.train.warmup == 2
    assert "Warning: train.warmup (20) must be below train.steps (20): using 2 warm-up steps" in capsys.readouterr().err
    assert cut == validate(TrainConfig, {"train": {"steps": 20, "warmup": 2}}, "test")
    assert validate(TrainConfig, {"train": {"steps": 3, "warmup": 300}}, "test").train.warmup == 0
    assert validate(TrainConfig, {"train": {"steps": 20, "warmup": 19}}, "test").train.warmup == 19


def test_no_validation_is_one_setting() -> None:
    off = validate(TrainConfig, {"validation": {"every": 0}}, "test").validation
    assert (off.choose, off.patience) == ("last", 0)
    off = validate(TrainConfig, {"validation": {"every": 0, "choose": "measured", "patience": 3}}, "test").validation
    assert (off.choose, off.patience) == ("last", 0)


def test_the_command_says_so_and_force_trains_again(workspace: Workspace, tiny_base: Path) -> None:
    train(workspace, tiny_config(tiny_base))
    config = tiny_config(tiny_base)
    recipe = workspace.root / "recipe.yaml"
    recipe.write_text(config.model_dump_json(), encoding="utf-8")
    common = ["train", "bottle01", "--config", str(recipe), "--workspace", str(workspace.root)]
    same = CliRunner().invoke(main, common)
    assert "no effect" not in same.stderr
    told = CliRunner().invoke(main, [*common, "--set", "preview.every=2"])
    assert told.exit_code == 0, told.output
    assert "preview.every=2: no effect on an adapter that is up to date; --force trains it again" in told.stderr
    again = CliRunner().invoke(main, [*common, "--force"])
    assert again.exit_code == 0, again.output
    changed = CliRunner().invoke(main, [*common, "--set", "train.seed=9"])
    assert f"on {resolve_base(str(tiny_base)).name} (since version 0002: train.seed 0 -> 9)" in changed.stderr
    assert [version.number for version in versions.list_versions(workspace, "bottle01")] == ["0001", "0002", "0003"]
