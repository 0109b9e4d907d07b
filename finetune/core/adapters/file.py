"""Adapter files: written by training, read by placing. This module is the contract between the two.

`adapter.safetensors` holds raw PEFT keys (`unet.<module>.lora_A.weight`, `.lora_B.weight`, DoRA's
`.lora_magnitude_vector`) and, in its header, diffusers' `lora_adapter_metadata` (rank, alpha, rsLoRA, DoRA: without
it alpha != rank would load at the wrong scale) and Packshot's manifest. Attaching counts: every module in the file
must be injected, otherwise the adapter is refused, never half-applied.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.core.adapters.foreign_kinds import is_pickle
from finetune.core.adapters.manifests import read_lora_fields, read_manifest
from finetune.core.basemodel.resolve import ResolvedBase
from finetune.core.errors import AdapterError, AdapterMismatch
from finetune.core.json_files import parse_object
from finetune.core.storage.safetensors_header import SafetensorsHeader, UnreadableHeader, read_safetensors_header

if TYPE_CHECKING:
    import torch
    from diffusers import UNet2DConditionModel

WEIGHTS = "adapter.safetensors"
MANIFEST = "adapter.json"
PREFIX = "unet."
METADATA_KEY = "lora_adapter_metadata"
MANIFEST_KEY = "packshot_manifest"
ADAPTER_NAME = "packshot"
DAMAGED = "train it again; if it was downloaded, download it again"


@dataclass(frozen=True)
class AdapterHeader:
    """What an adapter file that Packshot wrote says of itself; read once, its tensors stay on the disk."""

    path: Path
    lora_config: dict[str, Any]
    """PEFT's LoraConfig as plain values."""
    manifest: dict[str, Any]
    """Everything needed to make the adapter again."""
    modules: frozenset[str]
    """Names of the UNet's modules that it adapts."""


def write_adapter(
    path: Path,
    state: dict[str, torch.Tensor],
    lora_config: dict[str, Any],
    manifest: dict[str, Any],
    labels: dict[str, str] | None = None,
) -> None:
    """Write an adapter file.

    Args:
        path: The file.
        state: PEFT keys without prefix (`<module>.lora_A.weight`) -> tensors.
        lora_config: PEFT's LoraConfig as plain values, as `LoraConfig.to_dict()` gives it.
        manifest: Everything needed to make the adapter again; JSON values only.
        labels: Further header entries that other programs display (`finetune.adapters.modelspec`).
    """
    tensors = {PREFIX + key: tensor for key, tensor in state.items()}
    plain = {PREFIX + k: _jsonable(v) for k, v in lora_config.items()}
    metadata = {
        "format": "pt",
        METADATA_KEY: json.dumps(plain, sort_keys=True),
        MANIFEST_KEY: json.dumps(manifest, sort_keys=True, ensure_ascii=True),
    }
    write_tensors(path, tensors, (labels or {}) | metadata)


def write_tensors(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file: the same tensors and metadata always give the same bytes.

    Where the metadata follow ModelSpec, the hash of the tensors' bytes is added as that asks (`hash_sha256`), and as
    kohya's trainer and A1111 call the same number (`sshs_model_hash`).
    """
    from safetensors.torch import save

    data = save({key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}, metadata=metadata)
    length = int.from_bytes(data[:8], "little")
    body = data[8 + length :]
    entries = parse_object(data[8 : 8 + length].decode(), AdapterError, what="the header", hint="")
    if "modelspec.sai_model_spec" in metadata:
        digest = hashlib.sha256(body).hexdigest()
        entries["__metadata__"] |= {"modelspec.hash_sha256": f"0x{digest}", "sshs_model_hash": digest}
    # sorted: safetensors (seen in 0.8.0) keeps metadata in a hash map, so the bytes would differ from run to run
    header = json.dumps(entries, sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # tensors stay aligned
    path.write_bytes(len(header).to_bytes(8, "little") + header + body)


def _jsonable(value: Any) -> Any:
    if isinstance(value, set):
        return sorted(value)
    if isinstance(value, (str, int, float, bool, type(None), list, dict)):
        return value
    return str(getattr(value, "value", value))


def read_header(path: Path) -> AdapterHeader:
    """The header of an adapter file that Packshot wrote.

    Raises:
        AdapterError: The file is missing, or not an adapter Packshot wrote.
    """
    return parse_header(path, open_header(path))


def open_header(path: Path) -> SafetensorsHeader:
    """The header of any adapter file, not yet interpreted.

    Raises:
        AdapterError: The file is missing, damaged, or not a safetensors file.
    """
    if not path.is_file():
        raise AdapterError(f"no adapter file at {path}", "run `packshot train`, or give --adapter")
    try:
        return read_safetensors_header(path)
    except UnreadableHeader as error:
        with path.open("rb") as handle:
            pickled = is_pickle(handle.read(8))
        if pickled:
            raise AdapterError(
                f"{path.name} is a pickle of PyTorch, which can run any code when it is read; it was not read",
                "save it as .safetensors with the program that made it",
            ) from error
        raise AdapterError(f"{path} is damaged, or not a safetensors file", DAMAGED) from error
    except OSError as error:
        raise AdapterError(f"{path.name} can't be read: {error.strerror or error}", "check its permissions") from error


def parse_header(path: Path, header: SafetensorsHeader) -> AdapterHeader:
    """Interpret the header of a file that Packshot wrote.

    Raises:
        AdapterError: Its entries are damaged, or tensors are missing.
    """
    if not {METADATA_KEY, MANIFEST_KEY} <= header.metadata.keys():
        raise AdapterError(f"{path} is not a Packshot adapter, or is damaged", DAMAGED)
    lora_config = read_lora_fields(header.metadata[METADATA_KEY], str(path), DAMAGED, prefix=PREFIX)
    manifest = read_manifest(header.metadata[MANIFEST_KEY], path, DAMAGED)
    modules = _whole_modules(path.name, header.shapes, lora_config)
    return AdapterHeader(path, lora_config, manifest, frozenset(modules))


def _whole_modules(name: str, shapes: dict[str, tuple[int, ...]], lora_config: dict[str, Any]) -> set[str]:
    """Adapted modules, each with all of its tensors: PEFT would silently replace a missing one by zeros or noise."""
    keys, rank = set(shapes), lora_config["r"]
    halves = (".lora_A.weight", ".lora_B.weight") + ((".lora_magnitude_vector",) if lora_config["use_dora"] else ())
    modules = {key.removeprefix(PREFIX).split(".lora_")[0] for key in keys}
    wanted = {PREFIX + module + half for module in modules for half in halves}
    if not modules or keys != wanted:
        odd = sorted(keys ^ wanted)
        raise AdapterError(
            f"{name} is incomplete: {len(odd)} tensors are missing or unexpected{', first: ' + odd[0] if odd else ''}",
            "train it again",
        )
    for module in sorted(modules):
        down, up = (shapes[PREFIX + module + half] for half in halves[:2])
        if len(down) < 2 or len(up) < 2 or down[0] != rank or up[1] != rank:
            raise AdapterError(
                f"{name} is damaged: {module} has matrices of shapes {down} and {up}, which is not rank {rank}", DAMAGED
            )
    return modules


def check_fits(manifest: dict[str, Any], base: ResolvedBase) -> None:
    """Refuse an adapter trained on another base.

    Another trainer's file names no base by content; its layers are compared with the base's instead, in `foreign`.

    Raises:
        AdapterMismatch: the base's content differs from the one in the manifest.
    """
    if "foreign" in manifest and "base" not in manifest:
        return
    trained = manifest.get("base", {})
    if trained.get("fingerprint") in (base.fingerprint, *base.former_fingerprints):
        return
    was, here = trained.get("vae"), base.vae.reference if base.vae else None
    words = (f" with VAE '{vae}'" if vae else " with its own VAE" if was or here else "" for vae in (was, here))
    cure = f"use --base {trained.get('model')}"
    if was or here:
        cure += f" --vae {was}" if was else " without a separate VAE"
    raise AdapterMismatch(
        f"adapter was trained on base '{trained.get('model')}'{next(words)} ({trained.get('channels')} channels, "
        f"{trained.get('fingerprint')}), not on '{base.name}'{next(words)} ({base.channels} channels, "
        f"{base.fingerprint})",
        f"{cure}, or train again on {base.name}",
    )


def check_objective(manifest: dict[str, Any], base: ResolvedBase, mask_kind: str) -> str:
    """Compare what an adapter was trained for with what it is going to be used for.

    Args:
        manifest: The adapter's.
        base: The base it is used on.
        mask_kind: What will be painted: `background` (around a kept product) or `box` (the product into a box).

    Returns:
        A warning about what it has not learned; empty if there is none.

    Raises:
        AdapterMismatch: Its objective is for a UNet with another number of input channels.
    """
    objective = manifest.get("objective")
    if objective is None:
        if base.channels == 9:
            return (
                "this LoRA does not say how it was trained; most are trained without masks and do less on such a base"
            )
        return ""
    if (objective == "inpainting") != (base.channels == 9):
        raise AdapterMismatch(
            f"adapter was trained on the {objective} objective, and '{base.name}' has {base.channels} input channels",
            "an inpainting adapter needs a base with 9 input channels, a text-to-image adapter one with 4",
        )
    if objective == "text-to-image":
        return (
            "this adapter was trained on whole pictures (4 channels), never with a mask, so what it paints may not "
            "join what is kept; training on a 9-channel base teaches that"
        )
    shares = manifest.get("config", {}).get("data", {}).get("mask_shares") or {mask_kind: 1}
    if shares.get(mask_kind) or shares.get("full"):
        return ""
    return f"this adapter was trained without {mask_kind} masks (data.mask_shares), but one is painted here"


def attach(unet: UNet2DConditionModel, adapter: AdapterHeader, *, name: str = ADAPTER_NAME) -> int:
    """Load an adapter into a UNet, checked module by module.

    Args:
        unet: Adapters under other names may be in it.
        adapter: Its header.
        name: PEFT's name for it.

    Returns:
        The number of modules the adapter was injected into.

    Raises:
        AdapterMismatch: a module of the file is not in the UNet, or a tensor has another shape.
    """
    from safetensors.torch import load_file

    modules, lora_config = set(adapter.modules), adapter.lora_config
    present = {name for name, _ in unet.named_modules()}
    if strangers := sorted(modules - present):
        raise AdapterMismatch(
            f"adapter adapts {len(strangers)} modules this base does not have, first: {strangers[0]}",
            "it was trained on another architecture",
        )
    # PEFT injects what the file holds: a module the file lacks would stay bare, with a mere warning
    suffixes = tuple("." + target for target in lora_config.get("target_modules") or ())
    if bare := sorted(name for name in present - modules if ("." + name).endswith(suffixes)):
        raise AdapterMismatch(
            f"adapter has no weights for {len(bare)} modules of this base that it should adapt, first: {bare[0]}",
            "it is incomplete, or was trained on another architecture",
        )
    try:
        state = load_file(str(adapter.path))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Already found a `peft_config`", UserWarning)  # two adapters are meant
            # diffusers reads the configuration with the same prefix as the keys
            unet.load_lora_adapter(
                state,
                prefix=PREFIX[:-1],
                adapter_name=name,
                metadata={PREFIX + k: v for k, v in lora_config.items()},
            )
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise AdapterMismatch(
            f"adapter does not fit this base: {reason}", "it was trained on another architecture"
        ) from error
    injected = injected_modules(unet, name)
    if injected != modules:
        raise AdapterMismatch(
            f"adapter holds {len(modules)} modules, but {len(injected)} of this base were adapted",
            "it is incomplete, or was trained on another architecture",
        )
    return len(injected)


def injected_modules(unet: UNet2DConditionModel, name: str = ADAPTER_NAME) -> set[str]:
    """Modules of a UNet that hold the adapter of that name."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return {
        module_name
        for module_name, module in unet.named_modules()
        if isinstance(module, BaseTunerLayer) and name in getattr(module, "lora_A", {})
    }
