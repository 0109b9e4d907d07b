"""Pictures drawn during training with the live UNet, the whole frame from the prompt. Called by the train recipe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from finetune.core.basemodel import ResolvedBase, load_pipeline
from finetune.core.images import write_png
from finetune.core.inpaint import Inpainter, Sampling
from finetune.core.token_embeddings import Tokens

if TYPE_CHECKING:
    import torch


class Previewer:
    """Draws full-frame pictures of fixed prompts and seed with the UNet that is being trained."""

    def __init__(
        self,
        base: ResolvedBase,
        unet: Any,
        folder: Path,
        *,
        prompts: list[str],
        steps: int,
        seed: int,
        dtype: torch.dtype,
        tokens: Callable[[Any], Tokens] | None = None,
    ) -> None:
        """Draw with `unet`.

        Args:
            tokens: puts the tokens that are being trained into a pipeline.
        """
        self.tokens = tokens
        self.base, self.unet, self.folder = base, unet, folder
        self.prompts, self.sampling, self.seed, self.dtype = prompts, Sampling(steps=steps), seed, dtype

    def draw(self, step: int) -> None:
        """Write previews/<step>-<n>.png; the VAE and text encoders are in memory only meanwhile."""
        import torch

        self.folder.mkdir(parents=True, exist_ok=True)
        device = str(next(self.unet.parameters()).device)
        pipeline = load_pipeline(self.base, dtype=self.dtype, device=device, without=("unet",))
        pipeline.unet = self.unet
        tokens = self.tokens(pipeline) if self.tokens else None
        self.unet.eval()
        size = self.base.size
        ground = Image.new("RGB", (size, size), (128, 128, 128))
        try:
            with torch.random.fork_rng():
                for number, prompt in enumerate(self.prompts):
                    painted = Inpainter(self.base, pipeline, tokens=tokens).paint(
                        ground, np.ones((size, size), dtype=bool), prompt, sampling=self.sampling, seed=self.seed
                    )
                    write_png(painted, self.folder / f"{step:06d}-{number}.png", {"prompt": prompt})
        finally:
            self.unet.train()
