"""`python -m tools.embedded_base`: from a folder of rendered scenes to the embedded base."""

from __future__ import annotations

import json
from pathlib import Path

import click
import torch
from diffusers import AutoencoderKL

from . import workers
from .autoencoder import AutoencoderPlan, polish_decoder, train_autoencoder
from .composites import with_composites
from .denoiser import DenoiserPlan, fresh_denoiser, load_denoiser, train_denoiser
from .export import write_base
from .measure import measure
from .pictures import load_pipeline, plot_losses, prompt_sheet, reconstruction_sheet, scene_sheet, stacked
from .world import load_world

FOLDER = click.Path(file_okay=False, path_type=Path)
world_option = click.option(
    "--world", "world_folder", type=FOLDER, required=True, help="Rendered scenes: frames, masks, metadata.jsonl."
)
work_option = click.option("--work", type=FOLDER, required=True, help="Checkpoints, logs and sheets of this run.")
base_option = click.option(
    "--base", type=FOLDER, default=Path("finetune/embedded"), show_default=True, help="The embedded base's folder."
)
device_option = click.option("--device", default="cuda" if torch.cuda.is_available() else "cpu", show_default=True)


@click.group()
def main() -> None:
    """Trains the embedded base."""


def load_autoencoder(work: Path, base: Path) -> AutoencoderKL:
    """The autoencoder of this run, or the one of the base's folder."""
    own = work / "vae"
    return AutoencoderKL.from_pretrained(own if own.exists() else base / "vae", torch_dtype=torch.float32)


@main.command()
@world_option
@work_option
@device_option
@click.option("--minutes", default=25.0, show_default=True)
def autoencoder(world_folder: Path, work: Path, device: str, minutes: float) -> None:
    """Trains the autoencoder from nothing, or resumes."""
    work.mkdir(parents=True, exist_ok=True)
    world = load_world(world_folder, held_out=False)
    model = train_autoencoder(world, work, AutoencoderPlan(minutes), torch.device(device))
    save_autoencoder(model, work)


@main.command()
@world_option
@work_option
@base_option
@device_option
@click.option("--minutes", default=10.0, show_default=True)
def polish(world_folder: Path, work: Path, base: Path, device: str, minutes: float) -> None:
    """Trains the decoder further; the latents stay, so a trained denoiser stays valid."""
    work.mkdir(parents=True, exist_ok=True)
    world = load_world(world_folder, held_out=False)
    model = polish_decoder(load_autoencoder(work, base), world, work, AutoencoderPlan(minutes), torch.device(device))
    save_autoencoder(model, work)


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
@click.option("--minutes", default=60.0, show_default=True, help="Wall-clock budget over all the starts of this run.")
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
    world_folder: Path,
    work: Path,
    base: Path,
    device: str,
    minutes: float,
    from_base: bool,
    composites: float,
    **settings: float,
) -> None:
    """Trains the UNet and the text encoders, or resumes."""
    work.mkdir(parents=True, exist_ok=True)
    world = with_composites(load_world(world_folder, held_out=False), composites, DenoiserPlan.seed)
    plan = DenoiserPlan(minutes, **settings)  # type: ignore[arg-type]
    train_denoiser(world, load_autoencoder(work, base), work, base if from_base else None, plan, torch.device(device))


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
def sheets(world_folder: Path, work: Path, base: Path, device: str, guidance: float) -> None:
    """Draws prompts, scenes around held-out products, reconstructions and loss curves."""
    work.mkdir(parents=True, exist_ok=True)
    held_out, pipeline = load_world(world_folder, held_out=True), load_pipeline(base, torch.device(device))
    prompts, scenes = prompt_sheet(pipeline, guidance), scene_sheet(pipeline, held_out)
    prompts.save(work / "prompts.png")
    scenes.save(work / "scenes.png")
    stacked((prompts, scenes), 1536).save(base / "sheet.jpg", quality=82)
    reconstruction_sheet(pipeline.vae, held_out.frames[4::50][:6], torch.device(device)).save(
        work / "reconstructions.png"
    )
    for name, keys in (("autoencoder", ("l1", "mse", "edges")), ("denoiser", ("loss", "plain"))):
        if (log := work / f"{name}.jsonl").exists():
            plot_losses(log, work / f"{name}.png", keys)


@main.command(name="measure")
@world_option
@base_option
@device_option
def measure_command(world_folder: Path, base: Path, device: str) -> None:
    """Prints size, parameters, time a picture and the autoencoder's fidelity."""
    print(json.dumps(measure(base, load_world(world_folder, held_out=True), torch.device(device)), indent=2))


@main.command(name="all")
@world_option
@work_option
@base_option
@device_option
@click.option(
    "--minutes", default=100.0, show_default=True, help="Budget of autoencoder (a fifth) and denoiser together."
)
@click.pass_context
def everything(context: click.Context, world_folder: Path, work: Path, base: Path, device: str, minutes: float) -> None:
    """Tokenizer, autoencoder, denoiser, export, sheets and measurements."""
    common = {"world_folder": world_folder, "work": work, "device": device}
    if not (work / "vae").exists():
        context.invoke(autoencoder, minutes=minutes * 0.2, **common)
    context.invoke(denoiser, minutes=minutes * 0.8, base=base, **common)
    if workers.rank() == 0:
        context.invoke(export, work=work, base=base)
        context.invoke(sheets, base=base, **common)
        context.invoke(measure_command, world_folder=world_folder, base=base, device=device)


def run() -> None:
    """Joins the other processes, if any, runs the command, leaves."""
    workers.start_workers()
    try:
        main()
    finally:
        workers.stop_workers()


if __name__ == "__main__":
    run()
