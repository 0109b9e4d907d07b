"""The fingerprint of a training: everything that decides an adapter's weights, and nothing else."""

from __future__ import annotations

from typing import Any

from finetune.adapters.publish import TRAIN_FORMAT
from finetune.core import fingerprint
from finetune.core.fidelity import gate
from finetune.core.fidelity.insert_pictures import INSERT_FORMAT

WITHOUT_EFFECT = {
    "train": ("trackers", "checkpoint_every", "keep_checkpoints"),
    "memory": ("gradient_checkpointing", "check"),  # what is recomputed is the same
    "adapter": ("init_from",),  # the parent's fingerprint stands for it
}
"""Settings that change no weight, by section."""


def of_training(prepared: str, base: str, settings: dict[str, Any], *, processes: int, parent: str = "") -> str:
    """Fingerprint of prepared set, base and every setting that changes weights.

    Args:
        prepared: fingerprint of the prepared set.
        base: fingerprint of the base.
        settings: the training configuration as plain values (`TrainConfig.model_dump(mode="json")`).
        processes: how many train together; each takes `train.batch` samples a step.
        parent: fingerprint of the adapter it starts from; empty for none.
    """
    counted: dict[str, Any] = {
        section: {key: value for key, value in keys.items() if key not in WITHOUT_EFFECT.get(section, ())}
        for section, keys in settings.items()
        if section not in ("preview", "base", "data", "validation")
    }
    counted["validation"] = selection_settings(settings)
    if processes > 1:
        counted["processes"] = processes
    if not settings["objective"]["prior_weight"]:
        unused = ("prior_weight", "prior_pictures")
        counted["objective"] = {key: value for key, value in counted["objective"].items() if key not in unused}
    if parent:
        counted["adapter"]["origin"] = parent
    return fingerprint.of_value([TRAIN_FORMAT, prepared, base, counted])


def selection_settings(settings: dict[str, Any]) -> dict[str, Any] | None:
    """The validation settings that decide which step's weights are taken; None when none does.

    The gate's scenes count by content, its bars do not: an adapter is judged again when a bar moves, and moving one
    must not retrain a catalogue. A run with a single candidate selects nothing.

    Args:
        settings: the training configuration as plain values.
    """
    v, steps = settings["validation"], settings["train"]["steps"]
    rule = v["choose"] if steps > v["every"] > 0 else "last"
    kept: dict[str, Any] = {"choose": rule}
    if rule != "last" or v["patience"]:
        kept |= {key: v[key] for key in ("every", "examples", "timesteps", "seed", "patience")}
    if rule == "measured":
        scenes = gate.load_gate(v["gate"] or None).model_dump(mode="json", include={"pictures"})
        kept |= {"candidates": v["candidates"], "pictures": v["pictures"], "gate": scenes, "drawings": INSERT_FORMAT}
    return kept if len(kept) > 1 else None
