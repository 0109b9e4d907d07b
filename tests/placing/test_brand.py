"""A brand's look in a product's scene: its adapter beside the product's, its trigger in the prompt, its weight told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from drawn_products import draw_bottle, write_set
from PIL import Image
from scored_adapters import write_adapter

from finetune.core.adapters.file import attach, injected_modules, read_header
from finetune.core.basemodel.resolve import resolve_base
from finetune.core.commands import main
from finetune.core.errors import ConfigError
from finetune.core.painting.inpainter import STYLE_NAME, Sampling, Style, load_inpainter
from finetune.core.products.catalog import Workspace
from finetune.prepare import prepare_set
from finetune.settings import DataSection
from inference.brand import WEIGHT, read_weight

pytestmark = pytest.mark.tiny


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Workspace:
    """A product of a brand, both with an adapter (of another rank and other targets), and a product without."""
    workspace = Workspace(tmp_path_factory.mktemp("shop"))
    write_set(workspace.root, "bottle01", {"front": draw_bottle()}, brand="noire")
    write_set(workspace.root, "mug01", {"front": draw_bottle(colour=(20, 20, 20))}, class_noun="mug")
    write_set(
        workspace.root, "noire", {"a": draw_bottle()}, kind="brand", class_noun="product photo", token="noirestyle"
    )
    write_set(
        workspace.root, "plain", {"a": draw_bottle()}, kind="brand", class_noun="product photo", token="plainstyle"
    )
    for sku in ("bottle01", "mug01"):
        prepare_set(workspace, sku, data=DataSection(size=64, variants=1))
    write_adapter(workspace.adapters / "bottle01" / "0001", tiny_base, noise=0.1)
    brand = workspace.adapters / "noire" / "0001"
    write_adapter(brand, tiny_base, noise=0.2, seed=5, sku="noire", rank=8, targets="attention+feedforward")
    return workspace


def place(shop: Workspace, sku: str, *options: str, base: Path | None = None) -> Result:
    what = ["place", sku, "--prompt", "on oak", "--size", "128", "--steps", "2", *options]
    with_base = ["--base", str(base)] if base else []
    return CliRunner().invoke(main, [*what, *with_base, "--workspace", str(shop.root), "--json"])


def made(result: Result) -> tuple[np.ndarray, dict[str, Any]]:
    assert result.exit_code == 0, result.output
    (picture,) = json.loads(result.stdout)["pictures"]
    with Image.open(picture["path"]) as opened:
        return np.asarray(opened.convert("RGB")), picture["manifest"]


def test_a_products_own_brand_is_used_and_told(shop: Workspace) -> None:
    done = place(shop, "bottle01")
    branded, manifest = made(done)
    assert "in the look of 'noire' (by set.yaml): adapter 0001 at weight 0.6 (or give --brand)" in done.stderr
    assert manifest["brand"]["name"] == "noire"
    assert manifest["brand"]["weight"] == WEIGHT
    assert manifest["prompt"]["resolved"]["place"] == "a photo in noirestyle style, an empty scene, on oak"
    plain, without = made(place(shop, "bottle01", "--brand", "none"))
    assert without["brand"] is None
    assert without["prompt"]["resolved"]["place"] == "an empty scene, on oak"
    assert (branded != plain).any()
    assert branded.shape == plain.shape


def test_weights_make_other_pictures_and_the_product_stays(shop: Workspace) -> None:
    found = {weight: made(place(shop, "bottle01", "--brand", f"noire:{weight}")) for weight in ("0.3", "1.5")}
    light, heavy = (picture for picture, _ in found.values())
    assert (light != heavy).any()
    cores = {manifest["core"]["sha256"] for _, manifest in found.values()}
    assert len(cores) == 1
    assert all(manifest["core"]["max_difference"] == 0 for _, manifest in found.values())


def test_a_brand_goes_with_any_product_and_without_an_adapter(shop: Workspace, tiny_base: Path) -> None:
    _, manifest = made(place(shop, "mug01", "--adapter", "none", "--brand", "noire:0.8", base=tiny_base))
    assert manifest["adapter"] is None
    assert manifest["brand"]["weight"] == 0.8


def test_the_style_stays_on_where_the_products_adapter_is_off(shop: Workspace, tiny_base: Path) -> None:
    base = resolve_base(str(tiny_base))
    own = read_header(shop.adapters / "bottle01" / "0001" / "adapter.safetensors")
    style = Style(read_header(shop.adapters / "noire" / "0001" / "adapter.safetensors"), 0.7)
    both, alone = (
        load_inpainter(base, own, device="cpu", style=style),
        load_inpainter(base, None, device="cpu", style=style),
    )
    assert injected_modules(both.pipeline.unet, STYLE_NAME) > injected_modules(both.pipeline.unet)
    grey = Image.new("RGB", (both.size, both.size), (120, 130, 110))
    mask = np.ones((both.size, both.size), bool)

    def paint(inpainter: Any) -> bytes:
        return inpainter.paint(grey, mask, "on oak", sampling=Sampling(steps=2), seed=3).tobytes()

    with both.without_adapter():
        styled = paint(both)
    assert styled == paint(alone)
    assert styled != paint(both)
    assert styled != paint(load_inpainter(base, None, device="cpu"))


def test_two_adapters_add_up(shop: Workspace, tiny_base: Path) -> None:
    """At full weight the weights of both are added: W + B1 A1 + B2 A2."""
    import torch

    from finetune.core.basemodel.load import load_unet

    headers = [read_header(shop.adapters / sku / "0001" / "adapter.safetensors") for sku in ("bottle01", "noire")]
    unet = load_unet(resolve_base(str(tiny_base)), dtype=torch.float32, device="cpu")[0]
    plain = {name: weight.clone() for name, weight in unet.named_parameters()}
    attach(unet, headers[0])
    attach(unet, headers[1], name=STYLE_NAME)
    unet.set_adapters(["packshot", STYLE_NAME], weights=[1.0, 0.5])
    name = sorted(injected_modules(unet))[0]
    layer = unet.get_submodule(name)
    given = torch.randn(3, layer.in_features)
    expected = given @ plain[f"{name}.weight"].T
    if f"{name}.bias" in plain:
        expected = expected + plain[f"{name}.bias"]
    for adapter, weight in (("packshot", 1.0), (STYLE_NAME, 0.5)):
        down, up = layer.lora_A[adapter].weight, layer.lora_B[adapter].weight
        expected = expected + weight * given @ down.T @ up.T
    with torch.no_grad():
        assert torch.allclose(layer(given), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("text", "found"),
    [("noire", ("noire", WEIGHT)), ("noire:0.25", ("noire", 0.25)), ("noire:x", ("noire:x", WEIGHT))],
)
def test_the_weight_is_what_follows_the_last_colon_if_it_is_a_number(text: str, found: tuple[str, float]) -> None:
    assert read_weight(text) == found


@pytest.mark.parametrize("text", ["noire:0", "noire:-1", "noire:3"])
def test_a_weight_out_of_range_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="out of range"):
        read_weight(text)


@pytest.mark.parametrize(
    ("brand", "says"),
    [
        ("nobody", "no product set 'nobody'"),
        ("mug01", "'mug01' is no brand"),
        ("plain", "'plain' has no adapter yet"),
        ("noire:9", "out of range"),
    ],
)
def test_a_brand_that_cannot_be_is_one_line(shop: Workspace, brand: str, says: str) -> None:
    done = place(shop, "bottle01", "--brand", brand)
    assert done.exit_code == 1, done.output
    assert says in done.stderr
    assert done.stderr.count("Error: ") == 1
    assert "hint: " in done.stderr


def test_a_broken_brand_that_nobody_asked_for_stops_nothing(shop: Workspace, tmp_path: Path) -> None:
    root = tmp_path / "broken"
    shutil.copytree(shop.root, root)
    (root / "adapters" / "noire" / "0001" / "adapter.safetensors").write_bytes(b"no adapter")
    done = place(Workspace(root), "bottle01")
    assert made(done)[1]["brand"] is None
    assert "painting without the look of 'noire'" in done.stderr


def test_a_plate_takes_no_brand(shop: Workspace) -> None:
    line = ["place", "bottle01", "--plate", "marble-vanity", "--brand", "noire", "--workspace", str(shop.root)]
    done = CliRunner().invoke(main, line)
    assert done.exit_code == 1
    assert "--brand has no effect with --plate" in done.stderr
