"""`packshot prepare SKU --mask PHOTO=FILE.png --hint PHOTO=FILE.png`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from drawn_products import draw_bottle, write_set
from PIL import Image, ImageDraw, ImageFilter

from finetune.core.commands import main
from finetune.core.products.prepared import require_prepared

SIDE = 160


def run(workspace: Path, *arguments: str) -> Result:
    settings = ["--config", str(workspace / "small.yaml"), "--workspace", str(workspace)]
    return CliRunner().invoke(main, ["prepare", *arguments, *settings])


def mask() -> Image.Image:
    return Image.fromarray(((np.asarray(draw_bottle(SIDE)).min(axis=-1) < 250) * 255).astype(np.uint8))


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A set of two photos in the wild, which nothing but masks can cut out, and masks beside it."""
    noise = np.random.default_rng(3).integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
    wild = Image.composite(draw_bottle(SIDE), Image.fromarray(noise), mask())
    write_set(tmp_path, "jar01", {"front": wild, "side": wild.rotate(4)}, class_noun="jar", cutout="mask")
    (tmp_path / "small.yaml").write_text("base: {model: embedded}\ndata: {size: 64, variants: 1}\n")
    mask().save(tmp_path / "drawn.png")
    mask().filter(ImageFilter.GaussianBlur(3)).save(tmp_path / "soft.png")
    mask().convert("RGB").save(tmp_path / "drawn.jpg")
    Image.new("L", (SIDE, SIDE), 0).save(tmp_path / "empty.png")
    mask().resize((50, 50)).save(tmp_path / "small.png")
    return tmp_path


def cutouts(shop: Path) -> dict[str, str]:
    return {p.photo: p.source for p in require_prepared(shop / "datasets/jar01/prepared", "jar01").photos}


def test_masks_are_copied_and_used(shop: Path) -> None:
    done = run(shop, "jar01", "--mask", f"front={shop / 'drawn.png'}", "--mask", f"side.png={shop / 'soft.png'}")
    assert done.exit_code == 0, done.output
    masks = shop / "datasets/jar01/masks"
    assert (masks / "front.png").read_bytes() == (shop / "drawn.png").read_bytes()
    assert (masks / "side.png").read_bytes() == (shop / "soft.png").read_bytes()
    assert cutouts(shop) == {"front": "mask", "side": "mask"}
    with Image.open(shop / "datasets/jar01/prepared/cutouts/side.png") as found:
        alpha = np.asarray(found.getchannel("A"))
    wanted = np.asarray(Image.open(shop / "soft.png"))
    assert ((alpha > 30) & (alpha < 225)).sum() == ((wanted > 30) & (wanted < 225)).sum() > 500, "grey stays alpha"
    assert "already prepared" in run(shop, "jar01", "--mask", f"front={shop / 'drawn.png'}").stderr
    assert not (masks / "replaced").exists()


def test_another_mask_makes_the_photo_again_and_the_earlier_one_is_kept(shop: Path) -> None:
    both = ("--mask", f"front={shop / 'drawn.png'}", "--mask", f"side={shop / 'drawn.png'}")
    assert run(shop, "jar01", *both).exit_code == 0
    done = run(shop, "jar01", "--mask", f"front={shop / 'soft.png'}")
    assert done.exit_code == 0
    assert "masks/front.png changed" in done.stderr
    kept = list((shop / "datasets/jar01/masks/replaced").iterdir())
    assert [p.read_bytes() for p in kept] == [(shop / "drawn.png").read_bytes()]
    assert kept[0].name in done.stderr
    assert cutouts(shop) == {"front": "mask", "side": "mask"}


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        (["front=drawn.png", "frnt=drawn.png"], "'jar01' has no photo 'frnt'"),
        (["front=drawn.png", "side=gone.png"], "gone.png cannot be read: No such file"),
        (["front=drawn.png", "side=drawn.jpg"], "drawn.jpg is no PNG"),
        (["front=drawn.png", "side=empty.png"], "empty.png cannot be used: side.png: the mask is empty"),
        (["front=drawn.png", "side=small.png"], "the mask is 50x50 pixels but its photo is 160x160"),
        (["front=drawn.png", "front.png=soft.png"], "--mask names 'front.png' a second time"),
        (["front"], "--mask cannot be 'front'"),
    ],
)
def test_nothing_is_copied_if_one_mask_is_wrong(shop: Path, pairs: list[str], said: str) -> None:
    options = [part for pair in pairs for part in ("--mask", pair.replace("=", f"={shop}/"))]
    done = run(shop, "jar01", *options)
    assert done.exit_code == 1
    assert said in done.stderr
    assert "\nhint: " in done.stderr
    assert sorted(p.name for p in (shop / "datasets/jar01").iterdir()) == ["photos", "set.yaml"]


def test_a_set_that_uses_no_masks_refuses_them(shop: Path) -> None:
    yaml = shop / "datasets/jar01/set.yaml"
    yaml.write_text("class_noun: jar\ncutout: plain\n")
    done = run(shop, "jar01", "--mask", f"front={shop / 'drawn.png'}")
    assert done.exit_code == 1
    assert "set.yaml says `cutout: plain`" in done.stderr


def test_hints_are_copied_and_used(tmp_path: Path, shop: Path) -> None:
    photo = draw_bottle(SIDE)
    ImageDraw.Draw(photo).rectangle((125, 90, 148, 140), fill=(60, 60, 70))
    write_set(tmp_path, "jar02", {"front": photo}, class_noun="jar", glass="no")
    hint = Image.new("L", photo.size, 128)
    ImageDraw.Draw(hint).rectangle((118, 84, 159, 159), fill=0)
    hint.save(tmp_path / "hint.png")
    assert run(shop, "jar02").exit_code == 0
    prepared = shop / "datasets/jar02/prepared"
    with_block = require_prepared(prepared, "jar02").photos[0]
    done = run(shop, "jar02", "--hint", f"front={tmp_path / 'hint.png'}")
    assert done.exit_code == 0, done.output
    assert "hints/front.png is new" in done.stderr
    without = require_prepared(prepared, "jar02").photos[0]
    assert without.width < with_block.width - 20
    refused = run(shop, "jar02", "--mask", f"front={shop / 'drawn.png'}")
    assert refused.exit_code == 1
    assert "the photo has a mask and a hint" in refused.stderr
    assert not (shop / "datasets/jar02/masks").exists()
