"""Exports read by a reader that shares no code with Packshot: kohya's grammar of keys, merged into plain weights.

Grammar, as sd-scripts writes it and A1111, Forge and ComfyUI read it: `lora_unet_` and the layer's name in Stability's
UNet with underscores for dots; `.lora_down.weight` (r, in), `.lora_up.weight` (out, r), `.alpha`; the layer's weight
gets alpha / r * up @ down added.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn_products import draw_bottle, write_set
from published_adapters import published
from single_files import original_unet_key
from tiny_adapters import KINDS, fresh_unet, output
from tiny_training import tiny_config, train

from finetune import export
from finetune.core.adapters import file as adapter_file
from finetune.core.adapters.versions import AdapterVersion
from finetune.core.basemodel.resolve import ResolvedBase, resolve_base
from finetune.core.products.catalog import Workspace

pytestmark = pytest.mark.tiny
MODEL_SPEC = {  # of ModelSpec 1.0.1: all that it defines for a LoRA of an image model
    *("sai_model_spec", "architecture", "implementation", "title", "resolution", "description", "author", "date"),
    *("hash_sha256", "usage_hint", "thumbnail", "tags", "license", "trigger_phrase", "prediction_type"),
    *("timestep_range", "encoder_layer", "merged_from"),
}


def read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str], bytes]:
    """Tensors (fp32), metadata and the bytes after the header, by the safetensors format's own description."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    metadata = header.pop("__metadata__")
    tensors = {}
    for key, entry in header.items():
        assert entry["dtype"] == "F32", key
        begin, end = entry["data_offsets"]
        tensors[key] = np.frombuffer(body[begin:end], np.float32).reshape(entry["shape"])
    return tensors, metadata, body


def merged(path: Path, base: ResolvedBase) -> torch.Tensor:
    """What the base predicts with the file merged into its weights."""
    tensors, _, _ = read(path)
    unet = fresh_unet(base)
    attending = {i for i, kind in enumerate(unet.config.up_block_types) if kind.startswith("CrossAttn")}
    named = {
        "lora_unet_"
        + original_unet_key(name, unet.config.layers_per_block, attending)[: -len(".weight")].replace(".", "_"): w
        for name, w in unet.named_parameters()
        if name.endswith(".weight")
    }
    layers = {key.split(".")[0] for key in tensors}
    assert set(tensors) == {f"{n}.{part}" for n in layers for part in ("alpha", "lora_down.weight", "lora_up.weight")}
    with torch.no_grad():
        for name in layers:
            down, up = tensors[f"{name}.lora_down.weight"], tensors[f"{name}.lora_up.weight"]
            delta = float(tensors[f"{name}.alpha"]) / down.shape[0] * (up.astype(np.float64) @ down)
            named[name] += torch.from_numpy(delta).float()
    return output(unet)


def live(version: AdapterVersion, base: ResolvedBase) -> torch.Tensor:
    unet = fresh_unet(base)
    adapter_file.attach(unet, version.adapter)
    return output(unet)


def assert_read_as_live(version: AdapterVersion, base: ResolvedBase, path: Path, **least: Any) -> None:
    """Export, and hold the independent reading against the live adapter."""
    done = export.export_adapter(version, "kohya", path, device="cpu")
    wanted = live(version, base)
    effect = float((wanted - output(fresh_unet(base))).abs().max())
    difference = float((merged(path, base) - wanted).abs().max())
    print(f"{path.name}: max difference {difference:.2g}, effect {effect:.2g}")
    assert effect > 1e-3
    assert difference < max(2e-6, 1e-4 * effect)
    assert done.max_difference < 1e-4 * done.effect


LORAS = {kind: options for kind, options in KINDS.items() if not options.get("dora")}
LORAS["rank 3 and rslora"] = {"rank": 3, "alpha": 8, "rslora": True}


@pytest.mark.parametrize("kind", LORAS)
def test_kohyas_layout_by_its_grammar(kind: str, tiny_base: Path, tmp_path: Path) -> None:
    base = resolve_base(str(tiny_base))
    version, _ = published(Workspace(tmp_path), base, **LORAS[kind])
    assert_read_as_live(version, base, tmp_path / "out.safetensors")


def test_trained_from_another_in_four_bits_with_tokens(tiny_base: Path, tmp_path: Path) -> None:
    """All at once: the export does not depend on how the weights came about; the tokens come along."""
    write_set(tmp_path, "bottle01", {"front": draw_bottle(), "side": draw_bottle(shift=6)})
    workspace, base = Workspace(tmp_path), resolve_base(str(tiny_base))
    shape = ("adapter.alpha=9", "adapter.rslora=true", "train.steps=2", "data.variants=2")
    train(workspace, tiny_config(tiny_base, *shape))
    second = ("adapter.init_from=adapters/bottle01/0001", "memory.quantize=nf4", "adapter.token_embeddings=2")
    version = train(workspace, tiny_config(tiny_base, *shape, *second)).version
    path = tmp_path / "out" / "bottle01-0002.safetensors"
    assert_read_as_live(version, base, path)
    manifest = json.loads(read(path)[1]["packshot_manifest"])
    assert manifest["config"]["memory"]["quantize"] == "nf4"
    beside = f"bottle01-0002-{manifest['token_embeddings']['token']}-tokens.safetensors"
    tokens, _, _ = read(path.parent / beside)
    assert {key: value.shape for key, value in tokens.items()} == {"clip_g": (2, 32), "clip_l": (2, 32)}
    assert sorted(file.name for file in path.parent.iterdir()) == sorted([path.name, beside])


@pytest.mark.parametrize("layout", export.LAYOUTS)
def test_headers_hold_modelspecs_entries_and_true_hashes(layout: str, tiny_base: Path, tmp_path: Path) -> None:
    version, _ = published(Workspace(tmp_path), resolve_base(str(tiny_base)), alpha=11)
    path = tmp_path / "out.safetensors"
    export.export_adapter(version, layout, path, device="cpu")
    for file in (path, version.weights):
        _, metadata, body = read(file)
        spec = {key.removeprefix("modelspec.") for key in metadata if key.startswith("modelspec.")}
        assert {"sai_model_spec", "architecture", "implementation", "title", "resolution"} <= spec <= MODEL_SPEC
        digest = hashlib.sha256(body).hexdigest()
        assert metadata["modelspec.hash_sha256"] == "0x" + digest
        assert metadata["sshs_model_hash"] == digest  # addnet_hash_safetensors of sd-scripts: all after the header
        # by these A1111 shows name and trigger words and tells the model family
        assert metadata["ss_output_name"]
        assert metadata["ss_base_model_version"] == "reduced_sdxl"
        assert set(json.loads(metadata["ss_tag_frequency"])) == {"bottle01"}
        assert metadata["ss_v2"] == "False"
        assert all(isinstance(value, str) for value in metadata.values())
