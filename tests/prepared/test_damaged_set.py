"""A prepared set or its table that was damaged since: named, or made again; a run that never began leaves nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_training import tiny_config, train

from finetune.core.errors import RunError
from finetune.core.products.catalog import Workspace

pytestmark = pytest.mark.tiny


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # `datasets` leaves the file open
def test_a_damaged_example_is_named_and_no_run_is_left(workspace: Workspace, tiny_base: Path) -> None:
    config = tiny_config(tiny_base, "train.steps=1", "data.variants=2")
    train(workspace, config)
    before = sorted(workspace.runs.glob("bottle01/*"))
    picture = min((workspace.datasets / "bottle01" / "prepared" / "images").glob("*.png"))
    whole = picture.read_bytes()
    for data, said in ((whole[: len(whole) // 2], f"images/{picture.name} can't be read"), (None, picture.name)):
        picture.write_bytes(data) if data is not None else picture.unlink()
        with pytest.raises(RunError) as caught:
            train(workspace, tiny_config(tiny_base, "train.steps=1", "data.variants=2", "train.seed=1"))
        assert said in caught.value.message
        assert "packshot prepare bottle01 --force" in caught.value.hint
        assert "\n" not in caught.value.message
    assert sorted(workspace.runs.glob("bottle01/*")) == before
    assert [path.name for path in (workspace.adapters / "bottle01").iterdir()] == ["0001"]


def test_a_damaged_table_and_class_pictures_are_made_again(workspace: Workspace, tiny_base: Path) -> None:
    options = ("train.steps=1", "data.variants=2", "objective.prior_weight=1", "objective.prior_pictures=2")
    train(workspace, tiny_config(tiny_base, *options))
    first, second = sorted((workspace.cache / "class").glob("*.png"))
    whole, stands = first.read_bytes(), second.stat().st_mtime_ns
    first.write_bytes(whole[: len(whole) // 2])
    for seed, pattern in enumerate(("*.arrow", "dataset_info.json"), 1):
        tables = list((workspace.cache / "datasets").rglob(pattern))
        assert tables
        for table in tables:
            table.write_bytes(table.read_bytes()[:60])
        assert train(workspace, tiny_config(tiny_base, *options, f"train.seed={seed}")).made
    assert first.read_bytes() == whole
    assert second.stat().st_mtime_ns == stands
