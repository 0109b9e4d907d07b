"""Files and folders that last: whole or not at all, whoever else writes them, whatever was left by the killed."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from finetune.core.commands import main
from finetune.core.storage import durable
from finetune.core.storage.durable import atomic_folder, atomic_write, may_become_file, temporary_beside, write_text

ROUNDS, LENGTH = 200, 20_000


def write_often(path: Path, letter: str, start: multiprocessing.synchronize.Barrier) -> None:
    """Write `letter` LENGTH times into a file, as slowly as a program writes that computes in between."""
    start.wait()
    for _ in range(ROUNDS):
        with atomic_write(path) as part, part.open("w", encoding="utf-8", buffering=1) as handle:
            for _ in range(4):
                handle.write(letter * (LENGTH // 4))
                time.sleep(0)


def test_two_processes_that_write_one_file_leave_one_of_the_two_whole(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    path, start = tmp_path / "cache.json", context.Barrier(3)
    writers = [context.Process(target=write_often, args=(path, letter, start)) for letter in "ab"]
    for writer in writers:
        writer.start()
    start.wait()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        if path.exists():
            seen.add(path.read_text(encoding="utf-8"))
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    seen.add(path.read_text(encoding="utf-8"))
    assert seen <= {"a" * LENGTH, "b" * LENGTH}
    assert [p.name for p in tmp_path.iterdir()] == ["cache.json"], "each removed or renamed its own"


def test_one_process_may_write_a_file_within_writing_it(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with atomic_write(path) as outer:
        outer.write_text("outer", encoding="utf-8")
        write_text(path, "inner")
        assert path.read_text(encoding="utf-8") == "inner"
    assert path.read_text(encoding="utf-8") == "outer"


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_what_fails_leaves_the_old_one_and_nothing_else(tmp_path: Path, failure: type[BaseException]) -> None:
    path, folder = tmp_path / "deep" / "a.txt", tmp_path / "deep" / "b"
    write_text(path, "old")
    with atomic_folder(folder) as part:
        (part / "file").write_text("old", encoding="utf-8")

    def write_half(part: Path) -> None:
        part.write_text("ha", encoding="utf-8")
        raise failure

    with pytest.raises(failure), atomic_write(path) as part:
        write_half(part)
    with pytest.raises(failure), atomic_folder(folder, replace=True) as part:
        write_half(part / "file")
    assert path.read_text(encoding="utf-8") == (folder / "file").read_text(encoding="utf-8") == "old"
    assert sorted(p.name for p in path.parent.iterdir()) == ["a.txt", "b"]


def test_a_folder_is_replaced_only_where_that_was_said(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    for content in ("first", "second"):
        with atomic_folder(folder, replace=True) as part:
            (part / content).touch()
    assert [p.name for p in folder.iterdir()] == ["second"]
    with pytest.raises(OSError, match="not empty"), atomic_folder(folder) as part:
        (part / "third").touch()
    assert [p.name for p in folder.iterdir()] == ["second"]
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_what_the_dead_left_is_removed_and_what_the_living_write_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.safetensors"
    dead, alive = (temporary_beside(path, process=process) for process in (999_999_999, os.getppid()))
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(durable, "_machine", lambda: "0a1b2c")
        theirs, abandoned = (temporary_beside(path, process=999_999_999) for _ in range(2))
    others = [tmp_path / ".hidden", tmp_path / ".git-1-2.part"]
    for file in (dead, alive, theirs, abandoned, *others):
        file.touch()
    os.utime(abandoned, (1, 1))
    write_text(path, "x")
    assert dead.suffix == path.suffix
    assert set(tmp_path.iterdir()) == {path, alive, theirs, *others}


@pytest.mark.parametrize("kind", ["a folder", "a pipe", "a link to a pipe", "a file", "a link to a file", "nothing"])
def test_a_file_the_user_names_replaces_files_only(kind: str, tmp_path: Path) -> None:
    path, other = tmp_path / "x.png", tmp_path / "other"
    if kind.startswith("a link"):
        os.mkfifo(other) if kind.endswith("pipe") else other.touch()
        path.symlink_to(other)
    elif kind == "a pipe":
        os.mkfifo(path)
    elif kind != "nothing":
        path.mkdir() if kind == "a folder" else path.touch()
    before = sorted((entry.name, entry.lstat().st_mode) for entry in tmp_path.iterdir())
    assert may_become_file(path) is (kind in ("a file", "a link to a file", "nothing"))
    if not may_become_file(path):
        run = CliRunner().invoke(main, ["plates", "--sheet", str(path)])
        assert run.exit_code in (1, 2)
        assert sorted((entry.name, entry.lstat().st_mode) for entry in tmp_path.iterdir()) == before
