"""A run killed by SIGKILL anywhere and started again by the same command ends in the bytes of one never interrupted."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
from drawn_products import write_shop
from killed_runs import CONFIG, adapter, steps, train
from started_commands import At

pytestmark = pytest.mark.tiny
STEPS = 6


@pytest.fixture(scope="module")
def shop(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with one prepared product, its cache filled, and `straight`: the adapter of a run left in peace."""
    folder = tmp_path_factory.mktemp("killed")
    write_shop(folder, CONFIG, tiny_base)
    done = train(folder, "straight")
    assert done.wait() == 0, done.said()
    adapter(folder).rename(folder / "straight")
    shutil.rmtree(folder / "adapters")
    shutil.rmtree(folder / "runs")
    return folder


def goes_on(folder: Path, name: str, start_step: int | None) -> None:
    """The same command once more ends in the bytes of the straight run, and leaves nothing half-written."""
    again = train(folder, f"{name}-again")
    assert again.wait() == 0, again.said()
    if start_step is not None:
        assert (f"resuming from step {start_step} " in again.said()) == (start_step > 0), again.said()
    assert adapter(folder).read_bytes() == (folder / "straight").read_bytes()
    assert steps(folder) == list(range(1, STEPS + 1))
    assert not [path for part in ("runs", "adapters") for path in (folder / part).rglob(".*")]
    shutil.rmtree(folder / "adapters")
    shutil.rmtree(folder / "runs")


@pytest.mark.parametrize("step", [1, 4])
def test_killed_from_outside_at_a_step(shop: Path, step: int) -> None:
    victim = train(shop, f"at-{step}")
    victim.wait_until(lambda: len(steps(shop)) >= step)
    assert victim.process.pid is not None
    os.kill(victim.process.pid, signal.SIGKILL)
    assert victim.wait() == -signal.SIGKILL
    assert not list(shop.glob("adapters/bottle01/0*"))
    goes_on(shop, f"at-{step}", None)


@pytest.mark.parametrize(
    ("place", "start_step"),
    [
        (At("os.mkdir", r"/\.step-000002"), 0),
        (At("open", r"/\.step-000004.*/optimizer"), 2),
        (At("os.rename", r"/\.step-000004"), 2),
        (At("open", r"metrics\.jsonl", number=4), 2),
        (At("os.remove", r"lora\.safetensors"), 6),
        (At("os.rename", r"/\.version"), 6),
        (At("open", "/done$"), None),
    ],
    ids=[
        "before a checkpoint's first byte",
        "as a checkpoint is brought to the disk",
        "before it gets its name",
        "before a line of the metrics",
        "amid the removal of an old checkpoint",
        "before the version gets its number",
        "before the run is marked as done",
    ],
)
def test_killed_at_an_exact_place(
    shop: Path, request: pytest.FixtureRequest, place: At, start_step: int | None
) -> None:
    name = request.node.name.replace(" ", "-")
    victim = train(shop, name, kill=place)
    assert victim.wait() == -signal.SIGKILL, victim.said()
    goes_on(shop, name, start_step)
