"""Links below a workspace's folders are refused, what a kill left is removed, and the cache can be seen and cleared."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from drawn_products import draw_bottle, write_set

from finetune.core.commands import main
from finetune.core.errors import RunError
from finetune.core.products.catalog import Workspace
from finetune.core.products.housekeeping import check_cache, check_folders
from finetune.core.storage.durable import append_line, temporary_beside
from finetune.core.storage.locks import exclusive, sku_lock


def dead_process() -> int:
    """Id of a process that has ended."""
    done = subprocess.Popen(["true"])
    done.wait()
    return done.pid


def test_top_level_links_are_fine_and_lower_ones_are_not(tmp_path: Path) -> None:
    elsewhere, workspace = tmp_path / "elsewhere", Workspace(tmp_path / "shop")
    elsewhere.mkdir()
    workspace.root.mkdir()
    for top in (workspace.datasets, workspace.runs, workspace.cache):
        top.symlink_to(elsewhere)
    check_folders(workspace, "bottle01")
    check_cache(workspace)
    (elsewhere / "latents").mkdir()
    inner = elsewhere / "bottle01"
    for link in (inner, elsewhere / "nightly", elsewhere / "hashes", elsewhere / "latents" / "ab"):
        link.symlink_to(tmp_path)
        with pytest.raises(RunError, match=f"{link.name} is a link to a folder"):
            check_folders(workspace, "bottle01")
        link.unlink()


@pytest.mark.parametrize(
    ("kind", "command"),
    [
        ("hashes", ("cutout", "bottle01")),
        ("hashes", ("prepare", "bottle01")),
        ("checks", ("check", "bottle01")),
        ("latents", ("train", "bottle01")),
        ("plans", ("plan", "--config", "embedded")),
    ],
)
def test_no_kind_of_the_cache_may_be_a_link_and_the_cache_itself_may(
    kind: str, command: tuple[str, ...], tmp_path: Path
) -> None:
    shop, disk, other = tmp_path / "shop", tmp_path / "disk", tmp_path / "other"
    write_set(shop, "bottle01", {"front": draw_bottle()})
    disk.mkdir()
    other.mkdir()
    (shop / ".cache").symlink_to(disk)
    (disk / kind).symlink_to(other)
    before = sorted(shop.rglob("*"))
    done = CliRunner().invoke(main, [*command, "--workspace", str(shop)])
    assert done.exit_code == 1
    error, hint = done.stderr.splitlines()[-2:]
    assert error.startswith(f"Error: {shop / '.cache' / kind} is a link to a folder")
    assert hint.startswith("hint: put the folder itself there")
    assert list(other.iterdir()) == []
    assert sorted(shop.rglob("*")) == before


def test_everything_is_written_into_a_cache_that_is_a_link(tmp_path: Path) -> None:
    shop, disk = tmp_path / "shop", tmp_path / "disk"
    write_set(shop, "bottle01", {"front": draw_bottle()})
    disk.mkdir()
    (shop / ".cache").symlink_to(disk)
    done = CliRunner().invoke(main, ["check", "bottle01", "--workspace", str(shop)])
    assert done.exit_code == 0, done.stderr
    assert list((disk / "checks" / "bottle01").glob("*.json"))
    assert (shop / ".cache").is_symlink()


def test_a_lock_and_an_appended_file_are_not_written_through_a_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("kept", encoding="utf-8")
    lock = tmp_path / "nightly" / ".lock"
    lock.parent.mkdir()
    lock.symlink_to(outside)
    with pytest.raises(RunError, match="is a link; Packshot does not write through it"), exclusive(lock, "testing"):
        pass
    with pytest.raises(OSError, match="symbolic links"):
        append_line(lock, "text")
    assert outside.read_text(encoding="utf-8") == "kept"


def test_what_a_kill_left_anywhere_is_removed(tmp_path: Path) -> None:
    workspace, dead = Workspace(tmp_path), dead_process()
    places = [
        workspace.datasets / "new",
        workspace.datasets / "bottle01" / "prepared",
        workspace.cache / "latents" / "ab" / "x.safetensors",
        workspace.runs / "bottle01" / "run" / "state" / "step-000001",
        workspace.adapters / "bottle01" / "version",
        workspace.scenes / "bottle01" / "on-oak",
    ]
    left = [temporary_beside(place, process=dead) for place in places]
    lives = temporary_beside(places[1])
    for path in (*left, lives):
        path.mkdir(parents=True)
        (path / "half").touch()
    check_folders(workspace, "bottle01")
    assert [path for path in left if path.exists()] == []
    assert lives.is_dir()


def test_the_cache_is_measured_and_cleared(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    (workspace.cache / "latents" / "ab").mkdir(parents=True)
    (workspace.cache / "latents" / "ab" / "x").write_bytes(bytes(2_000_000))
    run = CliRunner()
    shown = run.invoke(main, ["cache", "--workspace", str(tmp_path)])
    assert "latents           2.0 MB        1 files  encoded pictures" in shown.stdout
    assert run.invoke(main, ["cache", "clear", "--workspace", str(tmp_path)], input="n\n").exit_code == 1
    with exclusive(sku_lock(workspace.cache, "bottle01"), "training bottle01"):
        busy = run.invoke(main, ["cache", "clear", "--yes", "--workspace", str(tmp_path)])
    assert busy.exit_code == 1
    assert "is using the cache (bottle01) already" in busy.stderr
    assert (workspace.cache / "latents").is_dir()
    assert run.invoke(main, ["cache", "clear", "--yes", "--workspace", str(tmp_path)]).stdout == "removed 2.0 MB\n"
    assert [path.name for path in workspace.cache.iterdir()] == ["locks"]


def test_a_photo_name_that_is_not_text_is_one_line(tmp_path: Path) -> None:
    folder = write_set(tmp_path, "bottle01", {"front": draw_bottle()})
    (folder / "photos" / "caf\udce9.png").write_bytes((folder / "photos" / "front.png").read_bytes())
    result = CliRunner().invoke(main, ["check", "bottle01", "--workspace", str(tmp_path)])
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-2:] == [
        "Error: datasets/bottle01/photos: the name 'caf\\udce9.png' is not UTF-8 text",
        "hint: rename the file",
    ]
