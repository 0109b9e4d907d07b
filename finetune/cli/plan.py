"""The Click command `packshot plan`. Torch-free at import."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from finetune.core.commands import common_options, config_options
from finetune.core.console import say
from finetune.core.products.catalog import Workspace, load_set
from finetune.core.products.completion import complete_sku
from finetune.core.products.housekeeping import check_cache

if TYPE_CHECKING:
    from finetune.plan import TrainingPlan


@click.command()
@click.argument("sku", required=False, shell_complete=complete_sku)
@config_options
@click.option("--gpu", metavar="SIZE", help="Plan for a GPU that is not here, for example 12GB.")
@click.option(
    "--effective-batch",
    "effective",
    type=click.IntRange(1, 4096),
    help="Examples per optimizer step; batch and accumulation are chosen.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
@common_options
def plan(
    sku: str | None,
    config_name: str | None,
    overrides: tuple[str, ...],
    gpu: str | None,
    effective: int | None,
    as_json: bool,
    workspace: Path,
) -> None:
    """Print what training would need in memory, by component, and the fastest settings that fit.

    The figures are computed, not measured. Exit 1 when the settings do not fit.

    \b
    Example:
      packshot plan perfume01 --gpu 12GB
    """
    from finetune.cli.options import resolve_config
    from finetune.memory import fit
    from finetune.memory.budget import preset_for
    from finetune.plan import effective_batch, plan_training

    place = Workspace(workspace)
    if sku:
        load_set(place, sku)
    check_cache(place)
    device = fit.named_device(gpu) if gpu else fit.training_device()
    if config_name is None and gpu:
        config_name, why = preset_for(device.memory / 2**30)
        say(why)
    config = effective_batch(resolve_config(config_name, overrides), effective)
    found = plan_training(config, device, place.cache)
    command = ["packshot", "train", sku or "SKU", *(["--config", config_name] if config_name else [])]
    command += [part for override in overrides for part in ("--set", override)]
    if found.fastest and found.fastest.setup != found.asked.setup:
        command += [part for setting in found.fastest.settings() for part in ("--set", setting)]
    click.echo(json.dumps(facts(found, command)) if as_json else table(found, command))
    if not found.asked.fits:
        raise fit.refuse(found.asked, place.cache)
    found.phases.hold_against(device)


def facts(found: TrainingPlan, command: list[str]) -> dict[str, Any]:
    """The plan for a machine to read; sizes in bytes."""
    asked, best, phases = found.asked, found.fastest, found.phases
    return {
        "device": {"name": asked.device.name, "memory": asked.device.memory, "cuda": asked.device.cuda},
        "precision": asked.setup.dtype,
        "components": dict(asked.budget.rows()),
        "torch_peak": asked.budget.torch_peak,
        "total": asked.budget.total,
        "phases": (totals := phases.totals(asked.budget.total)),
        "peak": max(totals, key=totals.__getitem__),
        "fits": asked.fits,
        "spare": asked.spare,
        "settings": asked.settings(),
        "fastest": best.settings() if best else None,
        "command": " ".join(command) if best else None,
    }


def table(found: TrainingPlan, command: list[str]) -> str:
    """The plan for a person: memory at a step's peak by component, whether it fits, and the command to run."""
    from finetune.core.tracing.device_fit import SPARE
    from finetune.memory.phases import STEP

    asked, best, phases = found.asked, found.fastest, found.phases
    s = asked.setup
    totals = phases.totals(asked.budget.total)
    others = [(name, total) for name, total in totals.items() if name != STEP]
    have = f"{asked.device.name} has"
    rows = [*asked.budget.rows(), (STEP, totals[STEP]), *others, (have, asked.device.memory)]
    wide = max(len(name) for name, _ in rows) + 2
    notes = {max(totals, key=totals.__getitem__): "  the peak"}
    for drawing in (phases.class_pictures, phases.drawing):
        if drawing and drawing.offloaded:
            notes[drawing.what] = notes.get(drawing.what, "") + "  (text encoders, UNet and VAE take turns)"
    lines = [f"{'component':{wide}}{'MiB':>10}"]
    lines += [f"{name:{wide}}{size / 2**20:10,.0f}{notes.get(name, '')}" for name, size in rows]
    lines.append(
        f"{s.dtype}, fused attention (SDPA), checkpointing {s.checkpoint}, batch {s.batch} x accumulation "
        f"{s.accumulation}, {s.size} px, rank {s.rank} on {s.targets}, {s.optimizer}"
    )
    drawn = phases.drawing.spare if phases.drawing and phases.drawing.spare >= 0 else asked.spare
    spare = min(asked.spare, drawn) / 2**20  # drawing that does not fit is skipped, with a warning
    kept = f"with {SPARE:.0%} of the memory left free"
    lines.append(
        f"fits, {spare:,.0f} MiB to spare {kept}" if asked.fits else f"does not fit: {-spare:,.0f} MiB too much, {kept}"
    )
    if best:
        lines.append(f"{'fastest that fits' if best.setup != s else 'run it by'}: {' '.join(command)}")
    return "\n".join(lines)
