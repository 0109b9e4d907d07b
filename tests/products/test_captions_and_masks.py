"""Captions whatever the case of their ending, photos without one named; another trainer's masks taken as masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from drawn_products import draw_bottle, write_set
from PIL import Image

from finetune.core.commands import main
from finetune.core.errors import CatalogError
from finetune.core.products.catalog import Workspace, load_set
from finetune.core.products.prepared import require_prepared

SMALL = ("--set", "data.size=64", "--set", "data.variants=2", "--set", "data.keep_original=1")


def prepare(root: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["prepare", *arguments, *SMALL, "--workspace", str(root)])


def test_the_case_of_a_captions_ending_does_not_matter(tmp_path: Path) -> None:
    write_set(tmp_path, "jar", {"P0": draw_bottle(), "P1": draw_bottle(shift=4), "P2": draw_bottle(shift=8)})
    photos = tmp_path / "datasets" / "jar" / "photos"
    for name, text in (("P0.TXT", "from the front"), ("P1.Txt", "from the side"), ("P9.txt", "of nothing")):
        (photos / name).write_text(text, encoding="utf-8")
    product = load_set(Workspace(tmp_path), "jar")
    assert {p.stem: p.caption for p in product.photos} == {"P0": "from the front", "P1": "from the side", "P2": ""}
    done = prepare(tmp_path, "jar")
    assert done.exit_code == 0, done.output
    assert "without a caption of their own, described by Packshot: P2.png" in done.stderr
    assert "Warning: P9.txt in photos/: no photo has this name, so the caption is not used" in done.stderr
    rows = (product.prepared_dir / "metadata.jsonl").read_text(encoding="utf-8")
    assert "from the front" in rows
    assert "from the side" in rows
    (photos / "P0.txt").write_text("another", encoding="utf-8")
    with pytest.raises(CatalogError, match=r"'P0' has two captions, in P0\.txt and in P0\.TXT"):
        load_set(Workspace(tmp_path), "jar")


def test_nothing_is_said_where_no_photo_or_every_photo_has_one(tmp_path: Path) -> None:
    write_set(tmp_path, "jar", {"P0": draw_bottle()})
    assert "caption" not in prepare(tmp_path, "jar").stderr
    (tmp_path / "datasets" / "jar" / "photos" / "P0.TXT").write_text("a jar", encoding="utf-8")
    assert "caption" not in prepare(tmp_path, "jar").stderr.replace("photos/P0.TXT", "")


def onetrainer(folder: Path) -> Image.Image:
    """Two photos, a mask of the first, a mask of none, a conditioning picture; captions with loud endings."""
    folder.mkdir()
    draw_bottle().save(folder / "v0.jpg", quality=95)
    draw_bottle(shift=6).save(folder / "v1.jpg", quality=95)
    mask = Image.new("L", draw_bottle().size, 0)
    mask.paste(255, (40, 30, 90, 100))
    for name in ("v0-masklabel.png", "gone-masklabel.png"):
        mask.save(folder / name)
    draw_bottle().save(folder / "v1-condlabel.png")
    (folder / "v0.TXT").write_text("a jar", encoding="utf-8")
    return mask


def test_onetrainers_masks_are_masks(tmp_path: Path) -> None:
    mask = onetrainer(tmp_path / "src")
    done = prepare(tmp_path / "work", "--from", str(tmp_path / "src"), "jar", "--class-noun", "jar")
    assert done.exit_code == 0, done.output
    assert "imported 2 photos (1 with a caption, 1 with a mask) into" in done.stderr
    assert "without a caption: v1.jpg" in done.stderr
    assert "mask not imported, no photo has its name: gone-masklabel.png" in done.stderr
    assert "v1-condlabel.png is a conditioning picture of OneTrainer; it is not imported" in done.stderr
    folder = tmp_path / "work" / "datasets" / "jar"
    assert sorted(p.name for p in (folder / "photos").iterdir()) == ["v0.jpg", "v0.txt", "v1.jpg"]
    assert [p.name for p in (folder / "masks").iterdir()] == ["v0.png"]
    prepared = require_prepared(folder / "prepared", "jar")
    sources = {photo.photo: photo.source for photo in prepared.photos}
    assert sources["v0"] == "mask"
    cutout = np.asarray(Image.open(prepared.cutout_path(prepared.photos[0])))[..., 3] > 127
    assert abs(int(cutout.sum()) - int((np.asarray(mask) > 127).sum())) < 0.1 * cutout.sum()


def test_a_mask_that_cannot_be_read_stops_the_import(tmp_path: Path) -> None:
    onetrainer(tmp_path / "src")
    (tmp_path / "src" / "v1-masklabel.png").symlink_to(tmp_path / "elsewhere.png")
    done = prepare(tmp_path / "work", "--from", str(tmp_path / "src"), "jar", "--class-noun", "jar")
    assert done.exit_code == 1
    assert "Error: a mask cannot be imported: v1-masklabel.png is a link that leads out of the folder" in done.stderr
    assert not (tmp_path / "work" / "datasets" / "jar").exists()
