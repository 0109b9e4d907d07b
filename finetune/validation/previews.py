"""Pictures drawn during training with the live UNet, through the inpainting pipeline as the adapter will be used.

Of a product two for each scene: `place`, the packshot standing in the frame with its surroundings painted, and
`insert`, the product drawn by the adapter into a box of an empty scene. A brand or category has no one packshot: there
it is the whole frame. Scenes and seeds are fixed, so that from one preview to the next the adapter alone differs.
Called by the train recipe.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from finetune.core.adapters.token_embeddings import Tokens
from finetune.core.basemodel.resolve import ResolvedBase
from finetune.core.compositing import placement as compose
from finetune.core.compositing.glass import composite_glass
from finetune.core.console import warn
from finetune.core.device import own_random_state
from finetune.core.errors import OutOfMemory
from finetune.core.painting.inpainter import Inpainter, Sampling
from finetune.core.painting.prompts import PromptSection, resolve_prompt
from finetune.core.pictures.images import open_picture, write_png
from finetune.core.products.prepared import PreparedSet
from finetune.unet.live_pipeline import live_inpainter

if TYPE_CHECKING:
    import torch

GROUND, BOX_MARGIN = 0.8, 0.08
"""Ground line and margin of the box, shares of the frame: the defaults of `packshot place`."""


@dataclass(frozen=True)
class Packshot:
    """The cutout the previews show, with its glass layer if it has one."""

    cutout: Image.Image
    glass: Image.Image | None


def packshot_of(prepared: PreparedSet) -> Packshot | None:
    """The first photo's cutout, as `place` takes it; None for a set that is no single product."""
    if prepared.kind != "sku" or not prepared.photos:
        return None
    glass = prepared.glass_path(prepared.photos[0])
    return Packshot(
        open_picture(prepared.cutout_path(prepared.photos[0]), min_side=8).convert("RGBA"),
        open_picture(glass, min_side=8).convert("RGBA") if glass else None,
    )


class Previewer:
    """Draws pictures of fixed scenes and seed with the UNet that is being trained."""

    def __init__(
        self,
        base: ResolvedBase,
        unet: Any,
        folder: Path,
        *,
        packshot: Packshot | None,
        token: str,
        class_noun: str,
        scenes: Sequence[str],
        steps: int,
        seed: int,
        dtype: torch.dtype,
        log: Callable[[dict[str, Image.Image], int], object],
        tokens: Callable[[Any], Tokens] | None = None,
    ) -> None:
        """Set the conditions; nothing is loaded before the first picture.

        Args:
            scenes: where the product stands, in the words one would give `place --prompt`.
            log: given the pictures by name, and the step.
            tokens: puts the tokens that are being trained into a pipeline.
        """
        self.tokens = tokens
        self.base, self.unet, self.folder, self.packshot, self.log = base, unet, folder, packshot, log
        self.scenes, self.sampling, self.seed, self.dtype = scenes, Sampling(steps=steps), seed, dtype
        self.words = {"token": token, "class_noun": class_noun}
        self.empty: dict[str, Image.Image] = {}
        self.off = False
        """Whether memory did not suffice; then no more are drawn."""

    def draw(self, step: int) -> None:
        """Write previews/<step>-<scene>-<kind>.png; without the memory for it say so, and draw no more."""
        if self.off:
            return
        try:
            drawn = self._draw(step)
        except OutOfMemory as error:
            self.off = True
            warn(f"no more previews from step {step} on: {error.message}; training goes on")
        else:
            self.log(drawn, step)

    def _draw(self, step: int) -> dict[str, Image.Image]:
        """The pictures by name; the VAE and text encoders are in memory only meanwhile."""
        self.folder.mkdir(parents=True, exist_ok=True)
        drawn: dict[str, Image.Image] = {}
        device = str(self.unet.device)
        with live_inpainter(self.base, self.unet, self.dtype, self.tokens) as painter, own_random_state(device):
            for number, scene in enumerate(self.scenes):
                for kind, picture in self._pictures(painter, scene).items():
                    drawn[f"{number}-{kind}"] = picture
                    write_png(picture, self.folder / f"{step:06d}-{number}-{kind}.png", {"scene": scene})
        return drawn

    def _pictures(self, painter: Inpainter, scene: str) -> dict[str, Image.Image]:
        templates = PromptSection()
        place = resolve_prompt(templates.place, prompt=scene, **self.words)
        if self.packshot is None:
            return {"frame": self._paint(painter, self._blank(), place)}
        size = self.base.size
        shot = self.packshot
        box = compose.placement_box(
            shot.cutout.size, size, anchor=0.5, scale=compose.default_scale(shot.cutout.size), ground=GROUND
        )
        placed = compose.put_on_canvas(shot.cutout, box, size, shot.glass)
        around = compose.around_product(placed, size, grow=compose.default_grow(size), rng=self._rng())
        painted = np.asarray(self._paint(painter, around, place))
        whole = Image.fromarray(composite_glass(placed.rgb, placed.matte, painted, placed.glass))
        into = compose.box_around(self._empty_scene(painter, scene), box, size, margin=BOX_MARGIN)
        insert = resolve_prompt(templates.insert, prompt=scene, **self.words)
        return {"place": whole, "insert": self._paint(painter, into, insert)}

    def _empty_scene(self, painter: Inpainter, scene: str) -> Image.Image:
        """The scene as the base alone paints it; once a process."""
        if scene not in self.empty:
            prompt = resolve_prompt(PromptSection().scene, prompt=scene, **self.words)
            painter.set_adapter_scale(0.0)
            self.empty[scene] = self._paint(painter, self._blank(), prompt)
            painter.set_adapter_scale(1.0)
        return self.empty[scene]

    def _blank(self) -> compose.PaintJob:
        return compose.whole_frame(self.base.size, self._rng())

    def _rng(self) -> np.random.Generator:
        return np.random.default_rng([self.seed, 0])

    def _paint(self, painter: Inpainter, job: compose.PaintJob, prompt: str) -> Image.Image:
        return painter.paint(job.picture, job.mask, prompt, sampling=self.sampling, seed=self.seed)
