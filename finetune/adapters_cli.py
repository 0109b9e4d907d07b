"""`packshot adapters`: list, show, verify, promote and roll back adapter versions. Torch-free."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import click

from finetune.core import versions
from finetune.core.adapter import WEIGHTS, check_fits, read_header
from finetune.core.basemodel import resolve_base
from finetune.core.catalog import Workspace
from finetune.core.commands import common_options
from finetune.core.console import say
from finetune.core.errors import AdapterError


@click.group()
def adapters() -> None:
    """List, show, verify, promote and roll back adapter versions."""


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
    """Print the manifest of an adapter version: how it was made, enough to make it again."""
    found = versions.find_version(Workspace(workspace), sku, version)
    click.echo(json.dumps(found.manifest, indent=1, ensure_ascii=False))


@adapters.command()
@click.argument("sku")
@click.argument("version", required=False)
@common_options
def verify(sku: str, version: str | None, workspace: Path) -> None:
    """Check that an adapter is whole, belongs to SKU, and fits the base its manifest names."""
    found = versions.find_version(Workspace(workspace), sku, version)
    _, manifest, modules = read_header(found.folder / WEIGHTS)
    if manifest["sku"] != sku:
        raise AdapterError(f"version {found.number} was trained for '{manifest['sku']}', not '{sku}'")
    if len(modules) != manifest["modules"]:
        raise AdapterError(f"the file holds {len(modules)} modules, the manifest says {manifest['modules']}")
    base = resolve_base(manifest["base"]["model"], manifest["base"]["revision"])
    check_fits(manifest, base)
    click.echo(f"ok: {sku} {found.number}, {len(modules)} modules, fits {base.name}")


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
    """Publish again what was published before the present version."""
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    done = versions.rollback(Workspace(workspace), sku, when=now)
    click.echo(f"{sku} {done.number} is published again")
