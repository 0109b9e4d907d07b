"""What is found with photos side by side: copies, light and casts, other products, views; and how it is remembered."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from check_drawings import Spoil, assert_fires_alone, bottle, fired, inspected, inspected_set, lit, on_ground, views
from drawn_products import draw_bottle, write_set
from PIL import Image

from finetune.checks import lighting, set_findings
from finetune.checks.measures import Exposure
from finetune.checks.photo_facts import CutoutFacts, PhotoFacts, measure_photo
from finetune.core.pictures.masks import Box
from finetune.core.products.catalog import Photo, SetConfig
from finetune.matting.photo import cut_photo


def bright(photos: dict[str, Image.Image]) -> None:
    photos["view1"] = lit(photos["view1"], 1.3, 1.3, 1.3)


def copied(photos: dict[str, Image.Image]) -> None:
    photos["view9"] = photos["view1"].copy()


def halved(photos: dict[str, Image.Image]) -> None:
    photos["view9"] = photos["view1"].resize((370, 370), Image.Resampling.LANCZOS)


def on_blue(photos: dict[str, Image.Image]) -> None:
    photos["view9"] = on_ground(photos["view1"], (150, 175, 205), (600, 530), (80, 20))


def mixed_in(photos: dict[str, Image.Image]) -> None:
    photos["view9"] = bottle(2, colour=(40, 90, 170))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "check", "photo", "said"),
    [
        (bright, "exposure", "view1.png", r"lighter than on the other photos by \d+ of 100"),
        (copied, "duplicate", "view9.png", "the file is the same as view1.png"),
        (halved, "duplicate", "view9.png", "the picture is almost the same as view1.png"),
        (on_blue, "duplicate", "view9.png", "the picture is almost the same as view1.png"),
        (mixed_in, "other product", "view9.png", r"another product than the rest: \d\d%"),
    ],
    ids=lambda value: value.__name__ if callable(value) else None,
)
def test_each_finding_names_the_strange_photo_alone(
    tmp_path: Path, spoil: Spoil, check: str, photo: str, said: str
) -> None:
    assert_fires_alone(tmp_path, spoil, check, photo, said)


@pytest.mark.slow
def test_a_colour_cast_on_one_photo_of_the_mug(tmp_path: Path) -> None:
    folder = Path(__file__).resolve().parents[2] / "datasets" / "mug01" / "photos"
    photos = {path.stem: Image.open(path).convert("RGB").resize((512, 512)) for path in sorted(folder.iterdir())}
    photos["02-handle"] = lit(photos["02-handle"], 1.2, 1.0, 0.8)
    report = inspected(tmp_path, photos)
    outline, found = [f for f in report.findings if f.severity != "note"]
    assert (outline.check, outline.photo) == ("too-alike", "02-handle.png"), "the tinted shadow stays in the cutout"
    assert (found.check, found.photo) == ("cast", "02-handle.png")
    assert re.search("lean towards .*yellow", found.what)


@pytest.mark.slow
def test_two_photos_of_two_products(tmp_path: Path) -> None:
    report = inspected(tmp_path, {"a": bottle(), "b": bottle(1, colour=(40, 90, 170))})
    assert fired(report) == {("other product", "")}, "neither of two is the stranger"
    (found,) = [f for f in report.findings if f.check == "other product"]
    assert re.match(r"a\.png and b\.png do not look alike: \d\d%", found.what)
    assert fired(inspected(tmp_path / "same", {"a": bottle(), "b": bottle(1)})) == set()


def test_another_side_in_other_colours_is_no_cast_on_an_equally_lit_ground() -> None:
    rng = np.random.default_rng(2)
    others = rng.normal((35, 5, 10), 1.5, (900, 3)).astype(np.float32)
    side = others + np.array([0, 0, 6], dtype=np.float32)
    assert lighting.colour_gains(side, others) is not None, "by its colours alone it would be taken for one"
    ground, grounds = np.full(3, 0.8, np.float32), np.full((3, 3), 0.8, np.float32)
    assert lighting.equally_lit(ground, grounds)
    assert lighting.light_gains(side, ground, others, grounds) is None
    assert not lighting.equally_lit(ground * np.array([1, 1, 0.7], np.float32), grounds)
    assert not lighting.equally_lit(np.ones(3, np.float32), np.ones((3, 3), np.float32))


@pytest.mark.slow
@pytest.mark.parametrize("gains", [(1.6, 1.0, 0.45), (0.5, 0.9, 1.7), (1.25, 0.7, 1.2)])
def test_a_strong_cast_on_cleaned_ground_is_no_other_product(tmp_path: Path, gains: tuple[float, ...]) -> None:
    """Few saturated colours, and the ground set to white afterwards: nothing but the product shows the cast."""
    photos = views()
    tinted = lit(photos["view1"], *gains)
    mask = Image.fromarray((np.asarray(photos["view1"]).min(axis=2) < 250).astype(np.uint8) * 255)
    photos["view1"] = Image.composite(tinted, photos["view1"], mask)
    assert fired(inspected(tmp_path, photos)) == {("cast", "view1.png")}


@pytest.mark.slow
def test_too_much_light_is_no_other_product_and_no_torn_cutout(tmp_path: Path) -> None:
    photos = views()
    photos["view1"] = lit(photos["view1"], 3, 3, 3)  # the label becomes as white as the ground
    found = [f for f in inspected(tmp_path / "set", photos).findings if f.photo == "view1.png"]
    assert {f.check for f in found if f.severity == "warning"} == {"exposure"}
    assert any(re.search("lighter than on the other photos", f.what) for f in found)
    alone = inspected(tmp_path / "alone", {"a": photos["view1"]})
    assert fired(alone) == {("exposure", "a.png")}
    assert any(re.search(r"overexposed: \d+% of the product is clipped", f.what) for f in alone.findings)


@pytest.mark.slow
def test_a_copy_cut_out_otherwise_is_still_a_copy(tmp_path: Path) -> None:
    """By its whole photo: here the copy's mask takes half of the product."""
    photos = views()
    folder = write_set(tmp_path, "x1", photos | {"view9": photos["view1"].resize((400, 400))})
    (folder / "masks").mkdir()
    half = Image.new("L", (400, 400))
    half.paste(255, (120, 80, 280, 200))
    half.save(folder / "masks" / "view9.png")
    report = inspected_set(tmp_path)
    copies = [f for f in report.findings if f.check == "duplicate"]
    assert [(f.photo, f.what) for f in copies] == [("view9.png", "the picture is almost the same as view1.png")]


def test_turned_views_of_what_looks_alike_all_round_are_no_copies() -> None:
    white, black = np.ones(3, np.float32), np.zeros(3, np.float32)
    photos = [facts.model_copy(update={"ground": white}) for facts in made_up_facts((0.0, 0.1, 0.2))]
    assert [f.check for f in set_findings.set_findings(photos, {})[0]] == ["views"]
    elsewhere = [photos[0], *(facts.model_copy(update={"ground": black}) for facts in photos[1:])]
    found = [f.photo for f in set_findings.set_findings(elsewhere, {})[0] if f.check == "duplicate"]
    assert found == ["0.1"], "on another ground a cutout so alike is the same shot"


def made_up_facts(flipped: tuple[float, ...]) -> list[PhotoFacts]:
    """Facts of photos whose cutouts' hashes differ from the first by these shares of bits, photos' hashes by half."""
    rng = np.random.default_rng(0)
    base = rng.random(255) < 0.5
    return [
        PhotoFacts(
            name=str(share),
            content=str(share),
            cutout=CutoutFacts("plain ground", Box(0, 0, 9, 9), (10, 10), False, 0.5, 1),
            blur=0.5,
            smear=0.5,
            exposure=Exposure(0, 0, 0, 50),
            picture_highlight=90,
            ground=None,
            pieces=(81,),
            colour_sample=np.zeros((100, 3), dtype=np.float32),
            hash=base ^ (np.arange(255) < round(255 * share)),
            picture_hash=rng.random(255) < 0.5,
        )
        for share in flipped
    ]


def test_few_views_are_a_note(tmp_path: Path) -> None:
    report = inspected(tmp_path, views(2))
    assert [(f.check, f.severity, f.what) for f in report.findings if f.check == "views"] == [
        ("views", "note", "the set has 2 views of the product in 2 photos")
    ]
    assert not [f for f in inspected(tmp_path / "four", views(4)).findings if f.check == "views"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("gains", "check", "said"),
    [
        ((0.5, 0.5, 0.5), "exposure", r"darker than on the other photos by \d+ of 100"),
        ((1.7, 1.7, 1.7), "exposure", r"lighter than on the other photos by \d+ of 100"),
        ((0.9, 1.1, 0.9), "cast", "lean towards green"),
    ],
)
def test_light_is_told_from_the_ground_where_the_product_agrees(
    tmp_path: Path, gains: tuple[float, ...], check: str, said: str
) -> None:
    photos = {name: lit(photo, 0.5, 0.5, 0.5) for name, photo in views().items()}  # grey ground: nothing clips
    photos["view1"] = lit(photos["view1"], *gains)
    found = [f for f in inspected(tmp_path, photos).findings if (f.check, f.severity) == (check, "warning")]
    assert [f.photo for f in found if re.search(said, f.what)] == ["view1.png"]


def facts_of(folder: Path, photos: dict[str, Image.Image]) -> list[PhotoFacts]:
    write_set(folder, "x1", photos)
    paths = sorted((folder / "datasets" / "x1" / "photos").iterdir())
    return [measure_photo(cut_photo(Photo(path, None), SetConfig(class_noun="bottle")), path.name) for path in paths]


def test_facts_come_back_from_json_as_they_were(tmp_path: Path) -> None:
    (facts,) = facts_of(tmp_path, {"a": draw_bottle(160)})
    text = facts.model_dump_json(by_alias=True)
    again = PhotoFacts.model_validate_json(text)
    assert again.model_dump_json(by_alias=True) == text
    assert (again.cutout, again.exposure, again.blur) == (facts.cutout, facts.exposure, facts.blur)
    assert again.colour_sample.dtype == np.float32
    assert np.array_equal(again.colour_sample, facts.colour_sample)
    assert np.array_equal(again.hash, facts.hash)
    assert again.ground is not None


@pytest.mark.slow
def test_comparisons_are_remembered_and_few_in_large_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = {f"{number:02d}": draw_bottle(120, shift=number) for number in range(11)}
    photos["99"] = draw_bottle(120, colour=(30, 160, 60))
    facts = facts_of(tmp_path, photos)
    asked: list[int] = []
    real = set_findings._colour

    def counted(photo: PhotoFacts, others: list[PhotoFacts]) -> object:
        asked.append(len(others))
        return real(photo, others)

    monkeypatch.setattr(set_findings, "_colour", counted)
    first, known = set_findings.set_findings(facts, {})
    assert asked == [set_findings.COMPARED] * 12
    assert [f.photo for f in first if f.check == "other product"] == ["99.png"]
    assert len(known) == 12
    asked.clear()
    assert set_findings.set_findings(facts, known) == (first, known)
    assert asked == []
    _, fewer = set_findings.set_findings(facts[1:], known)
    assert (len(fewer), len(known)) == (11, 12), "what is handed in stays as it was"
    assert len(asked) == len(set(fewer) - set(known))
