"""What commands need on a CPU: told before anything loads, refused where it cannot fit."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from drawn_products import draw_bottle, write_set
from made_once import prepare_once
from published_adapters import published

from finetune.core.basemodel import load
from finetune.core.basemodel.resolve import resolve_base
from finetune.core.commands import main
from finetune.core.config import validate
from finetune.core.machine_memory import AnonymousPeak, MachineMemory, anonymous_memory
from finetune.core.products.catalog import Workspace
from finetune.core.storage.durable import sweep, temporary_beside
from finetune.core.tracing import device_fit
from finetune.settings import TrainConfig

pytestmark = pytest.mark.tiny
MIB, GIB = 2**20, 2**30
CGROUP = Path("/sys/fs/cgroup/memory")
COMMANDS = {
    "placing": ["place", "bottle01", "--prompt", "on oak", "--set", "size=128", "--steps", "1"],
    "evaluating": ["evaluate", "bottle01"],
    "checking the export": ["adapters", "export", "bottle01", "--format", "kohya", "--output"],
}
TRAIN = ["train", "bottle01", "--config", "embedded", "--set", "data.variants=2"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Workspace:
    """A workspace with a prepared product and an adapter of the tiny base."""
    workspace = prepared_shop(tmp_path_factory.mktemp("shop"))
    published(workspace, resolve_base(str(tiny_base)))
    return workspace


def prepared_shop(root: Path) -> Workspace:
    """A workspace with a prepared product."""
    write_set(root, "bottle01", {"front": draw_bottle()})
    workspace = Workspace(root)
    config = validate(TrainConfig, {"data": {"size": 64, "variants": 2}}, "tiny")
    prepare_once(workspace, "bottle01", config.data)
    return workspace


def run(shop: Workspace, what: str, output: Path) -> Result:
    more = [str(output)] if what == "checking the export" else []
    return CliRunner().invoke(main, [*COMMANDS[what], *more, "--workspace", str(shop.root)])


def files(root: Path) -> set[Path]:
    return {path for path in root.rglob("*") if path.is_file() and ".cache" not in path.parts}


@pytest.mark.parametrize("what", COMMANDS)
def test_what_cannot_fit_is_refused_before_anything_loads(
    what: str, shop: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_fit, "machine_memory", lambda: MachineMemory(8 * GIB, 1 * MIB, limited=True))
    monkeypatch.setattr(load, "_load_folder", lambda *_, **__: pytest.fail("it was loaded"))
    before = files(shop.root)
    done = run(shop, what, tmp_path / "out.safetensors")
    assert done.exit_code == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith(("Error", "hint"))]
    assert len(errors) == 2, done.stderr
    assert errors[0].startswith(f"Error: {what} needs ")
    assert "of CPU, limited to 8.0 GiB by its cgroup (4% stay free)" in errors[0]
    assert errors[1].startswith("hint: close other programs")
    assert files(shop.root) == before
    assert not (tmp_path / "out.safetensors").exists()


def test_training_that_cannot_fit_is_refused_too(
    shop: Workspace, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_fit, "machine_memory", lambda: MachineMemory(8 * GIB, 1 * MIB, limited=True))
    monkeypatch.setattr(load, "_load_folder", lambda *_, **__: pytest.fail("it was loaded"))
    before = files(shop.root)
    line = [*TRAIN, "--set", "data.size=64", "--set", f"base.model={tiny_base}"]
    done = CliRunner().invoke(main, [*line, "--workspace", str(shop.root)])
    assert done.exit_code == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith(("Error", "hint"))]
    assert len(errors) == 2, done.stderr
    assert errors[0].startswith("Error: encoding pictures of 64 px needs ")
    assert "of CPU, limited to 8.0 GiB by its cgroup (4% stay free)" in errors[0]
    assert files(shop.root) == before


@pytest.mark.parametrize("what", ["placing", "checking the export"])
def test_the_need_is_told_where_it_fits(what: str, shop: Workspace, tmp_path: Path) -> None:
    done = run(shop, what, tmp_path / "out.safetensors")
    assert done.exit_code == 0, done.output
    assert " planned of " in done.stderr.split("memory: ")[1].splitlines()[0]


def large(tiny_base: Path, folder: Path) -> str:
    """The tiny base with a native size of 4096 px: little to load, and gigabytes to draw with."""
    shutil.copytree(tiny_base, folder)
    file = folder / "unet" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | {"sample_size": 512}), encoding="utf-8")
    return str(folder)


def demanding(what: str, workspace: Workspace, tiny_base: Path, folder: Path) -> list[str]:
    """A command that needs more than its limit, with what it works on made."""
    if what == "this run":
        many = ["train.batch=64", "data.size=256", f"base.model={tiny_base}"]
        return [*TRAIN, *(part for setting in many for part in ("--set", setting))]
    if what == "placing":
        return [*COMMANDS[what], "--adapter", "none", "--base", large(tiny_base, folder / "large")]
    if what == "evaluating":
        published(workspace, resolve_base(large(tiny_base, folder / "large")))
        return COMMANDS[what]
    published(workspace, resolve_base("embedded"), rank=256, targets="attention+feedforward")
    return [*COMMANDS[what], str(folder / "out.safetensors")]


LIMITS = {"this run": 1024, "placing": 1024, "evaluating": 1024, "checking the export": 500}
"""MiB: above what the program takes before it knows what is needed, below the need."""


@pytest.mark.parametrize("what", LIMITS)
def test_a_real_limit_below_the_need_is_refused(what: str, tiny_base: Path, tmp_path: Path) -> None:
    if not os.access(CGROUP, os.W_OK):
        pytest.skip("no cgroup can be made here")
    workspace = prepared_shop(tmp_path / "shop")
    line = demanding(what, workspace, tiny_base, tmp_path)
    own = CGROUP / f"packshot-test-{os.getpid()}"
    own.mkdir()
    try:
        (own / "memory.limit_in_bytes").write_text(str(LIMITS[what] * MIB), encoding="ascii")
        code = (
            f"import os, pathlib, sys; pathlib.Path({str(own / 'cgroup.procs')!r}).write_text(str(os.getpid()));"
            "from finetune.core.commands import main; main(prog_name='packshot')"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, *line, "--workspace", str(workspace.root)],
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        own.rmdir()
    assert done.returncode == 1, done.stderr
    errors = [text for text in done.stderr.splitlines() if text.startswith(("Error: ", "hint: "))]
    assert len(errors) == 2, done.stderr
    assert errors[0].startswith(f"Error: {what} needs ")
    assert f"of CPU, limited to {LIMITS[what] / 1024:.1f} GiB by its cgroup" in errors[0]
    assert not workspace.scenes.exists()
    assert not workspace.runs.exists()
    assert not (tmp_path / "out.safetensors").exists()


def test_the_peak_counts_what_is_allocated_and_no_mapped_file(tmp_path: Path) -> None:
    import mmap

    peak = AnonymousPeak()
    peak.start()
    try:
        start = anonymous_memory()
        with mmap.mmap(-1, 64 * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as block:  # not numpy's: it may reuse
            block.write(b"1" * (64 * MIB))
            assert peak.bytes >= start + 60 * MIB
        assert peak.bytes >= start + 60 * MIB, "what is given back was there"
        file = tmp_path / "weights"
        file.write_bytes(bytes(96 * MIB))
        before = anonymous_memory()
        with file.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            assert sum(mapped[:: mmap.PAGESIZE]) == 0
            assert anonymous_memory() < before + 32 * MIB
    finally:
        peak.stop()


def test_what_a_killed_place_left_goes_with_the_next(shop: Workspace, tmp_path: Path) -> None:
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    assert run(shop, "placing", tmp_path).exit_code == 0
    (made,) = (shop.scenes / "bottle01").iterdir()
    left = temporary_beside(made, process=int(gone.stdout))
    left.mkdir()
    (left / "01.png").write_bytes(b"half")
    assert run(shop, "placing", tmp_path).exit_code == 0, "the scenes are up to date"
    assert list((shop.scenes / "bottle01").iterdir()) == [made]


def test_a_process_that_got_the_same_id_later_keeps_nothing(tmp_path: Path) -> None:
    """As in a container, where every start has the same ids."""
    mine, former = temporary_beside(tmp_path / "scene"), temporary_beside(tmp_path / "scene")
    for path in (mine, former):
        path.mkdir()
    os.utime(former, (1e9, 1e9))
    sweep(tmp_path)
    assert (mine.is_dir(), former.exists()) == (True, False)
