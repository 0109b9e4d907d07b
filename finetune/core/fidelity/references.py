"""The packshots a drawn product is compared with: this product's views, and those of its siblings.

A *sibling* is a product the buyer must not be sent by mistake: another SKU of the same category (or, where one of the
two names no category, of the same class noun). Reads prepared sets and writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from finetune.core.console import warn
from finetune.core.errors import CatalogError, PackshotError
from finetune.core.fidelity.decoys import decoys_of
from finetune.core.fidelity.measures import View, make_view
from finetune.core.pictures.images import Array, open_picture, resize_rgba
from finetune.core.pictures.masks import Box
from finetune.core.products.catalog import ProductSet, Workspace, load_set
from finetune.core.products.prepared import PreparedSet, read_prepared

MAX_VIEWS = 8
"""Views compared per product: the first ones by name."""
REACH = 0.06
"""How far the drawn product may be off its box, as a share of the longer side: a latent cell of the smallest base."""


@dataclass(frozen=True)
class MeasureFrame:
    """How pictures are cropped and scaled for comparing."""

    box: Box
    """The product's box in a drawn picture."""
    width: int
    """Of the box, pixels at the scale of measuring, without the reach around it."""
    height: int
    """Likewise."""
    reach: int
    """Pixels around the box at the scale of measuring."""

    def crop(self, picture: Image.Image) -> Array:
        """The box of a drawn picture with the reach around it: (height + 2 reach, width + 2 reach, 3)."""
        pad = self.reach * self.box.height / self.height
        size = (self.width + 2 * self.reach, self.height + 2 * self.reach)
        edges = (
            max(0.0, self.box.left - pad),
            max(0.0, self.box.top - pad),
            min(float(picture.width), self.box.right + pad),
            min(float(picture.height), self.box.bottom + pad),
        )
        return np.asarray(picture.resize(size, Image.Resampling.LANCZOS, box=edges))


@dataclass(frozen=True)
class References:
    """Views by product, at one scale."""

    own: tuple[View, ...]
    siblings: dict[str, tuple[View, ...]]
    decoys: dict[str, tuple[View, ...]]
    """The product in other colours (`fidelity.decoys`), by name."""
    left_out: dict[str, str]
    """Siblings that could not be compared, each with the reason."""

    def summary(self) -> dict[str, Any]:
        """The section `references` of the fidelity report."""
        return {
            "own": [view.name for view in self.own],
            "siblings": {sku: len(views) for sku, views in self.siblings.items()},
            "decoys": list(self.decoys),
            "left_out": self.left_out,
        }


def make_frame(box: Box, side: int) -> MeasureFrame:
    """A frame for a product's box whose longer side is `side` pixels at the scale of measuring."""
    scale = side / max(box.width, box.height)
    width, height = round(box.width * scale), round(box.height * scale)
    return MeasureFrame(box, max(16, width), max(16, height), max(2, round(REACH * side)))


def find_siblings(workspace: Workspace, product: ProductSet) -> tuple[dict[str, PreparedSet], dict[str, str]]:
    """Find a product's siblings; those that cannot be compared are named in a warning.

    Returns:
        The prepared sets of its siblings by SKU, and the reason for each sibling that could not be read.
    """
    found: dict[str, PreparedSet] = {}
    left_out: dict[str, str] = {}
    for sku in workspace.skus():
        if sku == product.sku:
            continue
        try:
            other = load_set(workspace, sku)
            if not is_sibling(product, other):
                continue
            prepared = read_prepared(other.prepared_dir)
        except PackshotError as error:
            left_out[sku] = error.message
            continue
        if prepared is None or not prepared.photos:
            left_out[sku] = "it is not prepared"
        else:
            found[sku] = prepared
    for sku, reason in left_out.items():
        warn(f"the sibling test of '{product.sku}' skips '{sku}': {reason} (run: packshot prepare {sku})")
    return found, left_out


def is_sibling(product: ProductSet, other: ProductSet) -> bool:
    """Whether the two may be mistaken for each other."""
    if other.config.kind != "sku":
        return False
    if product.config.category and other.config.category:
        return product.config.category == other.config.category
    return product.config.class_noun.casefold() == other.config.class_noun.casefold()


def load_references(
    own: PreparedSet,
    siblings: dict[str, PreparedSet],
    left_out: dict[str, str],
    frame: MeasureFrame,
    *,
    decoys: bool = True,
) -> References:
    """Read the views of a product and of its siblings, scaled into the frame.

    Args:
        own: The product.
        siblings: Its siblings by SKU.
        left_out: Siblings that could not be read, for the report.
        frame: How views are scaled.
        decoys: Whether the product is also told apart from itself in other colours.

    Raises:
        CatalogError: The product itself has no view that can be compared.
    """
    views = _views(own, frame)
    if not views:
        raise CatalogError(f"no cutout of '{own.sku}' can be compared", f"run: packshot prepare {own.sku} --force")
    others = {sku: _views(prepared, frame) for sku, prepared in siblings.items()}
    return References(views, others, decoys_of(views) if decoys else {}, left_out)


def _views(prepared: PreparedSet, frame: MeasureFrame) -> tuple[View, ...]:
    photos = sorted(prepared.photos, key=lambda photo: photo.photo)[:MAX_VIEWS]
    return tuple(
        make_view(photo.photo, into_frame(open_picture(prepared.cutout_path(photo)).convert("RGBA"), frame))
        for photo in photos
    )


def into_frame(cutout: Image.Image, frame: MeasureFrame) -> Array:
    """A cutout in its own proportions, as large as the frame lets it be, standing in its middle: (height, width, 4)."""
    scale = min(frame.width / cutout.width, frame.height / cutout.height)
    size = (max(1, round(cutout.width * scale)), max(1, round(cutout.height * scale)))
    canvas = Image.new("RGBA", (frame.width, frame.height), (0, 0, 0, 0))
    canvas.paste(resize_rgba(cutout, size), ((frame.width - size[0]) // 2, frame.height - size[1]))
    return np.asarray(canvas)
