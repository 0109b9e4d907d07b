"""The command `plates`. Importing it imports no torch."""

from __future__ import annotations

from pathlib import Path

import click

from finetune.core.commands import common_options
from finetune.core.errors import ConfigError
from finetune.core.storage.durable import may_become_file
from finetune.core.text_files import check_text


@click.command()
@click.option(
    "--sheet", type=click.Path(dir_okay=False, path_type=Path), help="Write a contact sheet to this PNG file."
)
@common_options
def plates(sheet: Path | None, workspace: Path) -> None:
    """List the gallery's plates: name, what it shows, size, and how wide its view is where the product stands.

    \b
    Example:
      packshot plates --sheet plates.png
      packshot place perfume01 --plate marble-vanity
    """
    from finetune.core.pictures.contact_sheet import contact_sheet
    from finetune.core.pictures.images import write_png
    from inference.plate import gallery, open_plate

    if sheet is not None:
        _check_sheet(sheet)
    found = [open_plate(name) for name in gallery()]
    for plate in found:
        width, height = plate.picture.size
        wide = f", {plate.known.mm_per_width:.0f} mm wide, for {plate.known.pose} products" if plate.known else ""
        click.echo(f"{plate.name:<22} {plate.title} ({width}x{height}{wide})")
    if sheet is not None:
        write_png(contact_sheet([p.picture for p in found], [p.name for p in found], columns=4, cell=384), sheet)
        click.echo(str(sheet))


def _check_sheet(path: Path) -> None:
    """Find out before the gallery is read whether a picture may be written there; raises ConfigError."""
    check_text(str(path), "--sheet", ConfigError)
    if not may_become_file(path) or (path.parent.exists() and not path.parent.is_dir()):
        raise ConfigError(f"the contact sheet cannot be written to '{path}'", "name a PNG file: --sheet plates.png")
