"""Every finding about a matte fires on a drawn fault, with its place, and on no clean drawing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from check_drawings import SIDE, bottle, inspected, views
from PIL import Image, ImageDraw

from finetune.checks.examination import CheckReport
from finetune.checks.matte_facts import MatteFacts, measure_matte
from finetune.checks.matte_findings import shown_findings
from finetune.checks.measures import Exposure
from finetune.checks.photo_facts import CutoutFacts, PhotoFacts
from finetune.checks.photo_findings import Finding
from finetune.checks.report import enlarged
from finetune.core.pictures.masks import Box
from finetune.matting.matte import Cutout, cut_out

KINDS = {"too-alike", "fringe", "frayed", "filled", "pieces", "cut off"}


def on_matte(report: CheckReport) -> set[str]:
    return {finding.check for finding in report.findings} & KINDS


def one(report: CheckReport, check: str) -> Finding:
    (found,) = [finding for finding in report.findings if finding.check == check]
    return found


def amount(facts: MatteFacts, kind: str) -> float:
    return next((flaw.amount for flaw in facts.flaws if flaw.kind == kind), 0.0)


def whole_facts(matte: MatteFacts) -> PhotoFacts:
    """Facts of a faultless photo with this matte."""
    return PhotoFacts(
        name="a.png",
        content="a",
        cutout=CutoutFacts("plain ground", Box(9, 9, 90, 90), (100, 100), False, 0.5, 1),
        blur=0.5,
        smear=0.5,
        exposure=Exposure(0, 0, 0, 80),
        picture_highlight=99,
        ground=None,
        pieces=(6000,),
        colour_sample=np.zeros((9, 3), dtype=np.float32),
        hash=np.zeros(255, dtype=bool),
        picture_hash=np.zeros(255, dtype=bool),
        matte=matte,
    )


def given(picture: Image.Image, silhouette: Image.Image, *, own: Image.Image | None = None) -> Cutout:
    """A cutout as a plain ground would give it, with a silhouette of the test's."""
    rgba = (own or picture).convert("RGBA")
    rgba.putalpha(silhouette)
    return Cutout(rgba, "plain ground", Box(0, 0, *picture.size), picture.size)


def silhouette_of(picture: Image.Image) -> Image.Image:
    return Image.fromarray((np.asarray(picture).min(axis=2) < 250).astype(np.uint8) * 255)


def test_a_clean_drawing_has_no_finding_on_its_matte(tmp_path: Path) -> None:
    assert on_matte(inspected(tmp_path, views(2))) == set()


def test_a_white_product_on_white_is_too_alike(tmp_path: Path) -> None:
    picture = bottle(colour=(247, 247, 246))
    found = one(inspected(tmp_path, {"a": picture}), "too-alike")
    assert found.severity == "warning"
    assert "of the cutout's outline differs from the ground" in found.what
    assert "darker or coloured ground" in found.cure
    assert found.box is not None
    assert 0 <= found.box.left < found.box.right <= SIDE
    dark = Image.new("RGB", picture.size, (70, 90, 120))
    dark.paste(picture, mask=silhouette_of(bottle()))
    assert "too-alike" not in on_matte(inspected(tmp_path / "dark", {"a": dark}))


def test_an_opening_of_the_ground_s_colour_is_named_where_it_is(tmp_path: Path) -> None:
    picture = bottle()
    pen = ImageDraw.Draw(picture)
    pen.rectangle((200, 330, 280, 400), fill="white")
    solid = silhouette_of(bottle())
    facts = measure_matte(given(picture, solid), picture)
    flaw = next(flaw for flaw in facts.flaws if flaw.kind == "filled")
    assert flaw.places == 1
    assert 195 <= flaw.box.left <= 205
    assert 395 <= flaw.box.bottom <= 405
    opened = solid.copy()
    ImageDraw.Draw(opened).rectangle((200, 330, 280, 400), fill=0)
    assert amount(measure_matte(given(picture, opened), picture), "filled") == 0


def test_a_rim_of_the_ground_s_colour_is_a_fringe() -> None:
    picture = bottle()
    assert amount(measure_matte(cut_out(picture), picture), "fringe") < 0.02
    solid = silhouette_of(picture)
    inside = np.asarray(solid) > 0
    rim = inside & ~_shrunk(inside, 2)
    own = np.asarray(picture).copy()
    own[rim] = 250
    facts = measure_matte(given(picture, solid, own=Image.fromarray(own)), picture)
    assert amount(facts, "fringe") > 0.5


def test_a_bright_band_of_the_product_is_no_fringe() -> None:
    picture = bottle()
    solid = np.asarray(silhouette_of(picture)) > 0
    own = np.asarray(picture).copy()
    own[solid & ~_shrunk(solid, 6)] = 250
    facts = measure_matte(given(picture, silhouette_of(picture), own=Image.fromarray(own)), picture)
    assert amount(facts, "fringe") < 0.02


def _shrunk(mask: np.ndarray, pixels: int) -> np.ndarray:
    for _ in range(pixels):
        mask = mask & np.roll(mask, 1, 0) & np.roll(mask, -1, 0) & np.roll(mask, 1, 1) & np.roll(mask, -1, 1)
    return mask


def test_a_ragged_outline_is_frayed_only_where_the_photo_shows_none() -> None:
    rng = np.random.default_rng(3)
    faint = bottle(colour=(253, 253, 253))
    solid = np.asarray(silhouette_of(bottle())) > 0
    ragged = solid ^ (_near_outline(solid) & (rng.random(solid.shape) < 0.4))
    matte = Image.fromarray(ragged.astype(np.uint8) * 255)
    assert amount(measure_matte(given(faint, matte), faint), "frayed") > 0.1
    assert amount(measure_matte(given(faint, silhouette_of(bottle())), faint), "frayed") < 0.1
    hairy = np.full((*solid.shape, 3), 255, np.uint8)
    hairy[ragged] = (40, 30, 20)
    photo = Image.fromarray(hairy)
    assert amount(measure_matte(given(photo, matte), photo), "frayed") < 0.1


def _near_outline(solid: np.ndarray) -> np.ndarray:
    return solid ^ _shrunk(solid, 3)


def test_dirt_beside_the_product_is_shown_where_it_lies() -> None:
    picture = bottle()
    pen = ImageDraw.Draw(picture)
    for left in (60, 80):
        pen.rectangle((left, 60, left + 4, 64), fill=(20, 20, 20))
    solid = silhouette_of(picture)
    facts = measure_matte(given(picture, solid), picture)
    flaw = next(flaw for flaw in facts.flaws if flaw.kind == "island")
    shown = [finding for finding in shown_findings(whole_facts(facts)) if finding.check == "pieces"]
    assert [finding.box for finding in shown] == [flaw.box]
    assert "2 small pieces of the cutout lie apart" in shown[0].what
    assert flaw.places == 2
    assert flaw.box.right < 100
    assert flaw.box.bottom < 80


def test_a_product_at_the_border_is_shown_there(tmp_path: Path) -> None:
    found = one(inspected(tmp_path, {"a": bottle().crop((0, 0, SIDE, 370))}), "cut off")
    assert found.box is not None
    assert found.box.bottom == 370
    assert found.box.height == 1


@pytest.mark.parametrize(
    ("noun", "glass", "said"),
    [("glass vase", "auto", True), ("glass vase", "no", False), ("lamp", "auto", False)],
)
def test_a_noun_that_suggests_glass_where_none_was_found(tmp_path: Path, noun: str, glass: str, said: bool) -> None:
    report = inspected(tmp_path, views(2), class_noun=noun, glass=glass)
    found = [finding for finding in report.findings if finding.check == "no glass"]
    assert len(found) == said
    assert all(f.severity == "note" and "glass: yes" in f.cure and noun in f.what for f in found)


def test_the_place_is_enlarged_on_dark_grey_and_on_magenta() -> None:
    picture = bottle()
    finding = Finding("fringe", "warning", "a.png", "what", "why", "cure", Box(150, 200, 170, 220))
    cutout = given(picture, silhouette_of(picture))
    html = enlarged("a.png", picture, cutout, [finding])
    assert html.count("<img") == 3
    assert [caption in html for caption in ("fringe, enlarged", "on dark grey", "on magenta")] == [True] * 3
    assert enlarged("a.png", picture, cutout, [Finding("share", "warning", "a.png", "what", "why", "cure")]) == ""


def test_the_page_shows_the_place_of_a_finding(tmp_path: Path) -> None:
    inspected(tmp_path, {"a": bottle(colour=(247, 247, 246))})
    page = (tmp_path / "datasets" / "x1" / "report.html").read_text(encoding="utf-8")
    assert "too-alike, enlarged" in page
    assert "on magenta" in page
