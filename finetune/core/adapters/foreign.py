"""LoRA files of other trainers: read, compared with the base, attached.

Supported are kohya's keys in both spellings, LyCORIS' LoRA, LoCon, LoHa and LoKr, and those of diffusers, PEFT and
ComfyUI, on linear and convolution layers (LCM, Lightning), plain or DoRA by output row. Alpha may be a tensor or
stand in the `lora_adapter_metadata` header or in PEFT's `adapter_config.json` beside the file; without one the scale
is 1, as those trainers define it. Differences of weights that are all zero, which ComfyUI's LoraSave writes, are
skipped. Each layer's scale is folded into its second matrix, so that layers of different ranks and alphas are right:
diffusers' loader (seen in 0.42.1) loses alphas that differ between attention layers, and drops kohya's `dora_scale`.
Layers of text encoders are counted and left out; the caller warns about that. Everything else is refused with its
keys named, before a base is loaded; nothing is half-applied.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.core.adapters import lycoris_products
from finetune.core.adapters.file import (
    ADAPTER_NAME,
    MANIFEST_KEY,
    METADATA_KEY,
    PREFIX,
    AdapterHeader,
    injected_modules,
    open_header,
    parse_header,
)
from finetune.core.adapters.foreign_kinds import complaint, named
from finetune.core.adapters.foreign_layers import (
    ALPHA,
    DOWN,
    ENDINGS,
    KOHYA_MAGNITUDE,
    MAGNITUDE,
    UP,
    fits,
    method_of,
    rank_of,
    trained_shape,
)
from finetune.core.adapters.kohya_names import KOHYA, spellings
from finetune.core.adapters.manifests import Alphas, checked, read_manifest
from finetune.core.basemodel.resolve import ResolvedBase
from finetune.core.console import say, warn
from finetune.core.errors import AdapterError, AdapterMismatch
from finetune.core.json_files import parse_object, read_object
from finetune.core.storage.safetensors_header import SafetensorsHeader

if TYPE_CHECKING:
    import torch
    from diffusers import UNet2DConditionModel

_DIMENSIONS = {DOWN: 2, UP: 2, ALPHA: 0, MAGNITUDE: 1, KOHYA_MAGNITUDE: 1}
"""Fewest dimensions of the tensors of a LoRA's parts."""
_UNET = (KOHYA, PREFIX, "diffusion_model.")
_TEXT = re.compile(r"lora_te[12]?_|text_encoder(_2)?\.|text_encoders\.clip_|text_model\.|bundle_emb\.")
_DIFFERENCE = re.compile(r"\.diff(_b)?$")
_PEFT, _LYCORIS = "base_model.model.", "lycoris_"
_PEFT_CONFIG = "adapter_config.json"
AGAIN, OTHER_BASE = "download it again", "give the base it was made for: --base REF"
_SHOWN = ("modelspec.title", "modelspec.author", "modelspec.hash_sha256", "ss_output_name", "ss_sd_model_name")


@dataclass(frozen=True)
class ForeignAdapter:
    """The header of another trainer's LoRA file; its tensors are not read."""

    path: Path
    layout: str
    """`kohya`, `diffusers` or `comfyui`."""
    layers: dict[str, dict[str, str]]
    """Layer as the file names it -> part (`down`, `up`, `alpha`, ...) -> key."""
    shapes: dict[str, tuple[int, ...]]
    """Shape of each of those tensors by key."""
    text_encoder: int
    """Layers of text encoders, and token embeddings, in the file; they are left out."""
    metadata: dict[str, str] = field(repr=False)
    manifest: dict[str, Any] = field(repr=False)
    """What manifests record of it; of a file that Packshot exported, with the manifest it carries."""


Adapter = AdapterHeader | ForeignAdapter
"""Any LoRA file that pictures can be drawn with."""


def read_adapter(path: Path) -> Adapter:
    """The header of any LoRA file: a version's own, or one of another trainer or of the export.

    Raises:
        AdapterError: It is missing, damaged, incomplete, not a LoRA of a UNet, or of a method Packshot does not read.
    """
    header = open_header(path)
    own = MANIFEST_KEY in header.metadata and all(key.startswith(PREFIX) for key in header.shapes)
    return parse_header(path, header) if own or not header.shapes else parse_foreign(path, header)


def parse_foreign(path: Path, header: SafetensorsHeader) -> ForeignAdapter:
    """Interpret the header of another trainer's LoRA file.

    Raises:
        AdapterError: It is incomplete, not a LoRA of a UNet, or of a method Packshot does not read.
    """
    shapes, metadata = header.shapes, header.metadata
    text = {key for key in shapes if _TEXT.match(key.removeprefix(_PEFT))}
    zero = _zero_differences(path, {key for key in shapes if _DIFFERENCE.search(key)} - text)
    strange: list[str] = []
    layers: dict[str, dict[str, str]] = {}
    for key in sorted(set(shapes) - text - zero):
        layer, part = _split(_usual(key))
        if not part or not layer.startswith(_UNET):
            strange.append(key)
        elif part in layers.setdefault(layer, {}):
            raise AdapterError(f"{path.name} names some layers twice: {named([key])}", AGAIN)
        else:
            layers[layer][part] = key
    if strange:
        raise AdapterError(*complaint(path.name, strange, layers=len(layers), own=MANIFEST_KEY in metadata))
    if not layers:
        raise AdapterError(f"{path.name} has no layers for the UNet", "Packshot adapts only the UNet")
    if halves := [name for name, parts in layers.items() if not method_of(parts)]:
        raise AdapterError(f"{path.name} is incomplete: {named(halves)} without all matrices of one method", AGAIN)
    odd = [k for parts in layers.values() for part, k in parts.items() if len(shapes[k]) < _DIMENSIONS.get(part, 0)]
    if odd:
        raise AdapterError(f"{path.name} is damaged: wrong shapes in {named(odd)}", AGAIN)
    start = next(prefix for prefix in _UNET if next(iter(layers)).startswith(prefix))
    layout = {KOHYA: "kohya", PREFIX: "diffusers"}.get(start, "comfyui")
    if METADATA_KEY not in metadata and any(key.startswith(_PEFT) for key in shapes):
        metadata = metadata | _peft_config(path)
    left_out = len({_DIFFERENCE.sub("", _split(key)[0]) for key in text})
    facts = {
        "file": path.name,
        "layout": layout,
        "layers": len(layers),
        "methods": sorted({method_of(parts) for parts in layers.values()}),
        "ranks": sorted({rank_of(parts, shapes) for parts in layers.values()}),
        "text_encoder_layers_left_out": left_out,
        "metadata": {key: metadata[key] for key in _SHOWN if key in metadata},
    } | ({"zero_differences_left_out": len(zero)} if zero else {})
    manifest = _carried_manifest(path, metadata) | {"foreign": facts}
    return ForeignAdapter(path, layout, layers, shapes, left_out, metadata, manifest)


def _zero_differences(path: Path, keys: set[str]) -> set[str]:
    """Which of these tensors change nothing, since they are added to weights and are zero."""
    if not keys:
        return set()
    from safetensors import safe_open

    with safe_open(str(path), framework="pt") as handle:
        return {key for key in keys if not handle.get_tensor(key).float().any()}


def _usual(key: str) -> str:
    """A key of PEFT or LyCORIS under the prefix that others use for the UNet."""
    if key.startswith(_LYCORIS):
        return KOHYA + key.removeprefix(_LYCORIS)
    if key.startswith(_PEFT):
        inner = key.removeprefix(_PEFT)
        return inner if inner.startswith(_UNET) else PREFIX + inner
    return key


def _peft_config(path: Path) -> dict[str, str]:
    """PEFT's configuration beside its file, as the header entry that diffusers makes of it."""
    beside = path.with_name(_PEFT_CONFIG)
    if not beside.is_file():
        warn(f"there is no {_PEFT_CONFIG} with the alpha of {path.name} beside it: its layers act at scale 1")
        return {}
    what = f"{_PEFT_CONFIG} beside {path.name}"
    config = read_object(beside, AdapterError, shape=Alphas, what=what, hint=AGAIN)
    return {METADATA_KEY: json.dumps({PREFIX + key: value for key, value in config.items()})}


def _carried_manifest(path: Path, metadata: dict[str, str]) -> dict[str, Any]:
    """The manifest that an exported file carries; empty for one of another trainer."""
    own = metadata.get(MANIFEST_KEY)
    return read_manifest(own, path, "export it again") if own else {}


def _split(key: str) -> tuple[str, str]:
    """Layer and part of a key; part is empty where the ending is none of a LoRA."""
    for ending, part in ENDINGS.items():
        if key.endswith(ending):
            layer = key.removesuffix(ending).replace(".processor.", ".")
            # diffusers before 2023-08 kept attention LoRAs in processors, which call the output `to_out`
            return (layer + ".0" if layer.endswith(".to_out") else layer), part
    return key, ""


def check_foreign(adapter: ForeignAdapter, base: ResolvedBase) -> None:
    """Compare the file with a base by names and shapes; reads the base's configuration, not its weights.

    Raises:
        AdapterMismatch: a layer is not in the base, or has another shape there.
    """
    import torch
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(str(base.config / "unet")))
    _places(adapter, unet, base.name)


def _places(adapter: ForeignAdapter, unet: UNet2DConditionModel, base: str) -> dict[str, dict[str, str]]:
    """diffusers' name of each adapted layer -> its parts' keys; refuses a misfit."""
    import torch

    weights = {n: m.weight for n, m in unet.named_modules() if isinstance(m, (torch.nn.Linear, torch.nn.Conv2d))}
    table = spellings(weights, int(unet.config.layers_per_block))
    if strangers := [name for name in adapter.layers if name not in table]:
        raise AdapterMismatch(
            f"{adapter.path.name} adapts layers that base '{base}' does not have: {named(strangers)}",
            OTHER_BASE,
        )
    places = {table[name]: parts for name, parts in adapter.layers.items()}
    if len(places) < len(adapter.layers):
        raise AdapterError(f"{adapter.path.name} names some layers twice", AGAIN)
    shapes = adapter.shapes
    misfits = [
        min(parts.values()) if DOWN not in parts else parts[DOWN]
        for name, parts in places.items()
        if not fits(parts, shapes, trained_shape(name, parts, shapes, tuple(weights[name].shape)))
    ]
    if misfits:
        raise AdapterMismatch(
            f"{adapter.path.name} does not fit base '{base}', shapes differ in {named(misfits)}",
            OTHER_BASE,
        )
    magnitudes = [name for name, parts in places.items() if MAGNITUDE in parts or KOHYA_MAGNITUDE in parts]
    if magnitudes and len(magnitudes) < len(places):
        bare = set(places) - set(magnitudes)
        raise AdapterError(
            f"{adapter.path.name} is DoRA with {len(bare)} layers without magnitude: {named(bare)}", AGAIN
        )
    return places


def attach_foreign(unet: UNet2DConditionModel, adapter: ForeignAdapter, base: str) -> int:
    """Load the file into a UNet under the name `packshot`, every layer at its own scale, and count.

    Returns:
        The number of layers it was injected into.

    Raises:
        AdapterMismatch: a layer is not in the UNet, or has another shape there.
        AdapterError: its DoRA magnitudes are not by output row, or a number in it is none.
    """
    from safetensors.torch import load_file

    places = _places(adapter, unet, base)
    tensors = load_file(str(adapter.path))
    state: dict[str, torch.Tensor] = {}
    for name, parts in places.items():
        state |= _folded(adapter, name, parts, tensors, tuple(unet.get_submodule(name).weight.shape))
    if bad := [key for key, tensor in state.items() if not tensor.isfinite().all()]:
        raise AdapterError(f"{adapter.path.name} holds NaN or infinite numbers: {named(bad)}", AGAIN)
    try:
        unet.load_lora_adapter(state, prefix=PREFIX[:-1], adapter_name=ADAPTER_NAME)
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise AdapterMismatch(f"{adapter.path.name} does not fit base '{base}': {reason}", OTHER_BASE) from error
    injected = injected_modules(unet)
    if injected != set(places):
        odd = injected ^ set(places)
        raise AdapterMismatch(
            f"{adapter.path.name}: some layers were not loaded as they are named: {named(odd)}", AGAIN
        )
    assert all(unet.get_submodule(name).scaling[ADAPTER_NAME] == 1 for name in places), "scales are folded in"
    return len(injected)


def _folded(
    adapter: ForeignAdapter,
    name: str,
    parts: dict[str, str],
    tensors: dict[str, torch.Tensor],
    weight: tuple[int, ...],
) -> dict[str, torch.Tensor]:
    """One layer's tensors under PEFT's keys in fp32, with alpha / rank multiplied into the second matrix."""
    from torch.nn import functional

    rank, convolution = rank_of(parts, adapter.shapes), len(weight) == 4
    trained = trained_shape(name, parts, adapter.shapes, weight)
    if DOWN in parts:
        down, up = tensors[parts[DOWN]].float(), tensors[parts[UP]].float()
        down, up = (down, up) if convolution else (down.flatten(1), up.flatten(1))
    else:
        down, up = lycoris_products.lora_matrices(parts, tensors, trained)
    if trained != weight:
        counts = f"expects {trained[1]} input channels; the base has {weight[1]}, zeros fill the others"
        say(f"  {name} in {adapter.path.name} {counts}")
        down = functional.pad(down, (0, 0, 0, 0, 0, weight[1] - trained[1]))
    scale = 1.0  # of a LoKr of two whole factors, whatever its alpha
    if rank:
        scale = float(tensors[parts[ALPHA]]) / rank if ALPHA in parts else _header_scale(adapter, name, rank)
    found = {"lora_A.weight": down, "lora_B.weight": up * scale}
    if MAGNITUDE in parts:
        found["lora_magnitude_vector"] = tensors[parts[MAGNITUDE]].float()
    elif KOHYA_MAGNITUDE in parts:
        magnitude = tensors[parts[KOHYA_MAGNITUDE]].float()
        if magnitude.shape[0] != up.shape[0] or magnitude.numel() != up.shape[0]:
            raise AdapterError(
                f"{adapter.path.name} is DoRA by input column ({parts[KOHYA_MAGNITUDE]}: {tuple(magnitude.shape)})",
                "Packshot supports DoRA by output row, as in PEFT",
            )
        found["lora_magnitude_vector"] = magnitude.reshape((1, -1, 1, 1) if convolution else (-1,))
    return {f"{PREFIX}{name}.{half}": tensor for half, tensor in found.items()}


def _header_scale(adapter: ForeignAdapter, name: str, rank: int) -> float:
    """Scale of a layer without an alpha tensor: by the `lora_adapter_metadata` header, else 1."""
    text = adapter.metadata.get(METADATA_KEY)
    if text is None:
        return 1.0
    from peft.utils.other import get_pattern_key  # not documented; seen in peft 0.21.2

    what, hint = f"{METADATA_KEY} in {adapter.path.name}", AGAIN
    entries = parse_object(text, AdapterError, what=what, hint=hint)
    config = {k.removeprefix(PREFIX): v for k, v in entries.items() if k.startswith(PREFIX)}
    if not config:
        return 1.0
    found = checked(config, Alphas, what, hint)
    alphas = found.alpha_pattern or {}
    alpha = alphas.get(get_pattern_key(alphas, name), found.lora_alpha)
    return float(alpha / (rank**0.5 if found.use_rslora else rank))
