"""Damaged checkpoints and run files: set aside and named, and the run ends in the same bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from crashes import training_dies
from tiny_training import tiny_config, train

from finetune.core.products.catalog import Workspace
from finetune.training import checkpoints

pytestmark = pytest.mark.tiny


def zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> bytes:
    from drawn_products import draw_bottle, write_set

    root = tmp_path_factory.mktemp("straight")
    write_set(root, "bottle01", {"front": draw_bottle(), "side": draw_bottle(shift=6)})
    return train(Workspace(root), tiny_config(tiny_base, "train.checkpoint_every=1")).version.weights.read_bytes()


@pytest.mark.parametrize(
    ("name", "spoil"), [("lora.safetensors", zeros), ("optimizer.bin", cut), ("optimizer.bin", zeros)]
)
def test_a_damaged_checkpoint_is_set_aside(
    workspace: Workspace, tiny_base: Path, straight: bytes, capsys: pytest.CaptureFixture[str],
    name: str, spoil: Callable[[Path], None],
) -> None:  # fmt: skip
    config = tiny_config(tiny_base, "train.checkpoint_every=1")
    with training_dies(after=2):
        train(workspace, config)
    (state,) = workspace.runs.glob("bottle01/*/state")
    assert [path.name for path in checkpoints.checkpoints(state)] == ["step-000001", "step-000002"]
    spoil(state / "step-000002" / name)
    capsys.readouterr()
    again = train(workspace, config).version.weights.read_bytes()
    said = capsys.readouterr().err
    assert f"Warning: checkpoint step-000002 is damaged ({name} is not as it was written); it is set aside" in said
    assert "resuming from step 1 of run" in said
    assert again == straight


def test_a_file_that_is_missing_and_sums_that_are_no_json(tmp_path: Path) -> None:
    folder = tmp_path / "step-000001"
    folder.mkdir()
    assert checkpoints.damage(folder) == "", "an older Packshot wrote no sums"
    (folder / "checksums.json").write_text(json.dumps({"lora.safetensors": "0" * 16}), encoding="utf-8")
    assert checkpoints.damage(folder) == "lora.safetensors is missing"
    (folder / "checksums.json").write_text("", encoding="utf-8")
    assert "checksums.json is damaged" in checkpoints.damage(folder)


@pytest.mark.parametrize("text", ["", "null", "{", '{"fingerprint": 3}'])
def test_a_run_with_a_damaged_run_json_is_not_resumed(
    workspace: Workspace, tiny_base: Path, straight: bytes, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    config = tiny_config(tiny_base, "train.checkpoint_every=1")
    with training_dies(after=1):
        train(workspace, config)
    (info,) = workspace.runs.glob("bottle01/*/run.json")
    info.write_text(text, encoding="utf-8")
    capsys.readouterr()
    result = train(workspace, config)
    said = capsys.readouterr().err
    assert f"Warning: not resuming a run: run.json of run {info.parent.name} is damaged" in said
    assert "resuming from" not in said
    assert result.version.weights.read_bytes() == straight
