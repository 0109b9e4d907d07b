"""The command `evaluate`. Importing it imports no torch."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from finetune.core import fingerprint
from finetune.core.commands import common_options
from finetune.core.config import gate_path
from finetune.core.console import count, say, warn
from finetune.core.errors import CatalogError, GateNotMet, PackshotError
from finetune.core.products.catalog import Workspace, load_set
from finetune.core.products.completion import complete_sku, complete_version

TABLE = ("drawn", "outline_reached", "parts_reached", "palette_reached", "layout_reached", "own_nearest")
"""Scores of a row of the table of all products."""
WORST_FIRST = ("failed", "fail", "limited", "pass")


@click.command()
@click.argument("sku", required=False, shell_complete=complete_sku)
@click.option(
    "--all", "all_of_them", is_flag=True, help="Every product that has an adapter, as one table, worst first."
)
@click.option(
    "--adapter",
    shell_complete=complete_version,
    metavar="VERSION|PATH",
    help="Adapter version, folder or file.  [default: published, else newest]",
)
@click.option("--base", metavar="REF", help="Base model.  [default: the one the adapter was trained on]")
@click.option("--vae", metavar="FOLDER|FILE", help="VAE in place of the base's own.  [default: the adapter's]")
@click.option("--gate", "gate_file", metavar="FILE", help="Scenes and bars.  [default: configs/gate.yaml]")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override one setting of the gate, for example --set pictures.seeds=[1] (repeatable).",
)
@click.option("--force", is_flag=True, help="Draw and measure again even if nothing has changed.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1.")
@click.option("--json", "as_json", is_flag=True, help="Print the report (with --all the table) as JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="With --all: print the table as CSV.")
@common_options
def evaluate(
    sku: str | None,
    all_of_them: bool,
    adapter: str | None,
    base: str | None,
    vae: str | None,
    gate_file: str | None,
    overrides: tuple[str, ...],
    force: bool,
    device: str,
    as_json: bool,
    as_csv: bool,
    workspace: Path,
) -> None:
    """Measure how well SKU's adapter draws the product, compared with the packshots, the base alone and the siblings.

    Prints the path of the report. The verdict is `pass`, `limited` (no bar is missed, but the base cannot show all of
    shape, structure and colour) or `fail`; the exit code is 3 for `fail`.

    \b
    Examples:
      packshot evaluate perfume01
      packshot evaluate --all --csv
      packshot evaluate perfume01 --adapter adapters/perfume02/0001    # a sibling's adapter must not pass
    """
    from finetune.core.fidelity import gate
    from inference.evaluate import Asked, evaluate_adapter, scores_of
    from inference.fidelity_page import PAGE

    _check_options(sku, all_of_them, adapter, as_csv, as_json)
    config = gate.load_gate(gate_file, overrides)
    file = "" if overrides else fingerprint.of_file(gate_path(gate_file))

    def judge(name: str) -> tuple[dict[str, Any], Path]:
        asked = Asked(Workspace(workspace), name, adapter, base, vae)
        return evaluate_adapter(asked, config, force=force, device=device, gate_file=file)

    if sku is None:
        _evaluate_all(Workspace(workspace), judge, "json" if as_json else "csv" if as_csv else "")
        return
    report, path = judge(sku)
    _tell(report, path, sku)
    click.echo(json.dumps(report, indent=1, ensure_ascii=False) if as_json else path)
    failed = gate.failing(scores_of(report), config.rules)
    gate.check_met(sku, report["version"], failed, hint=f"look at {path.with_name(PAGE)}")


def _check_options(sku: str | None, all_of_them: bool, adapter: str | None, as_csv: bool, as_json: bool) -> None:
    """Raise UsageError for options that contradict each other."""
    if (sku is None) != all_of_them:
        raise click.UsageError("name one SKU, or give --all")
    if all_of_them and adapter:
        raise click.UsageError("--adapter names an adapter of one product: leave out --all")
    if as_csv and (as_json or not all_of_them):
        raise click.UsageError("--csv needs --all, and cannot go with --json")


def _tell(report: dict[str, Any], path: Path, sku: str) -> None:
    """Every score, the verdict and where the pictures are."""
    from finetune.core.fidelity import gate
    from inference.evaluate import scores_of
    from inference.fidelity_page import PAGE, SHEET

    scores = scores_of(report)
    for score in scores:
        bar = "" if score.bar is None else f"bar {score.bar:g}"
        say(f"  {score.name:<16} {gate.format_value(score):>16}  {bar:<10} {score.verdict}")
    owner = report["trained_on"]
    whose = f"of '{owner}' judged as '{sku}'" if owner else f"judged as '{sku}', of an unnamed product"
    looked_at = f"pictures: {path.with_name(SHEET)}, page: {path.with_name(PAGE)}"
    say(f"adapter {report['version']} {whose}: {report['verdict']}; {looked_at}")
    if report["verdict"] == "limited":
        unseen = " and ".join(gate.not_seen({score.name for score in scores if score.verdict == "pass"}))
        warn(f"limited: no bar is missed, but {unseen} could not be judged on base '{report['base']['model']}'")


def _evaluate_all(place: Workspace, judge: Callable[[str], tuple[dict[str, Any], Path]], form: str) -> None:
    """Judge every product that has an adapter and print one table; a product that cannot be judged is a row of it.

    Raises:
        GateNotMet: A product failed.
        CatalogError: No product has an adapter.
    """
    from finetune.core.adapters.versions import version_numbers
    from inference.fidelity_page import PAGE

    rows: list[dict[str, Any]] = []
    for name in filter(partial(version_numbers, place), place.skus()):
        try:
            if load_set(place, name).config.kind != "sku":
                continue
            report, path = judge(name)
        except PackshotError as error:
            rows.append({"sku": name, "version": "", "verdict": "failed", "why": error.message, "page": ""})
            continue
        values = {entry["name"]: entry["value"] for entry in report["scores"]}
        row = {"sku": name, "version": report["version"], "verdict": report["verdict"], "why": "", "page": ""}
        rows.append(row | {"page": str(path.with_name(PAGE))} | {score: values[score] for score in TABLE})
    if not rows:
        raise CatalogError("no product has an adapter", "run: packshot train SKU")
    rows.sort(key=lambda row: (WORST_FIRST.index(row["verdict"]), row.get("parts_reached") or 0.0, row["sku"]))
    _print_table(rows, form)
    bad = [row["sku"] for row in rows if row["verdict"] in ("fail", "failed")]
    if bad:
        failed = f"{len(bad)} of {count(len(rows), 'adapter')} did not pass: {', '.join(bad)}"
        raise GateNotMet(failed, "open the report.html of each")


def _print_table(rows: list[dict[str, Any]], form: str) -> None:
    columns = ("sku", "version", "verdict", *TABLE, "why", "page")
    if form == "json":
        click.echo(json.dumps(rows, indent=1, ensure_ascii=False))
    elif form == "csv":
        file = io.StringIO()
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        click.echo(file.getvalue(), nl=False)
    else:
        click.echo(f"{'sku':<20} {'version':<8} {'verdict':<8}" + "".join(f" {name:>16}" for name in TABLE))
        for row in rows:
            numbers = [row.get(name) for name in TABLE]
            cells = "".join(f" {'-' if value is None else f'{value:.1f}':>16}" for value in numbers)
            click.echo(f"{row['sku']:<20} {row['version']:<8} {row['verdict']:<8}{cells} {row['why']}".rstrip())
