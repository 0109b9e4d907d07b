"""A product in a photograph: no base, no change but shadow and mirror image, the core proven, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from drawn_products import draw_bottle, write_set
from made_once import prepare_once
from PIL import Image

from finetune.core.commands import main
from finetune.core.config import validate
from finetune.core.errors import PackshotError
from finetune.core.products.catalog import Workspace
from finetune.settings import TrainConfig
from inference import plate
from inference.manifest import SOURCE_TYPES, check_picture, read_core_mask, read_manifest
from inference.plate_scene import Where, place_on_plate, resolve_plate
from inference.settings import PlaceConfig

KNOWN = {
    "format": 1,
    "name": "bench",
    "title": "A bench",
    "licence": "CC0-1.0",
    "width": 600,
    "height": 400,
    "pose": "standing",
    "spot": {"x": 0.5, "y": 0.8},
    "mm_per_width": 600.0,
    "horizon": 0.3,
    "elevation": 14.0,
    "light": {"azimuth": 90, "height": 40, "softness": 0.1, "colour": [1, 1, 1], "shade": [0.3, 0.3, 0.4]},
    "surface": {"name": "wood", "reflectance": 0.04, "roughness": 0.2},
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    root = tmp_path_factory.mktemp("plates")
    workspace = Workspace(root)
    write_set(root, "bottle01", {"front": draw_bottle(), "side": draw_bottle(colour=(60, 90, 160))}, height_mm=200)
    prepare_once(workspace, "bottle01", validate(TrainConfig, {"data": {"size": 64, "variants": 2}}, "x").data)
    write_set(root, "glasses01", {"front": draw_bottle()}, class_noun="sunglasses")
    rng = np.random.default_rng(2)
    Image.fromarray(rng.integers(90, 160, (400, 600, 3), dtype=np.uint8)).save(root / "desk.png")
    return workspace


@pytest.fixture
def bench(shop: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A gallery of one plate."""
    folder = tmp_path / "gallery" / "bench"
    folder.mkdir(parents=True)
    with Image.open(shop.root / "desk.png") as picture:
        picture.save(folder / plate.PICTURE, quality=60)
    (folder / plate.FACTS).write_text(json.dumps(KNOWN))
    monkeypatch.setattr(plate, "GALLERY", folder.parent)
    return folder


def resolve(shop: Workspace, reference: str, where: Where | None = None, **settings: Any) -> Any:
    config = validate(PlaceConfig, settings, "place settings")
    return resolve_plate(shop, "bottle01", reference, config=config, where=where or Where())


def run_cli(shop: Workspace, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["place", *arguments, "--workspace", str(shop.root)])


def test_only_the_product_its_shadow_and_its_mirror_image_change(shop: Workspace) -> None:
    before = np.asarray(Image.open(shop.root / "desk.png"))
    request = resolve(shop, str(shop.root / "desk.png"), light="left,mid,hard")
    run = place_on_plate(request)
    after = np.asarray(Image.open(run.pictures[0]))
    assert after.shape == before.shape
    box = request.placed.box
    assert np.array_equal(after[:20], before[:20])
    assert np.array_equal(after[request.placed.core], request.placed.rgb[request.placed.core])
    beside = (slice(box.bottom - 12, box.bottom), slice(box.right + 2, box.right + 20))
    assert after[beside].mean() < before[beside].mean() - 10, "the light is on the left"
    untouched = (after == before).all(axis=-1)
    assert untouched[:, : box.left - box.height].mean() > 0.95


def test_the_manifest_says_how_and_verify_checks_it(shop: Workspace, bench: Path) -> None:
    run = place_on_plate(resolve(shop, "bench"))
    found = read_manifest(run.pictures[0])
    assert (found["mode"], found["size"], found["seed"]) == ("plate", [600, 400], None)
    assert found["plate"]["name"] == "bench"
    assert found["digitalSourceType"] == SOURCE_TYPES["gallery"]
    assert found["ground"]["light"]["azimuth"] == 90
    assert found["placement"]["height_mm"] == pytest.approx(200, abs=2)
    assert read_core_mask(found).shape == (400, 600)
    assert check_picture(run.pictures[0]).core == "intact"
    assert not place_on_plate(resolve(shop, "bench")).made
    page = (run.folder / "index.html").read_text(encoding="utf-8")
    assert "200 mm high" in page or "199" in page or "201" in page
    spoilt = np.asarray(Image.open(run.pictures[0])).copy()
    spoilt[request_core(found)] = 0
    Image.fromarray(spoilt).save(run.pictures[0])
    with pytest.raises(PackshotError, match="no longer matches the packshot"):
        check_picture(run.pictures[0])


def request_core(found: dict[str, Any]) -> np.ndarray:
    return read_core_mask(found)


def test_true_size_and_perspective(shop: Workspace, bench: Path) -> None:
    at_spot = resolve(shop, "bench").placed.box
    assert at_spot.height == pytest.approx(200, abs=2), "a pixel is a millimetre there"
    nearer = resolve(shop, "bench", Where(spot=(300, 390))).placed.box
    farther = resolve(shop, "bench", Where(spot=(0.5, 0.6))).placed.box
    assert nearer.height > at_spot.height > farther.height
    given = resolve(shop, "bench", placement={"scale": 0.25}).placed.box
    assert given.height == 100
    on_the_wall = resolve(shop, "bench", Where(spot=(0.5, 0.29)), placement={"scale": 0.2}, pose="hanging")
    assert on_the_wall.height_mm is None


def test_what_lies_is_centred_on_the_spot(shop: Workspace, bench: Path) -> None:
    (bench / plate.FACTS).write_text(json.dumps(KNOWN | {"pose": "lying", "elevation": 88.0, "horizon": None}))
    request = resolve(shop, "bench", Where(spot=(0.5, 0.5)))
    assert request.how.pose == "lying"
    assert (request.placed.box.top + request.placed.box.bottom) / 2 == pytest.approx(200, abs=1)


def test_a_box_is_filled_from_its_lower_edge(shop: Workspace) -> None:
    box = resolve(shop, str(shop.root / "desk.png"), Where(box=(100, 50, 200, 150))).placed.box
    assert (box.bottom, box.height) == (200, 150)
    assert (box.left + box.right) / 2 == pytest.approx(200, abs=1)


def test_blend_is_declared_and_within_its_budget(shop: Workspace, bench: Path) -> None:
    request = resolve(shop, "bench", mode="blend", blend_budget=4)
    found = read_manifest(place_on_plate(request).pictures[0])
    assert 0 < found["relight"]["p95"] <= 4.1
    assert found["relight"]["contrast"] >= 0.95
    plain = resolve(shop, "bench", mode="blend", blend_budget=0)
    kept = np.asarray(Image.open(place_on_plate(plain).pictures[0]))
    assert np.array_equal(kept[plain.placed.core], plain.placed.rgb[plain.placed.core])


def test_a_product_too_large_for_the_plate_is_drawn_smaller_and_that_is_reported(
    shop: Workspace, bench: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (bench / plate.FACTS).write_text(json.dumps(KNOWN | {"mm_per_width": 200.0}))
    request = resolve(shop, "bench")
    assert request.placed.box.height <= 0.88 * 0.8 * 400 + 1
    assert "of its true size" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--plate", "bensh"), "the gallery has no plate 'bensh'"),
        (("--plate", "./nowhere.jpg"), "there is no plate ./nowhere.jpg"),
        (("--plate", "{desk}", "--spot", "0.5,2"), "mixes pixels and shares"),
        (("--plate", "{desk}", "--spot", "1;2"), "is not X,Y"),
        (("--plate", "{desk}", "--spot", "900,100"), "outside the plate"),
        (("--plate", "{desk}", "--box", "500,10,200,100"), "outside the plate"),
        (("--plate", "{desk}", "--scale", "0.95"), "would leave the plate"),
        (("--plate", "{desk}", "--box", "1,1,3,3"), "outside the plate"),
        (("--plate", "bench", "--spot", "0.5,0.25"), "above the plate's horizon"),
        (("--plate", "{desk}", "--prompt", "on oak"), "--prompt has no effect with --plate"),
        (("--plate", "{desk}", "--seed", "3"), "--seed has no effect with --plate"),
        (("--plate", "{desk}", "--mode", "insert"), "--mode insert cannot go with --plate"),
        (("--plate", "{desk}", "--set", "mode=insert"), "--mode insert cannot go with --plate"),
        (("--plate", "{desk}", "--set", "sampling.steps=3"), "--set sampling.steps has no effect with --plate"),
        (("--plate", "{desk}", "--light", "up"), "--light"),
        (("--plate", "{desk}", "--light", "caf\udce9"), "--light is not UTF-8 text"),
        (("--plate", "{desk}", "--config", ""), "no config file ''"),
        (("--plate", "./caf\udce9.png"), "the plate's name is not UTF-8 text"),
        (("--plate", "~nosuchuser/desk.png"), "there is no plate ~nosuchuser/desk.png"),
        (("--plate", "{desk}", "--light", "left,right"), "contradict"),
        (("--plate", "{desk}", "--shadow", "edge=1"), "--shadow has no part 'edge'"),
        (("--plate", "{desk}", "--shadow", "dark"), "shadow.strength"),
        (("--plate", "{desk}", "--spot", "0.5,0.5", "--box", "0,0,1,1"), "both"),
        (("--prompt", "on oak", "--spot", "0.5,0.5"), "--spot has no effect without --plate"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(
    shop: Workspace, bench: Path, arguments: tuple[str, ...], message: str
) -> None:
    before = sorted(shop.root.rglob("*"))
    result = run_cli(shop, "bottle01", *(a.format(desk=shop.root / "desk.png") for a in arguments))
    assert result.exit_code == 1, result.output
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error:")]
    assert len(errors) == 1
    assert message in result.stderr
    assert "hint: " in result.stderr
    assert sorted(shop.root.rglob("*")) == before


def test_an_unprepared_product_is_prepared_and_what_lies_is_told(shop: Workspace, bench: Path) -> None:
    result = run_cli(shop, "glasses01", "--plate", "bench", "--json")
    assert result.exit_code == 0, result.stderr
    assert "is not prepared yet" in result.stderr
    assert "photographed lying" in result.stderr
    assert json.loads(result.stdout)["pictures"][0]["manifest"]["ground"]["pose"] == "lying"


def test_the_gallery_is_listed(shop: Workspace, bench: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["plates", "--sheet", str(tmp_path / "sheet.png")])
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("bench")
    assert "600 mm wide" in result.stdout
    assert (tmp_path / "sheet.png").is_file()


@pytest.mark.parametrize("sheet", ["", ".", "caf\udce9.png", "{desk}/x.png"])
def test_a_sheet_that_cannot_be_written_is_refused_at_once(
    sheet: str, shop: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plate, "GALLERY", tmp_path / "not read")
    result = CliRunner().invoke(main, ["plates", "--sheet", sheet.format(desk=shop.root / "desk.png")])
    assert result.exit_code in (1, 2)
    assert "Error: " in result.stderr
    assert result.stdout == ""
    assert list(tmp_path.iterdir()) == []
