"""Pictures of how training goes: reconstructions, sheets of samples and inpaints, loss curves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from diffusers import AutoencoderKL, StableDiffusionXLInpaintPipeline
from PIL import Image, ImageDraw, ImageFont

from .crops import to_signed
from .masking import grow
from .sheet_prompts import PROMPTS
from .world import World

SCENES = (
    "on white marble, plain mint wall behind, soft daylight",
    "on green grass, blurred green garden behind, hard midday sun",
    "on black marble, night city bokeh lights behind, dramatic dark key light",
    "on sand, sunset sky, warm sunset light",
    "on light oak wood, brick wall behind, soft daylight",
)


def load_pipeline(folder: Path, device: torch.device) -> StableDiffusionXLInpaintPipeline:
    """The folder's pipeline, silent, on a device."""
    pipeline = StableDiffusionXLInpaintPipeline.from_pretrained(folder).to(device)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def paint(
    pipeline: StableDiffusionXLInpaintPipeline,
    prompts: list[str],
    picture: Image.Image,
    mask: Image.Image,
    seed: int = 0,
    steps: int = 20,
    guidance: float = 5.0,
) -> list[Image.Image]:
    """One picture a prompt; `mask` is white where to paint."""
    generator = [torch.Generator().manual_seed(seed + i) for i in range(len(prompts))]
    made: list[Image.Image] = pipeline(
        prompts,
        image=[picture] * len(prompts),
        mask_image=[mask] * len(prompts),
        height=picture.height,
        width=picture.width,
        strength=1.0,
        num_inference_steps=steps,
        guidance_scale=guidance,
        generator=generator,
    ).images
    return made


def tile(pictures: list[Image.Image], labels: list[str], columns: int, side: int = 256) -> Image.Image:
    """A sheet of pictures with a line of text under each."""
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * side, rows * (side + 14)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(9)
    for i, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        x, y = i % columns * side, i // columns * (side + 14)
        sheet.paste(picture.resize((side, side)), (x, y))
        draw.text((x + 2, y + side + 1), label[: side // 5], fill="black", font=font)
    return sheet


def prompt_sheet(pipeline: StableDiffusionXLInpaintPipeline, guidance: float = 5.0, batch: int = 4) -> Image.Image:
    """Text-to-image for every prompt: full masks over an empty picture."""
    blank, full = Image.new("RGB", (256, 256)), Image.new("L", (256, 256), 255)
    made: list[Image.Image] = []
    for start in range(0, len(PROMPTS), batch):
        prompts = list(PROMPTS[start : start + batch])
        made += paint(pipeline, prompts, blank, full, seed=start, guidance=guidance)
    return tile(made, list(PROMPTS), 8)


def scene_sheet(pipeline: StableDiffusionXLInpaintPipeline, world: World, products: int = 4) -> Image.Image:
    """Held-out products kept, everything else painted: one row a product, one column a scene."""
    with_product = [i for i, r in enumerate(world.records) if not r["empty"] and 0.08 < r["mask_area"] < 0.3]
    made, labels = [], []
    for index in with_product[:: max(1, len(with_product) // products)][:products]:
        picture = Image.fromarray(world.frames[index])
        kept = grow(world.masks[index] > 127, 1)
        made += [
            picture,
            *paint(
                pipeline, list(SCENES), picture, Image.fromarray(np.where(kept, 0, 255).astype(np.uint8)), seed=index
            ),
        ]
        labels += ["held-out frame", *SCENES]
    return tile(made, labels, len(SCENES) + 1)


def stacked(sheets: Sequence[Image.Image], width: int) -> Image.Image:
    """Sheets one below the other, each scaled to `width` pixels: what lies beside the model card."""
    scaled = [sheet.resize((width, sheet.height * width // sheet.width), Image.Resampling.LANCZOS) for sheet in sheets]
    whole = Image.new("RGB", (width, sum(sheet.height for sheet in scaled)), "white")
    top = 0
    for sheet in scaled:
        whole.paste(sheet, (0, top))
        top += sheet.height
    return whole


@torch.no_grad()
def reconstruct(vae: AutoencoderKL, pictures: np.ndarray, device: torch.device) -> np.ndarray:
    """Pictures (n, h, w, 3) uint8 through the autoencoder and back."""
    parts = []
    for start in range(0, len(pictures), 4):
        signed = to_signed(pictures[start : start + 4]).to(device)
        made = vae.decode(vae.encode(signed).latent_dist.mean).sample
        parts.append(((made.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy())
    return np.concatenate(parts)


def psnr(made: np.ndarray, true: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB, the mean over pictures (n, h, w, 3) uint8."""
    errors = ((made.astype(np.float64) - true) ** 2).mean((1, 2, 3))
    return float((10 * np.log10(255**2 / np.maximum(errors, 1e-9))).mean())


def pairs(true: np.ndarray, made: np.ndarray, columns: int = 4) -> Image.Image:
    """Pictures (n, h, w, 3) with their reconstructions below them, in rows of `columns`."""
    tiles, labels = [], []
    for start in range(0, len(true), columns):
        for name, pictures in (("true", true), ("decoded", made)):
            row = [Image.fromarray(picture) for picture in pictures[start : start + columns]]
            row += [Image.new("RGB", row[0].size, "white")] * (columns - len(row))
            tiles += row
            labels += [name] * columns
    return tile(tiles, labels, columns)


def plot_losses(log: Path, target: Path, keys: tuple[str, ...]) -> None:
    """Draws a run's log as a PNG: each loss over the samples, smoothed."""
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    figure, axes = plt.subplots(figsize=(8, 4))
    samples = [line["samples"] for line in lines]
    for key in keys:
        values = np.array([line[key] for line in lines])
        width = max(1, len(values) // 20)
        smooth = np.convolve(np.pad(values, (width - 1, 0), mode="edge"), np.ones(width) / width, "valid")
        axes.plot(samples, smooth, label=key)
    axes.set_xlabel("samples")
    axes.set_yscale("log")
    axes.legend()
    figure.tight_layout()
    figure.savefig(target, dpi=100)
    plt.close(figure)
