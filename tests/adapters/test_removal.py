"""Versions that are removed: never one that is needed, only what is printed, and no number is given twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from finetune.adapters import removal
from finetune.core.adapters import versions
from finetune.core.commands import main
from finetune.core.products.catalog import Workspace

WORD = "0123456789"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Seven versions of a mug; 0002 was published, then 0004, which still is. No file is an adapter: none is opened."""
    folder = tmp_path / "adapters" / "mug"
    for number in range(1, 8):
        (folder / f"{number:04d}" / "deeper").mkdir(parents=True)
        (folder / f"{number:04d}" / "adapter.safetensors").write_text("damaged")
        (folder / f"{number:04d}" / "deeper" / "file").write_text(WORD * 10_000 * number)
    (folder / "current").write_text("0004\n")
    steps = [(None, "0001"), ("0001", "0002"), ("0002", "0004")]
    lines = [json.dumps({"when": "", "from": start, "to": end, "reason": "by hand"}) for start, end in steps]
    (folder / "history.jsonl").write_text("\n".join(lines) + "\n")
    return Workspace(tmp_path)


def run(workspace: Workspace, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["adapters", *arguments, "--workspace", str(workspace.root)])


def left(workspace: Workspace) -> list[str]:
    return [path.name for path in sorted((workspace.adapters / "mug").iterdir()) if path.is_dir()]


def numbers(*wanted: int) -> list[str]:
    return [f"{number:04d}" for number in wanted]


def test_a_version_is_deleted_and_printed(workspace: Workspace) -> None:
    dry = run(workspace, "delete", "mug", "3", "--dry-run")
    assert (dry.exit_code, dry.stdout) == (0, "would remove mug 0003 (0.3 MB)\n")
    assert left(workspace) == numbers(1, 2, 3, 4, 5, 6, 7)
    assert not (workspace.adapters / "mug" / versions.RETIRED).exists()
    done = run(workspace, "delete", "mug", "3")
    assert (done.exit_code, done.stdout) == (0, "removed mug 0003 (0.3 MB)\n")
    assert left(workspace) == numbers(1, 2, 4, 5, 6, 7), "and no hidden folder is left"


@pytest.mark.parametrize(
    ("version", "says"),
    [
        ("4", "version 0004 of 'mug' is the published one"),
        ("0002", "version 0002 of 'mug' is the one published before, to which `rollback` returns"),
        ("9", "no adapter version '9' of 'mug'"),
        ("../mug/0001", "no adapter version '../mug/0001' of 'mug'"),
        ("current", "no adapter version 'current' of 'mug'"),
    ],
)
def test_what_is_needed_or_no_version_is_refused(version: str, says: str, workspace: Workspace) -> None:
    for dry in ([], ["--dry-run"]):
        done = run(workspace, "delete", "mug", version, *dry)
        assert done.exit_code == 1
        assert says in done.stderr.splitlines()[0]
        assert done.stderr.splitlines()[1].strip().startswith("hint: ")
        assert done.stdout == ""
    assert left(workspace) == numbers(1, 2, 3, 4, 5, 6, 7)


@pytest.mark.parametrize(
    ("options", "stay"),
    [([], (2, 4, 5, 6, 7)), (["--keep", "1"], (2, 4, 7)), (["--keep", "20"], (1, 2, 3, 4, 5, 6, 7))],
)
def test_pruning_keeps_the_newest_and_what_is_needed(
    options: list[str], stay: tuple[int, ...], workspace: Workspace
) -> None:
    gone = [number for number in numbers(1, 2, 3, 4, 5, 6, 7) if number not in numbers(*stay)]
    dry = run(workspace, "prune", "mug", *options, "--dry-run")
    assert [line.split()[3] for line in dry.stdout.splitlines()] == gone
    assert left(workspace) == numbers(1, 2, 3, 4, 5, 6, 7)
    done = run(workspace, "prune", "mug", *options)
    assert done.exit_code == 0
    assert [line.split()[2] for line in done.stdout.splitlines()] == gone
    assert left(workspace) == numbers(*stay)
    again = run(workspace, "prune", "mug", *options)
    assert (again.exit_code, again.stdout) == (0, "")
    assert "no version to remove" in again.stderr


def test_bad_use_has_the_exit_codes_of_other_commands(workspace: Workspace) -> None:
    assert run(workspace, "prune", "mug", "--keep", "0").exit_code == 2
    assert run(workspace, "delete", "mug").exit_code == 2
    assert run(workspace, "prune", "nosuch").exit_code == 1
    assert run(workspace, "delete", "../mug", "3").exit_code == 1


def test_with_nothing_published_all_but_the_newest_may_go(workspace: Workspace) -> None:
    (workspace.adapters / "mug" / "current").unlink()
    assert run(workspace, "prune", "mug", "--keep", "1").exit_code == 0
    assert left(workspace) == ["0007"]


def test_after_a_rollback_the_next_target_is_the_one_kept(workspace: Workspace) -> None:
    folder = workspace.adapters / "mug"
    (folder / "current").write_text("0002\n")
    with (folder / "history.jsonl").open("a") as handle:
        handle.write(json.dumps({"when": "", "from": "0004", "to": "0002", "reason": "rollback"}) + "\n")
    assert versions.earlier_published(workspace, "mug") == "0001"
    assert removal.needed(workspace, "mug").keys() == {"0001", "0002"}


def test_the_number_of_a_removed_version_is_not_given_again(workspace: Workspace) -> None:
    assert versions.next_number(workspace, "mug") == "0008"
    for version in ("7", "6"):
        assert run(workspace, "delete", "mug", version).exit_code == 0
    assert versions.next_number(workspace, "mug") == "0008"


def test_a_link_is_removed_and_what_it_leads_to_stays(workspace: Workspace, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (workspace.adapters / "mug" / "0005").rename(other)
    (workspace.adapters / "mug" / "0005").symlink_to(other)
    assert run(workspace, "delete", "mug", "5").exit_code == 0
    assert left(workspace) == numbers(1, 2, 3, 4, 6, 7)
    assert (other / "adapter.safetensors").read_text() == "damaged"


def test_what_the_disk_refuses_is_one_line(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("shutil.rmtree", refuse)
    done = run(workspace, "delete", "mug", "3")
    assert done.exit_code == 1
    assert done.stderr.splitlines()[0] == "Error: version 0003 of 'mug' can't be removed: Permission denied"
    assert "hint: check the permissions" in done.stderr
