"""`packshot plan` says how long it is going to trace, and copies of a base at other places share what was traced."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from finetune.core.commands import main

pytestmark = pytest.mark.tiny


def plan(root: Path, base: Path, *more: str) -> Result:
    line = ["plan", "--config", "embedded", "--set", f"base.model={base}", "--set", "data.size=64", *more]
    return CliRunner().invoke(main, [*line, "--workspace", str(root), "--gpu", "12GB", "--json"])


def test_the_time_is_told_first_and_nothing_is_traced_twice(tiny_base: Path, tmp_path: Path) -> None:
    done = plan(tmp_path, tiny_base)
    assert done.exit_code == 0, done.output
    assert re.search(r"base: base; tracing up to 1 step takes about \d+ s of one core, and is kept", done.stderr)
    known = set((tmp_path / ".cache" / "plans").iterdir())
    assert "its steps were traced before" in plan(tmp_path, tiny_base).stderr
    more = plan(tmp_path, tiny_base, "--set", "train.accumulation=2")
    assert re.search(r"tracing up to \d+ steps takes about", more.stderr)
    assert set((tmp_path / ".cache" / "plans").iterdir()) > known


def test_a_copy_at_another_place_shares_it(tiny_base: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copies" / "other"
    shutil.copytree(tiny_base, copy)
    for part in ("unet", "vae", "text_encoder"):
        config = json.loads((copy / part / "config.json").read_text(encoding="utf-8"))
        config |= {"_name_or_path": "elsewhere/base", "_diffusers_version": "0.1.0"}
        (copy / part / "config.json").write_text(json.dumps(config), encoding="utf-8")
    first = plan(tmp_path, tiny_base)
    known = sorted((tmp_path / ".cache" / "plans").iterdir())
    second = plan(tmp_path, copy)
    assert "its steps were traced before" in second.stderr
    assert sorted((tmp_path / ".cache" / "plans").iterdir()) == known
    assert json.loads(first.stdout)["components"] == json.loads(second.stdout)["components"]
    config = json.loads((copy / "unet" / "config.json").read_text(encoding="utf-8"))
    (copy / "unet" / "config.json").write_text(json.dumps(config | {"norm_num_groups": 8}), encoding="utf-8")
    assert "tracing up to" in plan(tmp_path, copy).stderr, "another architecture is another plan"
