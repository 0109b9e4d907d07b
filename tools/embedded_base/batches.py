"""The denoiser's training batches: latents, captions, noise, size conditioning; drawn while a step is computed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from diffusers import DDPMScheduler
from transformers import CLIPTokenizer

from .architecture import MAX_TOKENS
from .captions import caption_for, place_caption
from .latents import LatentCache, draw_rows

Batch = dict[str, torch.Tensor]


class Batches:
    """Makes training batches from a cache.

    `noise_offset`: the noise gets a random mean of this deviation in each channel (as SDXL's did, arXiv 2307.01952
    section 2.5: 0.05). The last step of the schedule still holds 7 % of the picture, and the mean of 32x32
    normal numbers scatters by 3 %: without it the model reads the scene's colour off the noise, not off the prompt.
    """

    def __init__(
        self,
        cache: LatentCache,
        tokenizers: tuple[CLIPTokenizer, CLIPTokenizer],
        *,
        product_share: float = 0.75,
        caption_dropout: float = 0.11,
        snr_limit: float = 5.0,
        noise_offset: float = 0.15,
    ) -> None:
        self.cache, self.tokenizers = cache, tokenizers
        self.product_share, self.caption_dropout = product_share, caption_dropout
        self.snr_limit, self.noise_offset = snr_limit, noise_offset
        self.noising = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")

    def time_ids(self, rng: np.random.Generator, count: int) -> torch.Tensor:
        """(n, 6): original size, crop corner, target size; the original size now and then other than usual."""
        size = self.cache.size
        ids = torch.tensor([[256, 256, 0, 0, size, size]], dtype=torch.float32).repeat(count, 1)
        for row in ids:
            if rng.random() < 0.2:
                row[:2] = float(rng.integers(200, 320))
            elif rng.random() < 0.1:
                row[:2] = float(rng.choice([512, 768, 1024]))
        return ids

    def draw(self, rng: np.random.Generator, count: int) -> Batch:
        """One batch, see `Denoiser.forward`; `noise` is the target, `weight` (n,) the loss's weight.

        Everything is on the cache's device. Nothing but `rng` decides what is drawn.
        """
        rows, device = draw_rows(self.cache, rng, count), self.cache.pictures.device
        records = [self.cache.records[i] for i in rows.picks.tolist()]
        captions = [
            place_caption(record, rng) if place else caption_for(record, rng, self.product_share)
            for record, place in zip(records, rows.place.tolist(), strict=True)
        ]
        ids = [
            t(captions, padding="max_length", truncation=True, max_length=MAX_TOKENS, return_tensors="pt").input_ids
            for t in self.tokenizers
        ]
        chance = torch.Generator().manual_seed(int(rng.integers(2**31)))
        noise = torch.randn(rows.latents.shape, generator=chance)
        noise += self.noise_offset * torch.randn(count, noise.shape[1], 1, 1, generator=chance)
        steps = torch.from_numpy(rng.integers(0, 1000, count))
        kept = self.noising.alphas_cumprod[steps]
        snr = kept / (1 - kept)
        drawn = {
            "ids": ids[0],
            "ids_2": ids[1],
            "dropped": torch.from_numpy(rng.random(count) < self.caption_dropout),
            "noise": noise,
            "steps": steps,
            "kept": kept,
            "weight": snr.clamp(max=self.snr_limit) / snr,
            "time_ids": self.time_ids(rng, count),
        }
        batch = {name: value.to(device) for name, value in drawn.items()}
        share = batch.pop("kept")[:, None, None, None]
        noisy = share.sqrt() * rows.latents + (1 - share).sqrt() * batch["noise"]
        return batch | {"noisy": noisy, "mask": rows.mask, "masked": rows.masked}


def ahead(batches: Batches, count: int, randomness: Iterator[np.random.Generator]) -> Iterator[Batch]:
    """Batches of `count`, each drawn while the one before is in use: texts take as long as a step on a GPU."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        coming: Future[Batch] = pool.submit(batches.draw, next(randomness), count)
        while True:
            batch = coming.result()
            coming = pool.submit(batches.draw, next(randomness), count)
            yield batch
