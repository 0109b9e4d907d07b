"""Pictures drawn by the base, each kept in a folder under the fingerprint of all that makes it.

The one way of this benchmark to a generated picture: a second call finds it on disk, and loads no model where all are
there. Pictures of another base, adapter, prompt, mask or seed have other names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from PIL import Image

from finetune.core import fingerprint
from finetune.core.adapters.foreign import read_adapter
from finetune.core.basemodel.resolve import ResolvedBase
from finetune.core.compositing.placement import PaintJob, whole_frame
from finetune.core.console import say
from finetune.core.painting.inpainter import Inpainter, Sampling, load_inpainter
from finetune.core.pictures.images import open_picture, write_png

FORMAT = 1


class PaintingRoom:
    """A base that paints, with or without an adapter, and remembers what it painted."""

    def __init__(
        self,
        base: ResolvedBase,
        folder: Path,
        *,
        adapter: Path | None = None,
        sampling: Sampling | None = None,
        device: str = "cpu",
    ) -> None:
        """Set the conditions; nothing is loaded before a picture is missing.

        Args:
            folder: where pictures are kept. adapter: an adapter file. sampling: 20 steps at guidance 5 if left out.
        """
        self.base, self.folder, self.adapter, self.device = base, folder, adapter, device
        self.sampling = sampling or Sampling()
        self.painted = 0
        """Pictures painted by this room, not found."""
        weights = fingerprint.of_file(adapter) if adapter else ""
        self._key = [FORMAT, base.fingerprint, weights, asdict(self.sampling), device]
        self._loaded: Inpainter | None = None

    @property
    def inpainter(self) -> Inpainter:
        """The loaded base."""
        if self._loaded is None:
            adapter = read_adapter(self.adapter) if self.adapter else None
            self._loaded = load_inpainter(self.base, adapter, precision="fp32", device=self.device)
        return self._loaded

    def paint(self, job: PaintJob, prompt: str, seed: int) -> Image.Image:
        """The job's picture, painted or found: all of it decoded from latents, the unmasked part too."""
        content = fingerprint.of_bytes(job.picture.convert("RGB").tobytes() + np.packbits(job.mask).tobytes())
        path = self.folder / f"{fingerprint.of_value([*self._key, content, prompt, seed])}.png"
        if path.is_file():
            return open_picture(path).convert("RGB")
        picture = self.inpainter.paint(job.picture, job.mask, prompt, sampling=self.sampling, seed=seed)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_png(picture, path)
        self.painted += 1
        if self.painted % 10 == 0:
            say(f"  {self.painted} pictures painted")
        return picture

    def from_text(self, prompt: str, seeds: Sequence[int]) -> list[Image.Image]:
        """Whole pictures from a prompt, one a seed."""
        return [
            self.paint(whole_frame(self.base.size, np.random.default_rng([seed, 0])), prompt, seed) for seed in seeds
        ]
