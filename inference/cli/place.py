"""The commands `place` and `verify`. Importing them imports no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from finetune.core.commands import common_options, config_options, run_quietly
from finetune.core.config import apply_overrides, find_config, validate
from finetune.core.console import count, say, warn
from finetune.core.errors import PackshotError, RunError
from finetune.core.products.catalog import Workspace
from finetune.core.products.completion import complete_adapter, complete_sku
from finetune.core.yaml_files import read_yaml
from inference.settings import PlaceConfig

FLAGS = {
    "mode": "mode",
    "size": "size",
    "candidates": "candidates",
    "seed": "seed",
    "scale_adapter": "adapter_scale",
    "steps": "sampling.steps",
    "guidance": "sampling.guidance",
    "negative": "sampling.negative",
    "scale": "placement.scale",
    "anchor": "placement.anchor",
    "ground": "placement.ground",
    "shadow": "shadow.strength",
}
"""Option -> setting. A flag overrides `--set`, which overrides the YAML file."""


def place_config(config_name: str | None, overrides: tuple[str, ...], flags: dict[str, Any]) -> PlaceConfig:
    """The resolved settings of a placing.

    Args:
        config_name: Name or path of a scene preset.
        overrides: `key=value` settings.
        flags: Values by option, None where the option was not given.

    Raises:
        ConfigError: Naming every problem at once.
    """
    path = find_config(config_name, "scenes") if config_name else None
    data = apply_overrides(read_yaml(path) if path else {}, overrides)
    for option, value in flags.items():
        if value is not None:
            data = _with_value(data, FLAGS[option], value)
    return validate(PlaceConfig, data, path.name if path else "place settings")


def _with_value(data: dict[str, Any], dotted: str, value: Any) -> dict[str, Any]:
    """`data` with one flag's value. A section that is not a mapping is left for the validation to report."""
    section, _, key = dotted.rpartition(".")
    if not section:
        return data | {key: value}
    inner = data.get(section, {})
    return data | {section: inner | {key: value}} if isinstance(inner, dict) else data


@click.command()
@click.argument("sku", shell_complete=complete_sku)
@click.option("--prompt", required=True, metavar="TEXT", help='Where the product stands: "on a white marble vanity".')
@click.option(
    "--mode",
    type=click.Choice(["preserve", "insert"]),
    help="Keep the product's pixels (default), or have the adapter draw it.",
)
@click.option("--photo", metavar="STEM", help="Photo whose cutout is placed.  [default: the set's first]")
@click.option(
    "--adapter",
    shell_complete=complete_adapter,
    metavar="VERSION|FILE",
    help="Adapter, or any SDXL LoRA file; `none` for the base alone.  [default: published, else newest]",
)
@click.option("--base", metavar="REF", help="Base model.  [default: the one the adapter was trained on]")
@click.option("--scale-adapter", type=float, help="Strength of the adapter.  [default: 1]")
@click.option("--candidates", type=int, help="Number of pictures, with seeds SEED, SEED + 1, ...  [default: 1]")
@click.option("--seed", type=int, help="Seed of the first picture.  [default: 0]")
@click.option("--size", type=int, help="Side of the pictures in pixels.  [default: 1024]")
@click.option("--scale", type=float, help="Height of the product as a share of the frame.  [default: 0.55]")
@click.option("--anchor", type=float, help="Centre of the product from left (0) to right (1).  [default: 0.5]")
@click.option("--ground", type=float, help="Foot of the product from top (0) to bottom (1).  [default: 0.8]")
@click.option("--shadow", type=float, help="Strength of the contact shadow, 0 to 1.  [default: 0.8]")
@click.option("--steps", type=int, help="Sampler steps.  [default: 20]")
@click.option("--guidance", type=float, help="Classifier-free guidance scale.  [default: 5]")
@click.option("--negative", metavar="TEXT", help="Negative prompt: what the picture should not show.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1.")
@click.option("--json", "as_json", is_flag=True, help="Print the manifests as JSON instead of the pictures' paths.")
@config_options
@common_options
def place(
    sku: str,
    prompt: str,
    photo: str | None,
    adapter: str | None,
    base: str | None,
    device: str,
    as_json: bool,
    config_name: str | None,
    overrides: tuple[str, ...],
    workspace: Path,
    **flags: Any,
) -> None:
    """Place SKU into new scenes: the surroundings are painted, the product keeps the packshot's own pixels.

    Prints the paths of the pictures. Pictures that exist already are not generated twice. A product that is not
    prepared yet is prepared first.

    \b
    Example (needs no training):
      packshot place perfume01 --adapter none --prompt "on a white marble vanity"
    """
    config = place_config(config_name, overrides, flags)
    from inference import place as recipe
    from inference.manifest import read_manifest
    from inference.request import needs_preparing

    recipe.check_prompt(prompt)
    if needs_preparing(Workspace(workspace), sku, adapter, base=base):
        say(f"{sku} is not prepared yet: preparing it first")
        run_quietly("prepare", [sku, "--workspace", str(workspace)])
    request = recipe.resolve_request(
        Workspace(workspace), sku, prompt, config=config, photo=photo, adapter=adapter, base=base
    )
    run = recipe.place(request, device=device)
    if run.made:
        say(f"open {run.folder / 'index.html'} to see the pictures")
    if as_json:
        entries = [{"path": str(p), "manifest": read_manifest(p)} for p in run.pictures]
        click.echo(json.dumps({"folder": str(run.folder), "made": run.made, "pictures": entries}, indent=1))
    else:
        for picture in run.pictures:
            click.echo(str(picture))


@click.command()
@click.argument("pictures", nargs=-1, required=True, metavar="PICTURE...", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@common_options
def verify(pictures: tuple[Path, ...], as_json: bool, workspace: Path) -> None:
    """Check PICTURE against its manifest: the product's core, every pixel, the file.

    The exit code is 1 if a picture does not match.
    """
    from inference.manifest import check_picture

    findings: list[dict[str, Any]] = []
    failures: list[PackshotError] = []
    for picture in pictures:
        try:
            found = check_picture(picture)
        except PackshotError as error:
            failures.append(error)
            findings.append({"picture": str(picture), "ok": False, "problem": error.message})
            continue
        if not found.same_file:
            warn(f"{picture.name} was saved again by another program; its pixels are unchanged")
        findings.append({"picture": str(picture), "ok": True, "core": found.core, "same_file": found.same_file})
    if as_json:
        click.echo(json.dumps(findings, indent=1))
    else:
        for finding in findings:
            if finding["ok"]:
                core = "core intact" if finding["core"] == "intact" else "no photographed core (insert mode)"
                click.echo(f"{finding['picture']}: {core}, pixels unchanged")
    if len(failures) == 1:
        raise failures[0]
    if failures:
        for failure in failures:
            say(f"  {failure.message}")
        raise RunError(
            f"{len(failures)} of {count(len(pictures), 'picture')} do not match their manifests", failures[0].hint
        )
