"""`python -m tools.embedded_base`: from a folder of rendered scenes to the embedded base."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import click
import torch
from diffusers import AutoencoderKL

from . import workers
from .architecture import build_autoencoder
from .autoencoder import AutoencoderPlan, polish_decoder, train_autoencoder
from .composites import with_composites
from .denoiser import DenoiserPlan, fresh_denoiser, load_denoiser, train_denoiser
from .export import write_base
from .held_out import held_out_loss
from .measure import measure
from .pictures import (
    load_pipeline,
    pairs,
    plot_losses,
    prompt_sheet,
    psnr,
    reconstruct,
    scene_sheet,
    stacked,
)
from .sharpness import fine_energy
from .world import load_worlds

FOLDER = click.Path(file_okay=False, path_type=Path)
world_option = click.option(
    "--world",
    "worlds",
    type=FOLDER,
    required=True,
    multiple=True,
    help="Rendered scenes: frames, masks, metadata.jsonl. May be given several times.",
)
work_option = click.option("--work", type=FOLDER, required=True, help="Checkpoints, logs and sheets of this run.")
base_option = click.option(
    "--base", type=FOLDER, default=Path("finetune/embedded"), show_default=True, help="The embedded base's folder."
)
device_option = click.option("--device", default="cuda" if torch.cuda.is_available() else "cpu", show_default=True)
minutes_option = click.option(
    "--minutes", type=float, help="End this start after so long, rate cooled, checkpoint written; the next goes on."
)


@click.group()
@click.option("--processes", default=1, show_default=True, help="Processes of one thread that train together.")
def main(processes: int) -> None:
    """Trains the embedded base."""
    if processes > 1 and not workers.is_started():
        raise SystemExit(workers.launch(processes, sys.argv[1:]))


def left_of(minutes: float | None, since: float) -> float | None:
    """What is left of a start's minutes once its frames are loaded, at least some seconds; None without a limit."""
    return None if minutes is None else max(0.1, minutes - (time.monotonic() - since) / 60)


def load_autoencoder(work: Path, base: Path) -> AutoencoderKL:
    """The autoencoder of this run, or the one of the base's folder."""
    own = work / "vae"
    return AutoencoderKL.from_pretrained(own if own.exists() else base / "vae", torch_dtype=torch.float32)


@main.command()
@world_option
@work_option
@device_option
@click.option("--samples", default=200_000, show_default=True, help="Budget in crops over all the starts of this run.")
@minutes_option
@click.option("--batch", default=AutoencoderPlan.batch, show_default=True, help="Crops of 64 px per process.")
@click.option("--rate", default=AutoencoderPlan.rate, show_default=True)
def autoencoder(
    worlds: tuple[Path, ...], work: Path, device: str, samples: int, minutes: float | None, batch: int, rate: float
) -> None:
    """Trains the autoencoder from nothing, or resumes."""
    since = time.monotonic()
    work.mkdir(parents=True, exist_ok=True)
    world = load_worlds(worlds, held_out=False)
    plan = AutoencoderPlan(samples, batch=batch, rate=rate, end_minutes=left_of(minutes, since))
    model = train_autoencoder(world, work, plan, torch.device(device))
    if model is not None:
        save_autoencoder(model, work)


@main.command()
@world_option
@work_option
@base_option
@device_option
@click.option("--samples", default=40_000, show_default=True, help="Budget in crops over all the starts of this run.")
@minutes_option
def polish(worlds: tuple[Path, ...], work: Path, base: Path, device: str, samples: int, minutes: float | None) -> None:
    """Trains the decoder further; the latents stay, so a trained denoiser stays valid."""
    since = time.monotonic()
    work.mkdir(parents=True, exist_ok=True)
    world = load_worlds(worlds, held_out=False)
    plan = AutoencoderPlan(samples, end_minutes=left_of(minutes, since))
    model = polish_decoder(load_autoencoder(work, base), world, work, plan, torch.device(device))
    save_autoencoder(model, work)


@main.command()
@world_option
@work_option
@base_option
@click.option("--frames", default=48, show_default=True, help="Held-out frames that are measured.")
def look(worlds: tuple[Path, ...], work: Path, base: Path, frames: int) -> None:
    """Draws what the autoencoder makes of held-out frames, also while it trains, and measures it."""
    checkpoint, device = work / "autoencoder.pt", torch.device("cpu")
    model = load_autoencoder(work, base)
    if checkpoint.exists() and not (work / "vae").exists():
        model = build_autoencoder().eval()
        model.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["average"])
    pictures = load_worlds(worlds, held_out=True).frames
    pictures = pictures[:: max(1, len(pictures) // frames)][:frames]
    made = reconstruct(model, pictures, device)
    pairs(pictures[:12], made[:12]).save(work / "reconstructions.png")
    facts = {"psnr_db": round(psnr(made, pictures), 2), "frames": len(pictures)}
    print(json.dumps(facts | {"fine_energy": round(fine_energy(made, pictures), 3)}))


def save_autoencoder(model: AutoencoderKL, work: Path) -> None:
    """Saves the autoencoder of this run, from the first process only."""
    if workers.rank() == 0:
        model.cpu().save_pretrained(work / "vae")
    workers.wait()


@main.command()
@world_option
@work_option
@base_option
@device_option
@click.option("--samples", default=600_000, show_default=True, help="Budget over all the starts of this run.")
@minutes_option
@click.option("--from-base", is_flag=True, help="Start with the base's weights instead of random ones.")
@click.option(
    "--late-from",
    default=DenoiserPlan.late_from,
    show_default=True,
    help="Share of the budget after which pictures are 256 px.",
)
@click.option("--rate", default=DenoiserPlan.rate, show_default=True)
@click.option("--decay", default=DenoiserPlan.decay, show_default=True, help="Of the running average of weights.")
@click.option("--early-batch", default=DenoiserPlan.early_batch, show_default=True, help="Per process.")
@click.option("--late-batch", default=DenoiserPlan.late_batch, show_default=True, help="Per process.")
@click.option(
    "--mask-variants", default=DenoiserPlan.mask_variants, show_default=True, help="Masks encoded for each picture."
)
@click.option("--late-mask-variants", default=DenoiserPlan.late_mask_variants, show_default=True)
@click.option(
    "--composites",
    type=click.FloatRange(0, 5),
    default=0.3,
    show_default=True,
    help="Products on grounds of other frames, as a share of the frames.",
)
def denoiser(
    worlds: tuple[Path, ...],
    work: Path,
    base: Path,
    device: str,
    samples: int,
    minutes: float | None,
    from_base: bool,
    composites: float,
    **settings: float,
) -> None:
    """Trains the UNet and the text encoders, or resumes."""
    since = time.monotonic()
    work.mkdir(parents=True, exist_ok=True)
    world = with_composites(load_worlds(worlds, held_out=False), composites, DenoiserPlan.seed)
    plan = DenoiserPlan(samples, end_minutes=left_of(minutes, since), **settings)  # type: ignore[arg-type]
    train_denoiser(world, load_autoencoder(work, base), work, base if from_base else None, plan, torch.device(device))


@main.command()
@world_option
@work_option
@base_option
@device_option
@click.option("--size", default=256, show_default=True, help="Side of the frames in pixels.")
@click.option("--frames", default=32, show_default=True)
@click.option("--draws", default=64, show_default=True, help="Samples of these frames, each with noise of its own.")
def validate(worlds: tuple[Path, ...], work: Path, base: Path, device: str, size: int, frames: int, draws: int) -> None:
    """Measures the run's averaged weights on held-out frames at fixed noise; adds a line to held-out.jsonl."""
    state = torch.load(work / "denoiser.pt", map_location="cpu", weights_only=True)
    model = fresh_denoiser(work)
    model.load_state_dict(state["average"])
    vae, world = load_autoencoder(work, base), load_worlds(worlds, held_out=True)
    loss = held_out_loss(model, vae, world, work, torch.device(device), size=size, frames=frames, draws=draws)
    line = json.dumps({"samples": state["samples"], "size": size, "loss": round(loss, 5)})
    with (work / "held-out.jsonl").open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    print(line)


@main.command()
@work_option
@base_option
def export(work: Path, base: Path) -> None:
    """Writes the run's averaged weights into the base's folder, also while training goes on."""
    checkpoint = work / "denoiser.pt"
    if checkpoint.exists():
        model = fresh_denoiser(work)
        model.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["average"])
    else:
        model = load_denoiser(base)
    write_base(base, model.unet, load_autoencoder(work, base), model.text_encoder, model.text_encoder_2)


@main.command()
@world_option
@work_option
@base_option
@device_option
@click.option("--guidance", default=5.0, show_default=True)
def sheets(worlds: tuple[Path, ...], work: Path, base: Path, device: str, guidance: float) -> None:
    """Draws prompts, scenes around held-out products and loss curves."""
    work.mkdir(parents=True, exist_ok=True)
    held_out, pipeline = load_worlds(worlds, held_out=True), load_pipeline(base, torch.device(device))
    prompts, scenes = prompt_sheet(pipeline, guidance), scene_sheet(pipeline, held_out)
    prompts.save(work / "prompts.png")
    scenes.save(work / "scenes.png")
    stacked((prompts, scenes), 1536).save(base / "sheet.jpg", quality=82)
    for name, keys in (("autoencoder", ("l1", "mse", "features")), ("denoiser", ("loss", "plain"))):
        if (log := work / f"{name}.jsonl").exists():
            plot_losses(log, work / f"{name}.png", keys)


@main.command(name="measure")
@world_option
@base_option
@device_option
def measure_command(worlds: tuple[Path, ...], base: Path, device: str) -> None:
    """Prints size, parameters, time a picture and the autoencoder's fidelity."""
    print(json.dumps(measure(base, load_worlds(worlds, held_out=True), torch.device(device)), indent=2))


@main.command(name="all")
@world_option
@work_option
@base_option
@device_option
@click.option("--autoencoder-samples", default=200_000, show_default=True)
@click.option("--samples", default=600_000, show_default=True, help="Of the denoiser.")
@click.pass_context
def everything(
    context: click.Context,
    worlds: tuple[Path, ...],
    work: Path,
    base: Path,
    device: str,
    autoencoder_samples: int,
    samples: int,
) -> None:
    """Tokenizer, autoencoder, denoiser, export, sheets and measurements."""
    common = {"worlds": worlds, "work": work, "device": device}
    if not (work / "vae").exists():
        context.invoke(autoencoder, samples=autoencoder_samples, **common)
    context.invoke(denoiser, samples=samples, base=base, **common)
    if workers.rank() == 0:
        context.invoke(export, work=work, base=base)
        context.invoke(sheets, base=base, **common)
        context.invoke(measure_command, worlds=worlds, base=base, device=device)


def run() -> None:
    """Joins the other processes, if any, runs the command, leaves."""
    workers.start_workers()
    try:
        main()
    finally:
        workers.stop_workers()


if __name__ == "__main__":
    run()
