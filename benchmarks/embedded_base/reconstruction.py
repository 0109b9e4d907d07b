"""What the autoencoder keeps, and what an inpaint keeps of the pixels it was not to touch. Rows `autoencoder`, `known`.

PSNR = 10 log10(255^2 / mean squared error) over the region's pixels and three channels in sRGB, for each picture on
its own, then the mean over pictures. Pictures are encoded to the mean of the latent distribution, in fp32. PSNR alone
rewards blur: the energy of fine detail over the original's (`tools/embedded_base/sharpness.py`) stands beside it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from benchmarks.embedded_base.painting import PaintingRoom
from benchmarks.embedded_base.table import Line
from finetune.core.basemodel.load import load_pipeline
from finetune.core.basemodel.resolve import ResolvedBase
from finetune.core.compositing.placement import PaintJob, box_around
from finetune.core.errors import PackshotError
from finetune.core.fidelity.scores import Better
from finetune.core.pictures.images import SUFFIXES, Array, open_picture
from finetune.core.pictures.masks import Box, Mask, bounding_box, box_mask, latent_mask, to_pixels
from finetune.matting.matte import cut_out
from tools.embedded_base.sharpness import fine_energy
from tools.embedded_base.world import World

BARS = {"held-out renders": 28.0, "real packshots": 24.0, "photos in the wild": 23.0, "plates": 23.0}
FINE_BARS: dict[Better, float] = {"higher": 0.8, "lower": 1.1}
"""Share of the original's high-frequency energy: less is soft, more is noise."""
KNOWN_BAR = 1.5
BOX_MARGIN = 0.08
"""Margin of the painted box, as in insert mode."""


@dataclass(frozen=True)
class Seen:
    """A picture and the part of it that counts."""

    picture: Array
    """(s, s, 3)"""
    box: Box


def psnr(made: Array, true: Array, region: Mask) -> float:
    """PSNR in dB over the region (h, w) of two pictures (h, w, 3); 99 for equal ones."""
    error = float(((made[region].astype(np.float64) - true[region]) ** 2).mean())
    return 10 * float(np.log10(255**2 / error)) if error > 1e-5 else 99.0


def evenly(count: int, wanted: int) -> list[int]:
    """At most `wanted` indices below `count`, evenly spread."""
    return [int(i) for i in np.linspace(0, count - 1, min(count, wanted)).round()] if count and wanted else []


def renders(world: World, count: int) -> list[tuple[Seen, int]]:
    """Evenly chosen frames that hold a product, each with its product's box and its index."""
    boxes = {i: bounding_box(mask > 127) for i, mask in enumerate(world.masks)}
    filled = [(i, box) for i, box in boxes.items() if box is not None and min(box.width, box.height) >= 16]
    return [(Seen(world.frames[i], box), i) for i, box in (filled[k] for k in evenly(len(filled), count))]


def packshots(folder: Path, size: int) -> list[Seen]:
    """Packshots on plain ground, each whole on a square of `size`; the box is that of Packshot's own matte."""
    found = []
    for path in _pictures(folder / "packshots"):
        photo = open_picture(path).convert("RGB")
        try:
            box = cut_out(photo).box
        except PackshotError:
            box = Box(0, 0, *photo.size)
        scale = size / max(photo.size)
        across, down = (size - photo.width * scale) / 2, (size - photo.height * scale) / 2
        edges = (
            box.left * scale + across,
            box.top * scale + down,
            box.right * scale + across,
            box.bottom * scale + down,
        )
        inside = Box(*(min(size, max(0, round(edge))) for edge in edges))
        padded = ImageOps.pad(photo, (size, size), Image.Resampling.LANCZOS, color="white")
        found.append(Seen(np.asarray(padded), inside))
    return found


def whole_photos(folder: Path, size: int) -> list[Seen]:
    """Photos without a known product box: the middle square of each at `size`, all of it."""
    fitted = [
        ImageOps.fit(open_picture(p).convert("RGB"), (size, size), Image.Resampling.LANCZOS) for p in _pictures(folder)
    ]
    return [Seen(np.asarray(picture), Box(0, 0, size, size)) for picture in fitted]


def _pictures(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)


@torch.no_grad()
def reconstruct(base: ResolvedBase, pictures: Iterable[Array]) -> list[Array]:
    """Pictures (h, w, 3) through the autoencoder and back."""
    others = ("unet", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")
    vae = load_pipeline(base, dtype=torch.float32, device="cpu", without=others).vae
    made = []
    for picture in pictures:
        signed = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
        decoded = vae.decode(vae.encode(signed).latent_dist.mode()).sample[0]
        made.append(((decoded.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy())
    return made


def measure_autoencoder(base: ResolvedBase, world: World, photos: Path | None, *, frames: int) -> list[Line]:
    """A line a kind of picture; those whose folder is not given are not available."""
    lines = []
    size = base.size
    kinds = {"held-out renders": [seen for seen, _ in renders(world, frames)]}
    if photos is not None:
        kinds["real packshots"] = packshots(photos, size)
        kinds["photos in the wild"] = whole_photos(photos / "in_the_wild", size)
        kinds["plates"] = whole_photos(photos / "plates", size)
    where = {"held-out renders": "true product box", "real packshots": "box of Packshot's matte"}
    for kind, bar in BARS.items():
        seen = kinds.get(kind, [])
        made = reconstruct(base, [s.picture for s in seen]) if seen else []
        values = [
            psnr(m, s.picture, box_mask(s.box, (s.picture.shape[1], s.picture.shape[0])))
            for m, s in zip(made, seen, strict=True)
        ]
        value = float(np.mean(values)) if values else None
        worst = f", worst {min(values):.1f} dB" if values else ""
        beside = f"{len(values)} pictures, {where.get(kind, 'middle square, all of it')}{worst}"
        lines.append(Line("autoencoder", f"PSNR, {kind}", value, "dB", bar, beside=beside))
        if kind in where:
            lines += fine_lines(kind, made, [s.picture for s in seen])
    return lines


def fine_lines(kind: str, made: list[Array], true: list[Array]) -> list[Line]:
    """High-frequency energy against its two bars, over whole pictures: grounds count as much as products."""
    value = fine_energy(np.stack(made), np.stack(true)) if made else None
    what = f"high-frequency energy over the original's, {kind}"
    beside = f"{len(made)} pictures, all of each"
    return [Line("autoencoder", what, value, "", bar, better, beside=beside) for better, bar in FINE_BARS.items()]


def known_jobs(picture: Array, mask: Mask, size: int) -> dict[str, PaintJob]:
    """The two ways a picture is painted in part: around the product, and a box around the product."""
    box = bounding_box(mask)
    assert box is not None
    whole = Image.fromarray(picture)
    ground = to_pixels(latent_mask(~mask))
    return {
        "ground painted": PaintJob(whole, ground, 0),
        "box painted": box_around(whole, box, size, margin=BOX_MARGIN),
    }


def measure_known(room: PaintingRoom, world: World, *, frames: int) -> list[Line]:
    """By how much an inpaint spoils what it was not to touch, beyond what the autoencoder does to the same pixels."""
    size = room.base.size
    chosen = renders(world, frames)
    plain = reconstruct(room.base, [seen.picture for seen, _ in chosen])
    losses: dict[str, list[tuple[float, float]]] = {}
    for (seen, index), decoded in zip(chosen, plain, strict=True):
        for kind, job in known_jobs(seen.picture, world.masks[index] > 127, size).items():
            kept = ~job.mask
            if kept.mean() < 0.01:
                continue
            painted = np.asarray(room.paint(job, str(world.records[index]["caption"]), index))
            pair = (psnr(decoded, seen.picture, kept), psnr(painted, seen.picture, kept))
            losses.setdefault(kind, []).append(pair)
    lines = []
    for kind, pairs in losses.items():
        own, inpainted = np.mean(pairs, axis=0)
        beside = f"{len(pairs)} frames: autoencoder {own:.2f} dB, inpaint {inpainted:.2f} dB, raw decoder output"
        what = f"PSNR lost on unpainted pixels, {kind}"
        lines.append(Line("known", what, float(own - inpainted), "dB", KNOWN_BAR, "lower", beside=beside))
    return lines or [Line("known", "PSNR lost on unpainted pixels", None, "dB", KNOWN_BAR, "lower")]
