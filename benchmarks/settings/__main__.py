"""Train an adapter for every cell of a grid of settings, score each, print one table.

    python -m benchmarks.settings benchmarks/settings/grids/embedded.yaml --workspace DIR

A cell is trained by `packshot train` and judged by `packshot evaluate` and by its loss on the held-out photo
(`benchmarks.settings.held_out_loss`). Adapters, verdicts and losses are kept by content, so a second call resumes where
the first stopped, and prints the table at once when nothing changed. Prepare the product's siblings beforehand, or the
sibling rule is not judged.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import Field

from finetune.core.config import Strict, validate
from finetune.core.console import quiet_libraries, say
from finetune.core.errors import PackshotError, RunError
from finetune.core.yaml_files import read_yaml

GATE_EXIT = 3
SHOWN = ("palette", "palette_reached", "parts_reached", "own_nearest")


class Grid(Strict):
    """What a sweep varies."""

    sku: str
    config: str = "embedded"
    """Training preset or file: the recipe."""
    set: tuple[str, ...] = ()
    """Overrides of every cell, as `--set` takes them."""
    product: dict[str, list[float | int | str | bool]] = Field(default_factory=dict)
    """Setting -> values; every combination is a cell."""
    single: dict[str, list[float | int | str | bool]] = Field(default_factory=dict)
    """Setting -> values; each is a cell of its own beside the recipe."""

    def cells(self) -> list[tuple[str, ...]]:
        """Overrides of each cell; the recipe first."""
        combined = [
            tuple(f"{k}={v}" for k, v in zip(self.product, c, strict=True)) for c in product(*self.product.values())
        ]
        alone = [(f"{key}={value}",) for key, values in self.single.items() for value in values]
        return list(dict.fromkeys([(), *combined, *alone]))


@dataclass(frozen=True)
class Row:
    """What became of a cell."""

    cell: tuple[str, ...]
    version: str
    loss: float
    verdict: str
    scores: dict[str, float | None]
    seconds: float

    def cells_of(self) -> list[str]:
        """The row's columns as text."""
        name = ", ".join(part.split(".", 1)[1] for part in self.cell) or "the recipe"
        values = [self.scores.get(score) for score in SHOWN]
        shown = ["-" if value is None else f"{value:.1f}" if abs(value) >= 1 else f"{value:.3f}" for value in values]
        return [name, f"{self.loss:.5f}", *shown, self.verdict, self.version]


def run_cell(grid: Grid, cell: tuple[str, ...], workspace: Path, *, loss_only: bool = False) -> Row:
    """Train and judge a cell, or find both done.

    Args:
        loss_only: leave `packshot evaluate` out.

    Raises:
        RunError: a command failed; a gate that is not met is no failure.
    """
    began = time.perf_counter()
    settings = [part for item in (*grid.set, *cell) for part in ("--set", item)]
    trained = _packshot(["train", grid.sku, "--config", grid.config, *settings, "--json"], workspace)
    version = str(trained["version"])
    report: dict[str, Any] = {"scores": [], "verdict": "-"}
    if not loss_only:
        report = _packshot(["evaluate", grid.sku, "--adapter", version, "--json"], workspace)
    loss = _held_out_loss(grid, cell, version, workspace)
    scores = {score["name"]: score["value"] for score in report["scores"]}
    return Row(cell, version, loss, report["verdict"], scores, time.perf_counter() - began)


def _packshot(arguments: list[str], workspace: Path) -> dict[str, Any]:
    line = [sys.executable, "-P", "-m", "finetune.core.commands", *arguments, "--workspace", str(workspace)]
    done = subprocess.run(line, stdout=subprocess.PIPE, text=True, env=os.environ | {"NO_COLOR": "1"}, check=False)
    if done.returncode not in (0, GATE_EXIT):
        raise RunError(f"packshot {' '.join(arguments)} ended with {done.returncode}", "see what it said above")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _held_out_loss(grid: Grid, cell: tuple[str, ...], number: str, workspace: Path) -> float:
    """Loss on the held-out photo, kept by the adapter's content."""
    from benchmarks.settings.held_out_loss import DRAWS, held_out, loss_of
    from finetune.cli.options import resolve_config
    from finetune.core import fingerprint
    from finetune.core.adapters.file import attach, read_header
    from finetune.core.adapters.versions import find_version
    from finetune.core.basemodel.load import load_unet
    from finetune.core.basemodel.resolve import resolve_base
    from finetune.core.products.catalog import Workspace
    from finetune.core.products.prepared import require_prepared

    place = Workspace(workspace)
    version = find_version(place, grid.sku, number)
    prepared = require_prepared(place.datasets / grid.sku / "prepared", grid.sku)
    key = fingerprint.of_value([DRAWS, fingerprint.of_file(version.weights), prepared.fingerprint])
    kept = place.cache / "sweep" / f"{key}.json"
    if kept.is_file():
        return float(json.loads(kept.read_text(encoding="utf-8"))["loss"])
    import torch

    config = resolve_config(grid.config, (*grid.set, *cell), announce=False)
    base = resolve_base(config.base.model, config.base.revision)
    unet, scheduler = load_unet(base, dtype=torch.float32, device="cpu")
    held = held_out(place, prepared, base, config, scheduler)
    attach(unet, read_header(version.weights))
    loss = loss_of(unet, held)
    kept.parent.mkdir(parents=True, exist_ok=True)
    part = kept.with_suffix(".part")
    part.write_text(json.dumps({"loss": loss, "cell": cell}), encoding="utf-8")
    part.replace(kept)
    return loss


def format_table(rows: list[Row]) -> str:
    """Markdown, in the order of the grid."""
    names = ["cell", "held-out loss", *SHOWN, "gate", "version"]
    lines = [names, ["---"] * len(names), *(row.cells_of() for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def run_grid(file: Path, workspace: Path, *, only: int | None, loss_only: bool) -> None:
    """Run the grid's first `only` cells (None: all) and print its table.

    Raises:
        PackshotError: of the kind that fits; settings that can't go together before the first cell is trained.
    """
    from finetune.cli.options import resolve_config

    grid = validate(Grid, read_yaml(file), file.name)
    cells = grid.cells()[:only]
    for cell in cells:
        resolve_config(grid.config, (*grid.set, *cell), announce=False)
    rows = []
    for number, cell in enumerate(cells, 1):
        say(f"cell {number} of {len(cells)}: {', '.join(cell) or 'the recipe'}")
        rows.append(run_cell(grid, cell, workspace, loss_only=loss_only))
        say(f"  held-out loss {rows[-1].loss:.5f}, {rows[-1].verdict}, {rows[-1].seconds:.0f} s")
    print(format_table(rows))


def main(arguments: list[str] | None = None) -> None:
    """Run the grid and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("grid", type=Path)
    parser.add_argument("--workspace", type=Path, default=Path(), metavar="DIR")
    parser.add_argument("--cells", type=int, metavar="N", help="only the first N")
    parser.add_argument("--loss-only", action="store_true", help="leave `packshot evaluate` out, half of the time")
    options = parser.parse_args(arguments)
    quiet_libraries()
    try:
        run_grid(options.grid, options.workspace, only=options.cells, loss_only=options.loss_only)
    except PackshotError as error:
        sys.exit(f"Error: {error.message}" + (f"\nhint: {error.hint}" if error.hint else ""))


if __name__ == "__main__":
    main()
