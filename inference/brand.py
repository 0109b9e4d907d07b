"""The look of a brand in a product's scenes: the brand set's adapter beside the product's, at a weight of its own."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from finetune.core.adapters.file import check_fits
from finetune.core.adapters.foreign import ForeignAdapter
from finetune.core.adapters.token_embeddings import ENTRY
from finetune.core.adapters.versions import AdapterVersion, find_version, version_numbers
from finetune.core.basemodel.resolve import ResolvedBase
from finetune.core.console import say, warn
from finetune.core.errors import AdapterMismatch, CatalogError, ConfigError, PackshotError
from finetune.core.painting.inpainter import Style
from finetune.core.products.catalog import ProductSet, Workspace, load_set

WEIGHT = 0.6
"""Strength of a brand's adapter beside a product's, unless one is given."""
HEAVIEST = 2.0
NONE = "none"
"""Given for a brand, it asks for no brand."""


@dataclass(frozen=True)
class BrandLook:
    """A brand whose look a scene gets."""

    name: str
    token: str
    """Trigger word of its adapter."""
    version: AdapterVersion
    weight: float

    @property
    def style(self) -> Style:
        """What the inpainter loads."""
        assert not isinstance(self.version.adapter, ForeignAdapter)
        return Style(self.version.adapter, self.weight)

    @property
    def facts(self) -> dict[str, Any]:
        """As recipes and manifests record it."""
        content = hashlib.sha256(self.version.weights.read_bytes()).hexdigest()
        return {"name": self.name, "version": self.version.number, "sha256": content, "weight": self.weight}

    def in_prompt(self, prompt: str) -> str:
        """A prompt in the brand's style, in the words its adapter was trained with."""
        return f"a photo in {self.token} style, {prompt}"


def find_brand(workspace: Workspace, product: ProductSet, base: ResolvedBase, wanted: str | None) -> BrandLook | None:
    """The brand that is asked for, else the one that the product's set.yaml names if it has an adapter for the base.

    Args:
        workspace: Where the brand's set and adapters are.
        product: The product.
        base: The base that paints.
        wanted: `NAME` or `NAME:WEIGHT`; `none` for no brand; None for the product's own.

    Raises:
        PackshotError: Of the fitting kind: no such set, a set that is no brand, no adapter, one of another base.
    """
    if wanted == NONE or (wanted is None and not product.config.brand):
        return None
    if wanted is not None:
        name, weight = read_weight(wanted)
        look = _look(workspace, name, weight, base)
        say(f"  in the look of '{name}': adapter {look.version.number} at weight {weight:g}")
        return look
    name = product.config.brand
    try:
        if not version_numbers(workspace, name):
            return None
        look = _look(workspace, name, WEIGHT, base)
    except PackshotError as error:  # nobody asked for the brand: the product is placed all the same
        warn(f"painting without the look of '{name}': {error.message} (leave it out: --brand none)")
        return None
    number = look.version.number
    say(f"  in the look of '{name}' (by set.yaml): adapter {number} at weight {WEIGHT:g} (or give --brand)")
    return look


def read_weight(text: str) -> tuple[str, float]:
    """Name and weight of `noire:0.6`: the weight is what follows the last colon if it is a number.

    Raises:
        ConfigError: The weight is out of range.
    """
    name, colon, last = text.rpartition(":")
    if not colon or not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)", last):
        return text, WEIGHT
    weight = float(last)
    if not 0 < weight <= HEAVIEST:
        hint = f"it is above 0 and at most {HEAVIEST:g}, as in {name}:0.6"
        raise ConfigError(f"the weight {last} of brand '{name}' is out of range", hint)
    return name, weight


def _look(workspace: Workspace, name: str, weight: float, base: ResolvedBase) -> BrandLook:
    brand = load_set(workspace, name)
    if brand.config.kind != "brand":
        found = f"'{name}' is no brand: its set.yaml says kind: {brand.config.kind}"
        raise CatalogError(found, "name a set whose set.yaml says kind: brand")
    version = find_version(workspace, name)
    if isinstance(version.adapter, ForeignAdapter) or ENTRY in version.manifest:
        raise AdapterMismatch(
            f"adapter {version.number} of brand '{name}' has tokens of its own",
            "train it with adapter.token_embeddings=0",
        )
    check_fits(version.manifest, base)
    token = str(version.manifest.get("token") or brand.config.token)
    return BrandLook(name, token, version, weight)
