"""The insert pictures an adapter is scored on: for each scene and seed one without and one with the adapter.

Both start from the same empty scene and the same noise, so that nothing but the adapter differs. What the base alone
paints does not depend on the adapter: it is kept in the workspace's cache by content, and the next version of the
adapter costs its own pictures only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from finetune.core import fingerprint
from finetune.core.compositing.placement import WIDEST, placement_box, put_on_canvas
from finetune.core.console import say, warn
from finetune.core.errors import ImageError
from finetune.core.painting.inpainter import Inpainter, Sampling
from finetune.core.painting.pictures import InsertBox, empty_scene, insert_picture
from finetune.core.painting.prompts import PromptSection
from finetune.core.pictures.images import composite, open_picture, write_png
from finetune.core.pictures.masks import Box

INSERT_FORMAT = 1
"""Bump when the same request would give different pixels; cached pictures of other formats are then not used."""


@dataclass(frozen=True)
class InsertRequest:
    """One pair of pictures to draw, in words and numbers."""

    scene: str
    """As the user would say it."""
    seed: int
    scene_prompt: str
    """Paints the empty scene."""
    insert_prompt: str
    """Draws the product into the box."""


def requests_for(pairs: Sequence[tuple[str, int]], *, token: str, class_noun: str) -> list[InsertRequest]:
    """Requests for (scene, seed) pairs, with the prompts that `place --mode insert` uses by default."""
    requests = []
    for scene, seed in pairs:
        prompts = PromptSection().resolve(token=token, class_noun=class_noun, prompt=scene)
        requests.append(InsertRequest(scene, seed, prompts["scene"], prompts["insert"]))
    return requests


def product_box(cutout: tuple[int, int], size: int, *, height: float, ground: float) -> Box:
    """The box of a scored product: in the middle, as high as requested, lower where a wide product would not fit.

    Args:
        cutout: (width, height) of the cutout in its own pixels.
        size: Side of the picture in pixels.
        height: Height of the product, share of the picture.
        ground: Ground line, share of the picture from its top.
    """
    return placement_box(cutout, size, scale=min(height, WIDEST * cutout[1] / cutout[0]), ground=ground)


@dataclass(frozen=True)
class InsertPair:
    """What was drawn for a request, each picture at the base's size."""

    request: InsertRequest
    empty: Image.Image
    without: Image.Image
    """The base alone drew the product."""
    with_adapter: Image.Image
    ceiling: Image.Image
    """The packshot pasted into the empty scene and put through the base's autoencoder: no adapter draws it better."""


class Anchors(NamedTuple):
    """The pictures of a request that do not depend on an adapter."""

    empty: Image.Image
    without: Image.Image
    """The base alone drew the product."""
    ceiling: Image.Image
    """See `InsertPair`."""


class InsertRenderer:
    """A loaded base with its adapter, and the fixed conditions under which it draws."""

    def __init__(
        self, inpainter: Inpainter, where: InsertBox, packshot: Image.Image, *, sampling: Sampling, cache: Path
    ) -> None:
        """Set the conditions.

        Args:
            inpainter: The base with its adapter.
            where: Where the product is drawn; its size is the base's.
            packshot: RGBA, the cutout that the pictures are compared with.
            sampling: How the base is sampled.
            cache: Folder for what the base alone paints; made when needed.
        """
        self.packshot = put_on_canvas(packshot, where.box, where.size)
        self._packshot_key = hashlib.sha256(self.packshot.canvas.tobytes()).hexdigest()
        self.inpainter, self.where, self.sampling, self.cache = inpainter, where, sampling, cache
        unet = inpainter.pipeline.unet
        self._key: list[Any] = [
            INSERT_FORMAT,
            inpainter.base.fingerprint,
            [
                inpainter.pipeline._execution_device.type,
                str(unet.dtype),
            ],  # diffusers 0.42: `.device` is the CPU under offload
            list(where.box),
            asdict(sampling),
            where.margin,
        ]

    def render(self, requests: Sequence[InsertRequest], *, tell: Callable[[str], object] = say) -> list[InsertPair]:
        """Draw every request: the base's pictures first, from the cache where they were drawn before.

        Args:
            requests: What to draw.
            tell: Receives a line for each picture of the adapter.

        Raises:
            OutOfMemory: The device has too little memory.
        """
        pairs = []
        for request, (scene, alone, ceiling) in zip(requests, self.anchors(requests), strict=True):
            pairs.append(InsertPair(request, scene, alone, self._insert(request, scene), ceiling))
            tell(f"  drew {request.scene}, seed {request.seed}")
        return pairs

    def anchors(self, requests: Sequence[InsertRequest]) -> list[Anchors]:
        """What does not depend on the adapter, from the cache where it was drawn before.

        Args:
            requests: What to draw.

        Raises:
            OutOfMemory: The device has too little memory.
        """
        with self.inpainter.without_adapter():
            scenes = [self._by_base(["empty", r.scene_prompt, r.seed], partial(self._empty, r)) for r in requests]
            return [
                Anchors(
                    scene,
                    self._by_base(
                        ["without", r.scene_prompt, r.insert_prompt, r.seed], partial(self._insert, r, scene)
                    ),
                    self._by_base(
                        ["ceiling", r.scene_prompt, r.seed, self._packshot_key], partial(self._ceiling, scene)
                    ),
                )
                for r, scene in zip(requests, scenes, strict=True)
            ]

    def _ceiling(self, scene: Image.Image) -> Image.Image:
        """The packshot in a scene, as well as the base could show it."""
        placed = self.packshot
        return self.inpainter.reconstruct(
            Image.fromarray(composite(placed.rgb, placed.matte, np.asarray(scene.convert("RGB"))))
        )

    def _empty(self, request: InsertRequest) -> Image.Image:
        return empty_scene(self.inpainter, request.scene_prompt, sampling=self.sampling, seed=request.seed)

    def _insert(self, request: InsertRequest, scene: Image.Image) -> Image.Image:
        prompt, seed = request.insert_prompt, request.seed
        return insert_picture(self.inpainter, scene, self.where, prompt, sampling=self.sampling, seed=seed).picture

    def _by_base(self, what: list[Any], make: Callable[[], Image.Image]) -> Image.Image:
        """The picture from the cache, else drawn and kept. A damaged file is drawn again."""
        path = self.cache / f"{fingerprint.of_value([*self._key, *what])}.png"
        if path.is_file():
            try:
                return open_picture(path).convert("RGB")
            except ImageError as error:
                warn(f"drawing a damaged picture of the cache again: {error}")
        picture = make()
        write_png(picture, path)
        return picture
