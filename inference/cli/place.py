"""The commands `place` and `verify`. Importing them imports no torch."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from finetune.core.commands import common_options, config_options, run_quietly
from finetune.core.config import apply_overrides, find_config, validate
from finetune.core.console import count, say, warn
from finetune.core.errors import ConfigError, PackshotError, RunError, did_you_mean
from finetune.core.products.catalog import Workspace
from finetune.core.products.completion import complete_adapter, complete_sku
from finetune.core.text_files import check_text
from finetune.core.yaml_files import read_yaml
from inference.settings import PlaceConfig

if TYPE_CHECKING:
    from inference.scene_files import ScenesRun

POSES = ("standing", "lying", "hanging", "floating")
FLAGS = {
    "mode": "mode",
    "size": "size",
    "ratio": "ratio",
    "candidates": "candidates",
    "seed": "seed",
    "scale_adapter": "adapter_scale",
    "steps": "sampling.steps",
    "guidance": "sampling.guidance",
    "negative": "sampling.negative",
    "scale": "placement.scale",
    "anchor": "placement.anchor",
    "ground": "placement.ground",
    "light": "light",
    "pose": "pose",
    "reflection": "reflection",
    "blend_budget": "blend_budget",
}
"""Option -> setting. A flag overrides `--set`, which overrides the YAML file."""
ON_PLATES = ("mode", "blend_budget", "scale", "light", "pose", "reflection")
"""Of them, those that a plate scene takes; the others are about painting."""
PLATE_SETTINGS = r"mode|blend_budget|placement(\.scale)?|light|pose|reflection|shadow(\..*)?"
"""The settings that a plate scene takes, as a pattern."""
SHADOW_PARTS = ("strength", "contact", "cast", "softness")


def shadow_settings(text: str) -> tuple[str, ...]:
    """The settings that `--shadow` stands for: a number for all of it, or parts as in `cast=0.5,softness=0.2`.

    Raises:
        ConfigError: A part has another name.
    """
    if "=" not in text:
        return (f"shadow.strength={text}",)
    settings = []
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        if name not in SHADOW_PARTS:
            known = f"--shadow NUMBER, or {', '.join(f'{p}=' for p in SHADOW_PARTS[1:])}"
            raise ConfigError(f"--shadow has no part '{name}'", did_you_mean(name, SHADOW_PARTS) or known)
        settings.append(f"shadow.{name}={value}")
    return tuple(settings)


def numbers(text: str | None, option: str, count: int) -> tuple[float, ...] | None:
    """The numbers of an option like `--spot X,Y`; None for None.

    Raises:
        ConfigError: They are not `count` finite numbers from 0 on.
    """
    if text is None:
        return None
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if len(found) != count or not all(0 <= value < 1e6 for value in found):
        shape = "X,Y" if count == 2 else "LEFT,TOP,WIDTH,HEIGHT"
        raise ConfigError(
            f"{option} '{text}' is not {shape}", f"pixels of the plate, or shares of it: {option} {shape}"
        )
    return found


def place_config(config_name: str | None, overrides: tuple[str, ...], flags: dict[str, Any]) -> PlaceConfig:
    """The resolved settings of a placing.

    Args:
        config_name: Name or path of a scene preset.
        overrides: `key=value` settings.
        flags: Values by option, None where the option was not given.

    Raises:
        ConfigError: Naming every problem at once.
    """
    path = find_config(config_name, "scenes") if config_name is not None else None
    data = apply_overrides(read_yaml(path) if path else {}, overrides)
    for option, value in flags.items():
        if isinstance(value, str):
            check_text(value, f"--{option.replace('_', '-')}", ConfigError)
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
@click.option("--prompt", metavar="TEXT", help='Where the product stands: "on a white marble vanity".')
@click.option("--plate", metavar="NAME|FILE", help="Instead of --prompt: a scene of the gallery, or your photograph.")
@click.option("--spot", metavar="X,Y", help="On the plate: middle of the product's foot, in pixels or shares.")
@click.option("--box", metavar="X,Y,W,H", help="On the plate: a box the product fills, in pixels or shares.")
@click.option(
    "--mode",
    type=click.Choice(["preserve", "blend", "insert"]),
    help="Keep the product's pixels (default), relight them within a budget, or have the adapter draw it.",
)
@click.option("--photo", metavar="STEM", help="Photo whose cutout is placed.  [default: the set's first]")
@click.option(
    "--adapter",
    shell_complete=complete_adapter,
    metavar="VERSION|FILE",
    help="Adapter, or any SDXL LoRA file; `none` for the base alone.  [default: published, else newest]",
)
@click.option("--base", metavar="REF", help="Base model.  [default: the one the adapter was trained on]")
@click.option(
    "--brand", metavar="NAME[:WEIGHT]", help="Look of a brand set; `none` for none.  [default: set.yaml's, at 0.6]"
)
@click.option("--vae", metavar="FOLDER|FILE", help="VAE in place of the base's own.  [default: the adapter's]")
@click.option("--scale-adapter", type=float, help="Strength of the adapter.  [default: 1]")
@click.option("--candidates", type=int, help="Number of pictures, with seeds SEED, SEED + 1, ...  [default: 1]")
@click.option("--seed", type=int, help="Seed of the first picture.  [default: 0]")
@click.option("--size", metavar="SIZE", help="Side of square pictures, or WIDTHxHEIGHT, in pixels.  [default: 1024]")
@click.option("--ratio", metavar="W:H", help="Shape of the pictures, as in 4:5; --size is the longer side then.")
@click.option("--scale", type=float, help="Height of the product as a share of the frame.  [default: 0.55]")
@click.option("--anchor", type=float, help="Centre of the product from left (0) to right (1).  [default: 0.5]")
@click.option("--ground", type=float, help="Foot of the product from top (0) to bottom (1).  [default: 0.8]")
@click.option("--light", metavar="WORDS", help="Main light: left|back-right|...[,low|mid|high][,hard|soft|overcast].")
@click.option("--pose", type=click.Choice(["auto", *POSES]), help="How the product rests.  [default: by class noun]")
@click.option("--shadow", metavar="PARTS", help="Strength 0 to 1, or contact=,cast=,softness=.  [default: 1]")
@click.option("--reflection", type=float, help="Mirror image on a glossy ground, 0 to 2.  [default: 1]")
@click.option("--blend-budget", type=float, help="Largest colour change of --mode blend, CIEDE2000.  [default: 6]")
@click.option("--steps", type=int, help="Sampler steps.  [default: 20]")
@click.option("--guidance", type=float, help="Classifier-free guidance scale.  [default: 5]")
@click.option("--negative", metavar="TEXT", help="Negative prompt: what the picture should not show.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1.")
@click.option("--json", "as_json", is_flag=True, help="Print the manifests as JSON instead of the pictures' paths.")
@config_options
@common_options
def place(
    sku: str,
    prompt: str | None,
    plate: str | None,
    spot: str | None,
    box: str | None,
    photo: str | None,
    shadow: str | None,
    as_json: bool,
    config_name: str | None,
    overrides: tuple[str, ...],
    workspace: Path,
    **flags: Any,
) -> None:
    """Place SKU into new scenes: the surroundings are painted, the product keeps the packshot's own pixels.

    With --plate nothing is painted: the product is put into a photograph, with its shadow and reflection, in seconds.
    Prints the paths of the pictures. Pictures that exist already are not generated twice. A product that is not
    prepared yet is prepared first.

    \b
    Examples (need no training):
      packshot place perfume01 --plate marble-vanity
      packshot place perfume01 --adapter none --prompt "on a white marble vanity"
    """
    painting = {name: flags.pop(name) for name in ("adapter", "base", "vae", "brand", "device")}
    _check_options(
        prompt, plate, {"spot": spot, "box": box}, painting, flags, [o.partition("=")[0].strip() for o in overrides]
    )
    config = place_config(config_name, overrides + (shadow_settings(shadow) if shadow else ()), flags)
    if plate is not None:
        where = (numbers(spot, "--spot", 2), numbers(box, "--box", 4))
        run = _on_plate(Workspace(workspace), sku, plate, config, where, photo)
    else:
        run = _painted(Workspace(workspace), sku, prompt or "", config, photo, painting)
    _print(run, as_json)


def _check_options(
    prompt: str | None,
    plate: str | None,
    places: dict[str, str | None],
    painting: dict[str, str | None],
    flags: dict[str, Any],
    keys: list[str],
) -> None:
    """Refuse options that contradict each other or have no effect; raises ConfigError or UsageError."""
    if plate is None:
        if prompt is None:
            raise click.UsageError("give --prompt TEXT or --plate NAME|FILE: where does the product stand?")
        if given := next((name for name, value in places.items() if value is not None), None):
            raise ConfigError(f"--{given} has no effect without --plate", "use --anchor, --ground and --scale")
        return
    of_painting = {name: value for name, value in flags.items() if name not in ON_PLATES}
    asked = {"prompt": prompt, **painting, **of_painting}
    asked["device"] = None if painting["device"] == "auto" else painting["device"]
    if given := next((name for name, value in asked.items() if value is not None), None):
        raise ConfigError(f"--{given.replace('_', '-')} has no effect with --plate: nothing is painted", "leave it out")
    if given := next((key for key in keys if not re.fullmatch(PLATE_SETTINGS, key)), None):
        raise ConfigError(f"--set {given} has no effect with --plate: nothing is painted", "leave it out")
    if None not in places.values():
        raise ConfigError("--spot and --box both say where the product stands", "give one of them")


def _on_plate(
    workspace: Workspace,
    sku: str,
    plate: str,
    config: PlaceConfig,
    where: tuple[Any, Any],
    photo: str | None,
) -> ScenesRun:
    from inference import plate_scene
    from inference.plate import open_plate
    from inference.request import is_prepared

    if config.mode == "insert":
        cause = "--mode insert cannot go with --plate: insert has the adapter draw the product"
        raise ConfigError(cause, "use preserve or blend")
    open_plate(plate)  # a misspelt name is found before a set is prepared
    if not is_prepared(workspace, sku):
        _prepare(workspace, sku)
    request = plate_scene.resolve_plate(
        workspace, sku, plate, config=config, where=plate_scene.Where(*where), photo=photo
    )
    return plate_scene.place_on_plate(request)


def _painted(
    workspace: Workspace, sku: str, prompt: str, config: PlaceConfig, photo: str | None, painting: dict[str, Any]
) -> ScenesRun:
    from inference import place as recipe
    from inference.request import DrawnWith, needs_preparing

    recipe.check_prompt(prompt)
    means = DrawnWith(painting["adapter"], painting["base"], painting["vae"], painting["brand"])
    if needs_preparing(workspace, sku, means):
        _prepare(workspace, sku)
    request = recipe.resolve_request(workspace, sku, prompt, config=config, photo=photo, means=means)
    return recipe.place(request, device=painting["device"])


def _prepare(workspace: Workspace, sku: str) -> None:
    say(f"{sku} is not prepared yet: preparing it first")
    run_quietly("prepare", [sku, "--workspace", str(workspace.root)])


def _print(run: ScenesRun, as_json: bool) -> None:
    from inference.manifest import read_manifest

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
