"""Click commands of the training side. Torch-free at import: each body imports what it runs."""

from __future__ import annotations

import json
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from finetune.cli.options import resolve_config, wait_option
from finetune.core.commands import common_options, config_options
from finetune.core.config import apply_overrides, dump_yaml, find_config, validate
from finetune.core.console import count, is_main_process, pace, say, span
from finetune.core.products.catalog import Workspace, load_set
from finetune.core.products.completion import complete_sku
from finetune.core.storage.locks import exclusive, sku_lock
from finetune.core.yaml_files import read_yaml

FROM_HELP = (
    "Import first: a kohya folder (`10_token class noun`, .txt captions), a folder of them, "
    "a folder of pictures (metadata.jsonl or .txt captions), or one picture."
)


@click.command()
@click.argument("sku", default="", shell_complete=complete_sku)
@config_options
@click.option("--from", "source", type=click.Path(path_type=Path), metavar="FOLDER", help=FROM_HELP)
@click.option(
    "--class-noun", default="", metavar="TEXT", help="With --from: what the product is, for example `perfume bottle`."
)
@click.option(
    "--mask",
    "masks",
    multiple=True,
    metavar="PHOTO=FILE.png",
    help="Check a mask (255 = product) and copy it to masks/; PHOTO is the file name or stem (repeatable).",
)
@click.option(
    "--hint",
    "hints",
    multiple=True,
    metavar="PHOTO=FILE.png",
    help="The same for hints/: 0 = not product, 255 = product, 128 = to be decided by the plain ground.",
)
@click.option("--force", is_flag=True, help="Prepare the whole set again, even what is up to date.")
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Maximum number of processes.  [default: one per usable core]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON; with --from one line per set.")
@wait_option
@common_options
def prepare(
    sku: str,
    config_name: str | None,
    overrides: tuple[str, ...],
    source: Path | None,
    class_noun: str,
    force: bool,
    jobs: int | None,
    as_json: bool,
    wait: bool,
    workspace: Path,
    masks: tuple[str, ...],
    hints: tuple[str, ...],
) -> None:
    """Turn the photos of SKU into a prepared set: cutouts, mattes, captions, training examples.

    Photos that have not changed are taken over from the last prepared set. SKU may be a brand set (style pictures,
    which are not cut out) or a category set (the photos of every SKU whose set.yaml names that category).
    With --from, another trainer's folder is first copied into datasets/SKU; the folder itself is not changed.

    \b
    Examples:
      packshot prepare perfume01
      packshot prepare --from kohya/img/10_ohwx\\ perfume\\ bottle
      packshot prepare --from photos/ mymug --class-noun mug
      packshot prepare mymug --mask front=drawn/front.png
    """
    from finetune.dataset.given_masks import take_given
    from finetune.prepare import prepare_set

    if not sku and source is None:
        raise click.UsageError("Missing argument 'SKU' (or --from FOLDER).")
    if class_noun and source is None:
        raise click.UsageError("--class-noun needs --from; in an existing set, write class_noun into set.yaml.")
    if (masks or hints) and not sku:
        raise click.UsageError("--mask and --hint need SKU: they belong to photos of one set.")
    config = resolve_config(config_name, overrides, announce=False)
    for name in _imported(workspace, source, sku, class_noun) if source else [sku]:
        place = Workspace(workspace)
        load_set(place, name)
        with exclusive(sku_lock(place.cache, name), f"preparing {name}", wait=wait):
            take_given(load_set(place, name), masks, hints)
            prepared, made = prepare_set(place, name, data=config.data, force=force, jobs=jobs)
        say(
            f"prepared {name}: {count(len(prepared.photos), 'photo')}, {count(prepared.examples, 'example')} of "
            f"{prepared.size} px"
            if made
            else f"{name} is already prepared (nothing has changed{_unusable(len(prepared.unusable))})"
        )
        result = {"sku": name, "made": made, "fingerprint": prepared.fingerprint, "folder": str(prepared.folder)}
        click.echo(json.dumps(result) if as_json else str(prepared.folder))


def _unusable(number: int) -> str:
    return f"; {count(number, 'photo')} cannot be used, see report.html" if number else ""


def _imported(workspace: Path, source: Path, sku: str, class_noun: str) -> list[str]:
    from finetune.dataset.importing import import_sets

    return import_sets(Workspace(workspace), source, sku=sku, class_noun=class_noun)


@click.command()
@click.argument("sku", shell_complete=complete_sku)
@config_options
@click.option("--force", is_flag=True, help="Train again even if the adapter is up to date.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@wait_option
@common_options
def train(
    sku: str,
    config_name: str | None,
    overrides: tuple[str, ...],
    force: bool,
    as_json: bool,
    wait: bool,
    workspace: Path,
) -> None:
    """Train an adapter for SKU. Prepares the set first if its content changed, and resumes by itself after a crash.

    \b
    Examples:
      packshot train perfume01 --set train.steps=200
      torchrun --nproc-per-node 2 --no-python packshot train perfume01    (two GPUs)
    """
    from finetune.prepare import prepare_set
    from finetune.train import check_request, find_training_parent, ineffective_settings, train_adapter, workspace_path
    from finetune.training import distributed

    config = resolve_config(config_name, overrides)
    base = check_request(config)
    place = Workspace(workspace)
    find_training_parent(place, sku, config, base)  # what does not fit is said before photos are prepared
    load_set(place, sku)
    with ExitStack() as held:

        def hold() -> None:
            held.enter_context(exclusive(sku_lock(place.cache, sku), f"training {sku}", wait=wait))

        distributed.main_only(hold)
        prepared, _ = distributed.main_only(lambda: prepare_set(place, sku, data=config.data, jobs=None))
        result = train_adapter(place, prepared, config, base=base, now=datetime.now(), force=force)
    version = result.version
    path = workspace_path(version.folder, place)
    if result.made:
        say(
            f"trained {sku} version {version.number} in {span(result.seconds)} "
            f"({pace(result.steps_per_second)}, peak memory {result.peak_mib:,.0f} MiB)"
        )
        say(f"curves, candidates, settings: {workspace_path(result.report, place) if result.report else '-'}")
        say(f"next: {_next_step(sku, prepared.kind)}")
    else:
        say(f"adapter {sku} version {version.number} is up to date (nothing has changed)")
        if unused := ineffective_settings(version, config):
            names = ", ".join(unused)
            say(f"{names}: no effect on an adapter that is up to date; --force trains it again")
    facts = {"sku": sku, "version": version.number, "made": result.made, "folder": path}
    measured = {"steps_per_second": float(f"{result.steps_per_second:.3g}"), "peak_mib": round(result.peak_mib)}
    facts |= measured if result.made else dict.fromkeys(measured)
    facts["report"] = workspace_path(result.report, place) if result.report else None
    if is_main_process():
        click.echo(json.dumps(facts) if as_json else path)


def _next_step(sku: str, kind: str) -> str:
    """What an adapter is for: a product's is judged and placed, a category's is a start, a brand's a style."""
    if kind == "category":
        return f"packshot train SKU --set adapter.init_from={sku} (adapters of its members start from this one)"
    if kind == "brand":
        return f'packshot place SKU --brand {sku} --prompt "on a light oak table" (a product, in the look of {sku})'
    return f'packshot evaluate {sku}, packshot place {sku} --prompt "on a light oak table"'


@click.command()
@common_options
@click.option(
    "--base", "base", default="", metavar="REF", help="Look at a base part by part: a folder, file or hub id."
)
@click.option("--vae", default="", metavar="REF", help="With --base: a separate VAE (base.vae), a folder or file.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(base: str, vae: str, as_json: bool, workspace: Path) -> None:
    """Show what this machine can do: device, memory, versions, bases found offline, product sets.

    \b
    Example:
      packshot doctor --base ~/models/sdxl
    """
    from finetune.doctor import examine

    if vae and not base:
        raise click.UsageError("--vae needs --base.")
    findings = examine(Workspace(workspace), base, vae)
    if as_json:
        click.echo(json.dumps(findings, indent=1))
        return
    for key, value in findings.items():
        lines = [f"{name}: {fact}" for name, fact in value.items()] if isinstance(value, dict) else value
        shown = "\n".join(f"  {line}" for line in ([lines] if isinstance(lines, str) else lines))
        click.echo(f"{key}\n{shown}")


@click.command()
@click.option("--config", "config_name", metavar="FILE", help="A nightly YAML.  [default: configs/nightly.yaml]")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override one setting (repeatable).")
@click.option("--dry-run", is_flag=True, help="Print what would be done and why, and do nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@common_options
def nightly(config_name: str | None, overrides: tuple[str, ...], dry_run: bool, as_json: bool, workspace: Path) -> None:
    """Retrain what is stale, evaluate it, promote what meets the gate, and write a report.

    \b
    Example:
      packshot nightly --dry-run
    """
    from finetune.nightly import GATE_EXIT, NightlyConfig, plan_night, run_night

    path = find_config(config_name or "nightly", "")
    config = validate(NightlyConfig, apply_overrides(read_yaml(path), overrides), path.name)
    place = Workspace(workspace)
    if dry_run:
        plan: list[dict[str, Any]] = [entry.as_dict() for entry in plan_night(place, config)]
        click.echo(json.dumps(plan, indent=1) if as_json else "\n".join(f"{p['sku']}: {p['why']}" for p in plan))
        return
    report = run_night(place, config, now=datetime.now())
    click.echo(json.dumps(report.as_dict(), indent=1) if as_json else str(report.path))
    if report.of("failed"):
        raise SystemExit(1)
    if report.of("gate not met"):
        raise SystemExit(GATE_EXIT)


@click.group()
def config() -> None:
    """Show or check the resolved training configuration."""


@config.command("show")
@config_options
@common_options
def config_show(config_name: str | None, overrides: tuple[str, ...], workspace: Path) -> None:
    """Print the resolved configuration as YAML, with every default filled in."""
    click.echo(dump_yaml(resolve_config(config_name, overrides)), nl=False)


@config.command("check")
@config_options
@common_options
def config_check(config_name: str | None, overrides: tuple[str, ...], workspace: Path) -> None:
    """Check a configuration: every problem at once, nothing loaded."""
    from finetune.train import check_request

    base = check_request(resolve_config(config_name, overrides))
    click.echo(f"ok: base {base.name}, {base.channels} channels, {base.size} px")
