"""Configuration: strictness, overrides, suggestions, and every shipped YAML."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from drawn_products import draw_bottle, write_set

from finetune.core.commands import main
from finetune.core.config import (
    apply_overrides,
    dump_yaml,
    find_config,
    presets_dir,
    validate,
    with_recorded_names,
)
from finetune.core.errors import ConfigError
from finetune.core.products.catalog import SetConfig
from finetune.core.yaml_files import read_yaml
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
    config = validate(TrainConfig, result, "x")
    assert (config.train.steps, config.train.seed, config.train.learning_rate) == (7, 1, 1e-5)
    assert config.adapter.dora is True
    assert config.base.model == "a=b"
    assert data == {"train": {"steps": 5, "seed": 1}}


@pytest.mark.parametrize("text", ["1e-4", "1.0e-4", "0.0001", "1E-4"])
def test_numbers_are_read_however_they_are_written(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(f"train: {{learning_rate: {text}, betas: [{text}, 0.5]}}\ndata: {{mask_shares: {{box: 1}}}}\n")
    config = validate(TrainConfig, read_yaml(path), path.name)
    assert (config.train.learning_rate, config.train.betas) == (1e-4, (1e-4, 0.5))


def test_numbers_where_text_is_wanted_stay_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "set.yaml"
    path.write_text(
        "class_noun: mug\ncategory: 0012\nbrand: 40012\nlabel_text: [4711, 5.10, 1_000, 12:30]\nheight_mm: 1_0.5\n"
    )
    found = validate(SetConfig, read_yaml(path), path.name)
    assert (found.category, found.brand) == ("0012", "40012")
    assert list(found.label_text) == ["4711", "5.10", "1_000", "12:30"]
    assert found.height_mm == 10.5


def test_numeric_skus_categories_and_labels_in_the_real_commands(tmp_path: Path) -> None:
    folder = write_set(tmp_path, "40012", {"front": draw_bottle(120)})
    lines = "class_noun: bottle\nlabel_text: [4711]\ncategory: 50012\n"
    (folder / "set.yaml").write_text(lines, encoding="utf-8")
    (tmp_path / "datasets" / "50012").mkdir()
    (tmp_path / "datasets" / "50012" / "set.yaml").write_text("kind: category\nclass_noun: bottle\n", encoding="utf-8")
    (tmp_path / "night.yaml").write_text("config: embedded\nskus: [40012]\n", encoding="utf-8")
    small = ("--config", "embedded", "--set", "data.size=64", "--set", "data.variants=1", "--jobs", "1")
    for sku in ("40012", "50012"):
        assert "prepared" in packshot(tmp_path, "prepare", sku, *small)
    said = packshot(tmp_path, "nightly", "--config", str(tmp_path / "night.yaml"), "--dry-run")
    assert said == "40012: no adapter has been trained\n"


def packshot(workspace: Path, *arguments: str) -> str:
    """What the command prints, stdout and stderr."""
    result = CliRunner().invoke(main, [*arguments, "--workspace", str(workspace)])
    assert result.exit_code == 0, result.output
    return result.output


OLD, NEW = "objective.elsewhere_weight", "objective.base_preservation_weight"


def test_a_renamed_setting_is_read_under_its_old_name_with_a_warning(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finetune.core.console._EARLIER_WARNINGS", set())
    data = {"objective": {"snr_gamma": 1, "elsewhere_weight": 0.25}}
    assert validate(TrainConfig, data, "x").objective.base_preservation_weight == 0.25
    assert f"{OLD} is now called {NEW}" in capsys.readouterr().err
    for override in (f"{OLD}=0.75", f"{NEW}=0.75"):
        merged = apply_overrides(data, [override])
        found = validate(TrainConfig, merged, "x", overrides=[override])
        assert found.objective.base_preservation_weight == 0.75, "--set wins, under whichever name"
    assert data == {"objective": {"snr_gamma": 1, "elsewhere_weight": 0.25}}
    with pytest.raises(ConfigError, match="are one setting"):
        validate(TrainConfig, {"objective": {"elsewhere_weight": 1, "base_preservation_weight": 1}}, "x")
    with pytest.raises(ConfigError, match=f"--set: {NEW}: "):
        validate(TrainConfig, apply_overrides({}, [f"{OLD}=-1"]), "x", overrides=[f"{OLD}=-1"])


def test_what_is_recorded_keeps_the_old_name_in_its_place() -> None:
    config = TrainConfig().model_dump(mode="json")
    recorded = with_recorded_names(config)
    assert validate(TrainConfig, recorded, "x") == TrainConfig()
    assert "base_preservation_weight" not in recorded["objective"]
    place = list(config["objective"]).index("base_preservation_weight")
    assert list(recorded["objective"])[place] == "elsewhere_weight"
    assert with_recorded_names({"train": {"steps": 1}}) == {"train": {"steps": 1}}


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
    assert "(it is x)" in of_file
    for said in ("unknown key 'train.stepz'", "unknown key 'steps'", "train.batch: ", "(it is -1)"):
        assert said in of_overrides
    assert caught.value.hint == "did you mean 'train.steps'?; did you mean 'train.steps' or 'preview.steps'?"


def test_cross_field_rules_are_validators() -> None:
    with pytest.raises(ConfigError, match="ring_weight has no effect"):
        validate(TrainConfig, {"objective": {"ring_px": 0}}, "x")
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
