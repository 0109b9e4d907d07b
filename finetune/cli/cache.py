"""The Click command `packshot cache`. It imports no torch."""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack
from pathlib import Path

import click

from finetune.core.commands import common_options
from finetune.core.console import say
from finetune.core.errors import RunError
from finetune.core.products.catalog import Workspace
from finetune.core.storage.locks import exclusive

KINDS = {
    "checks": "measures of photos, by `packshot check`",
    "class": "pictures of a class that the base drew (objective.prior_weight)",
    "datasets": "tables of prepared sets",
    "evaluate": "pictures that the base alone drew",
    "hashes": "remembered fingerprints of files",
    "latents": "encoded pictures",
    "plans": "traced memory",
    "text": "encoded prompts",
}
"""Folders of the cache and what they keep; everything is made again when it is needed."""
LOCKS = "locks"


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@common_options
@click.pass_context
def cache(ctx: click.Context, as_json: bool, workspace: Path) -> None:
    """Show the size of the workspace's cache, by kind; `packshot cache clear` empties it.

    \b
    Examples:
      packshot cache
      packshot cache clear --yes
    """
    if ctx.invoked_subcommand is not None:
        return
    sizes = _sizes(Workspace(workspace).cache)
    if as_json:
        click.echo(json.dumps({kind: {"bytes": size, "files": count} for kind, (size, count) in sizes.items()}))
        return
    for kind, (size, count) in sizes.items():
        click.echo(f"{kind:<10} {size / 1e6:>10.1f} MB  {count:>7,} files  {KINDS.get(kind, 'of another version')}")
    click.echo(f"{'all':<10} {sum(size for size, _ in sizes.values()) / 1e6:>10.1f} MB")


@cache.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@common_options
def clear(yes: bool, workspace: Path) -> None:
    """Remove the workspace's cache: everything in it is made again when it is needed.

    Refused while a command of this workspace prepares, trains or runs the night.
    """
    place = Workspace(workspace)
    sizes = _sizes(place.cache)
    total = sum(size for size, _ in sizes.values()) / 1e6
    if not sizes:
        say("the cache is empty")
        return
    if not yes:
        click.confirm(f"Remove {total:.1f} MB from {place.cache}?", abort=True, err=True)
    with ExitStack() as held:
        for lock in [*sorted((place.cache / LOCKS).glob("*.lock")), place.runs / "nightly" / ".lock"]:
            if lock.is_file():
                held.enter_context(exclusive(lock, f"using the cache ({lock.stem})", cure="run this when it has ended"))
        for kind in sizes:
            _remove(place.cache / kind)
    click.echo(f"removed {total:.1f} MB")


def _sizes(folder: Path) -> dict[str, tuple[int, int]]:
    """Bytes and number of files by kind, in order of their names; links are neither followed nor counted."""
    if not folder.is_dir():
        return {}
    found = {}
    for kind in sorted(path for path in folder.iterdir() if path.name != LOCKS and not path.is_symlink()):
        files = [p for p in ([kind] if kind.is_file() else kind.rglob("*")) if p.is_file() and not p.is_symlink()]
        found[kind.name] = (sum(p.stat().st_size for p in files), len(files))
    return found


def _remove(path: Path) -> None:
    try:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    except OSError as error:
        raise RunError(f"{path} can't be removed: {error.strerror or error}", "check its permissions") from error
