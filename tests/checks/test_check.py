"""Every check of one photo fires on its spoiled picture and is quiet on the clean one; the real command.

Photos side by side are `test_set_findings`'s.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from check_drawings import SIDE, SIZE, Spoil, assert_fires_alone, bottle, fired, inspected, inspected_set, lit, views
from click.testing import CliRunner, Result
from drawn_products import draw_bottle, write_set
from PIL import Image, ImageFilter
from scipy import ndimage

from finetune.check import check_set
from finetune.checks import examination
from finetune.checks.label_findings import LabelledCutout, label_findings
from finetune.core.commands import main
from finetune.core.errors import ConfigError
from finetune.core.label_ocr import is_read
from finetune.core.products.catalog import Workspace
from finetune.prepare import prepare_set
from finetune.settings import DataSection


@pytest.mark.slow
def test_clean_photos_raise_no_warning(tmp_path: Path) -> None:
    report = inspected(tmp_path, views())
    assert fired(report) == set()
    assert (report.photos, report.usable, report.views, report.trainable) == (4, 4, 4, True)


def blurred(photos: dict[str, Image.Image]) -> None:
    photos["view1"] = photos["view1"].filter(ImageFilter.GaussianBlur(3))


def moved(photos: dict[str, Image.Image]) -> None:
    pixels = ndimage.uniform_filter1d(np.asarray(photos["view1"]).astype(np.float32), 11, axis=1)
    photos["view1"] = Image.fromarray(pixels.astype(np.uint8))


def dark(photos: dict[str, Image.Image]) -> None:
    photos["view1"] = lit(photos["view1"], 0.25, 0.25, 0.25)


def small(photos: dict[str, Image.Image]) -> None:
    photos["view1"] = photos["view1"].resize((240, 240), Image.Resampling.LANCZOS)


def far_off(photos: dict[str, Image.Image]) -> None:
    scene = Image.new("RGB", (1730, 1730), "white")
    scene.paste(photos["view1"], (600, 600))
    photos["view1"] = scene


def cut(photos: dict[str, Image.Image]) -> None:
    photos["view1"] = photos["view1"].crop((0, 0, SIDE, 370))


def doubled(photos: dict[str, Image.Image]) -> None:
    scene = Image.new("RGB", (2 * SIDE, SIDE), "white")
    scene.paste(photos["view1"], (0, 0))
    scene.paste(photos["view2"], (SIDE, 0))
    photos["view1"] = scene


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "check", "photo", "said"),
    [
        (blurred, "blur", "view1.png", r"edges are [23]\.\d px soft"),
        (moved, "blur", "view1.png", r"motion blur: edges across the motion are \d\.\d px soft, the others 0"),
        (dark, "exposure", "view1.png", "dark"),
        (small, "resolution", "view1.png", "under the training size 256"),
        (far_off, "share", "view1.png", r"covers only 1\.\d% of the picture"),
        (cut, "cut off", "view1.png", "touches the picture's border"),
        (doubled, "several products", "view1.png", "shows 2 things of similar size"),
    ],
    ids=lambda value: value.__name__ if callable(value) else None,
)
def test_each_check_fires_on_its_spoiled_photo_alone(
    tmp_path: Path, spoil: Spoil, check: str, photo: str, said: str
) -> None:
    assert_fires_alone(tmp_path, spoil, check, photo, said)


def test_a_ground_that_is_blurred_is_not_a_blurred_product(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rough = Image.fromarray(rng.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)).filter(ImageFilter.GaussianBlur(20))
    product = bottle()
    matte = Image.fromarray((np.asarray(product).min(axis=2) < 250).astype(np.uint8) * 255)
    rough.paste(product, (0, 0), matte)
    folder = write_set(tmp_path, "x1", {"sharp": rough, "soft": rough.filter(ImageFilter.GaussianBlur(3))})
    (folder / "masks").mkdir()
    for name in ("sharp", "soft"):
        matte.save(folder / "masks" / f"{name}.png")
    report = inspected_set(tmp_path)
    assert {photo for check, photo in fired(report) if check == "blur"} == {"soft.png"}


@pytest.mark.slow
def test_a_pair_is_one_product_where_the_noun_says_so(tmp_path: Path) -> None:
    photos: dict[str, Image.Image] = views(1)
    photos["view1"] = bottle(1)
    doubled(photos | {"view2": bottle(2)})
    pair = Image.new("RGB", (2 * SIDE, SIDE), "white")
    pair.paste(bottle(), (0, 0))
    pair.paste(bottle(), (SIDE, 0))
    assert fired(inspected(tmp_path / "one", {"a": pair})) == {("several products", "a.png")}
    report = inspected(tmp_path / "two", {"a": pair}, class_noun="salt shakers")
    assert fired(report) == set()
    assert [f.severity for f in report.findings if f.check == "several products"] == ["note"]


def test_a_trimmed_transparent_cutout_is_not_cut_off(tmp_path: Path) -> None:
    rgba = bottle().convert("RGBA")
    rgba.putalpha(Image.fromarray((np.asarray(bottle()).min(axis=2) < 250).astype(np.uint8) * 255))
    trimmed = rgba.crop(rgba.getbbox(alpha_only=True))
    assert fired(inspected(tmp_path / "trimmed", {"a": trimmed})) == set()
    halved_one = trimmed.crop((0, 0, trimmed.width, trimmed.height // 2))
    scene = Image.new("RGBA", (trimmed.width + 80, halved_one.height), (0, 0, 0, 0))
    scene.paste(halved_one, (40, 0))
    assert ("cut off", "a.png") in fired(inspected(tmp_path / "cut", {"a": scene}))


# the label


def test_the_label_is_never_passed_in_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examination, "open_reader", lambda: None)
    found = [f for f in inspected(tmp_path, views(1), label_text=["NOIRE"]).findings if f.check == "label"]
    assert [(f.severity, f.cure) for f in found] == [("note", "pip install 'packshot[ocr]'")]


@pytest.mark.slow
def test_words_read_are_compared_with_label_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = iter([["NOlRE"], ["EAU DE", "PARFUM"]])
    asked: list[Image.Image] = []

    def read(picture: Image.Image) -> Sequence[str]:
        asked.append(picture)
        return next(pages)

    monkeypatch.setattr(examination, "open_reader", lambda: read)
    report = inspected(tmp_path, views(2), label_text=["NOIRE", "Eau de Parfum", "50 ml"])
    found = [f for f in report.findings if f.check == "label"]
    assert [f.severity for f in found] == ["warning"]
    assert found[0].what.startswith("'50 ml' cannot be read on any photo; the reader found 'NOlRE'")
    assert [picture.mode for picture in asked] == ["RGB", "RGB"]


def test_reading_stops_when_everything_was_read() -> None:
    calls: list[int] = []

    def read(_: Image.Image) -> Sequence[str]:
        calls.append(1)
        return ["NOIRE"]

    cutouts = [LabelledCutout(key, lambda: Image.new("RGBA", (40, 40))) for key in ("a", "b")]
    found, first = label_findings(["noire"], cutouts, read, {})
    assert (found, len(calls)) == ([], 1)
    found, again = label_findings(["noire"], cutouts, read, first)
    assert (found, again) == ([], first)
    assert len(calls) == 1, "what was read on a cutout is remembered"
    found, both = label_findings(["50 ml"], cutouts, read, first)
    assert (len(calls), len(first), len(both)) == (2, 1, 2), "the answers handed in stay as they were"
    assert (found, both) == label_findings(["50 ml"], cutouts, read, {})
    assert len(calls) == 4
    assert label_findings([], cutouts, None, both) == ([], {})


@pytest.mark.parametrize(
    ("text", "lines", "expected"),
    [
        ("No 5", ["N°5", "PARFUM"], True),
        ("No 5", ["NOIRE", "No5"], True),
        ("50 ml 1.7 fl. oz", ["50ml", "1.7 fl.0z"], True),
        ("Crème", ["CREME DE NUIT"], True),
        ("EAU DE PARFUM", ["EAU DE TOILETTE"], False),
        ("x", [], False),
    ],
)
def test_what_counts_as_read(text: str, lines: list[str], expected: bool) -> None:
    assert is_read(text, lines) is expected


# measures


# the command, the page, and prepare


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def test_the_command_prints_findings_and_writes_the_page(tmp_path: Path) -> None:
    folder = write_set(tmp_path, "x1", {"front": draw_bottle(), "<b>&": draw_bottle(shift=9)})
    result = run("check", "x1", "--workspace", str(tmp_path), "--config", "embedded")
    assert result.exit_code == 0, result.output
    assert "warning  front.png: the product is 74x146 pixels, under the training size 256\n" in result.stdout
    assert result.stdout.count("why: ") == result.stdout.count("do: ") >= 3
    assert "2 of 2 photos can be used, 0 errors" in result.stderr
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.count('src="data:image/jpeg;base64,') == 8
    assert "&lt;b&gt;&amp;.png" in page
    assert "<b>&.png" not in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert sorted(p.name for p in folder.iterdir()) == ["photos", "report.html", "set.yaml"]


@pytest.mark.slow
def test_json_and_another_place_for_the_page(tmp_path: Path) -> None:
    folder = write_set(tmp_path, "x1", {"front": draw_bottle()})
    page = tmp_path / "my page.html"
    result = run("check", "x1", "--workspace", str(tmp_path), "--json", "--report", str(page), "--set", "data.size=64")
    told = json.loads(result.stdout)
    assert (told["usable"], told["errors"], told["warnings"], told["report"]) == (1, 0, 0, str(page))
    assert {f["check"] for f in told["findings"]} == {"resolution", "views", "no glass"}
    assert page.is_file()
    assert not (folder / "report.html").exists()


def test_exit_code_1_only_when_nothing_is_left(tmp_path: Path) -> None:
    folder = write_set(tmp_path, "x1", {"good": draw_bottle()})
    (folder / "photos" / "bad.jpg").write_text("no picture")
    result = run("check", "x1", "--workspace", str(tmp_path), "--json")
    assert (result.exit_code, json.loads(result.stdout)["warnings"] >= 1) == (0, True)
    (folder / "photos" / "good.png").unlink()
    result = run("check", "x1", "--workspace", str(tmp_path), "--json")
    told = json.loads(result.stdout)
    assert (result.exit_code, told["usable"], told["errors"]) == (1, 0, 1)
    assert told["findings"][0]["photo"] == "bad.jpg"
    assert "Error: the only photo of 'x1' cannot be used\nhint: " in result.stderr
    assert "bad.jpg is not a picture" in (folder / "report.html").read_text(encoding="utf-8")


def test_a_report_that_cannot_be_written_is_said_before_any_work(tmp_path: Path) -> None:
    write_set(tmp_path, "x1", {"front": draw_bottle()})
    with pytest.raises(ConfigError, match="cannot be written"):
        check_set(Workspace(tmp_path), "x1", size=SIZE, report=tmp_path / "nowhere" / "page.html")


def test_a_brand_set_is_checked_for_size_and_copies(tmp_path: Path) -> None:
    picture = draw_bottle(300)
    write_set(tmp_path, "mood", {"a": picture, "b": picture, "c": picture.resize((99, 99))}, kind="brand")
    report, page = check_set(Workspace(tmp_path), "mood", size=SIZE)
    assert fired(report) == {("duplicate", "b.png"), ("resolution", "c.png")}
    assert page.read_text(encoding="utf-8").count("data:image/jpeg") == 3


@pytest.mark.slow
def test_prepare_checks_on_the_same_cutouts_and_keeps_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from finetune.matting import sources

    cut_once = []
    real = sources.cut_out

    def counted(*arguments: Image.Image | None, vessel: bool) -> object:
        cut_once.append(1)
        return real(*arguments, vessel=vessel)  # type: ignore[arg-type]

    monkeypatch.setattr(sources, "cut_out", counted)
    photos = views(2)
    blurred(photos)
    write_set(tmp_path, "x1", photos)
    prepared, _ = prepare_set(Workspace(tmp_path), "x1", data=DataSection(size=64, variants=2))
    assert len(cut_once) == 2
    said = capsys.readouterr().err
    assert "Warning: x1/view1.png: the product is blurred" in said
    assert "views of the product" not in said
    assert "blurred" in (prepared.folder / "report.html").read_text(encoding="utf-8")
