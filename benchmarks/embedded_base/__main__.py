"""What the embedded base reaches: the table of its bars, each with value, verdict and what to hold it beside.

    python -m benchmarks.embedded_base --world DIR --photos DIR --work DIR

DIR of --world is a rendered world (tools/embedded_base/README.md) with packshots/; of --photos, real photographs in
packshots/, in_the_wild/ and plates/. --work keeps recognisers, pictures and adapters: a second call measures what is
there and makes what is missing. The table goes to stdout. See benchmarks/README.md for what each row means.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.core.basemodel.resolve import EMBEDDED, ResolvedBase, resolve_base
from finetune.core.console import quiet_libraries, say
from finetune.core.products.catalog import Workspace

if TYPE_CHECKING:
    from benchmarks.embedded_base.adapters import Easel, Trained
    from benchmarks.embedded_base.product_reader import Packshots
    from benchmarks.embedded_base.scene_reader import SceneReader
    from benchmarks.embedded_base.table import Line
    from tools.embedded_base.world import World

ROWS = ("autoencoder", "obedience", "diversity", "known", "adapter", "growth", "time", "size")


@dataclass(frozen=True)
class Sizes:
    """How much of everything."""

    frames: int
    known: int
    prompts: int
    seeds: int
    skus: int
    draws: int
    scenes: int
    views: int
    steps: int


class Bench:
    """What the rows share; each part is made when a row first asks for it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.world: Path = options.world
        self.photos: Path | None = options.photos
        self.work: Path = options.work
        self.threads: int = options.threads
        self.settings: list[str] = options.settings
        self.size = Sizes(**{name: getattr(options, name) for name in Sizes.__dataclass_fields__})
        self.base: ResolvedBase = resolve_base(options.base)
        self.facts: dict[str, Any] = {}
        """What is worth keeping beside the table: how good the readers are."""

    @cached_property
    def held_out(self) -> World:
        """Frames nothing was trained on."""
        from tools.embedded_base.world import load_world

        return load_world(self.world, held_out=True)

    @cached_property
    def training(self) -> World:
        """Frames the readers may be trained on."""
        from tools.embedded_base.world import load_world

        return load_world(self.world, held_out=False)

    @cached_property
    def reader(self) -> SceneReader:
        """Reads words and products; its accuracy on held-out renders joins the facts."""
        from benchmarks.embedded_base import scene_reader

        reader = scene_reader.load_or_train(self.training, self.work / "readers", views=self.size.views)
        reading = reader.read(self.held_out.frames)
        targets = scene_reader.targets_of(self.held_out.records, reader.names)
        for question in scene_reader.QUESTIONS:
            self.facts[f"reader_{question}"] = scene_reader.accuracy(reading, targets, question)
        self.facts["segmenter_iou"] = scene_reader.mean_iou(reading.products, self.held_out.masks > 127)
        return reader

    @cached_property
    def prompt_lines(self) -> list[Line]:
        """Both rows on prompts: they are of the same pictures."""
        from benchmarks.embedded_base import prompts, scene_reader

        reader = self.reader
        return prompts.measure_prompts(
            self.easel.room(),
            reader,
            self.held_out,
            {question: self.facts[f"reader_{question}"] for question in scene_reader.QUESTIONS},
            prompts=self.size.prompts,
            seeds=self.size.seeds,
            sheets=self.work / "sheets",
        )

    @cached_property
    def products(self) -> list[Packshots]:
        """The products of packshots/."""
        from benchmarks.embedded_base.product_reader import read_packshots

        return read_packshots(self.world / "packshots")

    @cached_property
    def trained(self) -> list[Trained]:
        """The first products with their adapters, trained now where they are not yet."""
        from benchmarks.embedded_base.adapters import train

        workspace = Workspace(self.work / "studio")
        chosen = spread(self.products, self.size.skus)
        return [train(workspace, p, self.base, self.settings, threads=self.threads) for p in chosen]

    @property
    def easel(self) -> Easel:
        """Where pictures with adapters are painted."""
        from benchmarks.embedded_base.adapters import Easel

        return Easel(self.base, self.work / "pictures")


def spread(products: list[Packshots], count: int) -> list[Packshots]:
    """`count` of the products, evenly over their names, so that few of them are not all of one kind."""
    count = min(count, len(products))
    return [products[index * len(products) // count] for index in range(count)]


def _autoencoder(bench: Bench) -> list[Line]:
    from benchmarks.embedded_base.reconstruction import measure_autoencoder

    return measure_autoencoder(bench.base, bench.held_out, bench.photos, frames=bench.size.frames)


def _known(bench: Bench) -> list[Line]:
    from benchmarks.embedded_base.reconstruction import measure_known

    return measure_known(bench.easel.room(), bench.held_out, frames=bench.size.known)


def _adapter(bench: Bench) -> list[Line]:
    from benchmarks.embedded_base import product_reader
    from benchmarks.embedded_base.adapters import measure_adapters

    reader = product_reader.load_or_train(
        bench.products, bench.training, bench.work / "readers", steps=bench.size.steps
    )
    bench.facts["product_reader"] = reader.name
    bench.facts["product_reader_scenes"] = product_reader.validate(reader, bench.products)
    sheets = bench.work / "sheets"
    trained = bench.trained
    return measure_adapters(bench.easel, trained, bench.products, reader, draws=bench.size.draws, sheets=sheets)


def _growth(bench: Bench) -> list[Line]:
    from benchmarks.embedded_base.adapters import measure_growth

    reader = bench.reader
    sheets = bench.work / "sheets"
    return measure_growth(bench.easel, bench.trained, reader, bench.held_out, scenes=bench.size.scenes, sheets=sheets)


def _time(bench: Bench) -> list[Line]:
    from benchmarks.embedded_base.cost import measure_time

    return measure_time(bench.base)


def _size(bench: Bench) -> list[Line]:
    from benchmarks.embedded_base.cost import measure_size

    return measure_size(bench.base)


MEASURES: dict[str, Callable[[Bench], list[Line]]] = {
    "autoencoder": _autoencoder,
    "obedience": lambda bench: [line for line in bench.prompt_lines if line.row == "obedience"],
    "diversity": lambda bench: [line for line in bench.prompt_lines if line.row == "diversity"],
    "known": _known,
    "adapter": _adapter,
    "growth": _growth,
    "time": _time,
    "size": _size,
}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", type=Path, required=True, metavar="DIR")
    parser.add_argument("--photos", type=Path, metavar="DIR", help="without it three lines are not available")
    parser.add_argument("--work", type=Path, default=Path(".cache/embedded_base"), metavar="DIR")
    parser.add_argument("--base", default=EMBEDDED, help="another folder in diffusers' layout")
    parser.add_argument("--only", type=_rows, default=ROWS, metavar="ROW[,ROW]", help=", ".join(ROWS))
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--threads", type=int, default=1)
    sizes = {
        "frames": (64, "held-out renders through the autoencoder"),
        "known": (8, "frames of the row `known`, two pictures each"),
        "prompts": (24, "prompts of obedience and diversity"),
        "seeds": (8, "pictures a prompt"),
        "skus": (3, "products with an adapter"),
        "draws": (10, "pictures a product, with adapter and without"),
        "scenes": (24, "scenes of the row `growth`, two pictures each"),
        "views": (8, "ways the scene reader sees every training frame: as it is, mirrored, then varied"),
        "steps": (160, "batches the product reader learns from"),
    }
    for name, (default, meaning) in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N", help=f"{meaning} (default {default})")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="of training")
    return parser.parse_args(arguments)


def _rows(text: str) -> tuple[str, ...]:
    rows = tuple(part.strip() for part in text.split(","))
    if strangers := [row for row in rows if row not in ROWS]:
        raise argparse.ArgumentTypeError(f"no row '{strangers[0]}'; there are {', '.join(ROWS)}")
    return rows


def main(arguments: list[str] | None = None) -> None:
    """Measure and print the table; with --json write it too."""
    options = parse(arguments)
    quiet_libraries()
    import torch

    from benchmarks.embedded_base.table import format_table, verdict_line

    torch.set_num_threads(options.threads)
    bench = Bench(options)
    lines: list[Line] = []
    for row in (row for row in ROWS if row in options.only):
        say(f"row {row}")
        lines += MEASURES[row](bench)
        if options.json:
            report = {"base": bench.base.summary(), "facts": bench.facts, "lines": [line.as_dict() for line in lines]}
            report["sizes"] = {name: getattr(bench.size, name) for name in Sizes.__dataclass_fields__}
            options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(format_table(lines))
    if "segmenter_iou" in bench.facts:
        print(f"segmenter on held-out renders: IoU {bench.facts['segmenter_iou']:.3f}")
    if "product_reader" in bench.facts:
        print(f"product reader: {bench.facts['product_reader']}")
    print(verdict_line(lines))


if __name__ == "__main__":
    main()
