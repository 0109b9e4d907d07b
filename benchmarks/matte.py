"""Accuracy and speed of `finetune.matte` against true masks: one table.

    python benchmarks/matte.py --world DIR      # DIR/packshots/<product>/view_k.png and view_k_mask.png

mae: mean absolute alpha error in the product's box plus 10 %. F: boundary F-score at 2 px. iou: silhouettes at 0.5.
halo: mean excess of linear luminance over the true composite on black, in the 3-px rim. ms: decode to cutout.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from finetune.core.images import Floats, open_picture, to_linear
from finetune.core.masks import Mask, bounding_box, dilate, iou
from finetune.matte import cut_out

LUMA = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)


def boundary_f(mine: Mask, true: Mask, tolerance: float) -> float:
    """F-score of the outlines: shares of each within `tolerance` pixels of the other."""
    outlines = [m & ~dilate(m, -1) for m in (mine, true)]
    near = [dilate(o, tolerance) for o in outlines]
    precision = (outlines[0] & near[1]).sum() / max(1, outlines[0].sum())
    recall = (outlines[1] & near[0]).sum() / max(1, outlines[1].sum())
    return float(2 * precision * recall / max(1e-9, precision + recall))


def halo(rgba: NDArray[np.uint8], photo: Floats, true: Floats) -> float:
    """Mean luminance excess on black in the rim of 3 px each side of the true outline; ground of the photo is white."""
    rim = dilate(true > 0.5, 3) & ~dilate(true > 0.5, -3)
    on_black = (to_linear(rgba[..., :3]) * (rgba[..., 3:] / 255.0)) @ LUMA
    expected = np.clip(photo - (1 - true[..., None]), 0, 1) @ LUMA
    return float((on_black - expected)[rim].mean())


def measure(photo: Path, mask: Path) -> dict[str, float]:
    """All measures of one view."""
    started = time.perf_counter()
    picture = open_picture(photo)
    cutout = cut_out(picture)
    seconds = time.perf_counter() - started
    true = np.asarray(Image.open(mask).convert("L"), dtype=np.float32) / 255.0
    mine = cutout.full_alpha()
    full = np.zeros((*mine.shape, 4), dtype=np.uint8)
    full[cutout.box.top : cutout.box.bottom, cutout.box.left : cutout.box.right] = np.asarray(cutout.rgba)
    box = bounding_box(true > 0)
    assert box is not None
    box = box.grown(round(0.1 * max(box.width, box.height)), picture.size)
    inside = np.s_[box.top : box.bottom, box.left : box.right]
    return {
        "mae": float(np.abs(mine - true)[inside].mean()),
        "F": boundary_f(mine > 0.5, true > 0.5, 2.0),
        "iou": iou(mine > 0.5, true > 0.5),
        "halo": halo(full, to_linear(np.asarray(picture)), true),
        "ms": seconds * 1000,
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", type=Path, required=True, metavar="DIR")
    folder = parser.parse_args().world / "packshots"
    names = ("mae", "F", "iou", "halo", "ms")
    print(f"{'product':<14}" + "".join(f"{n:>9}" for n in names) + f"{'worst mae':>11}")
    everything = []
    for product in sorted(p for p in folder.iterdir() if p.is_dir()):
        rows = [measure(p, p.with_name(p.stem + "_mask.png")) for p in sorted(product.glob("view_?.png"))]
        everything += rows
        print(_line(product.name, rows, names))
    print(_line("all", everything, names))


def _line(name: str, rows: list[dict[str, float]], names: tuple[str, ...]) -> str:
    means = "".join(
        f"{np.mean([r[n] for r in rows]):>9.1f}" if n == "ms" else f"{np.mean([r[n] for r in rows]):>9.4f}"
        for n in names
    )
    return f"{name:<14}{means}{max(r['mae'] for r in rows):>11.4f}"


if __name__ == "__main__":
    main()
