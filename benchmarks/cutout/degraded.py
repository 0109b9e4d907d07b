"""Cutouts of what studios deliver: every view taken through the camera chain, measured against its true mask.

Products are split: on some, methods and thresholds were chosen; the others judge them. A product says so in its
meta.json (`split`: `choose` or `judge`); products without a word chose.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage.color import deltaE_ciede2000, rgb2lab

from benchmarks.cutout.camera import deliver, delivery
from benchmarks.cutout.measures import accuracy
from finetune.core.errors import PackshotError
from finetune.core.pictures.images import Array, Floats
from finetune.core.pictures.masks import Mask, dilate
from finetune.matting.glass_detection import GLASS_NOUNS
from finetune.matting.matte import cut_out

ALIKE, SEEN = 6.0, 0.95
"""CIEDE2000 from which an outline can be seen, and the share of it that must be."""
OPENING = 30
"""Pixels from which an opening counts."""
THIN = 2
"""Radius (px) of the disc that does not fit into thin parts."""


@dataclass(frozen=True)
class Row:
    """One delivered picture and how well it was cut out."""

    product: str
    split: str
    quality: int
    seen: bool
    """Whether enough of the outline differs from the ground to be cut out at all."""
    error: float
    boundary: float
    halo: float
    shift: float
    """Mean signed distance in pixels of the found outline from the true one; positive is outside."""
    openings: int
    found: int
    opened: float
    """Share of the product that was wrongly opened or lost."""
    thin: float
    """Area kept of thin parts, as a share of it; nan without thin parts."""


@dataclass(frozen=True)
class Delivered:
    """One view as a studio delivers it."""

    product: str
    split: str
    vessel: bool
    """Whether its class noun suggests glass."""
    quality: int
    photo: Image.Image
    true: Floats
    """(H, W) in 0..1, the true coverage."""
    seen: bool
    """Whether enough of the outline differs from the ground to be cut out at all."""


def rows(folders: list[Path], views: int) -> Iterator[Row]:
    """Cut every product's views out, each delivered in its own seeded way; arguments as for `deliveries`."""
    for picture in deliveries(folders, views):
        yield _row(picture)


def deliveries(folders: list[Path], views: int) -> Iterator[Delivered]:
    """Deliver every product's views, each in its own seeded way.

    Args:
        folders: that hold product folders with view_k.png and view_k_mask.png.
        views: of each product, at most.
    """
    for product in sorted(p for folder in folders for p in folder.iterdir() if p.is_dir()):
        meta = json.loads((product / "meta.json").read_text()) if (product / "meta.json").exists() else {}
        for view in sorted(product.glob("view_?.png"))[:views]:
            mask = view.with_name(f"{view.stem}_mask.png")
            if mask.exists():
                yield _delivered(product.name, meta, view, mask)


def _noun(meta: dict[str, Any]) -> str:
    return str(meta.get("class_noun") or meta.get("product", {}).get("noun", ""))


def _delivered(product: str, meta: dict[str, Any], view: Path, mask: Path) -> Delivered:
    seed = sum(map(ord, product + view.stem)) * 7
    vessel = GLASS_NOUNS.search(_noun(meta)) is not None
    transmittance = view.with_name(f"{view.stem}_transmittance.png")
    through = _read(transmittance, "RGB") / np.float32(255) if transmittance.exists() else None
    setting = delivery(seed, ground="white" if vessel and through is None else "")
    true = _read(mask, "L") / np.float32(255)
    photo, true = deliver(_read(view, "RGB"), true.astype(np.float32), setting, seed, through)
    seen = _outline_seen(np.asarray(photo), true) >= SEEN
    return Delivered(product, meta.get("split", "choose"), vessel, setting.quality, photo, true, seen)


def _row(picture: Delivered) -> Row:
    photo, true = picture.photo, picture.true
    pixels = np.asarray(photo)
    try:
        cutout = cut_out(photo, vessel=picture.vessel)
        frame = Image.new("RGBA", photo.size)
        frame.paste(cutout.rgba, (cutout.box.left, cutout.box.top))
        rgba = np.asarray(frame)
    except PackshotError:
        rgba = np.dstack([pixels, np.zeros(pixels.shape[:2], dtype=np.uint8)])
    measured = accuracy(rgba, pixels, true)
    mine = rgba[..., 3].astype(np.float32) / 255
    openings, found = _openings(true, mine)
    return Row(
        picture.product,
        picture.split,
        picture.quality,
        picture.seen,
        measured.error,
        measured.boundary,
        measured.halo,
        float((mine.sum() - true.sum()) / max(1, _outline(true > 0.5).sum())),
        openings,
        found,
        float(((true > 0.98) & (mine < 0.5)).sum() / max(1, (true > 0.98).sum())),
        _thin_kept(true, mine),
    )


def _read(path: Path, mode: str) -> Array:
    with Image.open(path) as picture:
        return np.asarray(picture.convert(mode))


def _outline(solid: Mask) -> Mask:
    return solid & ~dilate(solid, -1)


def _outline_seen(pixels: Array, true: Floats) -> float:
    """Share of the true outline where product and ground, 3 px to each side, can be told apart."""
    lab = rgb2lab(ndimage.uniform_filter(pixels, (3, 3, 1)))
    inner, outer = true > 0.98, true < 0.02
    rows_in, columns_in = ndimage.distance_transform_edt(
        ~dilate(inner, -2), return_distances=False, return_indices=True
    )
    rows_out, columns_out = ndimage.distance_transform_edt(
        ~dilate(outer, -2), return_distances=False, return_indices=True
    )
    at = _outline(true > 0.5)
    difference = deltaE_ciede2000(lab[rows_in[at], columns_in[at]], lab[rows_out[at], columns_out[at]])
    return float((difference >= ALIKE).mean())


def _openings(true: Floats, mine: Floats) -> tuple[int, int]:
    """Number of true openings, and of those found."""
    labels, count = ndimage.label(true < 0.02)
    border = set(np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])))
    holes = [n for n in range(1, count + 1) if n not in border and (labels == n).sum() > OPENING]
    return len(holes), sum(bool((mine[labels == n] < 0.5).mean() > 0.8) for n in holes)


def _thin_kept(true: Floats, mine: Floats) -> float:
    solid = true > 0.5
    thin = solid & ~dilate(dilate(solid, -THIN), THIN)
    body = dilate(dilate(solid, -THIN), THIN + 1)
    thin &= ~body
    return float(mine[thin].sum() / true[thin].sum()) if thin.sum() > OPENING else float("nan")


def print_table(everything: list[Row]) -> bool:
    """Print the tables by product and by quality; returns whether every bar was met by the judging half."""
    print(f"\ndelivered pictures\n{'product':<18}{'split':<8}{'views':>6}{'error':>8}{'F 2 px':>8}{'halo':>8}", end="")
    print(f"{'shift':>8}{'openings':>11}{'lost':>8}{'thin':>7}")
    for name in sorted({row.product for row in everything}):
        print(_line(name, [row for row in everything if row.product == name]))
    judging = [row for row in everything if row.split == "judge" and row.seen]
    met = bool(judging)
    for low, high in ((60, 74), (75, 84), (85, 95)):
        band = [row for row in judging if low <= row.quality <= high]
        if band:
            print(_line(f"judge q{low}-{high}", band))
            mean = np.mean([(row.error, row.boundary, row.halo) for row in band], axis=0)
            met &= low < 75 or bool(mean[0] <= 0.005 and mean[1] >= 0.985 and mean[2] <= 0.02)
    for split in ("choose", "judge"):
        chosen = [row for row in everything if row.split == split and row.seen]
        if chosen:
            print(_line(f"all that {split}", chosen))
    hidden = sum(not row.seen for row in everything)
    print(
        f"bar: error <= .005, F >= .985, halo <= .02 of the judging half from q75 up; left out as too alike: {hidden}"
    )
    return met


def _line(name: str, some: list[Row]) -> str:
    seen = [row for row in some if row.seen] or some
    error, boundary, halo, shift, lost = np.mean(
        [(row.error, row.boundary, row.halo, row.shift, row.opened) for row in seen], axis=0
    )
    thin = [row.thin for row in seen if np.isfinite(row.thin)]
    openings = f"{sum(row.found for row in seen)}/{sum(row.openings for row in seen)}"
    kept = f"{np.mean(thin):.2f}" if thin else "-"
    numbers = f"{error:>8.4f}{boundary:>8.3f}{halo:>8.3%}{shift:>8.2f}{openings:>11}{lost:>8.2%}{kept:>7}"
    return f"{name:<18}{some[0].split:<8}{len(seen):>6}{numbers}"
