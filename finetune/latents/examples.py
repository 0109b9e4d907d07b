"""The prepared set as the UNet wants it: opened with Hugging Face `datasets`, encoded through the latent cache.

Called by the training session. It changes nothing in the prepared set.
"""

from __future__ import annotations

import shutil
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from finetune.core.basemodel.resolve import ResolvedBase
from finetune.core.console import say
from finetune.core.errors import RunError
from finetune.core.products.catalog import Workspace
from finetune.core.products.prepared import PreparedSet
from finetune.core.storage.durable import state_errors
from finetune.settings import TrainConfig
from finetune.training.summary import mask_line

if TYPE_CHECKING:
    from finetune.latents.cache import CachedExamples, Row


@dataclass(frozen=True)
class TrainingExamples:
    """All that a run encodes before the UNet loads."""

    training: CachedExamples
    held_out: CachedExamples | None
    """Examples whose loss is watched; None where that is switched off, or the set is too small to hold some out."""
    of_class: CachedExamples | None
    """Class pictures drawn by the base; None where `objective.prior_weight` is 0."""


def load_examples(
    workspace: Workspace, prepared: PreparedSet, base: ResolvedBase, config: TrainConfig, device: str
) -> TrainingExamples:
    """The examples of a run, ready for the UNet: class pictures are drawn first, then all is encoded in one pass.

    Raises:
        RunError: the prepared set has no training examples.
    """
    from finetune.latents.cache import RowSet, build_caches

    ring = config.objective.ring_px
    wanted = {"training": RowSet(split_rows(workspace, prepared, base, "train"), ring)}
    if config.validation.every and (held_out := _held_out_rows(workspace, prepared, base, config.validation.examples)):
        wanted["held_out"] = RowSet(held_out, ring)
    if config.objective.prior_weight:
        wanted["of_class"] = RowSet(_class_rows(workspace, prepared, base, config, device), 0)
    progress = _progress("caching latents and text embeddings")
    made = build_caches(workspace.cache, base, list(wanted.values()), device=device, progress=progress)
    found = dict(zip(wanted, made, strict=True))
    return TrainingExamples(found["training"], found.get("held_out"), found.get("of_class"))


def split_rows(
    workspace: Workspace, prepared: PreparedSet, base: ResolvedBase, split: str, limit: int = 0
) -> list[Row]:
    """The rows of one split, with what they are said.

    Args:
        split: `train`, or `validation` for those held out. limit: at most as many, spread over all; 0 takes all.

    Raises:
        RunError: the split is empty.
    """
    rows = _rows(workspace, prepared, split, limit)
    if not rows:
        raise RunError(f"the prepared set of '{prepared.sku}' has no {split} examples", "prepare it again with --force")
    if prepared.kind == "brand":  # a style: the whole picture is what is to be learned
        rows = [replace(row, product=np.ones_like(row.product)) for row in rows]
    shapes = len({row.product.shape for row in rows})
    covered = sum(float(row.product.mean()) for row in rows) / len(rows)
    framed = f" in frames of {shapes} shapes" if shapes > 1 else ""
    named = "training" if split == "train" else split
    say(f"  {len(rows)} {named} examples{framed}, product covers {covered:.0%} of a picture on average")
    if base.channels == 9 and split == "train":
        say(f"  {mask_line([row.mask_kind for row in rows])}")
    return rows


def _held_out_rows(workspace: Workspace, prepared: PreparedSet, base: ResolvedBase, limit: int) -> list[Row]:
    if not _rows(workspace, prepared, "validation", 1):
        say("  no held-out examples: no validation loss, the last step's adapter is taken")
        return []
    return split_rows(workspace, prepared, base, "validation", limit)


def _class_rows(
    workspace: Workspace, prepared: PreparedSet, base: ResolvedBase, config: TrainConfig, device: str
) -> list[Row]:
    from finetune.latents.class_images import class_rows

    rows = class_rows(
        workspace.cache / "class",
        base,
        class_noun=prepared.class_noun,
        count=config.objective.prior_pictures,
        size=config.data.size,
        precision=config.memory.precision,
        device=device,
        progress=_progress(f"the base draws pictures of '{prepared.class_noun}'"),
    )
    say(f"  {len(rows)} class pictures for prior preservation, weight {config.objective.prior_weight:g}")
    return rows


def _progress(what: str) -> Callable[[int, int], None]:
    """Says how far something is, every ten seconds and at its end."""
    last = 0.0

    def progress(done: int, total: int) -> None:
        nonlocal last
        if done == total or time.monotonic() - last > 10:
            last = time.monotonic()
            say(f"  {what}: {done}/{total}")

    return progress


def _rows(workspace: Workspace, prepared: PreparedSet, split: str, limit: int) -> list[Row]:
    """Rows of a split with their pictures.

    Raises:
        RunError: a file of the prepared set is missing or damaged.
    """
    from datasets.exceptions import DatasetsError

    from finetune.latents.cache import row_from_dataset

    folder = workspace.cache / "datasets" / prepared.fingerprint
    try:
        try:
            table = _table(prepared.folder, folder)
        except (ValueError, DatasetsError):  # the table is damaged, or what it is made of: made once more
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
            split="train",  # the name imagefolder gives to all of it
            cache_dir=str(cache),
        )
