"""Encodes every frame once, with some masks each, so that a training step needs no autoencoder.

What a frame and its masks come to is kept in the work folder under the hash of what went in: a run that is started
again encodes only the frames that are new.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL

from finetune.core.device import pick_dtype

from .crops import to_signed
from .masking import SHARES, make_mask, to_latent_mask
from .pacing import save_state
from .world import World, may_mirror

CHUNK = 16
"""Frames that are encoded together."""


@dataclass(frozen=True)
class Encoded:
    """A frame and its mask variants, of the kinds `kinds`, at one size."""

    kinds: list[str]
    latents: torch.Tensor
    """(1 + variants, 4, h, w) float16, scaled: the frame, then the frame with each mask's pixels set to zero."""
    masks: torch.Tensor
    """(variants, 1, h, w) bool."""


@dataclass(frozen=True)
class LatentCache:
    """Latents of pictures and of masked pictures, scaled as the denoiser wants them, float16, on one device.

    `pictures` (n, 4, h, w); `masked` (m + 1, 4, h, w) and `masks` (m + 1, 1, h, w) hold the mask variants, last the
    full mask, which all pictures share; `variants[i]` lists those of picture i by kind: `place`, `background`, `other`.
    `placeable` (k,) are the pictures that have one of the kind `place`.
    """

    records: list[dict[str, Any]]
    pictures: torch.Tensor
    masked: torch.Tensor
    masks: torch.Tensor
    variants: list[dict[str, list[int]]]
    placeable: np.ndarray
    size: int

    def __len__(self) -> int:
        return len(self.records)


@dataclass(frozen=True)
class Rows:
    """A random batch: indices of pictures (n,), whether only the place is asked for (n,), and the latents, float32."""

    picks: np.ndarray
    place: np.ndarray
    latents: torch.Tensor
    """(n, 4, h, w)"""
    mask: torch.Tensor
    """(n, 1, h, w)"""
    masked: torch.Tensor
    """(n, 4, h, w)"""


def resize(pixels: torch.Tensor, size: int) -> torch.Tensor:
    """Pictures (n, c, H, W) made smaller to (n, c, size, size)."""
    if pixels.shape[-1] == size:
        return pixels
    return F.interpolate(pixels, size=(size, size), mode="bicubic", antialias=True, align_corners=False).clamp(-1, 1)


@torch.no_grad()
def encode(vae: AutoencoderKL, pictures: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Pictures (n, 3, h, w) in [-1, 1] to scaled latents (n, 4, h/8, w/8), float16 on the CPU."""
    dtype = pick_dtype("auto", str(device), batch=len(pictures))
    with torch.autocast(device.type, torch.bfloat16, enabled=dtype is not torch.float32):
        latents = vae.encode(pictures.to(device)).latent_dist.mean
    scaled: torch.Tensor = (latents.float() * vae.config.scaling_factor).half().cpu()
    return scaled


def is_render(record: dict[str, Any]) -> bool:
    """True where product and ground were rendered together, so that the contact between them is real."""
    return not record["empty"] and not record.get("composite")


def pick_kinds(rng: np.random.Generator, variants: int, record: dict[str, Any]) -> list[str]:
    """`variants` kinds of mask: of renders the first is `place`; then, by their shares, `background` and others."""
    others = {k: v for k, v in SHARES.items() if k not in ("place", "background", "full")}
    weights = np.array(list(others.values())) / sum(others.values())
    background = SHARES["background"] / (SHARES["background"] + sum(others.values()))
    kinds = ["place"] if is_render(record) else []
    while len(kinds) < variants:
        if rng.random() < background:
            kinds.append("background")
        else:
            kinds.append(list(others)[int(rng.choice(len(others), p=weights))])
    return kinds


def build_cache(
    vae: AutoencoderKL,
    world: World,
    indices: Sequence[int],
    size: int,
    variants: int,
    device: torch.device,
    store: Path,
) -> LatentCache:
    """Encodes the frames of `indices` at `size` pixels; frames without letters also mirrored.

    Args:
        store: file that keeps what is encoded; it may be there from an earlier start.
    """
    vae = vae.to(device).eval()
    seal = _seal(vae, size, variants)
    known = _read_store(store, seal)
    wanted = [(i, m) for i in indices for m in ((False, True) if may_mirror(world.records[i]) else (False,))]
    keys = [_key(world, index, mirrored) for index, mirrored in wanted]
    missing = [(key, *pair) for key, pair in zip(keys, wanted, strict=True) if key not in known]
    for start in range(0, len(missing), CHUNK):
        chunk = missing[start : start + CHUNK]
        made = _encode_chunk(vae, world, chunk, size, variants, device)
        known |= {key: encoded for (key, *_), encoded in zip(chunk, made, strict=True)}
    if missing:
        _write_store(store, seal, {key: known[key] for key in keys})
    records = [world.records[index] for index, _ in wanted]
    blank = encode(vae, torch.zeros(1, 3, size, size), device)
    return _collect(records, [known[key] for key in keys], blank, size, device)


def _encode_chunk(
    vae: AutoencoderKL,
    world: World,
    chunk: Sequence[tuple[str, int, bool]],
    size: int,
    variants: int,
    device: torch.device,
) -> list[Encoded]:
    """Encodes some frames at once; the masks of a frame are drawn from its key, the same at every start."""
    stacks, kinds, masks = [], [], []
    for key, index, mirrored in chunk:
        rng = np.random.default_rng(int(key[:16], 16))
        frame, product = world.frames[index], world.masks[index] > 127
        if mirrored:
            frame, product = frame[:, ::-1], product[:, ::-1]
        picture = to_signed(frame[None])
        cell = 8 * frame.shape[0] // size
        kinds.append(pick_kinds(rng, variants, world.records[index]))
        holes = np.stack([make_mask(rng, kind, product, cell) for kind in kinds[-1]])
        stacks.append(torch.cat([resize(picture, size), masked_at(picture, holes, size)]))
        masks.append(torch.from_numpy(np.stack([to_latent_mask(shrink(hole, size)) for hole in holes]))[:, None])
    latents = encode(vae, torch.cat(stacks), device).split(1 + variants)
    return [Encoded(*parts) for parts in zip(kinds, latents, masks, strict=True)]


def _collect(
    records: list[dict[str, Any]], encoded: Sequence[Encoded], blank: torch.Tensor, size: int, device: torch.device
) -> LatentCache:
    table: list[dict[str, list[int]]] = []
    row = 0
    for item in encoded:
        rows: dict[str, list[int]] = {}
        for kind in item.kinds:
            rows.setdefault(kind if kind in ("place", "background") else "other", []).append(row)
            row += 1
        table.append(rows)
    full = torch.ones_like(encoded[0].masks[:1])
    return LatentCache(
        records,
        torch.stack([item.latents[0] for item in encoded]).to(device),
        torch.cat([*(item.latents[1:] for item in encoded), blank]).to(device),
        torch.cat([*(item.masks for item in encoded), full]).half().to(device),
        table,
        np.array([i for i, rows in enumerate(table) if "place" in rows], int),
        size,
    )


def _seal(vae: AutoencoderKL, size: int, variants: int) -> str:
    """What all of a store depends on: the encoder's weights, the size, the kinds of mask and their number."""
    digest = hashlib.sha256(json.dumps([size, variants, SHARES, vae.config.scaling_factor]).encode())
    for name, weights in vae.state_dict().items():
        if not name.startswith(("decoder", "post_quant")):
            digest.update(weights.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _key(world: World, index: int, mirrored: bool) -> str:
    digest = hashlib.sha256(world.frames[index].tobytes() + world.masks[index].tobytes())
    digest.update(json.dumps([is_render(world.records[index]), mirrored]).encode())
    return digest.hexdigest()


def _read_store(path: Path, seal: str) -> dict[str, Encoded]:
    if not path.exists():
        return {}
    state = torch.load(path, map_location="cpu", weights_only=True)
    return {key: Encoded(*parts) for key, parts in state["items"].items()} if state["seal"] == seal else {}


def _write_store(path: Path, seal: str, items: dict[str, Encoded]) -> None:
    packed = {key: (item.kinds, item.latents.clone(), item.masks) for key, item in items.items()}
    save_state({"seal": seal, "items": packed}, path)


def shrink(mask: np.ndarray, size: int) -> np.ndarray:
    """A mask (h, w) to (size, size): 1 wherever any of its pixels is 1."""
    return mask if mask.shape[0] == size else to_latent_mask(mask, mask.shape[0] // size)


def masked_at(picture: torch.Tensor, holes: np.ndarray, size: int) -> torch.Tensor:
    """The masked pictures (n, 3, size, size): made smaller first, then holed, so that holes stay sharp."""
    kept = torch.from_numpy(np.stack([~shrink(hole, size) for hole in holes]))[:, None].float()
    return resize(picture, size) * kept


def draw_rows(cache: LatentCache, rng: np.random.Generator, count: int) -> Rows:
    """A random batch: kinds of mask by their shares, `place` among renders only."""
    chance = rng.random(count)
    place = (chance < SHARES["place"]) & (len(cache.placeable) > 0)
    picks = rng.integers(len(cache), size=count)
    if place.any():
        picks[place] = cache.placeable[rng.integers(len(cache.placeable), size=int(place.sum()))]
    rows = []
    for pick, share in zip(picks.tolist(), chance.tolist(), strict=True):
        if share > 1 - SHARES["full"]:
            rows.append(len(cache.masks) - 1)
            continue
        name = "place" if share < SHARES["place"] else "other"
        if SHARES["place"] <= share < SHARES["place"] + SHARES["background"]:
            name = "background"
        of_kind = cache.variants[pick]
        options = of_kind.get(name) or next(reversed(of_kind.values()))
        rows.append(options[int(rng.integers(len(options)))])
    device = cache.pictures.device
    chosen, masks = torch.from_numpy(picks).to(device), torch.tensor(rows, device=device)
    return Rows(picks, place, cache.pictures[chosen].float(), cache.masks[masks].float(), cache.masked[masks].float())
