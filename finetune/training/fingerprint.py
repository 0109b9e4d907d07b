"""The fingerprint of a training: everything that decides an adapter's weights, and what of it differs."""

from __future__ import annotations

from typing import Any

from finetune.adapters.publish import TRAIN_FORMAT
from finetune.core import fingerprint
from finetune.core.config import RENAMED
from finetune.core.fidelity import gate
from finetune.core.fidelity.insert_pictures import INSERT_FORMAT

WITHOUT_EFFECT = {
    "train": ("trackers", "checkpoint_every", "keep_checkpoints"),
    "memory": ("gradient_checkpointing", "check"),  # what is recomputed is the same
    "adapter": ("init_from",),  # the parent's fingerprint stands for it
}
"""Settings that change no weight, by section."""
BY_CONTENT = ("base", "data")
"""Sections that count by the content they name."""
UNNAMED = "photos, settings or base changed"
MOST = 5
"""Differences that are told one by one."""


def of_training(prepared: str, base: str, settings: dict[str, Any], *, processes: int, parent: str = "") -> str:
    """Fingerprint of prepared set, base and every setting that changes weights.

    Args:
        prepared: fingerprint of the prepared set.
        base: fingerprint of the base.
        settings: the training configuration as plain values (`TrainConfig.model_dump(mode="json")`).
        processes: how many train together; each takes `train.batch` samples a step.
        parent: fingerprint of the adapter it starts from; empty for none.
    """
    counted = counted_settings(settings)
    if processes > 1:
        counted["processes"] = processes
    if parent:
        counted["adapter"]["origin"] = parent
    return fingerprint.of_value([TRAIN_FORMAT, prepared, base, counted])


def counted_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that change weights, by section; `data` and `base` count by content instead.

    Args:
        settings: the training configuration as plain values.
    """
    counted: dict[str, Any] = {
        section: {key: value for key, value in keys.items() if key not in WITHOUT_EFFECT.get(section, ())}
        for section, keys in settings.items()
        if section not in ("preview", "base", "data", "validation")
    }
    counted["validation"] = selection_settings(settings)
    if not settings["objective"]["prior_weight"]:
        unused = ("prior_weight", "prior_pictures")
        counted["objective"] = {key: value for key, value in counted["objective"].items() if key not in unused}
    return counted


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


def changed_settings(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """The settings that change weights and differ: `train.steps 300 -> 500`.

    Args:
        before: the configuration in an adapter's manifest.
        now: the configuration asked for; both as plain values under their recorded names.
    """
    try:
        return _differing(counted_settings(before), counted_settings(now))
    except (KeyError, TypeError):  # of a Packshot with other settings
        return []


def ineffective_settings(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """The settings that differ and change no weight, as `section.key=value`; those that count by content left out.

    Args:
        before: the configuration in an adapter's manifest, whose adapter is up to date.
        now: the configuration asked for; both as plain values under their recorded names.
    """
    names = []
    for section, keys in now.items():
        old = before.get(section)
        if section not in BY_CONTENT and isinstance(old, dict):
            names += [f"{_name(section, k)}={_shown(v)}" for k, v in keys.items() if k in old and old[k] != v]
    return names


def why_stale(manifest: dict[str, Any], prepared: str, base: str, settings: dict[str, Any], *, photos: str) -> str:
    """Why an adapter is not the one that training would make now.

    Args:
        manifest: the adapter's.
        prepared: fingerprint the prepared set has now.
        base: fingerprint of the base now.
        settings: the configuration asked for, as plain values under their recorded names.
        photos: what changed in the product set since it was prepared, in words; empty for nothing.

    Returns:
        At most 5 differences, the others counted; `UNNAMED` where none can be named.
    """
    told = [photos] if photos else []
    if manifest.get("prepared", prepared) != prepared:
        told += data_changes(manifest.get("config", {}), settings) or ([] if told else ["the photos changed"])
    if manifest.get("base", {}).get("fingerprint", base) != base:
        told.append("the base changed")
    told += changed_settings(manifest.get("config", {}), settings)
    more = [f"{len(told) - MOST} more"] if len(told) > MOST else []
    return ", ".join(told[:MOST] + more) or UNNAMED


def data_changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """The settings of examples that differ: `data.variants 24 -> 30`; arguments as for `changed_settings`."""
    return _differing({"data": before.get("data", {})}, {"data": now.get("data", {})})


def _differing(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    found = []
    for section, keys in now.items():
        old = before.get(section) or {}
        for key, value in (keys or {}).items():
            if key in old and old[key] != value:
                found.append(f"{_name(section, key)} {_shown(old[key])} -> {_shown(value)}")
    return found


def _name(section: str, key: str) -> str:
    """A setting's present name; manifests keep the one it was recorded under."""
    return RENAMED.get(f"{section}.{key}", f"{section}.{key}")


def _shown(value: Any) -> str:
    """A value as one would write it in YAML, in one line."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
