"""The rows `adapter` and `growth` of the embedded base's benchmark: products, their reader, and a real adapter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_products import draw_bottle
from PIL import Image
from striped_worlds import striped_world

from benchmarks.embedded_base import __main__ as embedded_base
from benchmarks.embedded_base import adapters, product_reader, scene_reader
from finetune.core.basemodel.resolve import resolve_base
from finetune.core.pictures.masks import Box
from finetune.core.products.catalog import Workspace, load_set

# products


def test_a_crop_is_the_squared_box_with_its_margin() -> None:
    picture = Image.new("RGB", (200, 200), "blue")
    picture.paste((255, 0, 0), (50, 20, 90, 180))
    crop = product_reader.crop_of(picture, Box(50, 20, 90, 180))
    assert crop.shape == (96, 96, 3)
    assert crop[48, 48].tolist() == [255, 0, 0]
    assert crop[48, 2].tolist() == [0, 0, 255]


def test_an_example_is_the_lit_product_on_its_ground() -> None:
    cutout = Image.new("RGBA", (40, 80), (30, 60, 220, 255))
    ground = np.full((90, 90, 3), (40, 160, 40), np.uint8)
    rng = np.random.default_rng(0)
    for _ in range(5):
        example = product_reader.compose_example(cutout, ground, rng, clear=False)
        assert example.shape == (96, 96, 3)
        assert example[48, 48].argmax() == 2
        assert example[0, 0].argmax() == 1
    through = product_reader.compose_example(Image.new("RGBA", (40, 80), "white"), ground, rng, clear=True)
    assert through[48, 48].argmax() == 1


def test_the_likeliest_product_leaves_another_product_aside() -> None:
    logits = np.array([[0.1, 0.5, 9.0], [0.4, 0.2, -1.0]], np.float32)
    assert product_reader.among_products(logits).tolist() == [1, 0]


@pytest.fixture
def packshots(tmp_path: Path) -> list[product_reader.Packshots]:
    """A folder with one drawn product in the world's layout, read."""
    folder = tmp_path / "packshots" / "bottle-one"
    folder.mkdir(parents=True)
    picture = draw_bottle()
    picture.save(folder / "view_0.png")
    Image.fromarray(np.where(np.asarray(picture.convert("L")) < 250, 255, 0).astype(np.uint8)).save(
        folder / "view_0_mask.png"
    )
    product = {"noun": "perfume bottle", "label_text": "ONE", "colour": "amber"}
    views = [{"file": "view_0.png", "mask": "view_0_mask.png"}]
    (folder / "meta.json").write_text(json.dumps({"sku": "bottle-one", "product": product, "views": views}))
    return product_reader.read_packshots(folder.parent)


def test_packshots_become_a_set_that_packshot_reads(packshots: list[product_reader.Packshots], tmp_path: Path) -> None:
    (product,) = packshots
    assert max(product.views[0].size) <= product_reader.CUTOUT
    assert not product.clear
    workspace = Workspace(tmp_path / "studio")
    adapters.write_set(workspace, product)
    adapters.write_set(workspace, product)
    read = load_set(workspace, "bottle-one")
    assert (read.config.class_noun, read.config.label_text) == ("perfume bottle", ("ONE",))
    assert [photo.mask is not None for photo in read.photos] == [True]


def test_few_products_are_spread_over_all() -> None:
    names: list[Any] = list("abcdefgh")
    assert embedded_base.spread(names, 3) == ["a", "c", "f"]
    assert embedded_base.spread(names, 20) == names


# growth


def test_growth_counts_what_lies_beyond_the_dilated_silhouette() -> None:
    silhouette = np.zeros((100, 100), bool)
    silhouette[40:60, 40:60] = True
    found = silhouette.copy()
    found[40:60, 60:68] = True  # within 8 px: the segmenter's doubt, not growth
    assert adapters.growth_of(found, silhouette) == 0.0
    found[40:60, 68:78] = True
    assert adapters.growth_of(found, silhouette) == pytest.approx(0.5, abs=0.03)
    with pytest.raises(ValueError, match="cannot grow"):
        adapters.growth_of(found, silhouette & False)


def test_the_growth_line_is_of_pairs() -> None:
    (line,) = adapters.growth_lines([(0.2, 0.1), (0.4, 0.1), (0.3, 0.2)], floor=0.01)
    assert (line.value, line.bar, line.verdict) == (pytest.approx(13.333, abs=0.01), pytest.approx(30), "pass")
    assert "difference -16.7 +- 6.7" in line.beside
    (same,) = adapters.growth_lines([(0.2, 0.2), (0.2, 0.2)], floor=0.0)
    assert same.verdict == "fail"


def test_every_product_meets_other_scenes() -> None:
    trained: list[Any] = ["first", "second", "third"]
    made = list(adapters.placings(trained, 24))
    assert [item for _, item, _ in made].count("first") == 8
    assert len({(item, words) for _, item, words in made}) >= 20


@pytest.mark.tiny
def test_an_adapter_is_trained_drawn_with_and_read(
    packshots: list[product_reader.Packshots], tiny_base: Path, tmp_path: Path
) -> None:
    """The rows `adapter` and `growth` through the real command, on a base that knows nothing: numbers, no merit."""
    picture, cover = draw_bottle().convert("RGB"), tmp_path / "packshots" / "bottle-one" / "view_0_mask.png"
    scenes = cover.parent / "scenes"
    scenes.mkdir()
    picture.save(scenes / "0.jpg")
    (scenes / "0_mask.png").write_bytes(cover.read_bytes())
    base, world = resolve_base(str(tiny_base)), striped_world(16)
    settings = ["data.size=64", "data.variants=2", "train.steps=2", "train.warmup=0", "train.batch=1"]
    trained = adapters.train(Workspace(tmp_path / "studio"), packshots[0], base, settings, threads=1)
    again = adapters.train(Workspace(tmp_path / "studio"), packshots[0], base, settings, threads=1)
    assert again.weights == trained.weights
    products = product_reader.load_or_train(packshots, world, tmp_path / "readers", steps=2, batch=8)
    easel = adapters.Easel(base, tmp_path / "pictures")
    lines = adapters.measure_adapters(easel, [trained], packshots, products, draws=1, sheets=tmp_path / "sheets")
    assert [line.bar for line in lines] == [80.0, 25.0, None, None]
    assert [line.value for line in lines[:2]] == [100.0, 100.0]  # one product among one: always that one
    assert "bottle-one 1/1" in lines[0].beside
    reader = scene_reader.load_or_train(world, tmp_path / "readers", views=1, batch=8)
    (line,) = adapters.measure_growth(easel, [trained], reader, world, scenes=1, sheets=tmp_path / "sheets")
    assert line.value is not None
    assert line.value >= 0
    assert sorted(p.name for p in (tmp_path / "sheets").iterdir()) == ["adapters.png", "growth.png"]
