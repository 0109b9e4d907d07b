"""What a placing needs, found and checked before a model is loaded.

Called by the recipes `place` and, later, `batch`. Reads the prepared set, the adapter's manifest and the base's
configuration; writes nothing and imports no torch.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from finetune.core import fingerprint
from finetune.core.adapters.file import check_fits, check_objective
from finetune.core.adapters.versions import AdapterVersion, find_version
from finetune.core.basemodel.resolve import EMBEDDED, ResolvedBase, resolve_base
from finetune.core.compositing import placement as compose
from finetune.core.console import warn
from finetune.core.errors import CatalogError, ConfigError, CutoutError, did_you_mean
from finetune.core.painting.prompts import resolve_prompt
from finetune.core.pictures.images import open_picture
from finetune.core.products.catalog import Workspace, load_set
from finetune.core.products.prepared import PreparedPhoto, PreparedSet, require_prepared
from inference.settings import PlaceConfig

PICTURES = 3
"""Raised when the same settings would make other pictures: runs of before are then made again."""
NO_ADAPTER = "none"
MASKS = {"preserve": "background", "insert": "box"}
"""Which of the masks that adapters are trained with each mode paints."""


@dataclass(frozen=True)
class Plan:
    """A placing with everything found and checked, and nothing loaded."""

    workspace: Workspace
    sku: str
    user_prompt: str
    config: PlaceConfig
    prepared: PreparedSet
    photo: PreparedPhoto
    cutout_sha256: str
    placed: compose.Placed
    version: AdapterVersion | None
    base: ResolvedBase
    prompts: dict[str, str]
    """Resolved, by the pass they are for: `place`, or `scene` and `insert`."""

    @property
    def recipe(self) -> dict[str, Any]:
        """All that decides the pictures; its fingerprint names the run."""
        keep = {"mode", "size", "candidates", "seed", "adapter_scale", "precision", "sampling"}
        keep |= {"mask_grow", "shadow", "blend"} if self.config.mode == "preserve" else {"box_margin"}
        return {
            "pictures": PICTURES,
            "cutout": self.cutout_sha256,
            "adapter": fingerprint.of_file(self.version.weights) if self.version else None,
            "base": self.base.fingerprint,
            "prompts": self.prompts,
            "box": list(self.placed.box),
            "settings": self.config.model_dump(mode="json", include=keep),
        }

    @property
    def folder(self) -> Path:
        """Where the run's pictures belong: the prompt's first words and the fingerprint."""
        words = re.findall(r"[a-z0-9]+", self.user_prompt.lower())[:5]
        name = "-".join([*words, fingerprint.of_value(self.recipe)[:12]])
        return self.workspace.scenes / self.sku / name


def plan_placing(
    workspace: Workspace,
    sku: str,
    prompt: str,
    *,
    config: PlaceConfig,
    photo: str | None = None,
    adapter: str | None = None,
    base: str | None = None,
) -> Plan:
    """Find and check everything a placing needs.

    Args:
        photo: stem of the photo whose cutout is placed; the first of the set if left out.
        adapter: version number, folder, or any SDXL LoRA file; the published one, else the newest, if left out;
            `none` for the base alone.
        base: base reference; the one the adapter was trained on if left out.

    Raises:
        PackshotError: of the kind that fits: empty prompt, unknown SKU, photo, version or base, a set that is not
            prepared, an adapter of another base, a product that does not fit into the frame.
    """
    if not prompt.strip():
        raise ConfigError("the prompt is empty", 'say where the product stands: --prompt "on a white marble vanity"')
    product = load_set(workspace, sku)
    if product.config.kind != "sku":
        raise CatalogError(f"'{sku}' is a {product.config.kind} set", "only a product (kind: sku) can be placed")
    prepared = require_prepared(product.prepared_dir, sku)
    if changes := prepared.changes(product):
        warn(f"'{sku}' since it was prepared: {changes}; `packshot prepare {sku}` takes that in")
    chosen = _choose_photo(prepared, photo)
    cutout, glass, sha256 = _read_cutout(prepared, chosen)
    version = None if adapter == NO_ADAPTER else find_version(workspace, sku, adapter)
    resolved = _resolve(version, base)
    if version is not None and (missing := check_objective(version.manifest, resolved, MASKS[config.mode])):
        warn(missing)
    prompts = {
        name: resolve_prompt(
            getattr(config.prompts, name), token=prepared.token, class_noun=prepared.class_noun, prompt=prompt
        )
        for name in (("place",) if config.mode == "preserve" else ("scene", "insert"))
    }
    scale = config.placement.scale
    box = compose.placement_box(
        cutout.size,
        config.size,
        anchor=config.placement.anchor,
        scale=compose.default_scale(cutout.size) if scale is None else scale,
        ground=config.placement.ground,
    )
    placed = compose.put_on_canvas(cutout, box, config.size, glass)
    if config.mode == "preserve" and not placed.core.any():
        raise CutoutError(
            f"the matte of '{chosen.photo}' is nowhere opaque", "give a mask in masks/, then prepare again"
        )
    return Plan(workspace, sku, prompt.strip(), config, prepared, chosen, sha256, placed, version, resolved, prompts)


def _choose_photo(prepared: PreparedSet, wanted: str | None) -> PreparedPhoto:
    if not prepared.photos:
        raise CatalogError(f"the prepared set of '{prepared.sku}' is empty", f"run: packshot prepare {prepared.sku}")
    if wanted is None:
        return prepared.photos[0]
    stems = {photo.photo: photo for photo in prepared.photos}
    if wanted not in stems:
        raise CatalogError(
            f"'{prepared.sku}' has no prepared photo '{wanted}'",
            did_you_mean(wanted, stems) or f"photos: {', '.join(stems)}",
        )
    return stems[wanted]


def _read_cutout(prepared: PreparedSet, photo: PreparedPhoto) -> tuple[Image.Image, Image.Image | None, str]:
    """The cutout, its glass layer, and the hash of their files."""
    path, glass_path = prepared.cutout_path(photo), prepared.glass_path(photo)
    cutout = open_picture(path, min_side=8).convert("RGBA")
    content = hashlib.sha256(path.read_bytes())
    if glass_path is None:
        return cutout, None, content.hexdigest()
    content.update(glass_path.read_bytes())
    return cutout, open_picture(glass_path, min_side=8).convert("RGBA"), content.hexdigest()


def _resolve(version: AdapterVersion | None, base: str | None) -> ResolvedBase:
    if version is None:
        return resolve_base(base or EMBEDDED)
    trained = version.manifest.get("base", {})
    resolved = resolve_base(base) if base else resolve_base(trained.get("model", EMBEDDED), trained.get("revision", ""))
    check_fits(version.manifest, resolved)
    return resolved
