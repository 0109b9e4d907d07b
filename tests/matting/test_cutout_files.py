"""`packshot cutout`: cutouts as files for people."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from drawn_products import draw_bottle, write_set
from PIL import Image, ImageDraw, ImageFilter

import finetune.cutout as recipe
from finetune.core.commands import main
from finetune.core.compositing.glass import composite_glass
from finetune.core.products.catalog import Workspace
from finetune.matting.cutout_picture import Layers, Look, cutout_picture
from finetune.prepare import prepare_set
from finetune.settings import DataSection

SIDE = 300


def dark_bottle() -> Image.Image:
    """A dark product: a rim of the white ground would show."""
    return draw_bottle(SIDE, (40, 30, 26))


def run(workspace: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["cutout", *arguments, "--workspace", str(workspace)])


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    write_set(tmp_path, "jar01", {"front": dark_bottle(), "side": draw_bottle(SIDE)}, class_noun="jar", glass="no")
    return tmp_path


def test_transparent_files_hold_the_products_own_pixels(shop: Path) -> None:
    done = run(shop, "jar01")
    assert (done.exit_code, done.stdout) == (0, f"{shop / 'cutouts' / 'jar01'}\n"), done.output
    assert sorted(p.name for p in (shop / "cutouts" / "jar01").iterdir()) == ["front.png", "side.png"]
    with Image.open(shop / "cutouts" / "jar01" / "front.png") as found:
        assert found.mode == "RGBA"
        pixels = np.asarray(found)
    assert abs(pixels.shape[0] - 0.72 * SIDE) <= 4
    assert (pixels[pixels[..., 3] == 255][:, :3].mean(axis=0) < 140).all()
    with Image.open(shop / "datasets" / "jar01" / "photos" / "front.png") as photo:
        body = np.asarray(photo)[130:140, 100:105]
    core = pixels[(pixels[..., 3] == 255) & (pixels[..., :3] == body[0, 0]).all(axis=-1)]
    assert len(core) > 1000


@pytest.mark.parametrize(("size", "side"), [((), None), (("--size", "600x400"), (600, 400))])
def test_a_main_image_is_pure_white_and_filled(shop: Path, size: tuple[str, ...], side: tuple[int, int] | None) -> None:
    done = run(shop, "jar01", "--ground", "white", *size)
    assert done.exit_code == 0, done.output
    with Image.open(shop / "cutouts" / "jar01" / "front.jpg") as found:
        assert (found.format, found.mode) == ("JPEG", "RGB")
        pixels = np.asarray(found).astype(int)
    height, width = pixels.shape[:2]
    assert (width, height) == (side or (height, height))
    product = (pixels < 200).any(axis=-1)
    rows, columns = np.flatnonzero(product.any(axis=1)), np.flatnonzero(product.any(axis=0))
    assert abs((rows[-1] + 1 - rows[0]) / height - 0.85) < 0.015
    assert abs(rows[0] + rows[-1] + 1 - height) <= 3
    assert abs(columns[0] + columns[-1] + 1 - width) <= 3
    near = np.asarray(Image.fromarray(product).filter(ImageFilter.MaxFilter(33)))
    assert (pixels[~near] == 255).all()
    assert (~near).mean() > 0.2


def test_on_a_colour_there_is_no_halo_of_the_old_ground(shop: Path) -> None:
    assert run(shop, "jar01", "--ground", "#101010", "--fill", "0.5").exit_code == 0
    with Image.open(shop / "cutouts" / "jar01" / "front.jpg") as found:
        pixels = np.asarray(found.convert("L")).astype(int)
    label = np.asarray(Image.fromarray((pixels > 120).astype(np.uint8) * 255).filter(ImageFilter.MaxFilter(9))) > 0
    assert label.mean() < 0.1
    assert pixels[~label].max() < 80, "everything but the label is dark: cap, body, ground and what lies between"


def test_a_prepared_set_is_used_and_a_changed_photo_is_cut_anew(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(shop, "jar01", "--out", str(shop / "alone"))
    prepare_set(Workspace(shop), "jar01", data=DataSection(size=64, variants=1))
    cut: list[str] = []
    whole = recipe.cut_photo
    monkeypatch.setattr(recipe, "cut_photo", lambda photo, config: (cut.append(photo.stem), whole(photo, config))[1])
    assert run(shop, "jar01").exit_code == 0
    assert cut == []
    assert (shop / "cutouts/jar01/side.png").read_bytes() == (shop / "alone/side.png").read_bytes()
    draw_bottle(SIDE, (20, 120, 40)).save(shop / "datasets/jar01/photos/side.png")
    assert run(shop, "jar01", "--force").exit_code == 0
    assert cut == ["side"]
    assert (shop / "cutouts/jar01/side.png").read_bytes() != (shop / "alone/side.png").read_bytes()


def test_the_shadow_stays_where_it_is_kept(tmp_path: Path) -> None:
    clean = np.asarray(dark_bottle()) / 255
    ellipse = Image.new("L", (SIDE, SIDE), 0)
    ImageDraw.Draw(ellipse).ellipse((80, 250, 240, 280), fill=120)
    dark = np.asarray(ellipse.filter(ImageFilter.GaussianBlur(6))) / 255
    ground = np.clip(
        1 - (1 - clean.min(axis=-1)) / (1 - clean[200, 110].min()), 0, 1
    )  # share of a pixel that is ground
    shaded = clean * (1 - 0.65 * dark * ground)[..., None] * 255 + 0.5
    write_set(tmp_path, "jar01", {"front": Image.fromarray(shaded.astype(np.uint8))}, class_noun="jar", glass="no")
    for shadow, name in (("keep", "with"), ("none", "without")):
        done = run(tmp_path, "jar01", "--shadow", shadow, "--out", str(tmp_path / name))
        assert done.exit_code == 0, done.output
    kept, alone = (np.asarray(Image.open(tmp_path / name / "front.png")) for name in ("with", "without"))
    assert kept.shape[1] > alone.shape[1] + 20, "the frame holds the shadow"
    soft = (kept[..., 3] > 20) & (kept[..., 3] < 200) & (kept[..., :3].max(axis=-1) < 10)
    assert soft.sum() > 500
    assert run(tmp_path, "jar01", "--shadow", "keep", "--ground", "white").exit_code == 0
    with Image.open(tmp_path / "cutouts/jar01/front.jpg") as found:
        pixels = np.asarray(found.convert("L"))
    foot = np.flatnonzero((pixels < 60).any(axis=1))[-1]
    middle = pixels[foot + 2 : foot + 8, pixels.shape[1] // 2 - 40 : pixels.shape[1] // 2 + 40]
    assert middle.max() < 215, "no white seam between foot and shadow"
    assert (pixels[: pixels.shape[0] // 16] == 255).all()


def test_tinted_glass_over_white_is_the_same_with_one_alpha_channel() -> None:
    rng = np.random.default_rng(1)
    rgba = np.dstack([rng.integers(0, 255, (40, 30, 3)), np.full((40, 30), 255)]).astype(np.uint8)
    glass = np.dstack([rng.integers(120, 255, (40, 30, 3)), rng.integers(0, 255, (40, 30))]).astype(np.uint8)
    glass[:10] = 0
    picture, _ = cutout_picture(Layers(Image.fromarray(rgba), Image.fromarray(glass)), Look())
    alpha = np.asarray(picture)[..., 3]
    assert (alpha[:10] == 255).all()
    assert (np.asarray(picture)[:10] == rgba[:10]).all()
    assert alpha[10:].min() < 90
    white = np.full((40, 30, 3), 255, np.uint8)
    shown = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    wanted = composite_glass(rgba[..., :3].copy(), np.ones((40, 30), np.float32), white, glass)
    assert np.abs(np.asarray(shown).astype(int) - wanted).max() <= 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("jar01", "--ground", "blue"), "--ground cannot be 'blue'"),
        (("jar01", "--ground", "#12345"), "--ground cannot be '#12345'"),
        (("jar01", "--size", "2000"), "--size cannot be '2000'"),
        (("jar01", "--size", "20x2000"), "--size cannot be 20x2000"),
        (("jar02",), "no product set 'jar02'"),
        (("jar01", "--out", "IN/datasets/jar01/photos"), "is inside datasets/"),
        (("jar01", "--out", "IN/datasets/jar01/set.yaml"), "is not a folder"),
        (("style",), "'style' is a brand set"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_written(
    shop: Path, arguments: tuple[str, ...], said: str
) -> None:
    write_set(shop, "style", {"one": dark_bottle()}, kind="brand")
    before = sorted(shop.rglob("*"))
    done = run(shop, *(a.replace("IN", str(shop)) for a in arguments))
    assert done.exit_code == 1
    assert said in done.stderr
    assert "\nhint: " in done.stderr
    assert sorted(shop.rglob("*")) == before


def test_no_file_is_replaced_unless_told(shop: Path) -> None:
    (shop / "mine").mkdir()
    (shop / "mine" / "side.png").write_text("my own work")
    done = run(shop, "jar01", "--out", str(shop / "mine"))
    assert done.exit_code == 1
    assert "side.png would be replaced" in done.stderr
    assert [p.read_text() for p in (shop / "mine").iterdir()] == ["my own work"]
    assert run(shop, "jar01", "--out", str(shop / "mine"), "--force").exit_code == 0
    assert len(list((shop / "mine").iterdir())) == 2


def test_a_bad_photo_is_named_and_the_others_are_written(shop: Path) -> None:
    (shop / "datasets/jar01/photos/torn.jpg").write_bytes(b"\xff\xd8\xff no picture")
    done = run(shop, "jar01")
    assert done.exit_code == 0
    assert "torn.jpg" in done.stderr
    assert sorted(p.name for p in (shop / "cutouts/jar01").iterdir()) == ["front.png", "side.png"]


@pytest.mark.parametrize("name", ["caf\udce9", "itself"])
def test_a_folder_that_cannot_be_is_refused_in_one_line(shop: Path, name: str) -> None:
    (shop / "itself").symlink_to("itself")
    before = sorted(shop.rglob("*"))
    done = run(shop, "jar01", "--out", str(shop / name))
    assert done.exit_code == 1
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["Error", "hint"]
    assert sorted(shop.rglob("*")) == before
