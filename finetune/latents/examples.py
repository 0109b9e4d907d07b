"""From a prepared set to cached latents: opened with Hugging Face `datasets`, encoded through the latent cache.

The prepared set itself is never changed.
"""

from __future__ import annotations

import shutil
import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from finetune.core.basemodel.resolve import ResolvedBase
from finetune.core.console import count, say
from finetune.core.errors import RunError
from finetune.core.products.prepared import PreparedSet
from finetune.core.progress import Progress
from finetune.core.storage.durable import state_errors

if TYPE_CHECKING:
    from finetune.latents.cache import CachedExamples, Row
    from finetune.latents.class_images import ClassImages


@dataclass(frozen=True)
class WantedExamples:
    """Which examples a run encodes."""

    ring_px: int
    """Width in pixels of the ring around the product that has a weight of its own in the loss."""
    held_out: int | None
    """At most this many held-out examples (0: all of them); None for no validation."""
    class_images: ClassImages | None
    """None without prior preservation."""


@dataclass(frozen=True)
class TrainingExamples:
    """The encoded examples of a run."""

    training: CachedExamples
    held_out: CachedExamples | None
    """For the validation loss; None where validation is off or the set is too small to hold examples out."""
    of_class: CachedExamples | None
    """Class pictures drawn by the base; None without prior preservation."""


def load_examples(
    cache: Path, prepared: PreparedSet, base: ResolvedBase, wanted: WantedExamples, device: str
) -> TrainingExamples:
    """Encode the examples of a run: class pictures are drawn first, then everything is encoded in one pass.

    Args:
        cache: the workspace's cache folder.
        prepared: the prepared set.
        base: whose VAE and text encoders encode.
        wanted: which examples.
        device: where encoding runs.

    Raises:
        RunError: the prepared set has no training examples.
    """
    from finetune.latents.cache import RowSet, build_caches

    ring = wanted.ring_px
    sets = {"training": RowSet(split_rows(cache, prepared, base, "train"), ring)}
    if wanted.held_out is not None and (held_out := _held_out_rows(cache, prepared, base, wanted.held_out)):
        sets["held_out"] = RowSet(held_out, ring)
    if wanted.class_images:
        sets["of_class"] = RowSet(_class_rows(cache, prepared, base, wanted.class_images, device), 0)
    with Progress("caching latents and text embeddings") as bar:
        made = build_caches(cache, base, list(sets.values()), device=device, progress=bar.reached)
    found = dict(zip(sets, made, strict=True))
    return TrainingExamples(found["training"], found.get("held_out"), found.get("of_class"))


def split_rows(cache: Path, prepared: PreparedSet, base: ResolvedBase, split: str, limit: int = 0) -> list[Row]:
    """The rows of one split; prints how many there are and what they show.

    Args:
        cache: the workspace's cache folder.
        prepared: the prepared set.
        base: whose channel count decides whether inpainting masks are used.
        split: `train`, or `validation` for those held out.
        limit: at most this many, spread evenly over all; 0 takes all.

    Raises:
        RunError: the split is empty.
    """
    rows = _rows(cache, prepared, split, limit)
    if not rows:
        raise RunError(
            f"the prepared set of '{prepared.sku}' has no {split} examples",
            f"run: packshot prepare {prepared.sku} --force",
        )
    if prepared.kind == "brand":  # a style is learned from the whole picture
        rows = [replace(row, product=np.ones_like(row.product)) for row in rows]
    shapes = len({row.product.shape for row in rows})
    covered = sum(float(row.product.mean()) for row in rows) / len(rows)
    framed = f" in frames of {shapes} shapes" if shapes > 1 else ""
    named = "training" if split == "train" else split
    say(f"  {count(len(rows), f'{named} example')}{framed}, product covers {covered:.0%} of a picture on average")
    if base.channels == 9 and split == "train":
        say(f"  {mask_line([row.mask_kind for row in rows])}")
    return rows


def mask_line(kinds: Sequence[str]) -> str:
    """One line with the share of each kind of inpainting mask, most frequent first."""
    counts = Counter(kinds).most_common()
    return "inpainting masks: " + ", ".join(f"{kind} {count / len(kinds):.0%}" for kind, count in counts)


def _held_out_rows(cache: Path, prepared: PreparedSet, base: ResolvedBase, limit: int) -> list[Row]:
    if not _rows(cache, prepared, "validation", 1):
        say("  no held-out examples: there is no validation loss, and the last step's adapter is kept")
        return []
    return split_rows(cache, prepared, base, "validation", limit)


def _class_rows(cache: Path, prepared: PreparedSet, base: ResolvedBase, wanted: ClassImages, device: str) -> list[Row]:
    from finetune.latents.class_images import class_rows

    noun = prepared.class_noun
    with Progress(f"the base draws pictures of '{noun}'") as bar:
        rows = class_rows(cache / "class", base, noun, wanted, device=device, progress=bar.reached)
    say(f"  {count(len(rows), 'class picture')} for prior preservation, weight {wanted.weight:g}")
    return rows


def _rows(cache: Path, prepared: PreparedSet, split: str, limit: int) -> list[Row]:
    """Rows of a split with their pictures; at most `limit` of them, 0 for all.

    Raises:
        RunError: a file of the prepared set is missing or damaged.
    """
    from datasets.exceptions import DatasetsError

    from finetune.latents.cache import row_from_dataset

    folder = cache / "datasets" / prepared.fingerprint
    try:
        try:
            table = _table(prepared.folder, folder)
        except (ValueError, DatasetsError):  # a damaged table is rebuilt once; damaged pictures fail again
            shutil.rmtree(folder, ignore_errors=True)
            table = _table(prepared.folder, folder)
        chosen = [index for index, name in enumerate(table["split"]) if name == split]
        if 0 < limit < len(chosen):
            chosen = [chosen[position * len(chosen) // limit] for position in range(limit)]
        return [row_from_dataset(item) for item in table.select(chosen)]
    except (OSError, SyntaxError, ValueError, KeyError, TypeError, struct.error, DatasetsError) as error:
        cause = error.__cause__ or error
        reason = " ".join(str(cause).split())[:200] or type(cause).__name__
        raise RunError(
            f"the prepared set of '{prepared.sku}' is damaged: {_unreadable(prepared.folder) or reason}",
            f"run: packshot prepare {prepared.sku} --force (with the same --config)",
        ) from error


def _unreadable(folder: Path) -> str:
    """The first picture of a prepared set's examples that can't be read; empty where all can."""
    for path in sorted(path for kind in ("images", "masks", "mattes") for path in (folder / kind).rglob("*.png")):
        try:
            with Image.open(path) as opened:
                opened.load()
        except (OSError, SyntaxError, ValueError, struct.error):
            return f"{path.relative_to(folder)} can't be read"
    return ""


def _table(pictures: Path, cache: Path) -> Any:
    """The imagefolder as a table, from the cache where it is there.

    Raises:
        StateWriteError: the disk does not take the table.
    """
    from datasets import load_dataset

    with state_errors("the table of examples", near=cache):
        return load_dataset(
            "imagefolder",
            data_dir=str(pictures),
            data_files={"train": "**"},  # else `datasets` first tries sixty patterns of names that hold a split
            split="train",
            cache_dir=str(cache),
        )
