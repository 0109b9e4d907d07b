"""Drawn product photos for the tests of checks: views of one bottle, in other light, on other grounds."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from drawn_products import write_set
from made_once import exchange_records
from PIL import Image, ImageDraw

from finetune.check import check_set
from finetune.checks.examination import CheckReport
from finetune.core.pictures.images import to_linear, to_srgb8
from finetune.core.products.catalog import Workspace

SIZE = 256
"""Side of the training examples."""
SIDE = 480
"""Side of a photo."""
GLASS = (190, 90, 40)
Spoil = Callable[[dict[str, Image.Image]], None]


def bottle(turn: int = 0, colour: tuple[int, int, int] = GLASS, side: int = SIDE) -> Image.Image:
    """A bottle of about 350 px; `turn` (0 to 4) is the view: the label moves round and the shape changes a little."""
    big = Image.new("RGB", (side * 2, side * 2), "white")
    pen, u = ImageDraw.Draw(big), side * 2 / 100
    wide = 18 - 1.5 * turn
    pen.rounded_rectangle(((50 - wide) * u, 40 * u, (50 + wide) * u, 88 * u), 5 * u, fill=colour)
    pen.rectangle((44 * u, 28 * u, 56 * u, 41 * u), fill=colour)
    pen.rectangle((42 * u, 16 * u, 58 * u, 29 * u), fill=(40, 38, 36))
    left, top = (38 + 2 * turn) * u, (50 + 3 * turn) * u
    right = min(62 + 2 * turn, 50 + wide - 1) * u
    pen.rectangle((left, top, right, top + 20 * u), fill=(245, 238, 220))
    for row in range(3 + turn):
        pen.rectangle(
            (left + 3 * u, top + (3 + 3 * row) * u, right - (2 + row) * u, top + (4.2 + 3 * row) * u), fill=(30, 30, 30)
        )
    return big.resize((side, side), Image.Resampling.LANCZOS)


def views(count: int = 4) -> dict[str, Image.Image]:
    return {f"view{turn}": bottle(turn) for turn in range(count)}


def lit(picture: Image.Image, *gains: float) -> Image.Image:
    """The picture with each channel multiplied in linear light."""
    return Image.fromarray(to_srgb8((to_linear(np.asarray(picture)) * np.array(gains)).astype(np.float32)))


def on_ground(
    picture: Image.Image, colour: tuple[int, int, int], size: tuple[int, int], at: tuple[int, int]
) -> Image.Image:
    """The drawn product (all that is not white) on another ground."""
    scene = Image.new("RGB", size, colour)
    matte = Image.fromarray((np.asarray(picture).min(axis=2) < 250).astype(np.uint8) * 255)
    scene.paste(picture, at, matte)
    return scene


def inspected(root: Path, photos: dict[str, Image.Image], **config: object) -> CheckReport:
    """What `check_set` finds; photos that this run of the tests has measured before are not measured again."""
    write_set(root, "x1", photos, **config)
    return inspected_set(root)


def inspected_set(root: Path) -> CheckReport:
    with exchange_records(root / ".cache" / "checks" / "x1"):
        return check_set(Workspace(root), "x1", size=SIZE)[0]


def fired(report: CheckReport) -> set[tuple[str, str]]:
    """(check, photo) of every error and warning."""
    return {(f.check, f.photo) for f in report.findings if f.severity != "note"}


def assert_fires_alone(tmp_path: Path, spoil: Spoil, check: str, photo: str, said: str) -> None:
    """Of a set with one spoiled photo, that check alone warns, of that photo alone, with reason and cure."""
    photos = views()
    spoil(photos)
    report = inspected(tmp_path, photos)
    found = [f for f in report.findings if (f.check, f.photo) == (check, photo)]
    assert found, report.findings
    assert re.search(said, found[0].what)
    assert (found[0].severity, bool(found[0].why), bool(found[0].cure)) == ("warning", True, True)
    assert {name for _, name in fired(report)} == {photo}
