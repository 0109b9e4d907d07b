"""The settings of a placing: templates, ranges, precedence of flags."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetune.core.compositing.placement import placement_box
from finetune.core.config import presets_dir, validate
from finetune.core.errors import ConfigError
from finetune.core.painting.prompts import resolve_prompt
from inference.cli.place import place_config
from inference.settings import PlaceConfig


def test_template_takes_braces_and_spaces_of_the_user_as_they_are() -> None:
    filled = resolve_prompt("a {token} {class_noun}  {prompt}", token="t1", class_noun="mug", prompt=" on {x} 100% \n")
    assert filled == "a t1 mug on {x} 100%"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"sise": 512}, "unknown key 'sise'"),
        ({"size": "1080x"}, "is not a size"),
        ({"size": 0}, "size"),
        ({"candidates": 0}, "candidates"),
        ({"placement": {"scale": 0}}, "placement.scale"),
        ({"placement": {"ground": 1.2}}, "placement.ground"),
        ({"prompts": {"place": "a {tokn} {prompt}"}}, "unknown field {tokn}"),
        ({"prompts": {"insert": "a bottle"}}, "{prompt} is missing"),
        ({"prompts": {"scene": "{prompt"}}, "this is not a template"),
        ({"sampling": {"steps": 1, "strength": 0.5}}, "are less than one step"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate(PlaceConfig, settings, "place settings")
    assert says in caught.value.message


def test_every_problem_shows_at_once_with_a_suggestion() -> None:
    with pytest.raises(ConfigError) as caught:
        validate(PlaceConfig, {"shadow": {"strenght": 1}, "seed": -1}, "place settings")
    assert "shadow.strenght" in caught.value.message
    assert "seed" in caught.value.message
    assert caught.value.hint == "did you mean 'shadow.strength'?"


def test_flag_beats_set_beats_file(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text("size: 512\nseed: 3\nsampling: {steps: 7, guidance: 2}\n", encoding="utf-8")
    config = place_config(str(file), ("sampling.steps=8", "seed=4"), {"seed": 5, "guidance": None, "scale": 0.4})
    assert (config.frame[0], config.sampling.steps, config.sampling.guidance) == (512, 8, 2)
    assert (config.seed, config.placement.scale) == (5, 0.4)


def test_flag_into_a_section_that_is_a_value_is_a_config_error() -> None:
    with pytest.raises(ConfigError):
        place_config(None, ("sampling=3",), {"steps": 4})


def test_every_shipped_preset_is_valid_and_fits_a_usual_product() -> None:
    presets = sorted((presets_dir() / "scenes").glob("*.yaml"))
    assert presets
    for preset in presets:
        place = place_config(preset.stem, (), {}).placement
        assert place.scale is not None
        placement_box((300, 500), 1024, anchor=place.anchor, scale=place.scale, ground=place.ground)
