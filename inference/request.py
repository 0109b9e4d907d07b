"""What placing and evaluating need, found and checked before a model is loaded.

Reads prepared sets, adapter headers and the base's configuration; imports no torch. It writes nothing but the
workspace's cache of file hashes.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from finetune.core import fingerprint
from finetune.core.adapters.file import check_fits
from finetune.core.adapters.versions import AdapterVersion, find_version
from finetune.core.basemodel.resolve import ResolvedBase, resolve_recorded
from finetune.core.compositing.glass import opaque_core
from finetune.core.compositing.placement import Placed
from finetune.core.console import warn
from finetune.core.errors import BaseModelError, CatalogError, did_you_mean
from finetune.core.painting.inpainter import Sampling
from finetune.core.painting.pictures import Finish
from finetune.core.pictures.images import open_picture
from finetune.core.products.catalog import ProductSet, Workspace, load_set
from finetune.core.products.housekeeping import check_cache
from finetune.core.products.prepared import PreparedPhoto, PreparedSet, read_prepared, require_prepared
from finetune.core.storage.file_hashes import FileHashes
from finetune.core.text_files import expanded, is_there
from inference.brand import BrandLook

PICTURES = 5
"""Bump when the same settings would produce different pixels; older runs are then regenerated."""
LEAST_CORE = 0.6
"""Share of the silhouette that is opaque and fully covered, under which placing warns."""
NO_ADAPTER = "none"
"""Given for an adapter, it asks for the base alone."""


@dataclass(frozen=True)
class Subject:
    """A prepared product, and the adapter and base to draw it with."""

    product: ProductSet
    prepared: PreparedSet
    version: AdapterVersion | None
    """None for the base alone."""
    base: ResolvedBase


@dataclass(frozen=True)
class DrawnWith:
    """What a product is drawn with, as the user names it."""

    adapter: str | None = None
    """Version number, folder, or any SDXL LoRA file; if None the published version, else the newest; `none` for the
    base alone."""
    base: str | None = None
    """Reference of the base; if None the one the adapter was trained on."""
    vae: str | None = None
    """Folder or file of a VAE in place of the base's own; if None the one the adapter was trained with."""
    brand: str | None = None
    """`NAME[:WEIGHT]` of a brand set, `none` for no brand; None for the one that set.yaml names."""


def find_subject(workspace: Workspace, sku: str, means: DrawnWith | None = None) -> Subject:
    """Find a product with its adapter and base; warn of what changed since it was prepared.

    Args:
        workspace: Where the product and its adapters are.
        sku: The product.
        means: Adapter, base and VAE; None for those that follow from the product.

    Raises:
        PackshotError: Of the fitting kind: unknown SKU, version or base, a set that is no product or not prepared, a
            damaged adapter, an adapter of another base.
    """
    product, prepared = find_prepared(workspace, sku)
    version, base = _find_version(workspace, sku, means or DrawnWith())
    return Subject(product, prepared, version, base)


def find_prepared(workspace: Workspace, sku: str) -> tuple[ProductSet, PreparedSet]:
    """Find a product and its prepared set; warn of what changed since it was prepared.

    Raises:
        PackshotError: Of the fitting kind: unknown SKU, a set that is no product, or not prepared; a link in the cache.
    """
    product = _find_product(workspace, sku)
    prepared = require_prepared(product.prepared_dir, sku)
    if not prepared.photos:
        raise CatalogError(f"the prepared set of '{sku}' is empty", f"run: packshot prepare {sku}")
    check_cache(workspace)
    hashes = FileHashes(workspace.cache / "hashes" / f"{sku}.json")
    if changes := prepared.changes(product, hashes.of_file):
        warn(f"'{sku}' changed since it was prepared: {changes} (to use the changes, run: packshot prepare {sku})")
    hashes.save(forget=False)
    return product, prepared


def is_prepared(workspace: Workspace, sku: str) -> bool:
    """Whether a product has a prepared set. Raises CatalogError for an unknown SKU or a set that is no product."""
    return read_prepared(_find_product(workspace, sku).prepared_dir) is not None


def needs_preparing(workspace: Workspace, sku: str, means: DrawnWith) -> bool:
    """Whether a product has to be prepared first; adapter and base are looked at before, for it takes long.

    Arguments and errors as for `find_subject`.
    """
    if is_prepared(workspace, sku):
        return False
    _find_version(workspace, sku, means)
    return True


def _find_product(workspace: Workspace, sku: str) -> ProductSet:
    product = load_set(workspace, sku)
    if product.config.kind != "sku":
        raise CatalogError(
            f"'{sku}' is a {product.config.kind} set", "only a product (kind: sku) can be placed or evaluated"
        )
    return product


def warn_of_another_product(sku: str, version: AdapterVersion) -> None:
    """Warn if an adapter was trained on another product than the one it is used for."""
    trained_on = version.manifest.get("sku", sku)
    if trained_on != sku:
        warn(f"this adapter was trained on '{trained_on}', not on '{sku}'")


@dataclass(frozen=True)
class Painting:
    """How the pictures of a placing are painted."""

    mode: Literal["preserve", "blend", "insert"]
    candidates: int
    """Number of pictures, with the seeds seed, seed + 1, ..."""
    seed: int
    adapter_scale: float
    """Strength of the adapter, 1 as trained."""
    precision: str
    """`auto`, `fp32`, `bf16` or `fp16`."""
    sampling: Sampling
    mask_grow: int | None
    """Preserve mode: latent cells painted into the product's edge; None for the base's default."""
    retries: int
    """Preserve mode: other seeds that are tried where a second product is being painted."""
    finish: Finish
    """Preserve mode: what is done to the painted scene."""
    box_margin: float
    """Insert mode: margin of the painted box, share of the frame."""

    @property
    def ground(self) -> dict[str, Any] | None:
        """Light, shadow and reflection, as recipes and manifests record them."""
        return self.finish.grounding.facts if self.finish.grounding else None

    @property
    def blend(self) -> dict[str, float]:
        """The rest of the finish, as recipes and manifests record it."""
        return {"fringe": self.finish.fringe, "grain": self.finish.grain}

    @property
    def settings(self) -> dict[str, Any]:
        """What of it has an effect in this mode, as recipes record it."""
        names = ("mode", "candidates", "seed", "adapter_scale", "precision")
        kept = {name: getattr(self, name) for name in names} | {"sampling": asdict(self.sampling)}
        if self.mode != "insert":
            kept |= {"budget": self.finish.budget} if self.mode == "blend" else {}
            kept |= {"retries": self.retries}
            return kept | {"mask_grow": self.mask_grow, "ground": self.ground, "blend": self.blend}
        return kept | {"box_margin": self.box_margin}


@dataclass(frozen=True)
class PlaceRequest:
    """A placing with everything found and checked, and nothing loaded."""

    workspace: Workspace
    sku: str
    user_prompt: str
    subject: Subject
    photo: PreparedPhoto
    cutout_sha256: str
    placed: Placed
    """The product on the canvas of the delivered picture."""
    prompts: dict[str, str]
    """Resolved, by the pass they are for: `place`, or `scene` and `insert`."""
    painting: Painting
    brand: BrandLook | None = None
    """The brand whose look the scene gets."""

    @property
    def style_bytes(self) -> int:
        """Size of the brand's adapter file; 0 without one."""
        return self.brand.version.weights.stat().st_size if self.brand else 0

    @cached_property
    def adapter_sha256(self) -> str | None:
        """SHA-256 of the adapter file; None for the base alone."""
        version = self.subject.version
        return hashlib.sha256(version.weights.read_bytes()).hexdigest() if version else None

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """All that decides the pictures; its fingerprint names the run."""
        return {
            "pictures": PICTURES,
            "cutout": self.cutout_sha256,
            "adapter": self.adapter_sha256 and self.adapter_sha256[: fingerprint.LENGTH],
            "brand": self.brand.facts if self.brand else None,
            "base": self.subject.base.fingerprint,
            "prompts": self.prompts,
            "box": list(self.placed.box),
            "settings": self.painting.settings | {"size": plain_size(self.placed.size)},
        }

    @cached_property
    def folder(self) -> Path:
        """Where the run's pictures belong: the prompt's first words and the fingerprint."""
        words = re.findall(r"[a-z0-9]+", self.user_prompt.lower())[:5]
        name = "-".join([*words, fingerprint.of_value(self.recipe)[:12]])
        return self.workspace.scenes / self.sku / name


def plain_size(size: tuple[int, int]) -> int | list[int]:
    """A size as recipes and manifests record it: the side of a square picture, else width and height."""
    return size[0] if size[0] == size[1] else list(size)


def choose_photo(prepared: PreparedSet, wanted: str | None) -> PreparedPhoto:
    """The photo with a stem; the first of the set if None.

    Raises:
        CatalogError: There is no such photo.
    """
    if wanted is None:
        return prepared.photos[0]
    stems = {photo.photo: photo for photo in prepared.photos}
    if wanted not in stems:
        raise CatalogError(
            f"'{prepared.sku}' has no prepared photo '{wanted}'",
            did_you_mean(wanted, stems) or f"photos: {', '.join(stems)}",
        )
    return stems[wanted]


def read_cutout(
    product: ProductSet, prepared: PreparedSet, photo: PreparedPhoto
) -> tuple[Image.Image, Image.Image | None, str]:
    """A photo's cutout (RGBA), its glass layer (RGBA, None for an opaque product), and the SHA-256 of their files.

    Warns where little of the product is opaque, unless its set.yaml says that it is glass.

    Raises:
        ImageError: A file is damaged.
    """
    path, glass_path = prepared.cutout_path(photo), prepared.glass_path(photo)
    cutout, glass = open_picture(path, min_side=8).convert("RGBA"), None
    content = hashlib.sha256(path.read_bytes())
    if glass_path is not None:
        content.update(glass_path.read_bytes())
        glass = open_picture(glass_path, min_side=8).convert("RGBA")
    if product.config.glass != "yes":
        _warn_of_little_core(photo.photo, cutout, glass)
    return cutout, glass, content.hexdigest()


def _warn_of_little_core(photo: str, cutout: Image.Image, glass: Image.Image | None) -> None:
    """Warn if less than `LEAST_CORE` of a cutout reaches the picture unchanged."""
    pixels = np.asarray(cutout)
    core = opaque_core(pixels, None if glass is None else np.asarray(glass))
    silhouette = pixels[..., 3] > 127
    share = float(core.sum() / max(1, silhouette.sum()))
    if share < LEAST_CORE:
        why = "the rest is thin or soft" if glass is None else "scenes show through the rest"
        cure = "check its cutout" if glass is None else "set `glass: yes` in set.yaml if that is right, or `glass: no`"
        warn(f"only {share:.0%} of the product on '{photo}' is opaque and kept pixel for pixel; {why} ({cure})")


def _find_version(workspace: Workspace, sku: str, means: DrawnWith) -> tuple[AdapterVersion | None, ResolvedBase]:
    """The adapter, None for the base alone, and the base it draws with."""
    version = None if means.adapter == NO_ADAPTER else find_version(workspace, sku, means.adapter)
    recorded = version.manifest.get("base", {}) if version else {}
    if (lost := str(recorded.get("vae", ""))) and not means.vae and not is_there(expanded(lost)):
        raise BaseModelError(
            f"the adapter was trained with the VAE at '{lost}', and there is none now",
            "give the place where that VAE lies: --vae FOLDER|FILE",
        )
    base = resolve_recorded(recorded, means.base or "", means.vae or "")
    if version:
        check_fits(version.manifest, base)
    return version, base
