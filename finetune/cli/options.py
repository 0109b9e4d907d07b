"""What the command lines of the training side share: the training config they mean, waiting for another command."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from finetune.core.config import apply_overrides, find_config, validate
from finetune.core.console import say, warn
from finetune.core.yaml_files import read_yaml
from finetune.settings import TrainConfig

Function = TypeVar("Function", bound=Callable[..., Any])


def wait_option(function: Function) -> Function:
    """Add --wait: for another command that works on the same SKU."""
    return click.option(
        "--wait", is_flag=True, help="Wait for another prepare or train of the same SKU instead of failing."
    )(function)


def resolve_config(config_name: str | None, overrides: tuple[str, ...], *, announce: bool = True) -> TrainConfig:
    """The training config of a command line.

    Args:
        config_name: A file or the name of a preset; None for the preset of this machine.
        overrides: Those of `--set`.
        announce: Whether to print which preset was picked.

    Raises:
        ConfigError: The file is missing, or settings are wrong.
    """
    why = ""
    if config_name is None:
        from finetune.memory.budget import preset_for_this_machine

        config_name, why = preset_for_this_machine()
    path = find_config(config_name, "train")
    config = validate(TrainConfig, apply_overrides(read_yaml(path), overrides), path.name, overrides=overrides)
    if why and announce:
        own = config_name == "embedded" and config.base.model != "embedded"
        say(f"no CUDA device: preset embedded, on base {config.base.model}" if own else why)
        if own:
            warn("preset embedded is for the small base that ships with Packshot; for SDXL use --config sdxl-12gb")
    return config
