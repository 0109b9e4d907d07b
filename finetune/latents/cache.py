"""Latents and text embeddings on disk, keyed by the content of everything they depend on, so they cannot go stale.

A latent entry is keyed by the pixels of picture and mask (so by crop, backdrop and all that made them), the inpainting
mask's recipe, the ring's width, the autoencoder and the dtype; a text entry by the prompt, both tokenizers, both text
encoders and the dtype. Change one byte and exactly those entries are encoded again, as are damaged entries.
Training reads only this cache, by memory map; the VAE and the text encoders are freed first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from finetune.core import fingerprint
from finetune.core.basemodel.base_files import PARTS
from finetune.core.basemodel.load import load_pipeline
from finetune.core.basemodel.resolve import ResolvedBase, part_fingerprint
from finetune.core.console import say
from finetune.core.device import release_memory
from finetune.core.pictures import masks
from finetune.core.storage.file_hashes import FileHashes
from finetune.examples.composite import inpainting_mask
from finetune.latents.entries import read_back, read_entry, write_entry

if TYPE_CHECKING:
    from diffusers import StableDiffusionXLInpaintPipeline
    from torch import Tensor

FORMAT = 1
NO_VAE = tuple(part for part in PARTS if part != "vae")
DTYPE = "float32"
"""Precision of VAE and text encoders and of the entries, whatever the run's own precision."""


@dataclass(frozen=True)
class Row:
    """One row of the prepared set's imagefolder, with its pictures as arrays."""

    picture: np.ndarray[Any, np.dtype[np.uint8]]
    """(H, W, 3) uint8."""
    product: masks.Mask
    """(H, W) bool, True = product."""
    text: str
    mask_kind: str
    seed: int
    time_ids: tuple[int, int, int, int, int, int]
    """SDXL's micro-conditioning: original height and width, crop top and left, target height and width."""


@dataclass(frozen=True)
class RowSet:
    """Rows that become one `CachedExamples`."""

    rows: Sequence[Row]
    ring_px: int
    """Width of the ring around the product in pixels."""


@dataclass(frozen=True)
class CachedExamples:
    """A whole training set in memory, ready for the UNet. Latents of N examples; h and w are each example's own."""

    latents: Sequence[Tensor]
    """N of (4, h, w): scaled latents of the pictures."""
    masked: Sequence[Tensor]
    """N of (4, h, w): scaled latents of the masked pictures."""
    mask: Sequence[Tensor]
    """N of (1, h, w), 1 = painted."""
    product: Sequence[Tensor]
    """N of (1, h, w) in 0..1: share of the product in each latent."""
    ring: Sequence[Tensor]
    """N of (1, h, w) in 0..1: share of the ring around it."""
    text: Tensor
    """(N,) index into `embeds`; the last entry of `embeds` is the base's null."""
    embeds: Tensor
    """(K + 1, 77, D) prompt embeddings."""
    pooled: Tensor
    """(K + 1, P) pooled embeddings."""
    time_ids: Tensor
    """(N, 6)."""
    made: int
    """How many entries were not in the cache."""
    captions: tuple[str, ...] = ()
    """The K captions of `embeds`."""

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.latents)

    def buckets(self) -> list[list[int]]:
        """Indices of the examples of each frame, frames in order of their height and width."""
        found: dict[tuple[int, ...], list[int]] = {}
        for index, latent in enumerate(self.latents):
            found.setdefault(tuple(latent.shape[-2:]), []).append(index)
        return [found[shape] for shape in sorted(found)]


def build_caches(
    folder: Path,
    base: ResolvedBase,
    sets: Sequence[RowSet],
    *,
    device: str,
    progress: Callable[[int, int], None],
) -> list[CachedExamples]:
    """Read every entry of all sets from the cache, and encode those that are missing.

    Text encoders and VAE are loaded once each, and freed.

    Args:
        folder: the workspace's cache folder.
        base: whose VAE and text encoders encode.
        sets: the rows of each set.
        device: where encoding runs.
        progress: called with (done, total) as entries are encoded.
    """
    hashes = FileHashes(folder / "hashes" / "bases.json")
    vae = part_fingerprint(base, "vae", hash_of=hashes.of_file)
    latent_files = [
        [folder / "latents" / f"{_latent_key(row, vae, each.ring_px)}.safetensors" for row in each.rows]
        for each in sets
    ]
    captions = sorted({row.text for each in sets for row in each.rows})
    keys = zip([*captions, None], _text_keys(base, captions, hashes.of_file), strict=True)
    hashes.save(forget=False)
    text_files = {prompt: folder / "text" / f"{key}.safetensors" for prompt, key in keys}
    entries = {file: read_entry(file) for file in (*text_files.values(), *(f for files in latent_files for f in files))}
    texts = {file: prompt for prompt, file in text_files.items() if entries[file] is None}
    rows = {
        file: (row, each.ring_px)
        for each, files in zip(sets, latent_files, strict=True)
        for row, file in zip(each.rows, files, strict=True)
        if entries[file] is None
    }
    total = len(texts) + len(rows)
    if damaged := sum(file.is_file() for file in (*texts, *rows)):
        say(f"  re-encoding {damaged} cache entries (damaged, or without a checksum)")
    _make_texts(base, texts, device, lambda done: progress(done, total))
    _make_latents(base, rows, device, lambda done: progress(len(texts) + done, total))
    new = texts.keys() | rows.keys()
    whole = {file: entry or read_back(file) for file, entry in entries.items()}
    return [_joined(each, files, text_files, whole, new) for each, files in zip(sets, latent_files, strict=True)]


def _make_texts(
    base: ResolvedBase, missing: dict[Path, str | None], device: str, progress: Callable[[int], None]
) -> None:
    """Encode prompts, None being the null, into their files; nothing loads where none is missing."""
    import torch

    if not missing:
        return
    pipeline = load_pipeline(base, dtype=torch.float32, device=device, without=("unet", "scheduler", "vae"))
    for done, (file, prompt) in enumerate(missing.items(), 1):
        write_entry(file, _encode_text(pipeline, prompt))
        progress(done)
    del pipeline
    release_memory(device)


def _make_latents(
    base: ResolvedBase, missing: dict[Path, tuple[Row, int]], device: str, progress: Callable[[int], None]
) -> None:
    """Encode rows, each with the width of its ring in pixels, into their files; nothing loads where none is missing.

    One picture at a time: in company the same picture comes out otherwise in the last digits, and an entry may depend
    on nothing that is not in its key. On a CPU several at once are no faster (docs/log.md).
    """
    import torch

    if not missing:
        return
    pipeline = load_pipeline(base, dtype=torch.float32, device=device, without=NO_VAE)
    for done, (file, (row, ring_px)) in enumerate(missing.items(), 1):
        write_entry(file, _encode_row(pipeline, row, ring_px))
        progress(done)
    del pipeline
    release_memory(device)


def _joined(
    each: RowSet,
    latent_files: list[Path],
    text_files: dict[str | None, Path],
    whole: dict[Path, dict[str, Tensor]],
    new: Set[Path],
) -> CachedExamples:
    """The examples of one set from its entries; `new` are the files that were not in the cache."""
    import torch

    captions = sorted({row.text for row in each.rows})
    mine = [text_files[caption] for caption in [*captions, None]]
    entries, texts = ([whole[file] for file in files] for files in (latent_files, mine))
    position = {caption: index for index, caption in enumerate(captions)}
    return CachedExamples(
        latents=[entry["latents"] for entry in entries],
        masked=[entry["masked"] for entry in entries],
        mask=[entry["mask"] for entry in entries],
        product=[entry["product"] for entry in entries],
        ring=[entry["ring"] for entry in entries],
        text=torch.tensor([position[row.text] for row in each.rows]),
        embeds=_stack(texts, "embeds"),
        pooled=_stack(texts, "pooled"),
        time_ids=torch.tensor([row.time_ids for row in each.rows], dtype=torch.float32),
        made=len(new & {*latent_files, *mine}),
        captions=tuple(captions),
    )


def _stack(entries: Iterable[dict[str, Tensor]], key: str) -> Tensor:
    import torch

    return torch.stack([entry[key] for entry in entries])


def _text_keys(base: ResolvedBase, captions: list[str], hash_of: Callable[[Path], str]) -> list[str]:
    """Keys of the captions' entries and, last, of the null's: whether that is of zeros is the base's index to say."""
    text = part_fingerprint(base, "tokenizer", "tokenizer_2", "text_encoder", "text_encoder_2", hash_of=hash_of)
    index = base.config / "model_index.json"
    null = fingerprint.of_file(index) if index.is_file() else ""
    keys = [fingerprint.of_value([FORMAT, DTYPE, text, caption]) for caption in captions]
    return [*keys, fingerprint.of_value([FORMAT, DTYPE, text, None, null])]


def _latent_key(row: Row, vae: str, ring_px: int) -> str:
    pixels = fingerprint.of_bytes(row.picture.tobytes())
    product = fingerprint.of_bytes(np.packbits(row.product).tobytes())
    drawn = [pixels, product, row.picture.shape, row.mask_kind, row.seed, ring_px]
    return fingerprint.of_value([FORMAT, DTYPE, vae, *drawn])


def _encode_text(pipeline: StableDiffusionXLInpaintPipeline, prompt: str | None) -> dict[str, Tensor]:
    """Embeddings of a prompt; of None: exactly the null the pipeline itself uses for guidance."""
    import torch

    with torch.no_grad():
        embeds, null, pooled, null_pooled = pipeline.encode_prompt(prompt or "", do_classifier_free_guidance=True)
    chosen = (null, null_pooled) if prompt is None else (embeds, pooled)
    return {"embeds": chosen[0][0].float().cpu().contiguous(), "pooled": chosen[1][0].float().cpu().contiguous()}


def _encode_row(pipeline: StableDiffusionXLInpaintPipeline, row: Row, ring_px: int) -> dict[str, Tensor]:
    import torch

    picture = _to_tensor(row.picture)[None]
    mask = masks.latent_mask(inpainting_mask(row.product, row.mask_kind, np.random.default_rng(row.seed)))
    painted = torch.from_numpy(masks.to_pixels(mask))[None, None]
    with torch.no_grad():
        latents = _encode(pipeline, picture)
        masked = _encode(pipeline, picture * ~painted)  # painted pixels are zero in [-1, 1], as in the pipeline
    ring = masks.ring(row.product, ring_px) if ring_px else np.zeros_like(row.product)
    return {
        "latents": latents[0].contiguous(),
        "masked": masked[0].contiguous(),
        "mask": torch.from_numpy(mask).float()[None],
        "product": _area(row.product),
        "ring": _area(ring),
    }


def _to_tensor(picture: np.ndarray[Any, np.dtype[np.uint8]]) -> Tensor:
    """(3, H, W) in [-1, 1], rounded as the pipeline does it.

    Laid out channel by channel: on a CPU normalisation of NHWC loses digits where a picture is of one colour, as one
    that is painted in full is.
    """
    import torch

    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float().contiguous()
    return 2.0 * (pixels / 255.0) - 1.0


def _encode(pipeline: StableDiffusionXLInpaintPipeline, pictures: Tensor) -> Tensor:
    """(B, 3, H, W) in [-1, 1] -> (B, 4, H/8, W/8): the posterior's mean, scaled as the UNet expects it.

    The pipeline draws from the posterior; an entry that is used many times keeps its mean, which favours no draw.
    """
    vae = pipeline.vae
    mean = vae.encode(pictures.to(vae.device)).latent_dist.mode().float().cpu()
    scaled: Tensor = mean * vae.config.scaling_factor
    return scaled


def _area(mask: masks.Mask) -> Tensor:
    """Share of each latent's 8 x 8 pixels that the mask covers, (1, h, w)."""
    import torch

    return torch.nn.functional.avg_pool2d(torch.from_numpy(mask).float()[None], 8)


def row_from_dataset(item: dict[str, Any]) -> Row:
    """A row of `datasets.load_dataset("imagefolder")` as arrays."""
    picture: Image.Image = item["image"]
    return Row(
        picture=np.asarray(picture.convert("RGB")),
        product=np.asarray(item["mask"].convert("L")) >= 128,
        text=item["text"],
        mask_kind=item["mask_kind"],
        seed=int(item["seed"]),
        time_ids=(
            int(item["original_height"]),
            int(item["original_width"]),
            *(0, 0),  # the crop: products are never cropped
            int(item["target_height"]),
            int(item["target_width"]),
        ),
    )
