"""The Click command `packshot plan`. Torch-free at import."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from finetune.core.commands import common_options, config_options
from finetune.core.console import say
from finetune.core.products.catalog import Workspace, load_set

if TYPE_CHECKING:
    from finetune.memory.fit import Verdict
    from finetune.memory.phases import Phases


@click.command()
@click.argument("sku", required=False)
@config_options
@click.option("--gpu", metavar="SIZE", help="Plan for a GPU that is not here, for example 12GB.")
@click.option("--effective-batch", type=click.IntRange(1, 4096), help="Examples an optimizer step, however divided.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
@common_options
def plan(
    sku: str | None,
    config_name: str | None,
    overrides: tuple[str, ...],
    gpu: str | None,
    effective_batch: int | None,
    as_json: bool,
    workspace: Path,
) -> None:
    """What training would need in memory, by component, and the fastest settings that fit. Computed, not measured.

    Exit 1 when the settings do not fit.

    \b
    Example:
      packshot plan perfume01 --gpu 12GB
    """
    from finetune.cli.options import resolve_config
    from finetune.memory import fit as planner
    from finetune.memory.budget import preset_for, unet_config
    from finetune.memory.phases import phases_of

    place = Workspace(workspace)
    if sku:
        load_set(place, sku)
    device = planner.named_device(gpu) if gpu else planner.this_device()
    if config_name is None and gpu:
        config_name, why = preset_for(device.memory / 2**30)
        say(why)
    config = planner.effective_batch(resolve_config(config_name, overrides), effective_batch)
    folder, source = planner.base_folder(config)
    say(
        f"base: {source}; tracing a training step and what is drawn (seconds on a free machine, kept for the next call)"
    )
    verdict = planner.judge(planner.setup_of(config, unet_config(folder), device, folder), device, place.cache)
    phases = phases_of(config, verdict, folder, place.cache)
    best = planner.fastest(verdict.setup, device, place.cache)
    command = ["packshot", "train", sku or "SKU", *(["--config", config_name] if config_name else [])]
    command += [part for override in overrides for part in ("--set", override)]
    if best and best.setup != verdict.setup:
        command += [part for setting in best.settings() for part in ("--set", setting)]
    click.echo(json.dumps(facts(verdict, best, command, phases)) if as_json else table(verdict, best, command, phases))
    if not verdict.fits:
        raise planner.refuse(verdict, place.cache)
    phases.hold_against(device)


def facts(verdict: Verdict, best: Verdict | None, command: list[str], phases: Phases) -> dict[str, Any]:
    """The plan for a machine; bytes throughout."""
    return {
        "device": {"name": verdict.device.name, "memory": verdict.device.memory, "cuda": verdict.device.cuda},
        "precision": verdict.setup.dtype,
        "components": dict(verdict.budget.rows()),
        "torch_peak": verdict.budget.torch_peak,
        "total": verdict.budget.total,
        "phases": (totals := phases.totals(verdict.budget.total)),
        "peak": max(totals, key=totals.__getitem__),
        "fits": verdict.fits,
        "spare": verdict.spare,
        "settings": verdict.settings(),
        "fastest": best.settings() if best else None,
        "command": " ".join(command) if best else None,
    }


def table(verdict: Verdict, best: Verdict | None, command: list[str], phases: Phases) -> str:
    """The plan for a person: what there is in memory at a step's peak, whether it fits, and the command to run."""
    from finetune.memory.fit import SPARE
    from finetune.memory.phases import STEP

    s = verdict.setup
    totals = phases.totals(verdict.budget.total)
    others = [(name, total) for name, total in totals.items() if name != STEP]
    have = f"{verdict.device.name} has"
    rows = [*verdict.budget.rows(), (STEP, totals[STEP]), *others, (have, verdict.device.memory)]
    wide = max(len(name) for name, _ in rows) + 2
    notes = {max(totals, key=totals.__getitem__): "  the peak"}
    for drawn in (phases.class_pictures, phases.drawing):
        if drawn and drawn.turns:
            notes[drawn.what] = notes.get(drawn.what, "") + "  (text encoders, UNet and VAE take turns)"
    lines = [f"{'component':{wide}}{'MiB':>10}"]
    lines += [f"{name:{wide}}{size / 2**20:10,.0f}{notes.get(name, '')}" for name, size in rows]
    lines.append(
        f"{s.dtype}, fused attention (SDPA), checkpointing {s.checkpoint}, batch {s.batch} x accumulation "
        f"{s.accumulation}, {s.size} px, rank {s.rank} on {s.targets}, {s.optimizer}"
    )
    spare = verdict.spare / 2**20
    kept = f"with {SPARE:.0%} of the memory left free"
    lines.append(
        f"fits, {spare:,.0f} MiB to spare {kept}"
        if verdict.fits
        else f"does not fit: {-spare:,.0f} MiB too much, {kept}"
    )
    if best:
        lines.append(f"{'fastest that fits' if best.setup != s else 'run it by'}: {' '.join(command)}")
    return "\n".join(lines)
