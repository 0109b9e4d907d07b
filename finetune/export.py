"""Recipe of `packshot adapters export`: a version becomes one file that other programs load, checked by loading it.

The file is written beside its place under a temporary name, read back by diffusers' own loader on the adapter's base,
and what the UNet then predicts is compared with the version itself, attached as placing does it; only a file within
tolerance gets its name. It never changes the version, and replaces nothing unless it is told to.

Two layouts. `diffusers`: PEFT's keys with the `lora_adapter_metadata` header. `kohya`: Stability's numbered block names
(`lora_unet_input_blocks_...`), which A1111, ComfyUI, Forge and sd-scripts read, with alpha = scale x rank, since those
programs know alpha / rank alone (diffusers' `convert_state_dict_to_kohya` writes alpha = rank instead, and diffusers'
block names).
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from finetune.adapters import modelspec
from finetune.adapters.export_files import ExportTargets, check_places, export_targets
from finetune.core.adapters import file as adapter_file
from finetune.core.adapters import token_embeddings
from finetune.core.adapters.file import AdapterHeader
from finetune.core.adapters.foreign import ForeignAdapter
from finetune.core.adapters.kohya_names import kohya_name
from finetune.core.adapters.manifests import require_whole
from finetune.core.adapters.token_embeddings import ENTRY
from finetune.core.adapters.versions import AdapterVersion
from finetune.core.basemodel.base_files import PARTS
from finetune.core.basemodel.load import load_pipeline
from finetune.core.basemodel.resolve import ResolvedBase, resolve_recorded
from finetune.core.device import pick_device, pick_dtype
from finetune.core.errors import AdapterError, AdapterMismatch, RunError
from finetune.core.json_files import Document, read_json, read_object
from finetune.core.painting.needs import check_predicting
from finetune.core.storage.durable import atomic_write

if TYPE_CHECKING:
    import torch
    from diffusers import UNet2DConditionModel

LAYOUTS = ("kohya", "diffusers")
DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
"""Numbers a file may hold, and torch's name of them."""
TOLERANCES = {"float32": 1e-4, "float16": 5e-3, "bfloat16": 2e-2}
"""Largest difference allowed, as a share of the adapter's own largest effect, by the file's numbers."""
HALF_TOLERANCE = 2e-2
"""The same where the comparison itself is carried out in 16 bits."""
REPORT_IT = "please report it: a defect of Packshot or of diffusers' loader"
PROBE_SIDE = 32
"""Side of the latents the comparison is made on; enough for every layer to act."""


@dataclass(frozen=True)
class Exported:
    """A file that was written, and how it compares with the version."""

    path: Path
    modules: int
    max_difference: float
    """Largest difference between the UNet's predictions with the file (in diffusers) and with the version itself."""
    effect: float
    """Largest difference between the UNet's predictions with the version and without."""
    dtype: str
    embeddings: Path | None = None
    """File of the trigger word's own tokens; None for an adapter without."""
    token: str = ""
    """The trigger word, of an adapter with tokens."""


def export_adapter(
    version: AdapterVersion,
    layout: str,
    output: Path,
    *,
    device: str = "auto",
    precision: str = "auto",
    numbers: str = "fp32",
    force: bool = False,
) -> Exported:
    """Write a version as one file of that layout, and check it by loading it.

    Args:
        version: A version that Packshot trained.
        layout: One of `LAYOUTS`.
        output: The file; the trigger word's tokens come beside it.
        device: Where it is checked.
        precision: In which it is checked.
        numbers: What the file holds, one of `DTYPES`; tokens stay fp32.
        force: Whether files at these places are replaced.

    Raises:
        AdapterError: The version is another trainer's file, its kind has no such layout, a file would be replaced, or
            what was written does not reproduce the adapter.
        AdapterMismatch: The base on disk is not the one it was trained on.
        RunError: The file cannot be written.
    """
    adapter, targets = check_export(version, layout, output, force=force)
    trained = adapter.manifest["base"]
    base = resolve_recorded(trained)
    adapter_file.check_fits(adapter.manifest, base)
    tokens = token_embeddings.read_embeddings(adapter.path, adapter.manifest)
    if targets.tokens:
        entry = adapter.manifest[ENTRY] | {"file": targets.tokens.name}
        adapter = replace(adapter, manifest=adapter.manifest | {ENTRY: entry})
    where = pick_device(device)
    dtype = pick_dtype(precision, where)
    try:
        with atomic_write(output) as part:
            label = {"layout": layout, "version": version.number, "date": trained_at(version)}
            _write(adapter, part, base, DTYPES[numbers], label)
            difference, effect = compare(adapter, part, base, dtype=dtype, device=where)
            _check_difference(difference, effect, tolerance(DTYPES[numbers], str(dtype).removeprefix("torch.")))
            check_places(targets, force=force)  # again: the comparison takes long
            if tokens and targets.tokens:
                _write_tokens(targets.tokens, tokens[1])
    except OSError as error:
        raise RunError(f"can't write {output}: {error.strerror or error}", "give another --output") from error
    word = tokens[0] if tokens else ""
    return Exported(
        output, len(adapter.modules), difference, effect, str(dtype).removeprefix("torch."), targets.tokens, word
    )


def check_export(
    version: AdapterVersion, layout: str, output: Path, *, force: bool
) -> tuple[AdapterHeader, ExportTargets]:
    """Whether a version can be exported like that, from its header alone.

    Args:
        version: The version.
        layout: One of `LAYOUTS`.
        output: The file to be written.
        force: Whether files are replaced.

    Returns:
        The version's header, and the files that its export writes.

    Raises:
        AdapterError: It can't be.
    """
    adapter = version.adapter
    if isinstance(adapter, ForeignAdapter):
        raise AdapterError(f"{version.number} is another trainer's file", "only adapters trained here are exported")
    if layout == "kohya" and adapter.lora_config.get("use_dora"):
        raise AdapterError(
            "a DoRA cannot be exported in kohya's layout: diffusers' loader drops `dora_scale`, and ComfyUI divides by "
            "the norm of the base's weight instead of the adapted one's; both would draw something else",
            "--format diffusers, or train with --set adapter.dora=false",
        )
    entry = adapter.manifest.get(ENTRY)
    targets = export_targets(output, str(entry["token"]) if entry else None)
    files = [adapter.path, *([adapter.path.with_name(str(entry["file"]))] if entry else [])]
    own = {os.path.realpath(path) for path in files}  # unlike `resolve`, it bears a link to itself
    if {os.path.realpath(path) for path in (targets.adapter, targets.tokens) if path} & own:
        raise AdapterError("the export would replace the version itself", "give another --output")
    check_places(targets, force=force)
    require_whole(adapter.manifest, adapter.path, adapter_file.DAMAGED)
    trained_at(version)  # a damaged adapter.json is reported before a base is loaded
    return adapter, targets


def check_memory(version: AdapterVersion, cache: Path, device: str = "auto") -> None:
    """Say what checking an export needs on a CPU, and refuse what cannot fit.

    Args:
        version: A version that Packshot trained, looked at by `check_export`.
        cache: The workspace's cache folder.
        device: Where the export is checked.

    Raises:
        AdapterMismatch: The base on disk is not the one it was trained on.
        OutOfMemory: The machine has too little memory.
    """
    adapter = version.adapter
    base = resolve_recorded(adapter.manifest["base"])
    adapter_file.check_fits(adapter.manifest, base)
    size = min(base.size, 8 * PROBE_SIDE)
    check_predicting("checking the export", base, adapter, cache=cache, size=size, device=device)


def tolerance(stored: str, computed: str) -> float:
    """Largest difference allowed, as a share of the adapter's own largest effect.

    Args:
        stored: torch's name of the numbers in the file.
        computed: And of those that the comparison computes in.
    """
    return max(TOLERANCES[stored], 0.0 if computed == "float32" else HALF_TOLERANCE)


def _check_difference(difference: float, effect: float, allowed: float) -> None:
    if not difference <= allowed * effect:
        raise AdapterError(
            f"the exported file does not reproduce the adapter: predictions differ by up to {difference:.3g}, the "
            f"adapter's own effect is {effect:.3g}; the file was not kept",
            f"give --dtype fp32; if that fails too, {REPORT_IT}",
        )


def _write_tokens(path: Path, tokens: dict[str, torch.Tensor]) -> None:
    """Write tokens as A1111 and ComfyUI read them: a file with the word's name that holds `clip_l` and `clip_g`."""
    from safetensors.torch import load_file

    with atomic_write(path) as part:
        adapter_file.write_tensors(part, tokens, {"format": "pt"})
        if token_embeddings.content(load_file(str(part))) != token_embeddings.content(tokens):
            raise AdapterError(f"{path.name} differs when it is read back; it was not kept", "check the disk")


def _write(adapter: AdapterHeader, path: Path, base: ResolvedBase, dtype: str, label: dict[str, str]) -> None:
    """Write the file; its alphas stay fp32, one number a layer: rounded, they would change every scale."""
    import torch
    from safetensors.torch import load_file

    manifest, lora_config = adapter.manifest, adapter.lora_config
    state = {
        key.removeprefix(adapter_file.PREFIX): tensor.to(getattr(torch, dtype))
        for key, tensor in load_file(str(adapter.path)).items()
    }
    labels = modelspec.labels(manifest, state, lora_config, **label)
    if label["layout"] == "diffusers":
        adapter_file.write_adapter(path, state, lora_config, manifest, labels)
        return
    labels[adapter_file.MANIFEST_KEY] = json.dumps(manifest, sort_keys=True, ensure_ascii=True)
    unet = read_object(base.config / "unet" / "config.json", AdapterError, hint="download the base again")
    tensors = kohya_state(state, modelspec.lora_scale(lora_config), int(unet["layers_per_block"]))
    adapter_file.write_tensors(path, tensors, labels)


def kohya_state(state: dict[str, torch.Tensor], scale: float, layers_per_block: int) -> dict[str, torch.Tensor]:
    """A LoRA under kohya's keys.

    Args:
        state: PEFT keys without prefix (`<module>.lora_A.weight`) -> tensors.
        scale: what the product of the matrices is multiplied by.
        layers_per_block: of the UNet's configuration.

    Returns:
        `<name>.lora_down.weight`, `.lora_up.weight` and the scalar `.alpha` = scale x rank of each module.
    """
    import torch

    found: dict[str, torch.Tensor] = {}
    for key, tensor in state.items():
        module, half = key.split(".lora_")
        name = kohya_name(module, layers_per_block)
        if half == "A.weight":
            found[f"{name}.lora_down.weight"] = tensor
            found[f"{name}.alpha"] = torch.tensor(scale * tensor.shape[0], dtype=torch.float32)
        else:
            assert half == "B.weight", key
            found[f"{name}.lora_up.weight"] = tensor
    return found


def trained_at(version: AdapterVersion) -> str:
    """When the version's run began, ISO 8601 in that machine's time, from the manifest beside it; empty if unknown."""
    path = version.folder / adapter_file.MANIFEST
    if not path.exists():
        return ""
    hint = f"restore {path}, or remove it: the exported file then bears no date"
    run = read_json(path, _Record, AdapterError, what=str(path), hint=hint).training.run
    try:
        return datetime.strptime(run[:15], "%Y%m%d-%H%M%S").isoformat()
    except ValueError:
        return ""


class _Training(Document):
    run: str = ""


class _Record(Document):
    """What is read of `adapter.json`."""

    training: _Training = _Training()


def compare(
    adapter: AdapterHeader, exported: Path, base: ResolvedBase, *, dtype: torch.dtype, device: str
) -> tuple[float, float]:
    """Largest difference between what the UNet predicts with the two files, and the adapter's own largest effect.

    Args:
        adapter: A version's own file, attached as placing does it.
        exported: The other file, loaded by diffusers' `load_lora_weights`; it has to reach as many modules.
        base: What both are applied to.
        dtype: In which the UNet predicts.
        device: On which it does.

    Raises:
        AdapterError: diffusers' loader does not take the file, or not all of it.
    """
    pipeline = load_pipeline(
        base, dtype=dtype, device=device, without=tuple(p for p in PARTS if p not in ("unet", "scheduler"))
    )
    unet = pipeline.unet.eval()
    alone = probe(unet)
    adapter_file.attach(unet, adapter)
    wanted = probe(unet)
    pipeline.unload_lora_weights()
    try:
        pipeline.load_lora_weights(
            str(exported.parent),
            weight_name=exported.name,
            adapter_name=adapter_file.ADAPTER_NAME,
            local_files_only=True,
        )
    except (RuntimeError, ValueError, KeyError, TypeError, IndexError) as error:
        reason = " ".join(str(error).split())[:200]
        raise AdapterError(f"diffusers' loader does not take the exported file: {reason}", REPORT_IT) from error
    reached = len(adapter_file.injected_modules(unet))
    if reached != len(adapter.modules):
        raise AdapterMismatch(
            f"diffusers' loader reached {reached} of the {len(adapter.modules)} modules in the file", REPORT_IT
        )
    found = probe(unet)
    return float((found - wanted).abs().max()), float((wanted - alone).abs().max())


def probe(unet: UNet2DConditionModel) -> torch.Tensor:
    """What a UNet of SDXL's architecture predicts for one fixed input: (2, 4, side, side) fp32 on the CPU."""
    import torch

    config, draw = unet.config, torch.Generator("cpu").manual_seed(0)
    side = min(int(config.sample_size), PROBE_SIDE)
    pooled = int(config.projection_class_embeddings_input_dim) - 6 * int(config.addition_time_embed_dim)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw).to(unet.device, unet.dtype)

    with torch.no_grad():
        predicted: torch.Tensor = unet(
            noise(2, int(config.in_channels), side, side),
            torch.tensor([300, 700], device=unet.device),
            noise(2, 16, int(config.cross_attention_dim)),
            added_cond_kwargs={
                "text_embeds": noise(2, pooled),
                "time_ids": torch.tensor([[side * 8.0, side * 8, 0, 0, side * 8, side * 8]] * 2).to(
                    unet.device, unet.dtype
                ),
            },
        ).sample
    return predicted.float().cpu()
