"""`packshot adapters`: list, show, verify, export, promote, roll back, delete and prune adapter versions.

Torch-free, but for the export, which imports it when it runs.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from finetune.adapters import removal
from finetune.adapters.export_files import default_name, diffusers_lines
from finetune.core.adapters import versions
from finetune.core.adapters.file import DAMAGED, check_fits
from finetune.core.adapters.foreign import ForeignAdapter
from finetune.core.adapters.manifests import require_whole
from finetune.core.adapters.reports import read_report, standing
from finetune.core.adapters.token_embeddings import read_embeddings
from finetune.core.basemodel.resolve import resolve_recorded
from finetune.core.commands import common_options
from finetune.core.console import count, say, warn
from finetune.core.errors import AdapterError
from finetune.core.products.catalog import SKU_PATTERN, Workspace
from finetune.core.products.completion import complete_sku, complete_version
from finetune.core.products.housekeeping import check_cache
from finetune.export import DTYPES, LAYOUTS, check_export, check_memory, export_adapter


@click.group()
def adapters() -> None:
    """List, show, verify, export, promote, roll back, delete and prune adapter versions."""


@adapters.command("list")
@click.argument("sku", required=False, shell_complete=complete_sku)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@common_options
def list_(sku: str | None, as_json: bool, workspace: Path) -> None:
    """List adapter versions of SKU, or of every SKU; `*` marks the published one."""
    place = Workspace(workspace)
    folders = sorted(p.name for p in place.adapters.glob("*") if p.is_dir() and SKU_PATTERN.fullmatch(p.name))
    damaged: list[AdapterError] = []
    names = [sku] if sku else folders
    found = [v for name in names for v in versions.list_versions(place, name, damaged=damaged.append)]
    rows = [
        {
            "sku": v.sku,
            "version": v.number,
            "published": v.published,
            "base": (v.manifest.get("base") or {}).get("model", "unknown"),
            "steps": ((v.manifest.get("config") or {}).get("train") or {}).get("steps"),
            "verdict": _verdict(v),
        }
        for v in found
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
    for row in rows if not as_json else []:
        mark, steps = "*" if row["published"] else " ", row["steps"] or "?"
        click.echo(f"{mark} {row['sku']:<20} {row['version']}  {row['base']:<24} {steps:>6} steps  {row['verdict']}")
    if damaged:
        for error in damaged[1:]:
            say(f"  {error.message}")
        raise damaged[0]
    if not rows:
        say("no adapters yet; run: packshot train SKU")


def _verdict(version: versions.AdapterVersion) -> str:
    try:
        report = read_report(version)
    except AdapterError as error:
        warn(f"{error.message}; {error.hint}")
        return "damaged report"
    return report.verdict if report else "not evaluated"


@adapters.command()
@click.argument("sku", shell_complete=complete_sku)
@click.argument("version", required=False, shell_complete=complete_version)
@common_options
def show(sku: str, version: str | None, workspace: Path) -> None:
    """Print the manifest of an adapter version: everything needed to make it again."""
    found = versions.find_version(Workspace(workspace), sku, version)
    click.echo(json.dumps(found.manifest, indent=1, ensure_ascii=False))


@adapters.command()
@click.argument("sku", shell_complete=complete_sku)
@click.argument("version", required=False, shell_complete=complete_version)
@common_options
def verify(sku: str, version: str | None, workspace: Path) -> None:
    """Check that an adapter is complete, belongs to SKU, and fits the base its manifest names."""
    found = versions.find_version(Workspace(workspace), sku, version)
    adapter = found.adapter
    if isinstance(adapter, ForeignAdapter):
        raise AdapterError(
            f"{found.number} is another trainer's file, not a version of '{sku}'",
            "`packshot place --adapter FILE` checks it before it loads the base",
        )
    manifest, modules = adapter.manifest, adapter.modules
    tokens = read_embeddings(adapter.path, manifest)
    require_whole(manifest, adapter.path, DAMAGED)
    if manifest["sku"] != sku:
        raise AdapterError(
            f"version {found.number} was trained for '{manifest['sku']}', not for '{sku}'",
            "put it into that SKU's folder",
        )
    if len(modules) != manifest["modules"]:
        raise AdapterError(f"the file holds {len(modules)} modules, the manifest says {manifest['modules']}", DAMAGED)
    base = resolve_recorded(manifest["base"])
    check_fits(manifest, base)
    beside = f", {count(len(tokens[1]['clip_l']), 'token')} for '{tokens[0]}'" if tokens else ""
    click.echo(f"ok: {sku} {found.number}, {count(len(modules), 'module')}{beside}, fits {base.name}")


@adapters.command()
@click.argument("sku", shell_complete=complete_sku)
@click.option(
    "--version", shell_complete=complete_version, metavar="N", help="Version.  [default: published, else newest]"
)
@click.option(
    "--format",
    "layout",
    type=click.Choice(list(LAYOUTS)),
    required=True,
    help="kohya: for A1111, ComfyUI, Forge, sd-scripts. diffusers: for load_lora_weights.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file.  [default: SKU-VERSION.safetensors or SKU-VERSION-diffusers.safetensors in the current folder]",
)
@click.option(
    "--dtype",
    type=click.Choice(list(DTYPES)),
    default="fp32",
    show_default=True,
    help="Numbers in the file; fp16 and bf16 halve its size.",
)
@click.option("--device", default="auto", show_default=True, help="For the check: auto, cpu, cuda, cuda:1.")
@click.option("--force", is_flag=True, help="Replace files that are there; otherwise none is replaced.")
@common_options
def export(sku: str, version: str | None, layout: str, output: Path | None, workspace: Path, **options: Any) -> None:
    """Write an adapter version as one file for other programs, with ModelSpec and kohya metadata.

    The file is loaded with diffusers, applied to the base and compared with the version before it gets its name. The
    trigger word's own tokens, if the adapter has any, come beside it as NAME-TRIGGER-tokens.safetensors.
    Prints the file's path.
    """
    found = versions.find_version(Workspace(workspace), sku, version)
    path = output or Path(default_name(sku, found.number, layout))
    dtype, force = options["dtype"], options["force"]
    check_export(found, layout, path, force=force)  # before torch is imported
    check_cache(Workspace(workspace))
    check_memory(found, Workspace(workspace).cache, options["device"])
    done = export_adapter(found, layout, path, device=options["device"], numbers=dtype, force=force)
    say(
        f"{sku} {found.number}: {count(done.modules, 'module')} in {layout}'s layout, {dtype}, "
        f"{_megabytes(done.path.stat().st_size)}; in diffusers, predictions differ by at most "
        f"{done.max_difference:.3g} ({done.dtype}; the adapter's own effect is {done.effect:.3g})"
    )
    if done.embeddings:
        _say_tokens(done.embeddings, done.token, layout)
    click.echo(str(done.path))


def _say_tokens(path: Path, word: str, layout: str) -> None:
    """How the program that a layout is for gets the trigger word's tokens."""
    if layout == "diffusers":
        say(f"the trigger word's tokens are in {path.name}; `{word}` in prompts means them after these lines:")
        for line in diffusers_lines(path, word):
            say(f"  {line}")
        return
    say(
        f"the trigger word's tokens are in {path.name}: copy it into the folder `embeddings`, and write `{path.stem}` "
        f"instead of `{word}` in prompts (in ComfyUI `embedding:{path.stem}`)"
    )


@adapters.command()
@click.argument("sku", shell_complete=complete_sku)
@click.argument("version", shell_complete=complete_version)
@click.option("--force", is_flag=True, help="Publish it although the gate did not pass it.")
@common_options
def promote(sku: str, version: str, force: bool, workspace: Path) -> None:
    """Publish VERSION: `place` uses it from now on.

    A version that failed the gate, or was never evaluated, needs --force; the history records it.
    """
    now, place = datetime.now().astimezone().isoformat(timespec="seconds"), Workspace(workspace)
    found = versions.find_version(place, sku, version)
    said = standing(found)
    passed = said.startswith("passed")
    if not passed and not force and found.is_in(place.adapters / sku):
        raise AdapterError(
            f"adapter {found.number} of '{sku}' is not published: {said}",
            f"run: packshot evaluate {sku} --adapter {found.number} (--force publishes it all the same)",
        )
    reason = "by hand" if passed else f"by hand, forced: {said}"
    done = versions.promote(place, sku, version, reason=reason, when=now)
    click.echo(f"{sku} {done.number} is published")


@adapters.command()
@click.argument("sku", shell_complete=complete_sku)
@common_options
def rollback(sku: str, workspace: Path) -> None:
    """Publish the version that was published before the current one."""
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    done = versions.rollback(Workspace(workspace), sku, when=now)
    click.echo(f"{sku} {done.number} is published again")


@adapters.command()
@click.argument("sku", shell_complete=complete_sku)
@click.argument("version", shell_complete=complete_version)
@click.option("--dry-run", is_flag=True, help="Print what would be removed.")
@common_options
def delete(sku: str, version: str, dry_run: bool, workspace: Path) -> None:
    """Remove VERSION from the disk; not the published one, nor the one `rollback` would return to."""
    _remove(Workspace(workspace), sku, [removal.deletable(Workspace(workspace), sku, version)], dry_run=dry_run)


@adapters.command()
@click.argument("sku", shell_complete=complete_sku)
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    metavar="N",
    help="How many of the newest stay, besides the published version and the one `rollback` would return to.",
)
@click.option("--dry-run", is_flag=True, help="Print what would be removed.")
@common_options
def prune(sku: str, keep: int, dry_run: bool, workspace: Path) -> None:
    """Remove old versions of SKU from the disk."""
    found = removal.prunable(Workspace(workspace), sku, keep)
    _remove(Workspace(workspace), sku, found, dry_run=dry_run)
    if not found:
        say(f"'{sku}' has no version to remove")


def _remove(place: Workspace, sku: str, found: list[removal.Removable], *, dry_run: bool) -> None:
    for version in found:
        if not dry_run:
            removal.remove_version(place, sku, version)
        click.echo(f"{'would remove' if dry_run else 'removed'} {sku} {version.number} ({_megabytes(version.size)})")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
