"""Placing through the real pipeline on a tiny SDXL: pictures, proof, manifests, skipping, and what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from drawn_products import draw_bottle, write_set
from made_once import prepare_once
from PIL import Image

from finetune.core.commands import main
from finetune.core.compositing.glass import composite_glass
from finetune.core.config import validate
from finetune.core.errors import PackshotError, RunError
from finetune.core.painting import pictures
from finetune.core.pictures.images import resize_rgba
from finetune.core.products.catalog import Workspace
from finetune.core.products.prepared import require_prepared
from finetune.core.storage import file_hashes
from finetune.settings import TrainConfig
from finetune.train import check_request, train_adapter
from inference import place as recipe
from inference.manifest import SOURCE_TYPES, check_picture, read_core_mask, read_manifest
from inference.place import resolve_request
from inference.request import DrawnWith, find_subject
from inference.settings import PlaceConfig

pytestmark = pytest.mark.tiny
PROMPT = "on oak"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Workspace:
    """A workspace with a prepared product and one adapter version, trained for one step on the tiny base."""
    root = tmp_path_factory.mktemp("shop")
    write_set(root, "bottle01", {"front": draw_bottle(), "side": draw_bottle(colour=(60, 90, 160))})
    write_set(root, "unprepared", {"front": draw_bottle()})
    write_set(root, "style", {"one": draw_bottle()}, kind="brand")
    workspace = Workspace(root)
    config = validate(
        TrainConfig,
        {
            "base": {"model": str(tiny_base)},
            "data": {"size": 64, "variants": 2},
            "adapter": {"rank": 2},
            "train": {"steps": 1, "learning_rate": 0.01, "min_8bit_size": 64},
            "objective": {"ring_px": 8},
            "memory": {"check": False},
        },
        "tiny",
    )
    prepared = prepare_once(workspace, "bottle01", config.data)
    train_adapter(workspace, prepared, config, base=check_request(config), now=datetime(2026, 1, 2, 3, 4, 5))
    return workspace


def settings(**changes: Any) -> PlaceConfig:
    return validate(PlaceConfig, {"size": 128, "sampling": {"steps": 2}} | changes, "test")


def run_cli(shop: Workspace, *arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments, "--workspace", str(shop.root)])


def test_the_products_core_is_bit_equal_in_the_file(shop: Workspace) -> None:
    request = resolve_request(shop, "bottle01", PROMPT, config=settings())
    run = recipe.place(request)
    cutout = Image.open(request.subject.prepared.cutout_path(request.photo))
    box = request.placed.box
    resampled = np.asarray(resize_rgba(cutout, (box.width, box.height)))
    delivered = np.asarray(Image.open(run.pictures[0]))[box.top : box.bottom, box.left : box.right]
    core = resampled[..., 3] == 255
    assert core.sum() > 500
    assert np.array_equal(delivered[core], resampled[..., :3][core])
    assert not np.array_equal(delivered[~core], resampled[..., :3][~core])
    manifest = read_manifest(run.pictures[0])
    assert manifest["core"]["pixels"] == core.sum()
    assert manifest["core"]["max_difference"] == 0
    assert np.array_equal(read_core_mask(manifest), request.placed.core)


def test_manifest_says_how_the_picture_was_made(shop: Workspace, tiny_base: Path) -> None:
    run = recipe.place(resolve_request(shop, "bottle01", PROMPT, config=settings()))
    manifest = read_manifest(run.pictures[0])
    assert manifest["prompt"]["resolved"] == {"place": "an empty scene, on oak"}
    assert manifest["adapter"]["version"] == "0001"
    assert manifest["base"]["model"] == str(tiny_base)
    assert manifest["seed"] == 0
    assert manifest["digitalSourceType"] == SOURCE_TYPES["preserve"]
    assert 0 < manifest["mask"]["coverage"] < 1
    with Image.open(run.pictures[0]) as picture:
        picture.load()
        assert SOURCE_TYPES["preserve"] in picture.info["xmp"].decode()
    assert {p.name for p in run.folder.iterdir()} == {
        "01.png",
        "01.json",
        "contact_sheet.png",
        "index.html",
        "run.json",
    }
    page = (run.folder / "index.html").read_text(encoding="utf-8")
    assert 'src="01.png"' in page
    assert "http" not in page.replace("http-equiv", "")


def test_a_complete_run_is_not_made_again_and_a_damaged_one_is(
    shop: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    request = resolve_request(shop, "bottle01", "on ice", config=settings(candidates=2))
    first = recipe.place(request)
    before = [p.read_bytes() for p in first.pictures]
    assert (first.made, len(first.pictures)) == (True, 2)
    assert before[0] != before[1]
    again = recipe.place(request)
    assert not again.made
    assert "up to date" in capsys.readouterr().err
    first.pictures[1].write_bytes(first.pictures[0].read_bytes())
    mended = recipe.place(request)
    assert mended.made
    assert [p.read_bytes() for p in mended.pictures] == before


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"size": 192}, {"placement": {"scale": 0.4}}, {"mode": "insert"}, {"adapter_scale": 0.5}]
)
def test_other_settings_are_another_run(shop: Workspace, change: dict[str, Any]) -> None:
    usual = resolve_request(shop, "bottle01", PROMPT, config=settings()).folder
    assert resolve_request(shop, "bottle01", PROMPT, config=settings(**change)).folder != usual
    assert resolve_request(shop, "bottle01", PROMPT, config=settings(), photo="side").folder != usual
    assert resolve_request(shop, "bottle01", "on ice", config=settings()).folder != usual
    assert resolve_request(shop, "bottle01", PROMPT, config=settings()).folder == usual


def test_settings_without_effect_make_no_other_run(shop: Workspace) -> None:
    insert = settings(mode="insert")
    dark = settings(mode="insert", shadow={"strength": 1})
    folders = {resolve_request(shop, "bottle01", PROMPT, config=config).folder for config in (insert, dark)}
    assert len(folders) == 1


def test_insert_draws_the_product_and_says_so(shop: Workspace) -> None:
    run = recipe.place(resolve_request(shop, "bottle01", PROMPT, config=settings(mode="insert")))
    manifest = read_manifest(run.pictures[0])
    assert manifest["core"] is None
    assert manifest["mode"] == "insert"
    assert manifest["digitalSourceType"] == SOURCE_TYPES["insert"]
    assert manifest["prompt"]["resolved"] == {
        "scene": "an empty scene, on oak",
        "insert": "a photo of bttl01 perfume bottle on oak",
    }
    assert 0 < manifest["mask"]["coverage"] < 1
    assert check_picture(run.pictures[0]).core == "none"


def test_a_core_that_differs_stops_the_run_and_leaves_nothing(shop: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def off_by_one(product: Any, matte: Any, scene: Any, glass: Any) -> Any:
        out = composite_glass(product, matte, scene, glass)
        y, x = np.argwhere(matte == 1)[0]
        out[y, x, 0] ^= 1
        return out

    request = resolve_request(shop, "bottle01", "on snow", config=settings())
    monkeypatch.setattr(pictures, "composite_glass", off_by_one)
    with pytest.raises(RunError, match="differs from the packshot by up to 1"):
        recipe.place(request)
    assert not request.folder.exists()
    assert not [p for p in request.folder.parent.iterdir() if p.name.startswith(".")]


def test_base_alone_needs_no_adapter(shop: Workspace, tiny_base_4: Path) -> None:
    request = resolve_request(shop, "bottle01", PROMPT, config=settings(), means=DrawnWith("none", str(tiny_base_4)))
    run = recipe.place(request)
    assert read_manifest(run.pictures[0])["adapter"] is None
    assert read_manifest(run.pictures[0])["core"]["max_difference"] == 0


def test_command_prints_paths_on_stdout_and_talk_on_stderr(shop: Workspace) -> None:
    arguments = ("place", "bottle01", "--prompt", PROMPT, "--size", "128", "--steps", "2", "--candidates", "2")
    result = run_cli(shop, *arguments)
    assert result.exit_code == 0, result.stderr
    paths = [Path(line) for line in result.stdout.splitlines()]
    assert [p.name for p in paths] == ["01.png", "02.png"]
    assert all(p.is_file() for p in paths)
    assert "not published; never evaluated" in result.stderr
    as_json = json.loads(run_cli(shop, *arguments, "--json").stdout)
    assert as_json["made"] is False
    assert [Path(entry["path"]) for entry in as_json["pictures"]] == paths
    assert as_json["pictures"][1]["manifest"]["seed"] == 1


@pytest.mark.parametrize(
    ("arguments", "says", "hint"),
    [
        (("bottle01", "--prompt", "  "), "the prompt is empty", "--prompt"),
        (("botle01", "--prompt", "x"), "no product set 'botle01'", "did you mean 'bottle01'?"),
        (("../bottle01", "--prompt", "x"), "is not a SKU name", "letters"),
        (("unprepared", "--prompt", "x"), "'unprepared' has no adapter yet", "--adapter none"),
        (("style", "--prompt", "x"), "is a brand set", "only a product"),
        (("bottle01", "--prompt", "x", "--photo", "frnt"), "no prepared photo 'frnt'", "did you mean 'front'?"),
        (("bottle01", "--prompt", "x", "--adapter", "7"), "no adapter version '7'", "versions: 0001"),
        (("bottle01", "--prompt", "x", "--base", "no/where/at all"), "no base at", "give a folder"),
        (("bottle01", "--prompt", "x", "--base", "embedded"), "adapter was trained on base", "--base"),
        (("bottle01", "--prompt", "x", "--scale", "0.95"), "leave the frame at the top", "at most"),
        (("bottle01", "--prompt", "x", "--size", "40"), "is out of range (64 to 4096)", "section 'Placing'"),
        (("bottle01", "--prompt", "x", "--set", "shadow.strenght=1"), "unknown key", "did you mean 'shadow.strength'?"),
        (("bottle01", "--prompt", "x", "--config", "marmor"), "no config file 'marmor'", ""),
        (("bottle01", "--prompt", "very " * 30), "tokens, but the base reads only 77", "shorten the prompt"),
    ],
)
def test_what_cannot_be_done_is_one_line_with_a_hint(
    shop: Workspace, arguments: tuple[str, ...], says: str, hint: str
) -> None:
    before = sorted(shop.scenes.rglob("*"))
    result = run_cli(shop, "place", *arguments)
    assert result.exit_code == 1
    assert result.stdout == ""
    error = next(line for line in result.stderr.splitlines() if line.startswith("Error: "))
    assert says in error
    assert hint in result.stderr.rpartition("hint: ")[2]
    assert "Traceback" not in result.stderr
    assert sorted(shop.scenes.rglob("*")) == before


def test_neither_prompt_nor_plate(shop: Workspace) -> None:
    result = run_cli(shop, "place", "bottle01")
    assert result.exit_code == 2
    assert "give --prompt TEXT or --plate NAME|FILE" in result.stderr


def test_a_damaged_cutout_is_named(shop: Workspace, tmp_path: Path) -> None:
    prepared = require_prepared(shop.datasets / "bottle01" / "prepared", "bottle01")
    folder = tmp_path / "datasets" / "bottle01"
    write_set(tmp_path, "bottle01", {"front": draw_bottle()})
    (folder / "prepared" / "cutouts").mkdir(parents=True)
    whole = prepared.cutout_path(prepared.photos[0]).read_bytes()
    own = replace(prepared, folder=folder / "prepared")
    own.cutout_path(own.photos[0]).write_bytes(whole[: len(whole) // 2])
    own.write()
    with pytest.raises(PackshotError, match=r"truncated|damaged"):
        resolve_request(Workspace(tmp_path), "bottle01", PROMPT, config=settings(), means=DrawnWith("none"))


def test_photos_changed_since_prepare_are_said(shop: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    shutil.copytree(shop.root, tmp_path / "copy")
    copy = Workspace(tmp_path / "copy")
    resolve_request(copy, "bottle01", "on marble", config=settings())
    assert "since it was prepared" not in capsys.readouterr().err
    photo = next((copy.datasets / "bottle01" / "photos").iterdir())
    draw_bottle(colour=(10, 80, 160)).save(photo)
    resolve_request(copy, "bottle01", "on marble", config=settings())
    assert f"changed since it was prepared: photos/{photo.name} changed (to use" in capsys.readouterr().err


def test_untouched_photos_are_hashed_once(
    shop: Workspace, tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(shop.root, tmp_path / "copy", ignore=shutil.ignore_patterns(".cache", "scenes", "runs"))
    copy = Workspace(tmp_path / "copy")
    photos = copy.datasets / "bottle01" / "photos"
    read: list[str] = []

    def of_file(path: Path) -> str:
        read.append(path.name)
        return fingerprint_of(path)

    fingerprint_of = file_hashes.fingerprint.of_file
    monkeypatch.setattr(file_hashes.fingerprint, "of_file", of_file)
    monkeypatch.setattr(file_hashes, "SETTLED", -file_hashes.SETTLED)  # as if the photos had been there for long
    for _ in range(2):
        find_subject(copy, "bottle01", DrawnWith("none", str(tiny_base)))
    assert [name for name in read if (photos / name).is_file()] == sorted(p.name for p in photos.iterdir())
    read.clear()
    draw_bottle(colour=(1, 2, 3)).save(photos / "side.png")
    find_subject(copy, "bottle01", DrawnWith("none", str(tiny_base)))
    assert [name for name in read if (photos / name).is_file()] == ["side.png"]
