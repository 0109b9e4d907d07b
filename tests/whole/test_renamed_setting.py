"""A setting that was renamed: what was trained under its old name is up to date under the new one, all the way."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from drawn_products import draw_bottle, write_set

from finetune.core.adapters.file import read_header
from finetune.core.commands import main

RECIPE = """
base: {model: BASE}
data: {size: 64, variants: 1}
adapter: {rank: 2}
train: {steps: 1, warmup: 0, optimizer: adamw, trackers: []}
objective: {NAME: 0.25}
validation: {every: 0, choose: last}
memory: {check: false}
"""


@pytest.mark.tiny
def test_trained_under_the_old_name_nothing_changes_under_the_new(tmp_path: Path, tiny_base: Path) -> None:
    write_set(tmp_path, "bottle01", {"front": draw_bottle(120)})
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    for path, name in ((old, "elsewhere_weight"), (new, "base_preservation_weight")):
        path.write_text(RECIPE.replace("BASE", str(tiny_base)).replace("NAME", name), encoding="utf-8")
    packshot(tmp_path, "train", "bottle01", "--config", str(old))
    packshot(tmp_path, "adapters", "promote", "bottle01", "0001", "--force")
    header = read_header(tmp_path / "adapters" / "bottle01" / "0001" / "adapter.safetensors")
    assert header.manifest["config"]["objective"]["elsewhere_weight"] == 0.25
    for recipe in (new, old):
        (tmp_path / "night.yaml").write_text(f"config: {recipe}\n", encoding="utf-8")
        said = packshot(tmp_path, "nightly", "--config", str(tmp_path / "night.yaml"), "--dry-run")
        assert said == "bottle01: version 0001 is published and up to date\n"
    other = packshot(tmp_path, "nightly", "--config", str(tmp_path / "night.yaml"), "--dry-run", "--set",
                     "set=[objective.base_preservation_weight=0.5]")  # fmt: skip
    assert other == ("bottle01: since version 0001: objective.base_preservation_weight 0.25 -> 0.5\n")


def packshot(workspace: Path, *arguments: str) -> str:
    """What the command prints on stdout."""
    result = CliRunner().invoke(main, [*arguments, "--workspace", str(workspace)])
    assert result.exit_code == 0, result.output
    return result.stdout
