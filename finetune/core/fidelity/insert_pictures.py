"""The insert pictures an adapter is judged by: for each scene and seed one without and one with the adapter.

Both start from the same empty scene and the same noise, so that nothing but the adapter differs. What the base alone
paints does not depend on the adapter: it is kept in the workspace's cache by content, and the next version of the
adapter pays for its own pictures only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from finetune.core import fingerprint
from finetune.core.compositing import placement as compose
from finetune.core.console import say, warn
from finetune.core.errors import ImageError
from finetune.core.painting.inpainter import Inpainter, Sampling
from finetune.core.painting.prompts import PromptSection, resolve_prompt
from finetune.core.pictures.images import open_picture, write_png
from finetune.core.pictures.masks import Box

DRAWINGS = 1
"""Raised when the same request would make other pictures: what the cache holds from before is then left alone."""


@dataclass(frozen=True)
class Request:
    """One picture to draw, in words and numbers."""

    scene: str
    """As the user would say it."""
    seed: int
    scene_prompt: str
    """Paints the empty scene."""
    insert_prompt: str
    """Draws the product into the box."""


def requests_for(pairs: Sequence[tuple[str, int]], *, token: str, class_noun: str) -> list[Request]:
    """Requests for (scene, seed) pairs, with the prompts `place --mode insert` uses by default."""
    templates = PromptSection()
    words = {"token": token, "class_noun": class_noun}
    return [
        Request(
            scene,
            seed,
            resolve_prompt(templates.scene, prompt=scene, **words),
            resolve_prompt(templates.insert, prompt=scene, **words),
        )
        for scene, seed in pairs
    ]


def product_box(cutout: tuple[int, int], size: int, *, height: float, ground: float) -> Box:
    """Where a judged product stands: in the middle, as high as asked, less where a wide one would not fit.

    Args:
        cutout: (width, height) in its own pixels. size: side of the picture in pixels. height, ground: shares of it.
    """
    scale = min(height, compose.WIDEST * cutout[1] / cutout[0])
    return compose.placement_box(cutout, size, anchor=0.5, scale=scale, ground=ground)


@dataclass(frozen=True)
class Drawing:
    """What was drawn for a request, each at the base's size."""

    request: Request
    empty: Image.Image
    without: Image.Image
    """The base alone drew the product."""
    with_adapter: Image.Image


class DrawingRoom:
    """A loaded base with its adapter, and the fixed conditions under which it draws."""

    def __init__(self, inpainter: Inpainter, box: Box, *, sampling: Sampling, margin: float, cache: Path) -> None:
        """Set the conditions.

        Args:
            box: the product's box in a picture of the base's size.
            margin: the painted box is that share of the frame larger on every side.
            cache: folder for what the base alone paints; made when needed.
        """
        self.inpainter, self.box, self.sampling, self.margin, self.cache = inpainter, box, sampling, margin, cache
        unet = inpainter.pipeline.unet
        self._key: list[Any] = [
            DRAWINGS,
            inpainter.base.fingerprint,
            [inpainter.pipeline._execution_device.type, str(unet.dtype)],
            list(box),
            asdict(sampling),
            margin,
        ]

    def draw(self, requests: Sequence[Request], *, tell: Callable[[str], object] = say) -> list[Drawing]:
        """Draw every request: the base's pictures first, found in the cache where they were drawn before.

        Args:
            tell: is given a line for each picture of the adapter.
        """
        self.inpainter.set_adapter_scale(0.0)
        scenes = [self._by_base(["empty", r.scene_prompt, r.seed], partial(self._empty, r)) for r in requests]
        without = [
            self._by_base(["without", r.scene_prompt, r.insert_prompt, r.seed], partial(self._insert, r, scene))
            for r, scene in zip(requests, scenes, strict=True)
        ]
        self.inpainter.set_adapter_scale(1.0)
        drawings = []
        for request, scene, alone in zip(requests, scenes, without, strict=True):
            drawings.append(Drawing(request, scene, alone, self._insert(request, scene)))
            tell(f"  drawn {request.scene}, seed {request.seed}")
        return drawings

    def _empty(self, request: Request) -> Image.Image:
        blank = compose.whole_frame(self.inpainter.size, np.random.default_rng([request.seed, 0]))
        return self._paint(blank, request.scene_prompt, request.seed)

    def _insert(self, request: Request, scene: Image.Image) -> Image.Image:
        job = compose.box_around(scene, self.box, self.inpainter.size, margin=self.margin)
        return self._paint(job, request.insert_prompt, request.seed)

    def _paint(self, job: compose.PaintJob, prompt: str, seed: int) -> Image.Image:
        return self.inpainter.paint(job.picture, job.mask, prompt, sampling=self.sampling, seed=seed)

    def _by_base(self, what: list[Any], make: Callable[[], Image.Image]) -> Image.Image:
        """The picture from the cache, else drawn and kept. A damaged file is drawn again."""
        path = self.cache / f"{fingerprint.of_value([*self._key, *what])}.png"
        if path.is_file():
            try:
                return open_picture(path).convert("RGB")
            except ImageError as error:
                warn(f"drawn again: {error}")
        picture = make()
        write_png(picture, path)
        return picture
