"""What a shell completes after TAB: SKUs and versions of the workspace. Nothing but folder names is read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.core.products.catalog import Workspace

if TYPE_CHECKING:
    import click

VERSION = re.compile(r"\d{4,}")


def complete_sku(ctx: click.Context, parameter: Any, incomplete: str) -> list[str]:
    """Names of the workspace's product sets; arguments as Click gives them."""
    return [sku for sku in _workspace(ctx).skus() if sku.startswith(incomplete)]


def complete_version(ctx: click.Context, parameter: Any, incomplete: str) -> list[str]:
    """Versions of the SKU that is on the command line; arguments as Click gives them."""
    # Click stops at an option that has no value yet: the words before it are then left over
    sku = str(ctx.params.get("sku") or next(iter(ctx.args), ""))
    folder = _workspace(ctx).adapters / sku
    names = [path.name for path in folder.iterdir()] if sku and folder.is_dir() else []
    return sorted(name for name in names if VERSION.fullmatch(name) and name.startswith(incomplete))


def complete_adapter(ctx: click.Context, parameter: Any, incomplete: str) -> list[str]:
    """The same, and `none` for the base alone."""
    return [*complete_version(ctx, parameter, incomplete), *(["none"] if "none".startswith(incomplete) else [])]


def _workspace(ctx: click.Context) -> Workspace:
    """The workspace of a command line, given before the command, after it, or by its variable."""
    places = (context.params.get("workspace") for context in (ctx, ctx.find_root()))
    return Workspace(Path(next((place for place in places if place and Path(place) != Path()), Path())))
