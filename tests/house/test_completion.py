"""Shell completion, asked as a shell asks: commands, options, SKUs, versions, presets; no torch on the way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from finetune.core.commands import main
from finetune.core.config import presets_dir


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A workspace of empty folders: completion reads names alone."""
    for sku in ("mug01", "mug02", "vase"):
        (tmp_path / "datasets" / sku).mkdir(parents=True)
        (tmp_path / "datasets" / sku / "set.yaml").write_text("class_noun: mug", encoding="utf-8")
    for version in ("0001", "0002", "0010", ".hidden.part"):
        (tmp_path / "adapters" / "mug01" / version).mkdir(parents=True)
    return tmp_path


def completed(*words: str) -> list[str]:
    """What is offered for the last of the words."""
    asked = ShellComplete(main, {}, "packshot", "_PACKSHOT_COMPLETE")
    return [item.value for item in asked.get_completions(list(words[:-1]), words[-1])]


def test_commands_and_options() -> None:
    assert completed("pla") == ["plan", "place", "plates"]
    assert completed("train", "--for") == ["--force"]


def test_skus_and_versions_of_the_workspace(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at = ("--workspace", str(shop))
    for command in ("train", "prepare", "check", "plan", "place", "evaluate"):
        assert completed(command, *at, "mug") == ["mug01", "mug02"], command
        assert completed(*at, command, "v") == ["vase"], command
    assert completed("adapters", "promote", *at, "mug01", "00") == ["0001", "0002", "0010"]
    assert completed("adapters", "export", *at, "mug01", "--version", "001") == ["0010"]
    assert completed("place", *at, "mug01", "--adapter", "") == ["0001", "0002", "0010", "none"]
    assert completed("evaluate", *at, "mug01", "--adapter", "0002") == ["0002"]
    assert completed("evaluate", *at, "vase", "--adapter", "") == []
    monkeypatch.chdir(shop)
    assert completed("train", "v") == ["vase"]


def test_presets() -> None:
    assert completed("train", "--config", "sdxl-8") == ["sdxl-8gb", "sdxl-8gb-nf4"]
    scenes = sorted(path.stem for path in (presets_dir() / "scenes").glob("*.yaml"))
    assert completed("place", "--config", "") == scenes
    assert len(scenes) >= 2


def test_the_documented_line_gives_a_script_and_answers(shop: Path) -> None:
    line = [sys.executable, "-c", "from finetune.core.commands import main; main(prog_name='packshot')"]
    environment = os.environ | {"_PACKSHOT_COMPLETE": "bash_source"}
    script = subprocess.run(line, capture_output=True, text=True, check=False, env=environment).stdout
    assert "complete -o nosort -F" in script
    asked = {"_PACKSHOT_COMPLETE": "bash_complete", "COMP_WORDS": "packshot train mug", "COMP_CWORD": "2"}
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=os.environ | asked, cwd=shop)
    assert done.stdout.split() == ["plain,mug01", "plain,mug02"]
