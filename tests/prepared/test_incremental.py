"""Preparing again does only what changed: one photo, its examples, or nothing but words; any number of processes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from drawn_products import draw_bottle, noting, write_set
from hypothesis import given, settings
from hypothesis import strategies as st
from made_once import prepare_once

import finetune.prepare as recipe
from finetune.core import fingerprint
from finetune.core.errors import ImageError, RunError
from finetune.core.products.catalog import Workspace
from finetune.core.storage.file_hashes import SETTLED, FileHashes
from finetune.dataset.photo_task import prepare_photo
from finetune.dataset.split import held_out
from finetune.prepare import prepare_set
from finetune.settings import DataSection

DATA = DataSection(size=64, variants=3)


@pytest.fixture
def shelf(tmp_path: Path) -> Workspace:
    """Five photos of one product."""
    photos = {f"{number}": draw_bottle(120, shift=number) for number in range(5)}
    write_set(tmp_path, "box01", photos)
    return Workspace(tmp_path)


@pytest.fixture
def worked_on(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the photos that were opened and cut out."""
    names: list[str] = []
    monkeypatch.setattr(recipe, "prepare_photo", noting(names, prepare_photo))
    return names


def files_of(workspace: Workspace, sku: str = "box01") -> dict[str, tuple[bytes, int]]:
    """Bytes and time of every prepared file."""
    folder = workspace.datasets / sku / "prepared"
    files = [p for p in folder.rglob("*") if p.is_file()]
    return {p.relative_to(folder).as_posix(): (p.read_bytes(), p.stat().st_mtime_ns) for p in files}


def photo_of(name: str) -> str:
    """Which photo a prepared file belongs to; empty for files of the whole set."""
    return name.split("/")[1].split("-")[0].removesuffix(".png").removesuffix(".json") if "/" in name else ""


def rows_of(workspace: Workspace, sku: str = "box01") -> list[dict[str, object]]:
    text = (workspace.datasets / sku / "prepared" / "metadata.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.slow
def test_an_edited_photo_is_the_only_one_made_again(shelf: Workspace, worked_on: list[str]) -> None:
    prepare_set(shelf, "box01", data=DATA)
    assert len(worked_on) == 5
    before = files_of(shelf)
    draw_bottle(120, colour=(30, 90, 180)).save(shelf.datasets / "box01" / "photos" / "3.png")
    worked_on.clear()
    assert prepare_set(shelf, "box01", data=DATA)[1]
    assert worked_on == ["3.png"]
    after = files_of(shelf)
    assert set(after) == set(before)
    others = [name for name in before if photo_of(name) not in ("", "3")]
    assert len(others) == 4 * (3 * 3 + 3)
    assert all(before[name] == after[name] for name in others), "bytes and times of the others stay"
    assert before["images/3-00.png"][0] != after["images/3-00.png"][0]
    assert before["cutouts/3.png"][0] != after["cutouts/3.png"][0]


@pytest.mark.slow
def test_adding_and_removing_a_photo_touches_no_other(shelf: Workspace, worked_on: list[str]) -> None:
    prepare_once(shelf, "box01", DATA)
    before = files_of(shelf)
    photos = shelf.datasets / "box01" / "photos"
    draw_bottle(120, shift=9).save(photos / "0-before.png")
    worked_on.clear()
    prepare_set(shelf, "box01", data=DATA)
    assert worked_on == ["0-before.png"]
    grown = files_of(shelf)
    assert all(grown[name] == before[name] for name in before if photo_of(name))
    (photos / "0-before.png").unlink()
    worked_on.clear()
    prepare_set(shelf, "box01", data=DATA)
    assert worked_on == []
    assert {n: v[0] for n, v in files_of(shelf).items()} == {n: v[0] for n, v in before.items()}


@pytest.mark.slow
@pytest.mark.parametrize("change", ["own words", "noun", "token"])
def test_changed_words_redo_rows_and_no_picture(shelf: Workspace, worked_on: list[str], change: str) -> None:
    data = DataSection(size=64, variants=3, keep_original=1)
    prepare_once(shelf, "box01", data)
    before, folder = files_of(shelf), shelf.datasets / "box01"
    worked_on.clear()
    if change == "own words":
        (folder / "photos" / "2.txt").write_text("on a window sill")
    else:
        noun = "class_noun: perfume flacon"  # like the old one, a word that lets glass be expected
        (folder / "set.yaml").write_text(noun if change == "noun" else f"{noun}\ntoken: abc1")
    assert prepare_set(shelf, "box01", data=data)[1]
    assert worked_on == []
    after = files_of(shelf)
    assert all(after[name] == before[name] for name in before if photo_of(name))
    texts = {str(row["text"]) for row in rows_of(shelf)}
    assert any({"own words": "window sill", "noun": "flacon", "token": "abc1"}[change] in text for text in texts)


@pytest.mark.slow
def test_a_noun_that_lets_no_glass_be_expected_redoes_the_photos(shelf: Workspace, worked_on: list[str]) -> None:
    prepare_once(shelf, "box01", DATA)
    worked_on.clear()
    (shelf.datasets / "box01" / "set.yaml").write_text("class_noun: kettlebell")
    prepare_set(shelf, "box01", data=DATA)
    assert len(worked_on) == 5


@pytest.mark.slow
def test_a_changed_mask_or_setting_redoes_what_depends_on_it(shelf: Workspace, worked_on: list[str]) -> None:
    prepare_once(shelf, "box01", DATA)
    masks = shelf.datasets / "box01" / "masks"
    masks.mkdir()
    draw_bottle(120, shift=1).convert("L").point(lambda v: 255 if v < 250 else 0).save(masks / "1.png")
    worked_on.clear()
    prepare_set(shelf, "box01", data=DATA)
    assert worked_on == ["1.png"]
    worked_on.clear()
    prepare_set(shelf, "box01", data=DataSection(size=64, variants=3, seed=1))
    assert len(worked_on) == 5


def test_a_file_missing_from_the_last_set_is_made_again(shelf: Workspace, worked_on: list[str]) -> None:
    prepare_once(shelf, "box01", DATA)
    before = files_of(shelf)
    prepared = shelf.datasets / "box01" / "prepared"
    (prepared / "masks" / "2-01.png").unlink()
    (prepared / "records" / "4.json").write_text("{")
    (shelf.datasets / "box01" / "set.yaml").write_text("class_noun: perfume flacon\n")
    worked_on.clear()
    prepare_set(shelf, "box01", data=DATA)
    assert worked_on == ["2.png", "4.png"]
    after = files_of(shelf)
    assert {n: v[0] for n, v in after.items() if photo_of(n)} == {n: v[0] for n, v in before.items() if photo_of(n)}


@pytest.mark.slow
def test_any_number_of_processes_gives_the_same_bytes(
    shelf: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import datasets

    prepare_set(shelf, "box01", data=DATA)
    alone = {name: content for name, (content, _) in files_of(shelf).items()}
    monkeypatch.setattr(recipe, "FEW_EXAMPLE_PIXELS", 0)
    prepare_set(shelf, "box01", data=DATA, force=True, jobs=3)
    assert {name: content for name, (content, _) in files_of(shelf).items()} == alone
    assert len(alone) > 50
    opened = datasets.load_dataset(
        "imagefolder",
        data_dir=str(shelf.datasets / "box01" / "prepared"),
        split="train",
        cache_dir=str(tmp_path / "cache"),
    )
    assert opened["photo"] == sorted(opened["photo"])


@pytest.mark.slow
def test_a_process_that_dies_names_its_photo_and_leaves_the_old_set(
    shelf: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_set(shelf, "box01", data=DATA)
    before = files_of(shelf)
    monkeypatch.setattr(recipe, "FEW_EXAMPLE_PIXELS", 0)
    monkeypatch.setattr(recipe, "prepare_photo", die_over_two)
    with pytest.raises(RunError, match=r"2\.png: the process working on it was killed by signal 9") as caught:
        prepare_set(shelf, "box01", data=DATA, force=True, jobs=2)
    assert "--jobs 1" in caught.value.hint
    assert files_of(shelf) == before
    assert sorted(p.name for p in (shelf.datasets / "box01").iterdir()) == ["photos", "prepared", "set.yaml"]


def die_over_two(job: object) -> object:
    """Stands for the kernel's out-of-memory killer, in the process that has photo 2."""
    if job.task.photo.stem == "2":  # type: ignore[attr-defined]
        os.kill(os.getpid(), signal.SIGKILL)
    return prepare_photo(job)  # type: ignore[arg-type]


@pytest.mark.slow
def test_ctrl_c_ends_every_process_and_leaves_nothing(tmp_path: Path) -> None:
    photos = {f"{number}": draw_bottle(300, shift=number) for number in range(6)}
    folder = write_set(tmp_path, "box01", photos)
    line = [sys.executable, "-m", "finetune.core.commands", "prepare", "box01", "--workspace", str(tmp_path)]
    line += ["--jobs", "2", "--config", "embedded", "--set", "data.size=256", "--set", "data.variants=200"]
    heard = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731  (a shell's background jobs ignore it)
    process = subprocess.Popen(line, stderr=subprocess.PIPE, start_new_session=True, text=True, preexec_fn=heard)
    deadline = time.monotonic() + 60
    while not list(folder.glob(".prepared.*/images/*-05.png")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(still_running(process.pid)) > 1
    os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it: to all of them
    said = process.communicate(timeout=120)[1]
    assert process.returncode != 0
    assert "Traceback" not in said
    assert sorted(p.name for p in folder.iterdir()) == ["photos", "set.yaml"]
    deadline = time.monotonic() + 10  # whoever adopts them has to notice that they ended
    while (left := still_running(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == []


def still_running(group: int) -> list[psutil.Process]:
    """Processes of a group that have not ended."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            if process.status() != psutil.STATUS_ZOMBIE and os.getpgid(process.pid) == group:
                found.append(process)
    return found


def test_a_broken_backdrop_is_an_error_of_its_own(shelf: Workspace) -> None:
    scenes = shelf.root / "scenes-of-mine"
    scenes.mkdir()
    (scenes / "beach.jpg").write_text("hello")
    with pytest.raises(ImageError, match=r"beach\.jpg is not a picture"):
        prepare_set(shelf, "box01", data=DataSection(size=64, variants=24, backdrops="scenes-of-mine"))


def test_fingerprints_are_remembered_but_never_hide_an_edit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo, store = tmp_path / "a.jpg", tmp_path / "memory" / "x.json"
    reads: list[Path] = []
    real = fingerprint.of_file

    def counted(path: Path) -> str:
        reads.append(path)
        return real(path)

    monkeypatch.setattr(fingerprint, "of_file", counted)

    def ask(trust: bool = True) -> str:
        hashes = FileHashes(store, trust=trust)
        found = hashes.of_file(photo)
        hashes.save()
        return found

    photo.write_bytes(b"one")
    first = ask()
    photo.write_bytes(b"two")  # within the same tick of a coarse clock, of the same size
    assert ask() != first
    monkeypatch.setattr("finetune.core.storage.file_hashes.SETTLED", -SETTLED)  # as if it had lain there for long
    second = ask()
    reads.clear()
    assert ask() == second
    assert reads == []
    times = photo.stat()
    copy = tmp_path / "b.jpg"
    copy.write_bytes(b"six")
    os.utime(copy, ns=(times.st_atime_ns, times.st_mtime_ns))
    shutil.copy2(copy, photo)  # same size, same time of change, same inode
    assert ask() == real(copy) != second
    reads.clear()
    ask(trust=False)
    assert reads == [photo]
    store.write_text('{"half')
    assert ask() == real(photo)


@settings(max_examples=60, deadline=None)
@given(stems=st.lists(st.text(st.characters(codec="ascii"), min_size=1), min_size=5, max_size=30, unique=True))
def test_the_held_out_photo_hardly_moves(stems: list[str]) -> None:
    (chosen,) = {stem for stem, _ in held_out(stems, 3, seed=0)}
    assert chosen != stems[0]
    for gone in stems[1:]:
        if gone != chosen:
            rest = [stem for stem in stems if stem != gone]
            assert {stem for stem, _ in held_out(rest, 3, seed=0)} == {chosen}
    few = held_out(stems[:3], 6, seed=0)
    assert len(few) == 4
    assert few <= {(stem, variant) for stem in stems[:3] for variant in range(6)}
    assert len(held_out(stems[:1], 3, seed=0)) == 1
