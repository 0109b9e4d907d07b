"""Cutting packshots out: accuracy against true masks, and cost at 2048 px, beside rembg with u2netp.

    python -m benchmarks.cutout --world DIR [--renders DIR] [--model-dir DIR] [--only TABLE]

DIR/packshots/<product>/ holds view_k.png and view_k_mask.png, as does --renders DIR/<product>/ (made by
`python -m tools.product_world packshots`); --model-dir holds u2netp.onnx. Without rembg or its model the peer's columns
are missing. The last line of each table has the bars.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.cutout.cost import Cost, measure_cost
from benchmarks.cutout.degraded import deliveries, print_table, rows
from benchmarks.cutout.measures import Accuracy, accuracy
from benchmarks.cutout.named import named, print_named
from benchmarks.cutout.peer import open_peer
from benchmarks.cutout.transmittance import measure_transmission
from finetune.core.pictures.images import open_picture
from finetune.matting.matte import cut_out

SIDE = 2048
WHITE = "pure-pump"
"""The white product of the world, whose silhouette has a bar of its own."""


def placed(rgba: Image.Image, corner: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """A cutout at its place in the whole photo, (H, W, 4)."""
    frame = Image.new("RGBA", size)
    frame.paste(rgba, corner)
    return np.asarray(frame)


def cut_by_us(picture: Image.Image) -> np.ndarray:
    """Packshot's cutout, (H, W, 4)."""
    cutout = cut_out(picture)
    return placed(cutout.rgba, (cutout.box.left, cutout.box.top), picture.size)


def views(product: Path) -> list[Path]:
    """The pictures of one product."""
    return sorted(path for path in product.glob("view_?.png"))


def measure_view(view: Path, cut: Callable[[Image.Image], np.ndarray]) -> Accuracy:
    """Cut one view out and compare it with its true mask."""
    picture = open_picture(view).convert("RGB")
    with Image.open(view.with_name(view.stem + "_mask.png")) as mask:
        true = np.asarray(mask.convert("L"), dtype=np.float32) / 255
    return accuracy(cut(picture), np.asarray(picture), true)


def table_of_accuracy(products: list[Path], peer: Callable[[Image.Image], Image.Image] | None) -> bool:
    """Print the table of accuracy.

    Args:
        products: folders with views.
        peer: cuts a picture out; None leaves its columns out.

    Returns:
        Whether every bar was met.
    """
    names = ("error", "worst", "F 2 px", "IoU", "halo")
    heads = [f"{name:>8}" for name in names] + ([f"{'r ' + name:>9}" for name in names] if peer else [])
    print(f"{'product':<14}" + "".join(heads))
    met, everything = True, []
    for product in products:
        mine = np.array([astuple(measure_view(view, cut_by_us)) for view in views(product)])
        theirs = None
        if peer:
            theirs = np.array([astuple(measure_view(view, lambda p: np.asarray(peer(p)))) for view in views(product)])
        everything.append((mine, theirs))
        print(_line(product.name, mine, theirs))
        error, boundary, overlap, halo = mine.mean(axis=0)
        met &= error <= 0.02 and boundary >= 0.97 and halo <= 0.02 and (product.name != WHITE or overlap >= 0.97)
        met &= theirs is None or error < theirs[:, 0].mean()
    mine = np.concatenate([m for m, _ in everything])
    print(_line("all", mine, np.concatenate([t for _, t in everything if t is not None]) if peer else None))
    print(f"{'bar':<14}{'<= .02':>8}{'':>8}{'>= .97':>8}{'>= .97':>8}{'<= .02':>8}   error of all <= .010, ", end="")
    print("IoU for the white product" + ("; less error than rembg's (r) on every product" if peer else ""))
    return bool(met and mine[:, 0].mean() <= 0.010)


def _line(name: str, mine: np.ndarray, theirs: np.ndarray | None) -> str:
    text = f"{name:<14}"
    for values, width in ((mine, 8), (theirs, 9)):
        if values is not None:
            error, boundary, overlap, halo = values.mean(axis=0)
            text += "".join(f"{v:>{width}.4f}" for v in (error, values[:, 0].max(), boundary, overlap, halo))
    return text


def table_of_cost(products: list[Path], peer: bool, model_dir: Path | None, runs: int) -> bool:
    """Print time and memory at 2048 px; returns whether the bars were met."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pictures = [_scaled(product, folder) for product in products]
        mine = measure_cost(pictures, folder, peer=False, model_dir=None, runs=runs)
        print(
            f"\n{SIDE} px, file to written cutout, one thread, CPU seconds a picture; peak memory of the process, MiB"
        )
        print(f"{'packshot':<14}{mine.seconds:>8.2f} s{mine.peak:>8.0f} MiB   bar <= 1.0 s")
        if not peer:
            return mine.seconds <= 1.0
        theirs: Cost = measure_cost(pictures, folder, peer=True, model_dir=model_dir, runs=runs)
    ratio = mine.seconds / theirs.seconds
    print(f"{'rembg u2netp':<14}{theirs.seconds:>8.2f} s{theirs.peak:>8.0f} MiB   ratio {ratio:.2f}, bar <= 2")
    return mine.seconds <= 1.0 and ratio <= 2


def table_of_glass() -> bool:
    """Print how well transmittance is found on drawn glass; returns whether the bar was met."""
    print("\nglass: drawn products of known transmittance; error of the composite on other grounds, linear light")
    print(f"{'kind':<20}{'found':>8}{'error':>9}{'opaque':>9}")
    met = True
    for kind, row in measure_transmission().items():
        print(f"{kind:<20}{row.found:>8.0%}{row.error:>9.4f}{row.opaque:>9.4f}")
        met &= row.found == 0 if kind.startswith("opaque") else row.error <= row.opaque / 4
    print(
        f"{'bar':<20}{'':>8}  at most a quarter of the error without the layer (`opaque`); found on no opaque product"
    )
    return met


def _scaled(product: Path, folder: Path) -> Path:
    """A view scaled up to the side that counts (Lanczos): its outlines are softer than a camera's."""
    path = folder / f"{product.name}.png"
    with Image.open(views(product)[0]) as picture:
        picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS).save(path, compress_level=1)
    return path


def main(arguments: list[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", type=Path, required=True, metavar="DIR")
    parser.add_argument("--model-dir", type=Path, metavar="DIR", help="holds u2netp.onnx; default rembg's own folder")
    parser.add_argument("--runs", type=int, default=3, help="of which the fastest counts (default 3)")
    parser.add_argument("--renders", type=Path, metavar="DIR", help="more products for the delivered pictures")
    parser.add_argument("--views", type=int, default=6, help="of each delivered product, at most (default 6)")
    parser.add_argument(
        "--only", choices=("accuracy", "delivered", "check", "glass", "cost"), help="print one table alone"
    )
    options = parser.parse_args(arguments)
    products = sorted(p for p in (options.world / "packshots").iterdir() if p.is_dir())
    peer = open_peer(options.model_dir)
    folders = [options.world / "packshots", *([options.renders] if options.renders else [])]
    tables: dict[str, Callable[[], bool]] = {
        "accuracy": lambda: table_of_accuracy(products, peer),
        "delivered": lambda: print_table(list(rows(folders, options.views))),
        "check": lambda: print_named(named(deliveries(folders, options.views))),
        "glass": table_of_glass,
        "cost": lambda: table_of_cost(products, peer is not None, options.model_dir, options.runs),
    }
    results = [table() for name, table in tables.items() if options.only in (None, name)]
    print("\nevery bar met" if all(results) else "\nNOT every bar met")


if __name__ == "__main__":
    main()
