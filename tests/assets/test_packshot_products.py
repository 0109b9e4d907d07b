"""The products that packshots are rendered of: names, split, files; what Blender renders is looked at, not tested."""

from __future__ import annotations

import ast
import json
from collections import Counter
from pathlib import Path

import pytest

from tools.product_world import __main__ as command
from tools.product_world import studio_list

FOLDER = Path(studio_list.__file__).parent


def functions(module: str) -> set[str]:
    tree = ast.parse((FOLDER / f"{module}.py").read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and not node.args.args}


def test_the_split_holds_every_kind_on_both_sides() -> None:
    assert len(studio_list.BY_SKU) == len(studio_list.PRODUCTS) == 34
    assert len(studio_list.CHOOSE) == 8
    assert len(studio_list.JUDGE) == 26
    assert set(studio_list.CHOOSE) | set(studio_list.JUDGE) == set(studio_list.BY_SKU)
    for side in (studio_list.CHOOSE, studio_list.JUDGE):
        kinds = Counter(studio_list.BY_SKU[sku].kind for sku in side)
        assert set(kinds) == set(studio_list.KINDS), kinds


def test_every_product_has_a_builder() -> None:
    modules = {module: functions(module) for module in {product.module for product in studio_list.PRODUCTS}}
    assert len(modules) == 8
    for product in studio_list.PRODUCTS:
        assert product.builder in modules[product.module], product.sku


def test_glass_alone_has_a_map_of_what_it_transmits() -> None:
    for product in studio_list.PRODUCTS:
        assert (product.kind == "glass") == bool(product.glass) == ("transmittance" in studio_list.layers(product))


def test_finished_files_are_skipped(tmp_path: Path) -> None:
    product = studio_list.BY_SKU["candle-jar"]
    assert len(studio_list.missing(tmp_path, product)) == 16
    (tmp_path / "view_2.png").touch()
    (tmp_path / "view_0_mask.png").touch()
    (tmp_path / "view_1_transmittance.part.png").touch()
    missing = studio_list.missing(tmp_path, product)
    assert len(missing) == 14
    assert ("", 2) not in missing
    assert ("mask", 0) not in missing
    # Parts are read against the mask, so all masks come first.
    assert [what for what, _ in missing] == [""] * 3 + ["mask"] * 3 + ["transmittance"] * 4 + ["parts"] * 4
    assert studio_list.missing(tmp_path, product, [2]) == [("mask", 2), ("transmittance", 2), ("parts", 2)]


def test_flat_things_are_seen_from_above() -> None:
    assert min(view.elevation for view in studio_list.views(studio_list.BY_SKU["scissors"])) > 40
    assert studio_list.views(studio_list.BY_SKU["mug"])[0].elevation < 15


def test_what_is_written_about_a_product() -> None:
    facts = json.loads(studio_list.description(studio_list.BY_SKU["storage-jar"], 768))
    assert (facts["sku"], facts["kind"], facts["split"], facts["size"]) == ("storage-jar", "glass", "judge", 768)
    assert facts["glass"] == ["jar", "lid"]
    assert len(facts["views"]) == 4


def test_the_command_takes_names(capsys: pytest.CaptureFixture[str]) -> None:
    options = command.read_command_line(["packshots", "--out", "x", "--products", "mug, whisk"])
    assert [product.sku for product in options.products] == ["mug", "whisk"]
    everything = command.read_command_line(["packshots", "--out", "x"])
    assert everything.products == list(studio_list.PRODUCTS)
    with pytest.raises(SystemExit):
        command.read_command_line(["packshots", "--out", "x", "--products", "mug,mugg"])
    assert "no product is called mugg" in capsys.readouterr().err
