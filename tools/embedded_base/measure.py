"""Numbers of a finished folder: size, parameters, time a picture, autoencoder's fidelity."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from PIL import Image

from .architecture import count_parameters
from .export import size_mib
from .pictures import load_pipeline, paint, psnr, reconstruct
from .world import World


def measure(folder: Path, held_out: World, device: torch.device, frames: int = 64) -> dict[str, float]:
    """Measures the folder; the time is that of the second of two pictures (20 steps, guidance 5)."""
    pipeline = load_pipeline(folder, device)
    blank, full = Image.new("RGB", (256, 256)), Image.new("L", (256, 256), 255)
    seconds = 0.0
    for seed in range(2):
        since = time.perf_counter()
        paint(pipeline, ["a red mug on white marble"], blank, full, seed=seed)
        seconds = time.perf_counter() - since
    pictures = held_out.frames[:: max(1, len(held_out) // frames)][:frames]
    parts = ("unet", "vae", "text_encoder", "text_encoder_2")
    numbers = {f"{part}_parameters": float(count_parameters(getattr(pipeline, part))) for part in parts}
    return {
        **numbers,
        "folder_mib": round(size_mib(folder), 2),
        "seconds_20_steps": round(seconds, 2),
        "threads": float(torch.get_num_threads()),
        "autoencoder_psnr_db": round(psnr(reconstruct(pipeline.vae, pictures, device), pictures), 2),
        "autoencoder_frames": float(len(pictures)),
    }
