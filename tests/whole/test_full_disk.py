"""The system refuses to write (a limit on file sizes, /dev/full): one line with a cure; the last good state stays."""

from __future__ import annotations

import errno
import json
import shutil
import signal
from pathlib import Path

import pytest
import torch
from drawn_products import draw_bottle, write_set
from safetensors.torch import save_file
from started_commands import At, Started, start

from finetune.core.errors import StateWriteError
from finetune.core.storage.durable import atomic_folder, atomic_write, check_writable, disk_error

CONFIG = """
base: {model: BASE}
data: {size: 64, variants: 4}
adapter: {rank: 4}
train:
  {steps: 6, batch: 2, learning_rate: 1.0e-2, checkpoint_every: 2, optimizer: adamw, trackers: [], deterministic: true}
objective: {ring_px: 8}
validation: {every: 0, choose: last}
memory: {check: false}
"""


@pytest.fixture(scope="module")
def shop(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a run killed after step 2, its cache filled, and `straight`: the adapter it should end in."""
    folder = tmp_path_factory.mktemp("full")
    write_set(folder, "bottle01", {"front": draw_bottle()})
    (folder / "tiny.yaml").write_text(CONFIG.replace("BASE", str(tiny_base)), encoding="utf-8")
    straight = train(folder)
    assert straight.wait() == 0, straight.said()
    (weights,) = folder.glob("adapters/bottle01/0*/adapter.safetensors")
    weights.rename(folder / "straight")
    shutil.rmtree(folder / "adapters")
    shutil.rmtree(folder / "runs")
    assert train(folder, kill=At("open", r"metrics\.jsonl", number=4)).wait() == -signal.SIGKILL
    return folder


def train(folder: Path, *overrides: str, kill: At | None = None, largest_file: int | None = None) -> Started:
    settings = [part for override in overrides for part in ("--set", override)]
    line = ["train", "bottle01", "--config", str(folder / "tiny.yaml"), "--workspace", str(folder), *settings]
    (folder / "said.txt").unlink(missing_ok=True)
    return start(folder / "said.txt", *line, kill=kill, largest_file=largest_file)


def refused(folder: Path, *overrides: str, largest_file: int | None = None) -> str:
    """The one line a command ends with that can't write."""
    run = train(folder, *overrides, largest_file=largest_file)
    assert run.wait() == 1, run.said()
    (line,) = [line for line in run.said().splitlines() if line.startswith("Error: ")]
    assert "MiB are free in" in run.said()
    assert "Traceback" not in run.said()
    hidden = [
        path for part in ("runs", "adapters", ".cache/latents", ".cache/text") for path in hidden_in(folder / part)
    ]
    assert hidden == [], "nothing half-written is left"
    return line


def hidden_in(folder: Path) -> list[Path]:
    return list(folder.rglob(".*"))


def copied(shop: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A copy of the workspace, and its run."""
    folder = tmp_path / "copy"
    shutil.copytree(shop, folder)
    (run,) = folder.glob("runs/bottle01/2*")
    return folder, run


@pytest.mark.tiny
@pytest.mark.parametrize("largest", [100_000, 250_000], ids=["the adapter's file", "the optimizer's"])
def test_a_checkpoint_that_does_not_fit_leaves_the_one_before(shop: Path, tmp_path: Path, largest: int) -> None:
    folder, run = copied(shop, tmp_path)
    assert [path.name for path in (run / "state").iterdir()] == ["step-000002"]
    assert "the checkpoint of step 4 can't be written" in refused(folder, largest_file=largest)
    assert [path.name for path in (run / "state").iterdir()] == ["step-000002"]
    again = train(folder)
    assert again.wait() == 0, again.said()
    assert "resuming from step 2" in again.said()
    (weights,) = folder.glob("adapters/bottle01/0*/adapter.safetensors")
    assert weights.read_bytes() == (shop / "straight").read_bytes()
    assert len((run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()) == 6


@pytest.mark.tiny
def test_metrics_are_not_written_through_a_link(shop: Path, tmp_path: Path) -> None:
    folder, run = copied(shop, tmp_path)
    (run / "metrics.jsonl").unlink()
    (tmp_path / "elsewhere").write_text("kept", encoding="utf-8")
    (run / "metrics.jsonl").symlink_to(tmp_path / "elsewhere")
    again = train(folder)
    assert again.wait() == 0, again.said()
    assert not (run / "metrics.jsonl").is_symlink(), "written beside and renamed"
    assert (tmp_path / "elsewhere").read_text(encoding="utf-8") == "kept"


@pytest.mark.tiny
def test_the_cache_the_run_folder_and_the_version(shop: Path, tmp_path: Path) -> None:
    folder, run = copied(shop, tmp_path)
    shutil.rmtree(folder / ".cache" / "text")
    assert "an entry of the cache can't be written: File too large" in refused(folder, largest_file=8_000)
    seldom = ("train.checkpoint_every=100", "train.steps=1")
    assert "the adapter can't be written: File too large" in refused(folder, *seldom, largest_file=100_000)
    assert not list(folder.glob("adapters/bottle01/0*"))
    before = sorted(path.name for path in run.parent.iterdir())
    assert "the run's folder can't be written: File too large" in refused(folder, "train.seed=7", largest_file=500)
    assert sorted(path.name for path in run.parent.iterdir()) == before


@pytest.mark.tiny
def test_preparing_too(tmp_path: Path) -> None:
    folder = write_set(tmp_path, "bottle02", {"front": draw_bottle()})
    line = ["prepare", "bottle02", "--config", "embedded", "--set", "data.variants=2", "--workspace", str(tmp_path)]
    run = start(tmp_path / "said.txt", *line, largest_file=9_000)
    assert run.wait() == 1, run.said()
    assert run.said().count("Error: ") == 1
    assert "File too large" in run.said()
    assert "hint: make room" in run.said()
    assert sorted(path.name for path in folder.iterdir()) == ["photos", "set.yaml"]


def test_what_a_disk_error_is(tmp_path: Path) -> None:
    def write(part: Path) -> None:
        (part / "file").write_text("begun", encoding="utf-8")
        Path("/dev/full").write_text("x", encoding="utf-8")

    with (
        pytest.raises(StateWriteError, match="the thing can't be written: No space left") as caught,
        atomic_folder(tmp_path / "thing", "the thing") as part,
    ):
        write(part)
    assert list(tmp_path.iterdir()) == []
    assert "resumes from the last checkpoint" in caught.value.hint
    with pytest.raises(Exception, match="serializ") as told:
        save_file({"a": torch.zeros(4)}, str(tmp_path / "no" / "folder.safetensors"))
    assert disk_error(told.value) == "No such file or directory"
    assert disk_error(OSError(errno.EROFS, "Read-only file system")) == "Read-only file system"
    assert disk_error(RuntimeError("shapes do not match")) == ""
    with pytest.raises(ValueError, match="ours"), atomic_write(tmp_path / "thing", "the thing"):
        raise ValueError("ours")


def test_metrics_cut_short_are_mended(tmp_path: Path) -> None:
    from finetune.runs.folder import trim_metrics

    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": n}) + "\n" for n in (1, 2, 3)) + '{"step": 4, "lo', encoding="utf-8")
    trim_metrics(path, 2)
    assert path.read_text(encoding="utf-8") == '{"step": 1}\n{"step": 2}\n'


def test_a_place_that_takes_no_adapter_is_told_by_its_cure_and_left_as_it_was(tmp_path: Path) -> None:
    check_writable("the adapter", tmp_path / "adapters" / "bottle01")
    assert list((tmp_path / "adapters").rglob("*")) == [tmp_path / "adapters" / "bottle01"]
    (tmp_path / "adapters" / "mug01").write_text("in the way", encoding="utf-8")
    with pytest.raises(StateWriteError, match="the adapter can't be written: ") as caught:
        check_writable("the adapter", tmp_path / "adapters" / "mug01")
    assert "a folder you may write into" in caught.value.hint
    assert "MiB are free" not in caught.value.hint
