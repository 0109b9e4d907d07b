"""The segmenter that ships: it finds the sample products on a gallery's plates, and nothing on the plates alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from finetune.core.compositing.placement import placement_box, put_on_canvas
from finetune.core.fidelity.shape import outline_agreement
from finetune.core.pictures.images import composite
from finetune.core.segmentation.network import MULTIPLE
from finetune.core.segmentation.products import WEIGHTS, find_products, seen_size
from finetune.core.segmentation.second_objects import second_objects

ROOT = Path(__file__).resolve().parents[2]
PLATES = ("linen-table", "pastel-cyclorama", "marble-vanity")
pytestmark = pytest.mark.tiny


def plate(name: str) -> Image.Image:
    """The middle square of a plate of the gallery."""
    with Image.open(ROOT / "inference" / "plates" / name / "plate.avif") as picture:
        side = min(picture.size)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        return picture.convert("RGB").crop((left, top, left + side, top + side)).resize((512, 512))


@pytest.fixture(scope="module")
def cutout() -> Image.Image:
    """perfume01, cut out by the shade of its white ground."""
    with Image.open(sorted((ROOT / "datasets" / "perfume01" / "photos").iterdir())[0]) as photo:
        picture = photo.convert("RGB").resize((512, 512))
    inside = np.asarray(picture).min(axis=-1) < 235
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    filled = np.zeros_like(inside)
    for row in rows:
        across = np.flatnonzero(inside[row])
        filled[row, across[0] : across[-1] + 1] = True
    picture.putalpha(Image.fromarray(filled.astype(np.uint8) * 255))
    return picture.crop((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))


def test_the_weights_are_small_enough_to_ship() -> None:
    assert WEIGHTS.stat().st_size <= 2_000_000


@pytest.mark.parametrize(
    ("size", "seen"), [((1024, 1024), (256, 256)), ((1080, 1350), (208, 256)), ((40, 4000), (16, 256))]
)
def test_pictures_are_looked_at_in_sizes_the_network_takes(size: tuple[int, int], seen: tuple[int, int]) -> None:
    assert seen_size(*size) == seen
    assert all(side % MULTIPLE == 0 for side in seen)


@pytest.mark.parametrize("name", PLATES)
def test_an_empty_plate_holds_no_product_and_one_with_a_product_holds_it(name: str, cutout: Image.Image) -> None:
    ground = plate(name)
    assert (find_products(ground) > 0.5).mean() < 0.01
    placed = put_on_canvas(cutout, placement_box(cutout.size, 512), 512)
    picture = Image.fromarray(composite(placed.rgb, placed.matte, np.asarray(ground)))
    found = find_products(picture)
    silhouette = np.asarray(Image.fromarray(placed.matte).resize(found.shape[::-1], Image.Resampling.BOX)) > 0.5
    assert outline_agreement(found, silhouette) > 0.8
    assert second_objects(found, placed.matte) == []


def test_a_second_product_beside_the_first_is_seen(cutout: Image.Image) -> None:
    placed = put_on_canvas(cutout, placement_box(cutout.size, 512, anchor=0.3), 512)
    other = put_on_canvas(cutout, placement_box(cutout.size, 512, anchor=0.78, scale=0.35), 512)
    both = composite(placed.rgb, placed.matte, np.asarray(plate("linen-table")))
    both = composite(other.rgb, other.matte, both)
    (second,) = second_objects(find_products(Image.fromarray(both)), placed.matte)
    assert not second.touches
    assert second.share == pytest.approx(other.matte.sum() / placed.matte.sum(), rel=0.25)
