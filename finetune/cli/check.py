"""The Click command `packshot check`. It imports no numpy and no torch until it runs."""

from __future__ import annotations

import json
from pathlib import Path

import click

from finetune.core.commands import common_options, config_options
from finetune.core.console import say
from finetune.core.errors import CatalogError
from finetune.core.products.catalog import Workspace
from finetune.core.products.completion import complete_sku


@click.command()
@click.argument("sku", shell_complete=complete_sku)
@config_options
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the page to FILE instead of datasets/SKU/report.html.",
)
@click.option("--force", is_flag=True, help="Measure every photo again, even unchanged ones.")
@click.option(
    "--jobs", type=click.IntRange(min=1), metavar="N", help="Number of processes at most; default: one per usable core."
)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@common_options
def check(
    sku: str,
    config_name: str | None,
    overrides: tuple[str, ...],
    report: Path | None,
    force: bool,
    jobs: int | None,
    as_json: bool,
    workspace: Path,
) -> None:
    """Check the photos of SKU before training: sharpness, light, colour, copies, views, other products.

    Nothing is changed. The exit code is 1 if no photo can be trained on, 0 otherwise, even with warnings.

    \b
    Example:
      packshot check perfume01
    """
    from finetune.check import check_set
    from finetune.cli.options import resolve_config

    size = resolve_config(config_name, overrides, announce=False).data.size
    found, path = check_set(Workspace(workspace), sku, size=size, report=report, force=force, jobs=jobs)
    if as_json:
        click.echo(json.dumps(found.as_dict() | {"report": str(path)}, indent=1, ensure_ascii=False))
    for finding in () if as_json else found.findings:
        click.echo(f"{finding.severity:<8} {finding.photo or 'the set'}: {finding.what}")
        click.echo(f"         why: {finding.why}\n         do: {finding.cure}")
    say(f"report: {path}")
    if not found.trainable:
        if found.photos == 1:
            raise CatalogError(f"the only photo of '{sku}' cannot be used", found.findings[0].cure)
        raise CatalogError(f"none of the {found.photos} photos of '{sku}' can be used", found.findings[0].cure)
