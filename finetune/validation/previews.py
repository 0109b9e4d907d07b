"""Previews: pictures drawn during training with the live UNet, through the pipeline that will use the adapter.

A product gets two per scene: `place`, the packshot with its surroundings painted, and `insert`, the product drawn by
the adapter into a box of an empty scene. A brand or category has no single packshot: its previews are whole pictures
from the prompt. Scenes and seeds are fixed, so that only the adapter differs from one preview to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from finetune.core.adapters.token_embeddings import Tokens
from finetune.core.basemodel.resolve import ResolvedBase
from finetune.core.compositing.placement import placement_box, put_on_canvas
from finetune.core.console import warn
from finetune.core.device import own_random_state
from finetune.core.errors import OutOfMemory
from finetune.core.painting.inpainter import Inpainter, Sampling
from finetune.core.painting.pictures import InsertBox, empty_scene, insert_picture, preserve_picture, whole_picture
from finetune.core.painting.prompts import PromptSection
from finetune.core.pictures.images import open_picture, write_png
from finetune.core.products.prepared import PreparedSet
from finetune.unet.live_pipeline import live_inpainter

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class PreviewProduct:
    """What previews show."""

    token: str
    """The trigger word."""
    class_noun: str
    cutout: Image.Image | None
    """The first photo's cutout, RGBA, which `place` uses too; None for a brand or category."""
    glass: Image.Image | None
    """Its glass layer, RGBA of the cutout's size; None for an opaque product."""


def preview_product(prepared: PreparedSet) -> PreviewProduct:
    """Read what previews of a prepared set show."""
    if prepared.kind != "sku" or not prepared.photos:
        return PreviewProduct(prepared.token, prepared.class_noun, None, None)
    first = prepared.photos[0]
    cutout = open_picture(prepared.cutout_path(first), min_side=8).convert("RGBA")
    path = prepared.glass_path(first)
    glass = open_picture(path, min_side=8).convert("RGBA") if path else None
    return PreviewProduct(prepared.token, prepared.class_noun, cutout, glass)


@contextmanager
def preview_inpainter(
    base: ResolvedBase, unet: Any, dtype: torch.dtype, tokens: Callable[[Any], Tokens] | None = None
) -> Iterator[Inpainter]:
    """The inpainter around the UNet in training; training's random state is not touched. See `live_inpainter`."""
    device = str(unet.device)
    with live_inpainter(base, unet, dtype, tokens) as inpainter, own_random_state(device):
        yield inpainter


class Previewer:
    """Draws pictures of fixed scenes and seed with the UNet that is being trained."""

    def __init__(
        self,
        open_inpainter: Callable[[], AbstractContextManager[Inpainter]],
        folder: Path,
        product: PreviewProduct,
        *,
        scenes: Sequence[str],
        steps: int,
        seed: int,
        log: Callable[[dict[str, Image.Image], int], object],
    ) -> None:
        """Set the conditions; nothing is loaded before the first picture.

        Args:
            open_inpainter: Opens the inpainter for the pictures of one step; see `preview_inpainter`.
            folder: Where the pictures are written.
            product: What they show.
            scenes: Where the product stands, as one would say it to `place --prompt`.
            steps: Sampler steps.
            seed: Seed of every picture.
            log: Receives the pictures by name, and the step.
        """
        self.open_inpainter, self.folder, self.product, self.log = open_inpainter, folder, product, log
        self.scenes, self.sampling, self.seed = scenes, Sampling(steps=steps), seed
        self.empty: dict[str, Image.Image] = {}
        """Empty scenes by name; the base alone paints them, so once per process suffices."""
        self.off = False
        """Whether memory was too small once; then no more are drawn."""

    def draw(self, step: int) -> None:
        """Write previews/<step>-<scene>-<kind>.png. If memory is too small, warn and draw no more."""
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
        with self.open_inpainter() as inpainter:
            for number, scene in enumerate(self.scenes):
                for kind, picture in self._pictures(inpainter, scene).items():
                    drawn[f"{number}-{kind}"] = picture
                    write_png(picture, self.folder / f"{step:06d}-{number}-{kind}.png", {"scene": scene})
        return drawn

    def _pictures(self, inpainter: Inpainter, scene: str) -> dict[str, Image.Image]:
        product, sampling, seed = self.product, self.sampling, self.seed
        prompts = PromptSection().resolve(token=product.token, class_noun=product.class_noun, prompt=scene)
        if product.cutout is None:
            return {"frame": whole_picture(inpainter, prompts["place"], sampling=sampling, seed=seed)}
        box = placement_box(product.cutout.size, inpainter.size)
        placed = put_on_canvas(product.cutout, box, inpainter.size, product.glass)
        preserved = preserve_picture(inpainter, placed, prompts["place"], sampling=sampling, seed=seed)
        if scene not in self.empty:
            self.empty[scene] = empty_scene(inpainter, prompts["scene"], sampling=sampling, seed=seed)
        where = InsertBox(box, inpainter.size)
        inserted = insert_picture(inpainter, self.empty[scene], where, prompts["insert"], sampling=sampling, seed=seed)
        return {"place": preserved.picture, "insert": inserted.picture}
