"""Configuration: strictness, overrides, suggestions, and every shipped YAML."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from finetune.core.config import apply_overrides, dump_yaml, find_config, presets_dir, read_yaml, validate
from finetune.core.errors import ConfigError
from finetune.settings import TrainConfig

PRESETS = sorted((presets_dir() / "train").glob("*.yaml"))


def test_all_presets_are_seen() -> None:
    assert {p.stem for p in PRESETS} == {
        "embedded", "sdxl-8gb-nf4", "sdxl-8gb", "sdxl-12gb", "sdxl-16gb", "sdxl-24gb"
    }  # fmt: skip


@pytest.mark.parametrize("path", PRESETS, ids=lambda p: p.stem)
def test_preset_is_valid_and_says_what_it_is_for(path: Path) -> None:
    config = validate(TrainConfig, read_yaml(path), path.name)
    header = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    assert [line.split(":")[0] for line in header] == ["# Purpose", "# Memory", "# Command"]
    assert config.train.steps > 0


def test_resolved_config_reads_back_as_itself() -> None:
    config = validate(TrainConfig, read_yaml(PRESETS[0]), "preset")
    assert validate(TrainConfig, yaml.safe_load(dump_yaml(config)), "dump") == config


def test_every_field_is_documented() -> None:
    sections = [field.annotation for field in TrainConfig.model_fields.values()]
    fields = [(s, name, f) for s in sections for name, f in s.model_fields.items()]  # type: ignore[union-attr]
    assert len(fields) > 35
    assert [name for _, name, field in fields if not field.description] == []


def test_overrides_win_and_are_read_as_yaml() -> None:
    data = {"train": {"steps": 5, "seed": 1}}
    result = apply_overrides(data, ["train.steps=7", "adapter.dora=true", "train.learning_rate=1e-5", "base.model=a=b"])
    assert result["train"] == {"steps": 7, "seed": 1, "learning_rate": 1e-5}
    assert result["adapter"]["dora"] is True
    assert result["base"]["model"] == "a=b"
    assert data == {"train": {"steps": 5, "seed": 1}}


@pytest.mark.parametrize("override", ["train.steps", "=3", "train.steps.x=1"])
def test_bad_overrides(override: str) -> None:
    with pytest.raises(ConfigError):
        apply_overrides({"train": {"steps": 5}}, [override])


def test_all_problems_at_once_with_suggestions() -> None:
    data = {"train": {"stepz": 3, "batch": 0}, "adapterr": {}, "data": {"size": 100}}
    with pytest.raises(ConfigError) as caught:
        validate(TrainConfig, data, "my.yaml")
    message = caught.value.message
    for part in (
        "unknown key 'train.stepz'",
        "train.batch",
        "unknown key 'adapterr'",
        "data.size: 100 is not a multiple",
    ):
        assert part in message
    assert "did you mean 'train.steps'?" in caught.value.hint
    assert "did you mean 'adapter'?" in caught.value.hint


def test_a_problem_is_said_of_the_file_or_of_the_override_that_has_it() -> None:
    overrides = ["train.stepz=3", "steps=4", "train.batch=-1"]
    data = apply_overrides({"adapter": {"rank": "x"}}, overrides)
    with pytest.raises(ConfigError) as caught:
        validate(TrainConfig, data, "my.yaml", overrides=overrides)
    of_file, of_overrides = caught.value.message.split("--set: ")
    assert of_file.startswith("my.yaml: adapter.rank: ")
    assert "(it is 'x')" in of_file
    for said in ("unknown key 'train.stepz'", "unknown key 'steps'", "train.batch: ", "(it is -1)"):
        assert said in of_overrides
    assert caught.value.hint == "did you mean 'train.steps'?; did you mean 'train.steps' or 'preview.steps'?"


def test_cross_field_rules_are_validators() -> None:
    with pytest.raises(ConfigError, match="must be under train"):
        validate(TrainConfig, {"train": {"steps": 5, "warmup": 5}}, "x")
    with pytest.raises(ConfigError, match="sum to 1"):
        validate(TrainConfig, {"data": {"mask_shares": {"box": 0.5}}}, "x")


def test_unknown_preset_gets_a_suggestion() -> None:
    with pytest.raises(ConfigError) as caught:
        find_config("embeded", "train")
    assert caught.value.hint == "did you mean 'embedded'?"
    with pytest.raises(ConfigError) as caught:
        find_config("SDXL-12GB", "train")
    assert caught.value.hint == "did you mean 'sdxl-12gb'?"


@pytest.mark.parametrize("text", ["a: [1", "- 1\n- 2\n", "\x00"])
def test_broken_yaml(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_yaml(path)
    assert "\n" not in caught.value.message
    assert "<unicode string>" not in caught.value.message
