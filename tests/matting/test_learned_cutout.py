"""Sources of a cutout: their order, what set.yaml asks for, the refusal without a model, and rembg's real u2netp."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from drawn_products import cut_all, draw_bottle, write_set
from PIL import Image, ImageFilter
from wild_pictures import in_the_wild, silhouette

from finetune.core.commands import main
from finetune.core.errors import CutoutError
from finetune.core.products.catalog import Workspace, load_set
from finetune.core.segmentation import learned
from finetune.core.segmentation.learned import align_to_edges, find_model, learned_mask
from finetune.matting.sources import cut_by, model_fingerprint
from finetune.prepare import prepare_set
from finetune.settings import DataSection

FOLDER = Path("no such folder")


@pytest.fixture
def no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any model; returns rembg's home there."""
    monkeypatch.setenv("U2NET_HOME", str(tmp_path / "home"))
    learned._session.cache_clear()
    return tmp_path / "home"


@pytest.fixture
def u2netp() -> Path:
    """The real model, where this machine has extra and file."""
    pytest.importorskip("rembg", reason="extra `cutout`")
    try:
        return find_model("u2netp", FOLDER)
    except CutoutError as error:
        pytest.skip(error.hint)


def test_mask_then_alpha_then_plain_ground(no_model: Path) -> None:
    bottle, mask = draw_bottle(400), silhouette()
    clear = bottle.convert("RGBA")
    clear.putalpha(mask)
    assert cut_by("auto", clear, mask, "", FOLDER)[0].source == "mask"
    assert cut_by("auto", clear, None, "", FOLDER)[0].source == "alpha"
    assert cut_by("auto", bottle, None, "", FOLDER)[0].source == "plain ground"
    assert cut_by("plain", clear, None, "", FOLDER)[0].source == "plain ground"  # over white, alpha left out


@pytest.mark.parametrize(
    ("source", "words"),
    [("mask", "asks for a mask"), ("alpha", "asks for an alpha channel"), ("learned", "no cutout model")],
)
def test_what_was_asked_for_and_is_not_there(no_model: Path, source: str, words: str) -> None:
    with pytest.raises(CutoutError, match=words) as caught:
        cut_by(source, draw_bottle(), None, "", FOLDER)
    assert caught.value.hint


def test_without_a_model_both_cures_are_named(tmp_path: Path, no_model: Path) -> None:
    write_set(tmp_path, "bottle01", {"wild": in_the_wild(200)})
    result = CliRunner().invoke(main, ["prepare", "bottle01", "--workspace", str(tmp_path)])
    assert result.exit_code == 1
    assert "the ground is not plain" in result.stderr
    assert "add a mask in masks/" in result.stderr
    assert f"u2netp.onnx from rembg's releases to {no_model / 'u2netp.onnx'}" in result.stderr
    assert not (tmp_path / "datasets" / "bottle01" / "prepared").exists()
    assert not no_model.exists()  # nothing was fetched


def test_without_the_extra_it_is_named_too(tmp_path: Path, no_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rembg", None)
    with pytest.raises(CutoutError) as caught:
        cut_by("auto", in_the_wild(200), None, "", FOLDER)
    assert "pip install 'packshot[cutout]', then download u2netp.onnx" in caught.value.hint
    no_model.mkdir()
    (no_model / "u2netp.onnx").write_bytes(b"a model")  # the file alone does not do it either
    with pytest.raises(CutoutError, match="needs the extra") as caught:
        cut_by("learned", in_the_wild(200), None, "", FOLDER)
    assert "packshot[cutout]" in caught.value.hint


def test_the_best_model_on_disk_is_found_and_named_ones_are_not_replaced(no_model: Path) -> None:
    no_model.mkdir()
    (no_model / "u2netp.onnx").write_bytes(b"small")
    assert find_model("", FOLDER).stem == "u2netp"
    newer = no_model / "models" / "birefnet-general"
    newer.mkdir(parents=True)
    (newer / "birefnet-general.onnx").write_bytes(b"large")
    assert find_model("", FOLDER).stem == "birefnet-general"
    with pytest.raises(CutoutError, match="'isnet-general-use' is not on disk") as caught:
        find_model("isnet-general-use", FOLDER)
    assert str(no_model / "isnet-general-use.onnx") in caught.value.hint


def test_a_path_is_relative_to_the_set(tmp_path: Path, no_model: Path) -> None:
    (tmp_path / "u2netp.onnx").write_bytes(b"x")
    assert find_model("./u2netp.onnx", tmp_path) == tmp_path / "u2netp.onnx"
    with pytest.raises(CutoutError, match="there is no model"):
        find_model("models/u2netp.onnx", tmp_path)


@pytest.mark.parametrize("name", ["withoutbg", "atlascloud", "sam", "mine"])
def test_services_and_strangers_are_no_models(tmp_path: Path, name: str) -> None:
    """`withoutbg` and `atlascloud` would send the picture away."""
    pytest.importorskip("rembg", reason="extra `cutout`")
    (tmp_path / f"{name}.onnx").write_bytes(b"x")
    with pytest.raises(CutoutError, match=f"rembg knows no model '{name}'") as caught:
        learned_mask(draw_bottle(), tmp_path / f"{name}.onnx")
    assert "u2netp" in caught.value.hint


def test_a_damaged_model_is_named(tmp_path: Path) -> None:
    pytest.importorskip("rembg", reason="extra `cutout`")
    (tmp_path / "u2netp.onnx").write_bytes(b"no protobuf")
    with pytest.raises(CutoutError, match="is damaged, or not the model it is named after"):
        learned_mask(draw_bottle(), tmp_path / "u2netp.onnx")


def test_what_a_prepared_set_depends_on(tmp_path: Path, no_model: Path) -> None:
    no_model.mkdir()
    (no_model / "u2netp.onnx").write_bytes(b"one")
    first = model_fingerprint("learned", "u2netp", FOLDER)
    (no_model / "u2netp.onnx").write_bytes(b"two, longer")
    assert len({first, model_fingerprint("learned", "u2netp", FOLDER), ""}) == 3
    assert model_fingerprint("auto", "", FOLDER) == model_fingerprint("plain", "u2netp", FOLDER) == ""
    assert model_fingerprint("auto", "u2net", FOLDER) == "missing"


@pytest.mark.slow
def test_a_coarse_outline_is_drawn_to_the_pictures_edges() -> None:
    """A mask as a model of 320 px gives it: after the guided filter the rim's error is under half of what it was."""
    picture, true = in_the_wild(1280), silhouette(1280)
    coarse = true.resize((160, 160), Image.Resampling.BOX).resize((1280, 1280), Image.Resampling.BICUBIC)
    wanted = np.asarray(true) / 255
    band = np.asarray(true.filter(ImageFilter.BoxBlur(12)))
    rim = (band > 0) & (band < 255)

    def error(mask: Image.Image) -> float:
        return float(np.abs(np.asarray(mask) / 255 - wanted)[rim].mean())

    drawn = align_to_edges(picture, coarse)
    assert error(coarse) > 0.05
    assert error(drawn) < 0.5 * error(coarse)
    assert np.array_equal(np.asarray(drawn)[~rim], np.asarray(true)[~rim])


def test_u2netp_cuts_out_what_no_plain_ground_shows(tmp_path: Path, u2netp: Path) -> None:
    write_set(tmp_path, "bottle01", {"wild": in_the_wild(), "plain": draw_bottle(400)})
    cuts, failures = cut_all(load_set(Workspace(tmp_path), "bottle01"))
    assert failures == []
    sources = {cut.photo.stem: cut.cutout.source for cut in cuts}
    assert sources["plain"] == "plain ground"
    assert sources["wild"].startswith("learned model ")
    wild = next(cut for cut in cuts if cut.photo.stem == "wild")
    assert [r.what for r in wild.remarks] == [f"the product was cut out by the {wild.cutout.source}"]
    seen, wanted = wild.cutout.full_alpha() > 0.5, np.asarray(silhouette()) > 0
    assert (seen & wanted).sum() / (seen | wanted).sum() > 0.9


def test_learned_by_name_in_set_yaml_joins_the_fingerprint(tmp_path: Path, u2netp: Path) -> None:
    folder = write_set(tmp_path, "bottle01", {"plain": draw_bottle(400)}, cutout="learned", cutout_model="u2netp")
    data = DataSection(size=64, variants=4)
    prepared, made = prepare_set(Workspace(tmp_path), "bottle01", data=data)
    assert (made, [p.source for p in prepared.photos]) == (True, ["learned model u2netp"])
    assert prepare_set(Workspace(tmp_path), "bottle01", data=data)[1] is False
    (folder / "set.yaml").write_text("class_noun: perfume bottle\n", encoding="utf-8")
    again, made = prepare_set(Workspace(tmp_path), "bottle01", data=data)
    assert (made, [p.source for p in again.photos]) == (True, ["plain ground"])
