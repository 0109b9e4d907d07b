"""The command `evaluate`. Importing it imports no torch."""

from __future__ import annotations

import json
from pathlib import Path

import click

from finetune.core import fingerprint
from finetune.core.commands import common_options
from finetune.core.config import gate_path
from finetune.core.console import say
from finetune.core.products.catalog import Workspace
from finetune.core.products.completion import complete_sku, complete_version


@click.command()
@click.argument("sku", shell_complete=complete_sku)
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
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON instead of its path.")
@common_options
def evaluate(
    sku: str,
    adapter: str | None,
    base: str | None,
    vae: str | None,
    gate_file: str | None,
    overrides: tuple[str, ...],
    force: bool,
    device: str,
    as_json: bool,
    workspace: Path,
) -> None:
    """Measure how well SKU's adapter draws the product, compared with the packshots, the base alone and the siblings.

    Prints the path of the report. The exit code is 3 if the gate is not met.

    \b
    Examples:
      packshot evaluate perfume01
      packshot evaluate perfume01 --adapter adapters/perfume02/0001    # a sibling's adapter must not pass
    """
    from finetune.core.fidelity import gate
    from inference.evaluate import SHEET, Asked, evaluate_adapter, scores_of

    config = gate.load_gate(gate_file, overrides)
    report, path = evaluate_adapter(
        Asked(Workspace(workspace), sku, adapter, base, vae),
        config,
        force=force,
        device=device,
        gate_file="" if overrides else fingerprint.of_file(gate_path(gate_file)),
    )
    scores = scores_of(report)
    for score in scores:
        bar = "" if score.bar is None else f"bar {score.bar:g}"
        say(f"  {score.name:<16} {gate.format_value(score):>16}  {bar:<10} {score.verdict}")
    owner = report["trained_on"]
    whose = f"of '{owner}' judged as '{sku}'" if owner else f"judged as '{sku}', of an unnamed product"
    say(f"adapter {report['version']} {whose}: {report['verdict']}; pictures: {path.with_name(SHEET)}")
    click.echo(json.dumps(report, indent=1, ensure_ascii=False) if as_json else path)
    failed = gate.failing(scores, config.rules)
    gate.check_met(sku, report["version"], failed, hint=f"look at {path.with_name(SHEET)}")
