"""`packshot adapters`: list, show, verify, export, promote and roll back adapter versions.

Torch-free, but for the export, which imports it when it runs.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import click

from finetune.core.adapters import versions
from finetune.core.adapters.file import check_fits
from finetune.core.adapters.foreign import ForeignAdapter
from finetune.core.adapters.token_embeddings import read_embeddings
from finetune.core.basemodel.resolve import resolve_base
from finetune.core.commands import common_options
from finetune.core.console import say
from finetune.core.errors import AdapterError
from finetune.core.products.catalog import Workspace
from finetune.export import LAYOUTS


@click.group()
def adapters() -> None:
    """List, show, verify, export, promote and roll back adapter versions."""


@adapters.command("list")
@click.argument("sku", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@common_options
def list_(sku: str | None, as_json: bool, workspace: Path) -> None:
    """List adapter versions of SKU, or of every SKU; `*` marks the published one."""
    place = Workspace(workspace)
    folders = sorted(p.name for p in place.adapters.glob("*") if p.is_dir()) if place.adapters.is_dir() else []
    found = [version for name in ([sku] if sku else folders) for version in versions.list_versions(place, name)]
    rows = [
        {
            "sku": v.sku,
            "version": v.number,
            "published": v.published,
            "base": v.manifest["base"]["model"],
            "steps": v.manifest["config"]["train"]["steps"],
            "verdict": _verdict(v),
        }
        for v in found
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
    for row in rows if not as_json else []:
        mark = "*" if row["published"] else " "
        click.echo(
            f"{mark} {row['sku']:<20} {row['version']}  {row['base']:<24} {row['steps']:>6} steps  {row['verdict']}"
        )
    if not rows:
        say("no adapters yet; run: packshot train SKU")


def _verdict(version: versions.AdapterVersion) -> str:
    report = version.folder / "fidelity.json"
    if not report.is_file():
        return "not evaluated"
    return str(json.loads(report.read_text(encoding="utf-8"))["verdict"])


@adapters.command()
@click.argument("sku")
@click.argument("version", required=False)
@common_options
def show(sku: str, version: str | None, workspace: Path) -> None:
    """Print the manifest of an adapter version: everything needed to make it again."""
    found = versions.find_version(Workspace(workspace), sku, version)
    click.echo(json.dumps(found.manifest, indent=1, ensure_ascii=False))


@adapters.command()
@click.argument("sku")
@click.argument("version", required=False)
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
    if manifest["sku"] != sku:
        raise AdapterError(f"version {found.number} was trained for '{manifest['sku']}', not for '{sku}'")
    if len(modules) != manifest["modules"]:
        raise AdapterError(f"the file holds {len(modules)} modules, the manifest says {manifest['modules']}")
    base = resolve_base(manifest["base"]["model"], manifest["base"]["revision"])
    check_fits(manifest, base)
    beside = f", {len(tokens[1]['clip_l'])} tokens for '{tokens[0]}'" if tokens else ""
    click.echo(f"ok: {sku} {found.number}, {len(modules)} modules{beside}, fits {base.name}")


@adapters.command()
@click.argument("sku")
@click.option("--version", metavar="N", help="Version.  [default: published, else newest]")
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
    help="The file.  [default: SKU-VERSION.safetensors in the current folder]",
)
@click.option("--device", default="auto", show_default=True, help="For the check: auto, cpu, cuda, cuda:1.")
@common_options
def export(sku: str, version: str | None, layout: str, output: Path | None, device: str, workspace: Path) -> None:
    """Write an adapter version as one file for other programs, with ModelSpec and kohya metadata.

    The file is loaded with diffusers, applied to the base and compared with the version before it gets its name.
    Prints the file's path.
    """
    found = versions.find_version(Workspace(workspace), sku, version)
    from finetune.export import export_adapter

    usual = Path(f"{sku}-{found.number.removesuffix('.safetensors')}.safetensors")
    done = export_adapter(found, layout, output or usual, device=device)
    say(
        f"{sku} {found.number}: {done.modules} modules in {layout}'s layout; in diffusers, predictions differ by at "
        f"most {done.max_difference:.3g} ({done.dtype}; the adapter's own effect is {done.effect:.3g})"
    )
    if done.embeddings:
        word = done.embeddings.stem
        say(
            f"the trigger word's tokens are in {done.embeddings.name}: copy it into the folder `embeddings`, and write "
            f"`{word}` in prompts (in ComfyUI `embedding:{word}`)"
        )
    click.echo(str(done.path))


@adapters.command()
@click.argument("sku")
@click.argument("version")
@common_options
def promote(sku: str, version: str, workspace: Path) -> None:
    """Publish VERSION: `place` uses it from now on."""
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    done = versions.promote(Workspace(workspace), sku, version, reason="by hand", when=now)
    click.echo(f"{sku} {done.number} is published")


@adapters.command()
@click.argument("sku")
@common_options
def rollback(sku: str, workspace: Path) -> None:
    """Publish the version that was published before the current one."""
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    done = versions.rollback(Workspace(workspace), sku, when=now)
    click.echo(f"{sku} {done.number} is published again")
