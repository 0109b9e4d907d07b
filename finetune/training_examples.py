"""The prepared set as the UNet wants it: opened with Hugging Face `datasets`, encoded through the latent cache.

Called by the training session. It changes nothing in the prepared set.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from finetune.core.basemodel import ResolvedBase
from finetune.core.catalog import Workspace
from finetune.core.console import say
from finetune.core.errors import RunError
from finetune.core.prepared import PreparedSet
from finetune.settings import TrainConfig
from finetune.writing import kept

if TYPE_CHECKING:
    from finetune.cache import CachedExamples, Row


def load_examples(
    workspace: Workspace,
    prepared: PreparedSet,
    base: ResolvedBase,
    config: TrainConfig,
    device: str,
    *,
    split: str = "train",
    limit: int = 0,
) -> CachedExamples:
    """The examples of one split, ready for the UNet.

    Args:
        split: `train`, or `validation` for those held out. limit: at most as many, spread over all; 0 takes all.

    Raises:
        RunError: the split is empty.
    """
    from finetune.cache import build_cache

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
    last = [0.0]

    def progress(done: int, total: int) -> None:
        if done == total or time.monotonic() - last[0] > 10:
            last[0] = time.monotonic()
            say(f"  caching latents and text embeddings: {done}/{total}")

    return build_cache(workspace.cache, base, rows, ring_px=config.objective.ring_px, device=device, progress=progress)


def load_held_out(
    workspace: Workspace, prepared: PreparedSet, base: ResolvedBase, config: TrainConfig, device: str
) -> CachedExamples | None:
    """The examples whose loss is watched; None where that is switched off, or the set is too small to hold some out."""
    if not config.validation.every:
        return None
    if not _rows(workspace, prepared, "validation", 1):
        say("  no held-out examples: no validation loss, the last step's adapter is taken")
        return None
    limit = config.validation.examples
    return load_examples(workspace, prepared, base, config, device, split="validation", limit=limit)


def _rows(workspace: Workspace, prepared: PreparedSet, split: str, limit: int) -> list[Row]:
    from datasets import load_dataset

    from finetune.cache import row_from_dataset

    folder = workspace.cache / "datasets" / prepared.fingerprint
    with kept("the table of examples", folder.with_name(f".{folder.name}"), at=folder):
        dataset = load_dataset(
            "imagefolder",
            data_dir=str(prepared.folder),
            split="train",  # the name imagefolder gives to all of it
            cache_dir=str(folder),
        )
    chosen = [index for index, name in enumerate(dataset["split"]) if name == split]
    if 0 < limit < len(chosen):
        chosen = [chosen[position * len(chosen) // limit] for position in range(limit)]
    return [row_from_dataset(item) for item in dataset.select(chosen)]
