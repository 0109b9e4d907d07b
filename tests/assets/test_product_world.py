"""The product world's plans, words, lines and files; what Blender renders is looked at, not tested."""

from __future__ import annotations

import ast
import json
import re
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import tools.product_world as package
from tools.embedded_base import captions as training_captions
from tools.embedded_base import phrases, words
from tools.embedded_base.world import load_world, may_mirror
from tools.product_world import __main__ as command
from tools.product_world import design, names, paintings, profiles, records, sheet, tone
from tools.product_world.draws import Draws

ROOT = Path(__file__).resolve().parents[2]
COUNT = 3000
PLANS = [records.plan_frame(7, index) for index in range(COUNT)]
MEASURED = records.Measured((2, 3, 9, 12), 0.2, -0.4, (0.6, 0.5, 1.2), 1.1, 2.0)
NOTHING = records.Measured(None, 0.0, 0.1, (0.6, 0.5, 1.2), 0.0, 2.0)


def photographed(plan: records.Plan, level: int = 90) -> SimpleNamespace:
    """What a render hands over: a grey picture with a white block, and the block's mask."""
    picture, mask = np.full((16, 16, 3), level, np.uint8), np.zeros((16, 16), np.uint8)
    if plan.design is not None:
        picture[3:12, 2:9], mask[3:12, 2:9] = 250, 255
    measured = MEASURED if plan.design is not None else NOTHING
    return SimpleNamespace(picture=picture, mask=mask, measured=measured)


def make_world(folder: Path, indices: range) -> None:
    for name in ("frames", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for index in indices:
        command.keep(folder, PLANS[index], photographed(PLANS[index]))


def test_a_frame_depends_on_seed_and_index_only() -> None:
    assert records.plan_frame(7, 41) == PLANS[41]
    assert records.plan_frame(8, 41) != PLANS[41]
    assert len({plan.caption for plan in PLANS}) > 0.9 * COUNT


def test_the_world_stays_the_world_of_its_seed() -> None:
    first = [records.plan_frame(7, index).caption for index in (1, 14)]
    assert first == [
        "a product photo of a pink candle in glass standing on green grass in front of a sunset sky, warm sunset light",
        "mint plastic sports bottle, grey studio backdrop, cool studio light",
    ]


def test_one_draw_does_not_move_another() -> None:
    draws = Draws("7:3")
    alone = draws.number("height", 0.0, 1.0)
    draws.one_of("colour", names.PAINTS)
    assert draws.number("height", 0.0, 1.0) == alone
    assert draws.part("cap").number("height", 0.0, 1.0) != alone


def test_every_word_is_in_the_tokenizers_vocabulary() -> None:
    known = set(words.known_words())
    for plan in PLANS:
        said = re.sub(r'"[^"]*"', "", plan.caption)
        line = records.record(plan, MEASURED)
        product = line["product"] or {}
        fields = [line[key] for key in ("class_noun", "colour", "material", "surface", "backdrop", "lighting")]
        fields += [product.get(key) or "" for key in ("shape", "size", "parts", "case", "glass")]
        strange = set(re.findall(r"[a-z]+", " ".join([said, *fields]).lower())) - known
        assert not strange, f"{strange} in {plan.caption}"


def test_names_are_those_that_training_rewords() -> None:
    assert set(names.SURFACES) == set(phrases.SURFACES)
    assert set(names.LIGHTS) == set(phrases.LIGHTS)
    assert set(names.NOUNS) == set(phrases.NOUNS)
    fixed = {said for kind, said in names.BACKDROP_WORDS.items() if kind not in names.COLOURED}
    assert fixed == set(phrases.BACKDROPS)


def test_every_name_occurs() -> None:
    scenes, products = [plan.scene for plan in PLANS], [plan.design for plan in PLANS if plan.design]
    surfaces = Counter(scene.surface for scene in scenes)
    assert set(surfaces) == {*names.SURFACES, "studio"}
    assert min(surfaces.values()) > COUNT / 40
    assert {scene.backdrop for scene in scenes} == set(names.BACKDROPS)
    assert {scene.light for scene in scenes} == set(names.LIGHTS)
    for kind, colours in (
        ("plain wall", names.PAINTS),
        ("window light", names.PAINTS),
        ("studio", names.STUDIO_COLOURS),
    ):
        assert {scene.colour for scene in scenes if scene.backdrop == kind} == set(colours)
    assert {product.noun for product in products} == set(names.NOUNS)
    assert set(names.PAINTS) | {"amber", "clear", "gold", "silver"} <= {product.colour for product in products}
    materials = {"glass", "lacquered glass", "frosted glass", "plastic", "frosted plastic", "translucent plastic"}
    assert {product.material for product in products} == materials | {"metal", "ceramic", "aluminium", "cardboard"}
    assert {product.shape for product in products} == {"", "round", "rectangular", "square", "slim", "hexagonal"}
    assert {product.size for product in products} == {"", "tall", "small", "short"}


def test_a_tenth_is_empty() -> None:
    empty = [plan for plan in PLANS if plan.design is None]
    assert 0.08 < len(empty) / COUNT < 0.12
    assert all(re.search(r"\bempty\b|\bno product\b", plan.caption) for plan in empty)


def test_captions_say_what_the_record_says() -> None:
    for plan in PLANS[:600]:
        line = records.record(plan, MEASURED)
        assert line["surface"] in plan.caption or line["backdrop_colour"] in plan.caption
        assert line["class_noun"] in plan.caption
        assert line["colour"] in plan.caption
        if '"' in plan.caption:
            assert plan.caption.split('"')[1] == line["product"]["brand"]


def test_light_goes_with_the_backdrop() -> None:
    for plan in PLANS:
        assert plan.scene.light in names.LIGHTS_OF.get(plan.scene.backdrop, names.LIGHTS)
        assert bool(plan.scene.colour) == (plan.scene.backdrop in names.COLOURED)
        assert not plan.scene.is_seamless or plan.scene.backdrop == "studio"


def test_print_stands_out_from_its_ground() -> None:
    labels = [plan.design.label for plan in PLANS if plan.design and plan.design.label]
    assert {label.kind for label in labels} == {"label", "print", "wrap"}
    for label in labels:
        assert abs(names.brightness(label.ink) - names.brightness(label.paper)) > 0.28
        assert label.colour == (label.ink if label.kind == "print" else label.paper)
        assert label.text.startswith(label.brand)


def test_no_ground_leaves_a_label_without_ink() -> None:
    for ground in (*names.PAINTS, *names.METALS):
        for number in range(20):
            drawn = design.draw_label(Draws(f"{ground}:{number}"), "mug", "print", ground)
            assert drawn.ink != ground


def test_training_reads_the_lines(tmp_path: Path) -> None:
    make_world(tmp_path, range(30))
    trained, held_out = load_world(tmp_path, held_out=False, size=16), load_world(tmp_path, held_out=True, size=16)
    assert [len(trained), len(held_out)] == [24, 6]
    chance = np.random.default_rng(0)
    for world in (trained, held_out):
        for record, mask in zip(world.records, world.masks, strict=True):
            assert bool(mask.any()) != record["empty"]
            assert may_mirror(record) == (not record["label_text"])
            texts = [training_captions.built_caption(record, chance, 1.0) for _ in range(8)]
            assert all(texts)
            nouns = (record["class_noun"], *phrases.NOUNS.get(record["class_noun"], ()))
            assert record["empty"] or all(any(noun in text for noun in nouns) for text in texts)


def test_lines_have_the_fields_of_training(tmp_path: Path) -> None:
    line = records.record(next(plan for plan in PLANS if plan.design), MEASURED)
    top = "index file_name mask caption empty class_noun surface backdrop backdrop_type backdrop_colour lighting"
    assert set(f"{top} label_text mask_area product".split()) <= set(line)
    assert {"colour", "material", "shape", "size", "parts"} <= set(line["product"])
    empty = records.record(next(plan for plan in PLANS if plan.design is None), NOTHING)
    assert (empty["product"], empty["bbox"], empty["class_noun"], empty["mask_area"]) == (None, None, "", 0.0)
    assert json.loads(json.dumps(line)) == line


def test_pictures_are_small_and_masks_exact(tmp_path: Path) -> None:
    make_world(tmp_path, range(4))
    assert {path.suffix for path in (tmp_path / "frames").iterdir()} == {".avif"}
    product = next(index for index in range(4) if PLANS[index].design is not None)
    line = next(line for line in records.read_lines(tmp_path) if line["index"] == product)
    made = photographed(PLANS[product])
    with Image.open(tmp_path / line["mask"]) as mask:
        assert np.array_equal(np.asarray(mask.convert("L")), made.mask)
    with Image.open(tmp_path / line["file_name"]) as picture:
        assert picture.format == "AVIF"
        assert np.abs(np.asarray(picture.convert("RGB")).astype(int) - made.picture).mean() < 3


def test_frames_of_older_folders_stay_readable(tmp_path: Path) -> None:
    make_world(tmp_path, range(3))
    path = tmp_path / "metadata.jsonl"
    lines = [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()]
    for key, suffix in (("file_name", ".jpg"), ("mask", ".png")):
        old = tmp_path / lines[1][key]
        lines[1][key] = str(Path(lines[1][key]).with_suffix(suffix))
        with Image.open(old) as stored:
            stored.convert("RGB").save(tmp_path / lines[1][key])
        old.unlink()
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert records.finished(tmp_path) == {0, 1, 2}
    assert len(load_world(tmp_path, held_out=False, size=16)) == 3


def test_finished_frames_are_whole_and_the_file_is_mended(tmp_path: Path) -> None:
    assert records.finished(tmp_path) == set()
    make_world(tmp_path, range(5))
    path = tmp_path / "metadata.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    (tmp_path / "masks/000003.webp").unlink()
    path.write_text("\n".join([*lines, lines[0], lines[4][:40]]), encoding="utf-8")
    assert [line["index"] for line in records.read_lines(tmp_path)] == [0, 1, 2, 4]
    assert records.finished(tmp_path) == {0, 1, 2, 4}
    assert path.read_text(encoding="utf-8").splitlines() == [lines[0], lines[1], lines[2], lines[4]]
    before = path.stat().st_mtime_ns
    assert records.finished(tmp_path) == {0, 1, 2, 4}
    assert path.stat().st_mtime_ns == before


def test_a_second_start_renders_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rendered: list[tuple[int, int, int]] = []

    def photograph(plan: records.Plan, size: int, samples: int, threads: int) -> SimpleNamespace:
        rendered.append((plan.index, size, samples))
        return photographed(plan)

    def fault(_picture: np.ndarray, _measured: records.Measured, *, product: bool) -> str:
        return "black frame" if rendered[-1][0] == 12 else ""

    stand_in = SimpleNamespace(photograph=photograph, fault=fault)
    monkeypatch.setattr(package, "photograph", stand_in, raising=False)
    options = command.read_command_line(["frames", "--out", str(tmp_path), "--start", "10", "--count", "4"])
    assert options.run(options) == 1
    assert rendered == [(index, 256, 9) for index in (10, 11, 12, 13)]
    assert "frame 12 left out: black frame" in capsys.readouterr().err
    (tmp_path / "frames/000011.avif").unlink()
    rendered.clear()
    options.run(options)
    assert [index for index, _, _ in rendered] == [11, 12]
    assert sorted(line["index"] for line in records.read_lines(tmp_path)) == [10, 11, 13]
    assert not list(tmp_path.rglob("*.part*"))


def test_the_sheet_shows_frames_with_outlines(tmp_path: Path) -> None:
    make_world(tmp_path, range(10))
    file = tmp_path / "sheet.png"
    options = command.read_command_line(
        ["sheet", "--out", str(tmp_path), str(file), "--count", "6", "--columns", "4", "--side", "64"]
    )
    assert options.run(options) == 0
    with Image.open(file) as drawn:
        assert drawn.size == (4 * 64, 2 * (64 + sheet.TEXT_HEIGHT))
        pixels = np.asarray(drawn.convert("RGB"))
    assert (np.abs(pixels.astype(int) - sheet.LINE_COLOUR).max(axis=-1) < 40).any()
    with pytest.raises(ValueError, match="no frames"):
        sheet.contact_sheet(tmp_path / "frames", 6, 4, 64, 1)


def test_rounded_corners_stay_inside_and_straight_ones_stay() -> None:
    square = [(0.0, 0.0), (1.0, 0.0, 0.2), (1.0, 1.0)]
    line = profiles.rounded(square)
    assert line[0] == (0.0, 0.0)
    assert line[-1] == (1.0, 1.0)
    nearest = min(np.hypot(x - 1.0, y) for x, y in line)
    assert nearest == pytest.approx(0.2 * (np.sqrt(2) - 1), rel=0.1)  # the arc has five steps
    assert all(-1e-9 <= x <= 1 + 1e-9 and -1e-9 <= y <= 1 + 1e-9 for x, y in line)
    hexagon = np.array(profiles.polygon(6, 0.4, 0.03))
    assert hexagon[:, 1].min() == pytest.approx(-0.4)
    assert np.abs(hexagon[:, 0]).max() < 0.4 / np.cos(np.pi / 6)


def test_exposure_meets_its_target_and_spares_highlights() -> None:
    even = np.full((8, 8, 3), 0.05, np.float32)
    assert float(even.mean()) * 2 ** tone.exposure(even, 0.2) == pytest.approx(0.2, rel=0.02)
    spotted = even.copy()
    spotted[0] = 4.0
    assert tone.exposure(spotted, 0.9) < np.log2(0.9 / spotted.mean())


def test_tone_keeps_colours_and_presses_highlights() -> None:
    ramp = np.linspace(0.02, 6.0, 60, dtype=np.float32)[:, None] * np.array((1.0, 0.8, 0.6), np.float32)
    mapped = tone.tone_map(ramp, 0.0)
    assert (np.diff(mapped[:, 0]) > 0).all()
    assert mapped.max() < 1.0
    grey = tone.tone_map(np.full((1, 3), 0.4, np.float32), 0.0)
    assert np.ptp(grey) == 0.0


@pytest.mark.parametrize("paint", [paintings.night, paintings.garden, paintings.sunset])
def test_painted_distances(paint: object) -> None:
    first, again, other = (paint(Draws(seed)) for seed in ("1", "1", "2"))  # type: ignore[operator]
    assert first.shape == (paintings.HEIGHT, paintings.WIDTH, 3)
    assert first.min() >= 0.0
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_only_what_renders_needs_blender() -> None:
    assert "bpy" not in sys.modules
    for path in sorted((ROOT / "tools/product_world").glob("*.py")):
        text = path.read_text(encoding="utf-8")
        imported = {node.module for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)}
        if imported & {"blender", "mathutils", "solids", "materials", "setting"}:
            assert text.startswith("# SPDX-License-Identifier: GPL-3.0-or-later"), path.name
        assert len(text.splitlines()) <= 350, path.name
