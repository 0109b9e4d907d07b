"""The benchmark of the embedded base: its scores, its pairing and its table, held to cases worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from striped_worlds import record, striped_world

from benchmarks.embedded_base import __main__ as embedded_base
from benchmarks.embedded_base import prompts, reconstruction, scene_reader
from benchmarks.embedded_base.painting import PaintingRoom
from benchmarks.embedded_base.table import Line, format_table, verdict_line
from finetune.core.basemodel.resolve import resolve_base
from finetune.core.painting.inpainter import Sampling
from finetune.core.pictures.masks import to_pixels

# the table


@pytest.mark.parametrize(
    ("value", "bar", "better", "strict", "verdict"),
    [
        (70.0, 70.0, "higher", False, "pass"),
        (69.9, 70.0, "higher", False, "fail"),
        (6.1, 6.0, "lower", False, "fail"),
        (6.0, 6.0, "lower", True, "fail"),
        (5.9, 6.0, "lower", True, "pass"),
        (None, 6.0, "lower", False, "not available"),
        (float("nan"), 6.0, "lower", False, "fail"),
        (1.0, None, "higher", False, "info"),
    ],
)
def test_a_line_is_held_against_its_bar(value: Any, bar: Any, better: Any, strict: bool, verdict: str) -> None:
    line = Line("time", "a picture", value, "s", bar, better, strict)
    assert line.verdict == verdict
    assert line.as_dict()["verdict"] == verdict


def test_the_table_shows_bar_value_and_what_is_beside() -> None:
    lines = [
        Line("obedience", "light recognised", 71.25, "%", 70.0, beside="chance 20 %"),
        Line("growth", "outside", 12.0, "%", 11.0, "lower", strict=True),
        Line("autoencoder", "plates", None, "dB", 23.0),
        Line("autoencoder", "worst", 21.0, "dB"),
    ]
    rows = format_table(lines).splitlines()
    assert " ".join(rows[1].split()) == "obedience: light recognised >= 70 % 71.2 % pass chance 20 %"
    assert "< 11 %" in rows[2]
    assert rows[2].endswith("fail")
    assert rows[3].endswith("not available")
    assert verdict_line(lines) == "1 bars met, 1 missed, 1 not judged"


# prompts


def test_scenes_are_words_that_two_held_out_frames_share() -> None:
    records = [
        record("sand", "brick wall behind"),
        record("sand", "brick wall behind", class_noun="soda can"),
        record("snow", "brick wall behind"),
        record("white studio surface", "white studio backdrop", "cool studio light"),
        record("white studio surface", "white studio backdrop", "cool studio light"),
    ]
    scenes = prompts.choose_scenes(records, 9)
    assert sorted(scene.frames for scene in scenes) == [(0, 1), (3, 4)]
    assert len(prompts.choose_scenes(records, 1)) == 1


def test_scenes_spread_over_the_names() -> None:
    surfaces, lights = ("sand", "snow", "concrete"), ("soft daylight", "warm sunset light", "hard midday sun")
    records = [record(s, f"{c} wall", li) for s in surfaces for li in lights for c in ("red", "teal") for _ in range(2)]
    chosen = [scene.record for scene in prompts.choose_scenes(records, 3)]
    assert {r["surface"] for r in chosen} == set(surfaces)
    assert {r["lighting"] for r in chosen} == set(lights)


def test_a_prompt_names_what_the_record_shows() -> None:
    assert prompts.prompt_of(record("sand", "night city bokeh lights")) == (
        "a photo of a mug on sand in front of night city bokeh lights, soft daylight"
    )
    assert prompts.prompt_of(record("snow", "orange wall", class_noun="")) == (
        "a photo of a perfume bottle on snow in front of an orange wall, soft daylight"
    )
    studio = record("grey studio surface", "grey studio backdrop")
    assert prompts.prompt_of(studio) == "a photo of a mug on a grey studio backdrop, soft daylight"


def test_diversity_is_the_spread_of_seeds_over_that_of_renders() -> None:
    triangle = np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    assert prompts.mean_pairwise(triangle) == pytest.approx(4.0)
    assert np.isnan(prompts.mean_pairwise(triangle[:1]))
    ratio, made, real = prompts.relative_diversity([triangle, triangle * 0], [triangle, triangle])
    assert (ratio, made, real) == (pytest.approx(0.5), pytest.approx(2.0), pytest.approx(4.0))


def test_obedience_counts_only_what_the_prompt_names() -> None:
    records = [
        record("sand", "red wall"),
        record("snow", "teal wall"),
        record("white studio surface", "white studio backdrop"),
        record("sand", "sunset sky"),
    ]
    names = scene_reader.collect_names(records)
    targets = scene_reader.targets_of(records, names)
    answers = {q: targets[:, i].copy() for i, q in enumerate(scene_reader.QUESTIONS)}
    answers["surface"][0] = names.surface.index("snow")
    answers["surface"][2] = 0  # the studio's paper is not named: no matter
    answers["colour"][3] = 1  # neither is a colour of the sky
    reached = {"surface": 0.95, "backdrop": 0.85, "tone": 1.0, "light": 1.0, "colour": 1.0}
    lines = {line.what: line for line in prompts.obedience_lines(answers, targets, names, reached)}
    surface, colour = lines["surface recognised"], lines["colour of wall or studio recognised"]
    assert surface.value == pytest.approx(200 / 3)
    assert surface.verdict == "fail"
    assert surface.beside.startswith("3 pictures; chance 33 % (1 in 3)")
    assert (colour.value, colour.bar, colour.verdict) == (100.0, None, "info")
    assert colour.beside.startswith("3 pictures")
    assert "UNDER 90" in lines["backdrop recognised"].beside
    assert (lines["backdrop recognised"].value, lines["backdrop recognised"].verdict) == (100.0, "not available")
    assert lines["light recognised"].verdict == "pass"
    assert "UNDER" not in lines["light recognised"].beside


# the scene reader


def test_words_are_merged_as_the_table_says() -> None:
    lights = {"warm sunset light": "warm", "dramatic dark key light": "dark", "hard midday sun": "neutral"}
    assert scene_reader.words_of(record("pink studio surface", "pink studio backdrop")) == {
        "surface": "studio surface",
        "backdrop": "studio",
        "tone": "neutral",
        "light": "soft daylight",
        "colour": "pink",
    }
    tones = {light: scene_reader.words_of(record("sand", "red wall", light))["tone"] for light in lights}
    assert tones == lights
    assert scene_reader.words_of(record("sand", "mint wall"))["colour"] == "mint"
    assert scene_reader.words_of(record("sand", "sunset sky"))["colour"] == ""


def test_accuracy_and_overlap() -> None:
    targets = np.array([[0, 0, 0, 0, -1], [1, 0, 0, 0, 2], [1, 1, 0, 0, 1]])
    answers = {"surface": np.array([0, 1, 0]), "colour": np.array([5, 2, 0])}
    reading = scene_reader.Reading(answers, np.zeros((3, 128), np.float32), np.zeros((3, 4, 4), bool))
    assert scene_reader.accuracy(reading, targets, "surface") == pytest.approx(2 / 3)
    assert scene_reader.accuracy(reading, targets, "colour") == pytest.approx(1 / 2)
    found, true = np.zeros((2, 4, 4), bool), np.zeros((2, 4, 4), bool)
    found[0, :2], true[0, 1:3] = True, True
    assert scene_reader.mean_iou(found, true) == pytest.approx(1 / 3)  # the empty frame does not count


@pytest.mark.tiny
def test_a_reader_learns_and_is_found_again(tmp_path: Path) -> None:
    world = striped_world(24)
    reader = scene_reader.load_or_train(world, tmp_path, views=4, batch=6)
    reading = reader.read(world.frames)
    targets = scene_reader.targets_of(world.records, reader.names)
    assert scene_reader.accuracy(reading, targets, "surface") == 1.0
    assert scene_reader.mean_iou(reading.products, world.masks > 127) > 0.3
    assert np.allclose(np.linalg.norm(reading.embedding, axis=1), 1, atol=1e-5)
    (file,) = tmp_path.iterdir()
    written = file.stat().st_mtime_ns
    again = scene_reader.load_or_train(world, tmp_path, views=4, batch=6)
    assert np.array_equal(again.read(world.frames).answers["surface"], reading.answers["surface"])
    assert file.stat().st_mtime_ns == written


# the autoencoder and the known pixels


def test_psnr_is_of_the_region_alone() -> None:
    true = np.full((8, 8, 3), 100, np.uint8)
    made = true.copy()
    made[:4] += 10
    upper = np.zeros((8, 8), bool)
    upper[:4] = True
    assert reconstruction.psnr(made, true, upper) == pytest.approx(20 * np.log10(255 / 10))
    assert reconstruction.psnr(made, true, ~upper) == 99.0


def test_frames_are_chosen_evenly() -> None:
    assert reconstruction.evenly(10, 3) == [0, 4, 9]
    assert reconstruction.evenly(2, 5) == [0, 1]
    assert reconstruction.evenly(0, 5) == []


def test_the_box_of_a_packshot_follows_it_onto_the_square(tmp_path: Path) -> None:
    photo = Image.new("RGB", (400, 200), "white")
    photo.paste((200, 30, 30), (150, 50, 250, 150))
    (tmp_path / "packshots" / "block").mkdir(parents=True)
    photo.save(tmp_path / "packshots" / "block" / "photo.png")
    (seen,) = reconstruction.packshots(tmp_path, 200)
    assert seen.picture.shape == (200, 200, 3)
    assert np.abs(np.subtract(seen.box, (75, 75, 125, 125))).max() <= 2


def test_known_jobs_paint_whole_cells_and_leave_the_rest() -> None:
    mask = np.zeros((256, 256), bool)
    mask[60:180, 100:160] = True
    jobs = reconstruction.known_jobs(np.zeros((256, 256, 3), np.uint8), mask, 256)
    for job in jobs.values():
        assert np.array_equal(to_pixels(job.mask[::8, ::8]), job.mask)
    assert jobs["ground painted"].mask[~mask].all()
    assert not jobs["ground painted"].mask[72:168, 104:152].any()
    assert jobs["box painted"].mask[mask].all()


# pictures and the command


@pytest.mark.tiny
def test_a_picture_is_painted_once(tiny_base: Path, tmp_path: Path) -> None:
    base, sampling = resolve_base(str(tiny_base)), Sampling(steps=2)
    first = PaintingRoom(base, tmp_path, sampling=sampling)
    pictures = first.from_text("a mug", (0, 1))
    assert first.painted == 2
    assert pictures[0].tobytes() != pictures[1].tobytes()
    second = PaintingRoom(base, tmp_path, sampling=sampling)
    assert second.from_text("a mug", (0,))[0].tobytes() == pictures[0].tobytes()
    assert second.painted == 0
    assert second._loaded is None
    second.from_text("a can", (0,))
    assert second.painted == 1


@pytest.mark.tiny
def test_the_command_prints_a_table_and_keeps_it(
    tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "table.json"
    options = ["--world", str(tmp_path), "--work", str(tmp_path), "--base", str(tiny_base), "--only", "size"]
    embedded_base.main([*options, "--json", str(kept)])
    out = capsys.readouterr().out
    assert "size: the whole folder" in out
    assert out.splitlines()[-1] == "1 bars met, 0 missed, 0 not judged"
    report = json.loads(kept.read_text(encoding="utf-8"))
    assert report["lines"][0]["value"] > 0
    assert report["base"]["fingerprint"] == resolve_base(str(tiny_base)).fingerprint


def test_an_unknown_row_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        embedded_base.parse(["--world", ".", "--only", "size,speed"])
    assert "no row 'speed'" in capsys.readouterr().err
