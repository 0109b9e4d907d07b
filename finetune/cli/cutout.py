"""The Click command `packshot cutout`. It imports no numpy and no torch until it runs."""

from __future__ import annotations

from pathlib import Path

import click

from finetune.core.commands import common_options
from finetune.core.products.catalog import Workspace


@click.command()
@click.argument("sku")
@click.option(
    "--ground",
    default="transparent",
    show_default=True,
    metavar="COLOUR",
    help="transparent: PNG with alpha. white or a colour as '#f4f1ec': JPEG.",
)
@click.option(
    "--fill",
    type=click.FloatRange(0.05, 1),
    metavar="SHARE",
    help="Share of the frame that the product fills.  [default: 0.85; transparent without --size: cropped]",
)
@click.option("--size", metavar="WxH", help="Size of the pictures.  [default: a square, the product not resampled]")
@click.option(
    "--shadow",
    type=click.Choice(["keep", "none"]),
    default="none",
    show_default=True,
    help="Whether the packshot's own soft shadow stays.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR", help="Folder to write to.  [default: cutouts/SKU]"
)
@click.option("--force", is_flag=True, help="Replace files that are there; otherwise none is replaced.")
@common_options
def cutout(
    sku: str,
    ground: str,
    fill: float | None,
    size: str | None,
    shadow: str,
    out: Path | None,
    force: bool,
    workspace: Path,
) -> None:
    """Write the cutout of every photo of SKU as a file for people: no base, no training.

    Prints the folder.

    \b
    Examples:
      packshot cutout perfume01
      packshot cutout perfume01 --ground white --size 2000x2000
    """
    from finetune.cutout import ground_colour, picture_size, write_cutouts
    from finetune.matting.cutout_picture import Look

    look = Look(ground_colour(ground), fill, picture_size(size) if size else None, shadow == "keep")
    click.echo(str(write_cutouts(Workspace(workspace), sku, look, out=out, force=force)))
