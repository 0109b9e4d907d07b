"""Evaluation through the real command: what must fail fails, and nothing is judged, kept or skipped in silence."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from drawn_products import draw_bottle, write_set
from PIL import Image
from scored_adapters import values_in, write_adapter

from finetune.core import fingerprint
from finetune.core.adapters import file as adapter_file
from finetune.core.commands import main
from finetune.core.compositing.placement import placement_box, put_on_canvas
from finetune.core.fidelity import references, scoring
from finetune.core.fidelity.insert_pictures import InsertPair, InsertRequest
from finetune.core.fidelity.measures import Likeness
from finetune.core.pictures.masks import Box
from finetune.core.products.catalog import Workspace, load_set
from finetune.core.products.prepared import require_prepared
from finetune.prepare import prepare_set
from finetune.settings import DataSection
from inference import delivery

pytestmark = pytest.mark.tiny

SMALL = "pictures: {scenes: [on oak, on stone], seeds: [3], steps: 2, measure_side: 48}\n"
STRICT = SMALL + "rules: {palette_gain: {bar: 1}, own_nearest: {bar: 50, required: false}, core_difference: {bar: 0}}\n"
OPEN = SMALL + "rules: {palette: {bar: 200}, core_difference: {bar: 0}}\n"
DATA = DataSection(size=64, variants=1)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Workspace:
    """Two siblings and a stranger; adapters of the first: 0001 of zeros, 0002 of noise."""
    root = tmp_path_factory.mktemp("shelf")
    workspace = Workspace(root)
    write_set(root, "bottle01", {"a-front": draw_bottle(), "b-side": draw_bottle(shift=6)}, category="perfume")
    write_set(root, "bottle02", {"front": draw_bottle(colour=(40, 90, 190))}, category="perfume")
    write_set(root, "mug01", {"front": draw_bottle(colour=(20, 20, 20))}, class_noun="mug")
    write_set(root, "style", {"one": draw_bottle()}, kind="brand")
    for sku in ("bottle01", "bottle02", "mug01"):
        prepare_set(workspace, sku, data=DATA)
    write_adapter(workspace.adapters / "bottle01" / "0001", tiny_base, noise=0)
    write_adapter(workspace.adapters / "bottle01" / "0002", tiny_base, noise=0.3)
    write_adapter(workspace.adapters / "bottle02" / "0001", tiny_base, noise=0.2, sku="bottle02")
    write_adapter(workspace.adapters / "mug01" / "0001", tiny_base, noise=0.2, sku="mug01")
    return workspace


@pytest.fixture
def gates(tmp_path: Path) -> dict[str, str]:
    """Paths of two gates: one an adapter of zeros can't pass, one that lets everything pass."""
    paths = {"strict": tmp_path / "strict.yaml", "open": tmp_path / "open.yaml"}
    paths["strict"].write_text(STRICT, encoding="utf-8")
    paths["open"].write_text(OPEN, encoding="utf-8")
    return {name: str(path) for name, path in paths.items()}


def evaluate(workspace: Workspace, sku: str, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["evaluate", sku, *arguments, "--workspace", str(workspace.root)])


def report_of(result: Result) -> dict[str, Any]:
    return json.loads(Path(result.stdout.strip().splitlines()[-1]).read_text(encoding="utf-8"))


def test_an_adapter_of_zeros_fails_with_exit_3(shelf: Workspace, gates: dict[str, str]) -> None:
    result = evaluate(shelf, "bottle01", "--adapter", "0001", "--gate", gates["strict"])
    assert result.exit_code == 3, result.output
    assert "Error: adapter 0001 of 'bottle01' does not meet the gate: palette_gain 0.0 %, bar 1" in result.stderr
    report = report_of(result)
    assert report["verdict"] == "fail"
    values = values_in(report)
    assert values["palette"] == values["palette_base"]
    assert values["layout_gain"] == values["structure_gain"] == 0
    assert values["core_difference"] == 0
    assert all(p["with_adapter"] == p["without_adapter"] for p in report["pictures"])


def test_the_report_says_what_was_measured_by_what_on_what(shelf: Workspace, gates: dict[str, str]) -> None:
    result = evaluate(shelf, "bottle01", "--adapter", "0002", "--gate", gates["open"], "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    folder = shelf.adapters / "bottle01" / "0002"
    assert report == json.loads((folder / "fidelity.json").read_text(encoding="utf-8"))
    assert {"format", "sku", "version", "base", "crop", "models", "scores", "verdict", "pictures"} <= set(report)
    assert (report["sku"], report["version"], report["verdict"]) == ("bottle01", "0002", "limited")
    assert all(set(s) == {"name", "value", "unit", "better", "bar", "verdict"} for s in report["scores"])
    assert [(p["scene"], p["seed"]) for p in report["pictures"]] == [("on oak", 3), ("on stone", 3)]
    assert report["pictures"][0]["prompt"] == "a photo of bttl01 perfume bottle on oak"
    assert report["pictures"][0]["with_adapter"] != report["pictures"][0]["without_adapter"]
    assert report["references"]["siblings"] == {"bottle02": 1}
    assert {s["name"]: s["verdict"] for s in report["scores"]}["embedder"] == "not available"
    assert Image.open(folder / "fidelity.png").width > 3 * 256


def test_what_has_not_changed_is_not_drawn_again_and_new_bars_apply(shelf: Workspace, gates: dict[str, str]) -> None:
    assert evaluate(shelf, "bottle01", "--adapter", "2", "--gate", gates["open"]).exit_code == 0
    folder = shelf.adapters / "bottle01" / "0002"
    sheet, report = (folder / "fidelity.png").stat().st_mtime_ns, (folder / "fidelity.json").read_bytes()
    again = evaluate(shelf, "bottle01", "--adapter", "2", "--gate", gates["open"])
    assert "up to date" in again.stderr
    assert (folder / "fidelity.json").read_bytes() == report
    assert json.loads(report)["gate_file"] == fingerprint.of_file(Path(gates["open"]))
    barred = evaluate(shelf, "bottle01", "--adapter", "2", "--gate", gates["open"], "--set", "rules.palette.bar=0.01")
    assert barred.exit_code == 3
    assert "up to date" in barred.stderr
    assert report_of(barred)["verdict"] == "fail"
    assert report_of(barred)["gate_file"] == ""
    assert (folder / "fidelity.png").stat().st_mtime_ns == sheet
    other = evaluate(shelf, "bottle01", "--adapter", "2", "--gate", gates["open"], "--set", "pictures.seeds=[4]")
    assert "up to date" not in other.stderr
    assert (folder / "fidelity.png").stat().st_mtime_ns != sheet


def test_the_next_version_pays_for_its_own_pictures_only(
    shelf: Workspace, gates: dict[str, str], tiny_base: Path
) -> None:
    evaluate(shelf, "bottle01", "--adapter", "0001", "--gate", gates["strict"], "--force")
    kept = {path: path.stat().st_mtime_ns for path in (shelf.cache / "evaluate").glob("*.png")}
    assert len(kept) >= 4
    write_adapter(shelf.adapters / "bottle01" / "0003", tiny_base, noise=0.1)
    assert evaluate(shelf, "bottle01", "--adapter", "0003", "--gate", gates["open"]).exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in (shelf.cache / "evaluate").glob("*.png")} == kept


def test_a_siblings_adapter_is_judged_but_keeps_its_own_report(shelf: Workspace, gates: dict[str, str]) -> None:
    folder = shelf.adapters / "bottle02" / "0001"
    result = evaluate(shelf, "bottle01", "--adapter", str(folder), "--gate", gates["open"])
    assert result.exit_code == 0, result.output
    assert "was trained on 'bottle02'" in result.stderr
    assert not (folder / "fidelity.json").exists()
    assert Path(result.stdout.strip()).is_relative_to(shelf.runs / "bottle01")


def test_a_lone_product_is_told_apart_from_itself_in_other_colours(shelf: Workspace, gates: dict[str, str]) -> None:
    report = report_of(evaluate(shelf, "mug01", "--gate", gates["strict"]))
    decoys = report["references"]["decoys"]
    assert report["references"] == {"own": ["front"], "siblings": {}, "decoys": decoys, "left_out": {}}
    assert len(decoys) == 2
    assert all(set(picture["siblings"]) == set(decoys) for picture in report["pictures"])
    scores = {score["name"]: score for score in report["scores"]}
    assert scores["own_nearest"]["verdict"] in ("pass", "fail")


def test_a_sibling_that_is_not_prepared_is_said(tmp_path: Path, tiny_base: Path, gates: dict[str, str]) -> None:
    workspace = Workspace(tmp_path / "w")
    write_set(workspace.root, "bottle01", {"front": draw_bottle()})
    write_set(workspace.root, "bottle02", {"front": draw_bottle(colour=(40, 90, 190))})
    prepare_set(workspace, "bottle01", data=DATA)
    write_adapter(workspace.adapters / "bottle01" / "0001", tiny_base, noise=0.1)
    result = evaluate(workspace, "bottle01", "--gate", gates["open"])
    assert (
        "the sibling test of 'bottle01' skips 'bottle02': it is not prepared (run: packshot prepare bottle02)"
        in result.stderr
    )
    assert report_of(result)["references"]["left_out"] == {"bottle02": "it is not prepared"}
    prepare_set(workspace, "bottle02", data=DATA)
    later = evaluate(workspace, "bottle01", "--gate", gates["open"])
    assert "up to date" not in later.stderr
    assert report_of(later)["references"]["siblings"] == {"bottle02": 1}


def test_photos_that_changed_since_preparing_are_said(shelf: Workspace, gates: dict[str, str], tmp_path: Path) -> None:
    root = tmp_path / "changed"
    shutil.copytree(shelf.root, root, ignore=shutil.ignore_patterns("runs"))
    draw_bottle(colour=(90, 190, 40)).save(root / "datasets" / "mug01" / "photos" / "front.png")
    result = evaluate(Workspace(root), "mug01", "--gate", gates["open"])
    assert result.exit_code == 0, result.output
    assert "'mug01' changed since it was prepared: photos/front.png changed" in result.stderr


def test_a_vision_model_is_used_where_it_is_on_disk(shelf: Workspace, gates: dict[str, str], tmp_path: Path) -> None:
    import torch
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    config = Dinov2Config(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14)
    Dinov2Model(config).save_pretrained(tmp_path / "dino")
    result = evaluate(
        shelf, "bottle01", "--adapter", "2", "--gate", gates["open"], "--set", f"embedder={tmp_path / 'dino'}"
    )
    assert result.exit_code == 0, result.output
    report = report_of(result)
    assert report["models"]["embedder"] == "dino, 28 px"
    value = values_in(report)["embedder"]
    assert value is not None
    assert -1 <= value <= 1


def damaged(folder: Path) -> Path:
    (folder / adapter_file.WEIGHTS).write_bytes((folder / adapter_file.WEIGHTS).read_bytes()[:3000])
    return folder


def with_nan(folder: Path) -> Path:
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    path = folder / adapter_file.WEIGHTS
    state = load_file(str(path))
    with safe_open(str(path), framework="pt") as file:
        metadata = file.metadata()
    state[min(state)][0, 0] = float("nan")
    save_file(state, str(path), metadata=metadata)
    return folder


@pytest.mark.parametrize(
    ("spoil", "says"), [(damaged, "damaged"), (with_nan, "NaN or infinite weights")], ids=["truncated", "NaN"]
)
def test_an_adapter_that_cannot_be_read_is_an_error_not_a_verdict(
    shelf: Workspace, gates: dict[str, str], tiny_base: Path, tmp_path: Path, spoil: Any, says: str
) -> None:
    folder = spoil(write_adapter(tmp_path / "spoilt", tiny_base, noise=0.1))
    result = evaluate(shelf, "bottle01", "--adapter", str(folder), "--gate", gates["open"])
    assert result.exit_code == 1, result.output
    assert says in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["botle01"], "no product set 'botle01'"),
        (["style"], "is a brand set"),
        (["bottle01", "--adapter", "0099"], "no adapter version '0099'"),
        (["bottle01", "--base", "embedded"], "adapter was trained on base"),
        (["bottle01", "--gate", "nowhere.yaml"], "there is no gate file"),
        (["bottle01", "--set", "embedder=nowhere"], "no vision model in 'nowhere'"),
        (["bottle01", "--set", "pictures.step=3"], "unknown key 'pictures.step'"),
        (["bottle01", "--adapter", "none"], "only an adapter can be evaluated"),
    ],
)
def test_what_cannot_be_judged_is_one_line_and_exit_1(shelf: Workspace, arguments: list[str], says: str) -> None:
    result = evaluate(shelf, *arguments)
    assert result.exit_code == 1, result.output
    assert says in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.output


def test_siblings_are_of_one_category_or_of_one_noun(shelf: Workspace, tmp_path: Path) -> None:
    sets = {sku: load_set(shelf, sku) for sku in ("bottle01", "bottle02", "mug01", "style")}
    assert references.is_sibling(sets["bottle01"], sets["bottle02"])
    assert not references.is_sibling(sets["bottle01"], sets["mug01"])
    assert not references.is_sibling(sets["bottle01"], sets["style"])
    no_category = replace(sets["bottle02"], config=sets["bottle02"].config.model_copy(update={"category": ""}))
    assert references.is_sibling(sets["bottle01"], no_category)
    other = replace(sets["bottle02"], config=sets["bottle02"].config.model_copy(update={"category": "soap"}))
    assert not references.is_sibling(sets["bottle01"], other)


def test_the_frame_finds_the_box_in_a_picture_of_any_size() -> None:
    for side in (256, 1024):
        unit = side // 256
        picture = Image.new("RGB", (side, side), (90, 90, 90))
        box = Box(80 * unit, 60 * unit, 140 * unit, 220 * unit)
        picture.paste((200, 20, 20), tuple(box))
        frame = references.make_frame(box, 96)
        crop = frame.crop(picture)
        assert crop.shape == (96 + 2 * frame.reach, 36 + 2 * frame.reach, 3)
        inside = crop[frame.reach + 1 : -frame.reach - 1, frame.reach + 1 : -frame.reach - 1]
        assert np.abs(inside.astype(int) - [200, 20, 20]).max() <= 6
        assert np.abs(crop[0].astype(int) - 90).max() <= 6


def test_a_view_of_other_proportions_keeps_them_and_stands_on_the_ground() -> None:
    frame = references.make_frame(Box(0, 0, 50, 100), 100)
    wide = references.into_frame(Image.new("RGBA", (200, 100), (9, 9, 9, 255)), frame)
    assert wide.shape == (100, 50, 4)
    assert (wide[75:, :, 3] == 255).all()
    assert not wide[:74, :, 3].any()


def reading(distance: float, structure: float = 0.5) -> scoring.Reading:
    return scoring.Reading(Likeness("front", distance, distance, structure, (0, 0), 1.0, 1 - distance / 100), 0.9)


def test_gains_and_margins_are_of_the_means() -> None:
    grey = Image.new("RGB", (64, 64))
    pair, packshot = InsertPair(InsertRequest("on oak", 1, "", ""), grey, grey, grey, grey), reading(4, 0.9)
    scored = [
        scoring.ScoredPair(pair, reading(10, 0.6), reading(20, 0.4), packshot, {"s": 12.0, "t": 30.0}),
        scoring.ScoredPair(pair, reading(14, 0.4), reading(28, 0.5), packshot, {"s": 11.0, "t": 30.0}),
    ]
    spans = scoring.spans_of(scored)
    values = scoring.values_of(scored, spans)
    assert values["palette_reached"] == pytest.approx(100 * (24 - 12) / (24 - 4))
    assert values["drawn"] == 100
    assert spans["palette"].spread == pytest.approx(32**0.5), "of two seeds that differ by 8"
    assert values["palette"] == 12
    assert values["palette_gain"] == values["layout_gain"] == 50
    assert values["structure_gain"] == pytest.approx(0.05)
    assert values["own_nearest"] == 50
    assert values["own_margin"] == pytest.approx((2 - 3) / 2)


def test_core_check_measures_what_place_delivers(shelf: Workspace) -> None:
    prepared = require_prepared(load_set(shelf, "bottle01").prepared_dir, "bottle01")
    cutout = Image.open(prepared.cutout_path(prepared.photos[0]))
    placed = put_on_canvas(cutout, placement_box(cutout.size, 128, scale=0.6, ground=0.9), 128)
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    assert placed.core.sum() > 500
    assert delivery.core_difference(noise, placed) == 0
