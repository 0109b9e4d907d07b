"""Product sets: names, set.yaml, photos and masks, content fingerprints."""

from __future__ import annotations

from pathlib import Path

import pytest
from drawn_products import draw_bottle, write_set
from PIL import Image

from finetune.core.errors import CatalogError, ConfigError
from finetune.core.products.catalog import Workspace, derive_token, load_set


def test_a_set_is_read(workspace: Workspace) -> None:
    product = load_set(workspace, "bottle01")
    assert (product.config.class_noun, product.config.kind, product.token) == ("perfume bottle", "sku", "bttl01")
    assert [p.stem for p in product.photos] == ["front", "side"]


@pytest.mark.parametrize("sku", ["../bottle01", "a/b", "..", ".", "", "a..b", "-x", "über", "a b", "x" * 65])
def test_names_that_are_no_skus(workspace: Workspace, sku: str) -> None:
    with pytest.raises(CatalogError, match="is not a SKU name"):
        load_set(workspace, sku)


def test_unknown_sku_gets_a_suggestion(workspace: Workspace) -> None:
    with pytest.raises(CatalogError) as caught:
        load_set(workspace, "botle01")
    assert caught.value.hint == "did you mean 'bottle01'?"


def test_misspelt_key(tmp_path: Path) -> None:
    write_set(tmp_path, "x1", {"a": draw_bottle()}, clas_noun="mug")
    with pytest.raises(ConfigError) as caught:
        load_set(Workspace(tmp_path), "x1")
    assert "unknown key 'clas_noun'" in caught.value.message
    assert "did you mean 'class_noun'?" in caught.value.hint


def test_empty_photos(tmp_path: Path) -> None:
    write_set(tmp_path, "x1", {})
    with pytest.raises(CatalogError, match="holds no picture"):
        load_set(Workspace(tmp_path), "x1")


def test_two_photos_of_one_name_and_a_stray_mask(workspace: Workspace) -> None:
    folder = workspace.datasets / "bottle01"
    draw_bottle().save(folder / "photos" / "front.jpg")
    with pytest.raises(CatalogError, match="two photos named 'front'"):
        load_set(workspace, "bottle01")
    (folder / "photos" / "front.jpg").unlink()
    (folder / "masks").mkdir()
    Image.new("L", (8, 8)).save(folder / "masks" / "fromt.png")
    with pytest.raises(CatalogError) as caught:
        load_set(workspace, "bottle01")
    assert caught.value.hint == "did you mean 'front'?"


def test_fingerprint_follows_content_alone(workspace: Workspace) -> None:
    before = load_set(workspace, "bottle01").fingerprint()
    settings = workspace.datasets / "bottle01" / "set.yaml"
    settings.write_text("# a comment\n" + settings.read_text(encoding="utf-8"), encoding="utf-8")
    assert load_set(workspace, "bottle01").fingerprint() == before
    photo = workspace.datasets / "bottle01" / "photos" / "side.png"
    data = photo.read_bytes()
    photo.write_bytes(data)
    assert load_set(workspace, "bottle01").fingerprint() == before
    draw_bottle(shift=7).save(photo)
    assert load_set(workspace, "bottle01").fingerprint() != before


@pytest.mark.parametrize(
    ("sku", "token"), [("perfume01", "prfm01"), ("ae", "aex"), ("Mug-Blue_2", "mgbl2"), ("aio", "aio")]
)
def test_tokens(sku: str, token: str) -> None:
    assert derive_token(sku) == token
