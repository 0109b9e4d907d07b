"""The parent adapter, from whose weights another one starts (`adapter.init_from`): found, checked, read.

A SKU's adapter may start from its category's, which has learned that kind of product already. Whatever does not fit is
refused before anything loads. The parent itself is never changed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.core import fingerprint
from finetune.core.adapters import versions
from finetune.core.adapters.file import PREFIX, WEIGHTS, AdapterHeader, check_fits
from finetune.core.adapters.foreign import ForeignAdapter
from finetune.core.adapters.token_embeddings import read_embeddings
from finetune.core.basemodel.resolve import ResolvedBase
from finetune.core.errors import AdapterError, AdapterMismatch, ConfigError, did_you_mean
from finetune.core.products.catalog import Workspace, load_set
from finetune.core.text_files import expanded

if TYPE_CHECKING:
    from torch import Tensor

CATEGORY = "category"


@dataclass(frozen=True)
class Shape:
    """What has to be equal in both adapters."""

    rank: int
    alpha: float
    rslora: bool
    dora: bool
    targets: tuple[str, ...]
    """Endings of the adapted modules' names."""

    def __str__(self) -> str:
        kind = "".join([" rsLoRA" if self.rslora else "", " DoRA" if self.dora else ""])
        return f"rank {self.rank}, alpha {self.alpha:g}{kind}, on {' '.join(sorted(self.targets))}"


@dataclass(frozen=True)
class Parent:
    """An adapter to start from that fits the request."""

    name: str
    """Name of the set it was trained on."""
    version: str
    """`0001`, or the name of the folder or file for an adapter outside the workspace."""
    fingerprint: str
    """Fingerprint of its file."""
    adapter: AdapterHeader
    tokens: dict[str, Tensor] | None
    """Embeddings of its own tokens, `clip_l` and `clip_g`, (N, D) fp32 each; None for an adapter without."""

    def summary(self) -> dict[str, str]:
        """What manifests record of it."""
        return {"name": self.name, "version": self.version, "fingerprint": self.fingerprint}


def find_parent(
    workspace: Workspace,
    sku: str,
    wanted: str,
    base: ResolvedBase,
    shape: Shape,
    *,
    tokens: int = 0,
    hash_of: Callable[[Path], str] = fingerprint.of_file,
) -> Parent | None:
    """The adapter that `adapter.init_from` names; None if it is empty. Reads headers and token embeddings only.

    Args:
        workspace: Where sets and adapters are.
        sku: The SKU whose adapter is going to be trained.
        wanted: Name of a set (its published version, else its newest), `category` for the set that set.yaml names,
            or the path of an adapter file or of a version's folder, from here or from the workspace.
        base: The base to be trained on.
        shape: Shape of the adapter to be trained.
        tokens: Number of tokens of its own for the trigger word. The parent's are taken over; it may have none.
        hash_of: Gives a file's fingerprint; replaced by a caller that asks for many SKUs.

    Raises:
        ConfigError: `category` if set.yaml names none, the SKU itself, or a name that is neither set nor file.
        AdapterError: The set has no adapter yet, or its file or that of its tokens is damaged.
        AdapterMismatch: It was trained on another base or by another trainer, or differs in shape or number of tokens.
    """
    if not wanted:
        return None
    version = _find(workspace, sku, wanted)
    adapter = version.adapter
    if isinstance(adapter, ForeignAdapter):
        raise AdapterMismatch(
            f"'{adapter.path.name}' is another program's LoRA; a Packshot adapter can't start from it",
            "adapter.init_from takes adapters that `packshot train` made",
        )
    check_fits(adapter.manifest, base)
    found = _shape_of(adapter.lora_config)
    if found != shape:
        raise AdapterMismatch(
            f"the parent adapter has {found}, but this config asks for {shape}",
            "set the section `adapter` of the config to the parent's values",
        )
    own = read_embeddings(adapter.path, adapter.manifest)
    if own is not None and len(own[1]["clip_l"]) != tokens:
        count = len(own[1]["clip_l"])
        raise AdapterMismatch(
            f"the parent adapter has {count} tokens of its own for the trigger word, but this config asks for "
            f"{tokens or 'none'}",
            f"set adapter.token_embeddings={count}, or start from an adapter without tokens",
        )
    name = str(adapter.manifest.get("sku") or version.sku)
    return Parent(name, version.number, hash_of(adapter.path), adapter, own[1] if own else None)


def _find(workspace: Workspace, sku: str, wanted: str) -> versions.AdapterVersion:
    for path in (expanded(wanted), workspace.root / wanted):
        if path.is_file() or (path / WEIGHTS).is_file():
            return versions.find_version(workspace, sku, str(path))
    if wanted == CATEGORY:
        wanted = load_set(workspace, sku).config.category
        if not wanted:
            raise ConfigError(
                f"adapter.init_from is `category`, but the set.yaml of '{sku}' names no category",
                f"write `category: NAME` into datasets/{sku}/set.yaml, or leave adapter.init_from empty",
            )
    if wanted == sku:
        raise ConfigError(
            f"'{sku}' can't start from its own newest adapter: it would never be up to date",
            f"name one of its versions: adapter.init_from=adapters/{sku}/0001",
        )
    known = workspace.skus()
    if "/" in wanted or (wanted not in known and not (workspace.adapters / wanted).is_dir()):
        raise ConfigError(
            f"adapter.init_from is '{wanted}', which is neither a set nor an adapter file",
            did_you_mean(wanted, known) or "give a set's name, `category`, or the path of an adapter",
        )
    try:
        return versions.find_version(workspace, wanted)
    except AdapterError as error:
        raise AdapterError(f"adapter.init_from can't be used: {error.message}", error.hint) from error


def _shape_of(lora_config: dict[str, Any]) -> Shape:
    return Shape(
        rank=int(lora_config["r"]),
        alpha=float(lora_config["lora_alpha"]),
        rslora=bool(lora_config.get("use_rslora")),
        dora=bool(lora_config.get("use_dora")),
        targets=tuple(sorted(lora_config.get("target_modules") or ())),
    )


def read_weights(parent: Parent) -> dict[str, Tensor]:
    """The parent's tensors by PEFT key (`<module>.lora_A.weight`)."""
    from safetensors.torch import load_file

    return {key.removeprefix(PREFIX): tensor for key, tensor in load_file(str(parent.adapter.path)).items()}
