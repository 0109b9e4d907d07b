"""The gallery of plates: every picture has true facts beside it, and the whole is small."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tools.product_world import __main__ as command
from tools.product_world import plate_list

FOLDER = Path(__file__).resolve().parents[2] / "inference" / "plates"
NAMES = sorted(path.name for path in FOLDER.iterdir() if path.is_dir())
KEYS = {
    "format", "name", "title", "licence", "width", "height", "pose", "spot", "mm_per_width", "horizon", "elevation",
    "light", "surface",
}  # fmt: skip
COUNT = 16
MOST_BYTES = 3_000_000


def facts(name: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((FOLDER / name / "plate.json").read_text(encoding="utf-8"))
    return read


def test_the_gallery_has_listed_plates_and_nothing_else() -> None:
    assert set(NAMES) <= set(plate_list.BY_NAME)
    assert len(NAMES) >= COUNT
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert {path.name for path in files} == {"plate.avif", "plate.json"}
    assert len(files) == 2 * len(NAMES)
    assert sum(path.stat().st_size for path in files) <= MOST_BYTES


def test_there_are_wide_and_tall_plates_and_some_from_above() -> None:
    ratios = [plate["width"] / plate["height"] for plate in map(facts, NAMES)]
    assert sum(ratio > 1.4 for ratio in ratios) >= 4
    assert sum(ratio < 0.82 for ratio in ratios) >= 4
    assert sum(facts(name)["pose"] == "lying" for name in NAMES) >= 2


@pytest.mark.parametrize("name", NAMES)
def test_a_plate_says_what_its_picture_is(name: str) -> None:
    plate = facts(name)
    assert set(plate) == KEYS
    assert (plate["format"], plate["name"], plate["licence"]) == (1, name, "CC0-1.0")
    listed = plate_list.BY_NAME[name]
    assert plate["title"] == listed.title
    assert (plate["width"], plate["height"]) == listed.pixels(1536)
    with Image.open(FOLDER / name / "plate.avif") as picture:
        assert (picture.format, picture.mode, picture.size) == ("AVIF", "RGB", (plate["width"], plate["height"]))


@pytest.mark.parametrize("name", NAMES)
def test_the_camera_agrees_with_itself(name: str) -> None:
    plate = facts(name)
    spot = plate["spot"]
    assert 0.2 <= spot["x"] <= 0.8
    assert 0.4 <= spot["y"] <= 0.92
    assert 400 <= plate["mm_per_width"] <= 1500
    assert plate["pose"] == ("lying" if plate["elevation"] >= 60 else "standing")
    assert 5 <= plate["elevation"] <= 90
    if plate["pose"] == "lying":
        assert plate["horizon"] is None
        return
    # From the horizon (below the picture's middle line by tan(pitch) * zoom) and the spot the elevation follows.
    zoom, ratio = plate_list.BY_NAME[name].lens / 36, plate["width"] / plate["height"]
    pitch = math.atan((0.5 - plate["horizon"]) / ratio / zoom)
    dip = math.atan((spot["y"] - 0.5) / ratio / zoom)
    assert math.degrees(pitch + dip) == pytest.approx(plate["elevation"], abs=0.1)


@pytest.mark.parametrize("name", NAMES)
def test_light_and_surface_are_in_range(name: str) -> None:
    light, surface = facts(name)["light"], facts(name)["surface"]
    assert set(light) == {"azimuth", "height", "softness", "colour", "shade"}
    assert 0 <= light["azimuth"] < 360
    assert 5 <= light["height"] <= 90
    assert 0 <= light["softness"] <= 1
    assert max(light["colour"]) == 1
    assert min(light["colour"]) > 0
    assert len(light["colour"]) == len(light["shade"]) == 3
    most = 1.0 if surface["roughness"] < 0.1 else 0.95  # a black mirror shows its surroundings, not the light on it
    assert all(0 < share <= most for share in light["shade"]), "the main light reaches the spot"
    assert set(surface) == {"name", "reflectance", "roughness"}
    assert surface["name"]
    assert 0.02 <= surface["reflectance"] <= 0.1
    assert 0 <= surface["roughness"] <= 1


def test_the_command_names_plates(capsys: pytest.CaptureFixture[str]) -> None:
    options = command.read_command_line(["plates", "--out", "x", "--names", "terrazzo, night-bar", "--threads", "2"])
    assert [plate.name for plate in options.names] == ["terrazzo", "night-bar"]
    assert (options.size, options.threads, options.run) == (1536, 2, command.shoot_plates)
    assert list(command.read_command_line(["plates", "--out", "x"]).names) == list(plate_list.PLATES)
    with pytest.raises(SystemExit):
        command.read_command_line(["plates", "--out", "x", "--names", "terrazzo,moon"])
    assert "there is no plate 'moon'" in capsys.readouterr().err
