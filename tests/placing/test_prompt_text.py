"""A prompt given in another encoding: refused in one line, before anything is read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from finetune.core.errors import ConfigError
from finetune.core.products.catalog import Workspace
from inference.place import resolve_request
from inference.settings import PlaceConfig


@pytest.mark.parametrize("given", ["prompt", "negative prompt"])
def test_a_prompt_that_is_not_utf_8_is_one_line(tmp_path: Path, given: str) -> None:
    latin = os.fsdecode("für Gäste".encode("latin-1"))
    config = PlaceConfig.model_validate({"sampling": {"negative": latin if given == "negative prompt" else ""}})
    prompt = latin if given == "prompt" else "on oak"
    with pytest.raises(ConfigError, match=f"^the {given} is not UTF-8 text$"):
        resolve_request(Workspace(tmp_path), "mug", prompt, config=config)
