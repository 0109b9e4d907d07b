"""Encodes every frame once, with some masks each, so that a training step needs no autoencoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL

from .crops import to_signed
from .masking import SHARES, make_mask, to_latent_mask
from .world import World, may_mirror


@dataclass(frozen=True)
class LatentCache:
    """Latents of pictures and of masked pictures, scaled as the denoiser wants them, float16.

    `pictures` (n, 4, h, w); `masked` (m, 4, h, w) and `masks` (m, 1, h, w) hold the
    mask variants; `variants[i]` lists those of picture i by kind. `blank` (4, h, w)
    is the masked picture of a full mask, which all pictures share.
    """

    records: list[dict[str, Any]]
    pictures: torch.Tensor
    masked: torch.Tensor
    masks: torch.Tensor
    variants: list[dict[str, list[int]]]
    blank: torch.Tensor
    size: int

    def __len__(self) -> int:
        return len(self.records)


def resize(pixels: torch.Tensor, size: int) -> torch.Tensor:
    """Pictures (n, c, H, W) made smaller to (n, c, size, size)."""
    if pixels.shape[-1] == size:
        return pixels
    return F.interpolate(pixels, size=(size, size), mode="bicubic", antialias=True, align_corners=False).clamp(-1, 1)


@torch.no_grad()
def encode(vae: AutoencoderKL, pictures: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Pictures (n, 3, h, w) in [-1, 1] to scaled latents (n, 4, h/8, w/8), float16 on the CPU."""
    with torch.autocast(device.type, torch.bfloat16):
        latents = vae.encode(pictures.to(device)).latent_dist.mean
    scaled: torch.Tensor = (latents.float() * vae.config.scaling_factor).half().cpu()
    return scaled


def pick_kinds(rng: np.random.Generator, variants: int) -> list[str]:
    """`variants` kinds of mask by their shares; of several, the first two are `background` and another."""
    others = {k: v for k, v in SHARES.items() if k not in ("background", "full")}
    weights = np.array(list(others.values())) / sum(others.values())
    names = list(others)
    kinds = []
    for turn in range(variants):
        by_chance = rng.random() < SHARES["background"] / (1 - SHARES["full"])
        background = turn == 0 if variants > 1 and turn < 2 else by_chance
        kinds.append("background" if background else names[int(rng.choice(len(names), p=weights))])
    return kinds


def build_cache(
    vae: AutoencoderKL, world: World, indices: list[int], size: int, variants: int, seed: int, device: torch.device
) -> LatentCache:
    """Encodes the frames of `indices` at `size` pixels; frames without letters also mirrored."""
    rng = np.random.default_rng((seed, size))
    records: list[dict[str, Any]] = []
    table: list[dict[str, list[int]]] = []
    pictures: list[torch.Tensor] = []
    masked: list[torch.Tensor] = []
    masks: list[torch.Tensor] = []
    vae = vae.to(device).eval()
    for index in indices:
        record = world.records[index]
        for mirrored in (False, True) if may_mirror(record) else (False,):
            frame, product = world.frames[index], world.masks[index] > 127
            if mirrored:
                frame, product = frame[:, ::-1], product[:, ::-1]
            full_size = to_signed(frame[None].copy())
            kinds = pick_kinds(rng, variants)
            holes = np.stack([make_mask(rng, kind, product) for kind in kinds])
            kept = full_size * torch.from_numpy(~holes)[:, None].float()
            small = encode(vae, torch.cat([resize(full_size, size), masked_at(full_size, holes, size, kept)]), device)
            rows: dict[str, list[int]] = {}
            for turn, kind in enumerate(kinds):
                rows.setdefault("background" if kind == "background" else "other", []).append(len(masks))
                masks.append(torch.from_numpy(to_latent_mask(shrink(holes[turn], size)))[None])
                masked.append(small[1 + turn])
            records.append(record)
            pictures.append(small[0])
            table.append(rows)
    blank = encode(vae, torch.zeros(1, 3, size, size), device)[0]
    return LatentCache(
        records, torch.stack(pictures), torch.stack(masked), torch.stack(masks).half(), table, blank, size
    )


def shrink(mask: np.ndarray, size: int) -> np.ndarray:
    """A mask (h, w) to (size, size): 1 wherever any of its pixels is 1."""
    return mask if mask.shape[0] == size else to_latent_mask(mask, mask.shape[0] // size)


def masked_at(picture: torch.Tensor, holes: np.ndarray, size: int, kept: torch.Tensor) -> torch.Tensor:
    """The masked pictures (n, 3, size, size): made smaller first, then holed, so that holes stay sharp."""
    if picture.shape[-1] == size:
        return kept
    small = resize(picture, size)
    open_ = torch.from_numpy(np.stack([~shrink(hole, size) for hole in holes]))[:, None].float()
    return small * open_


def draw_rows(cache: LatentCache, rng: np.random.Generator, count: int) -> tuple[torch.Tensor, ...]:
    """A random batch: indices (n,), latents, mask (n, 1, h, w) and masked latents (n, 4, h, w), float32."""
    picks = rng.integers(len(cache), size=count)
    masks, masked = [], []
    for index in picks:
        rows = cache.variants[index]
        kind = rng.random()
        if kind < SHARES["full"]:
            masks.append(torch.ones_like(cache.masks[0]))
            masked.append(cache.blank)
            continue
        name = "background" if kind < SHARES["full"] + SHARES["background"] else "other"
        name = name if name in rows else next(iter(rows))
        row = rows[name][int(rng.integers(len(rows[name])))]
        masks.append(cache.masks[row])
        masked.append(cache.masked[row])
    latents = cache.pictures[torch.from_numpy(picks)]
    return torch.from_numpy(picks), latents.float(), torch.stack(masks).float(), torch.stack(masked).float()
