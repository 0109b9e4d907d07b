"""Adapter files: what is written is what comes back, in Packshot and in plain diffusers, or it is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from finetune.adapters.init_from import Shape, find_parent, read_weights
from finetune.core.adapters import file as adapter_file
from finetune.core.adapters.foreign import read_adapter
from finetune.core.adapters.versions import find_version
from finetune.core.basemodel.load import load_pipeline
from finetune.core.basemodel.resolve import ResolvedBase, resolve_base
from finetune.core.errors import AdapterError, AdapterMismatch
from finetune.core.painting.inpainter import load_inpainter
from finetune.core.products.catalog import Workspace
from finetune.core.storage.safetensors_header import SafetensorsHeader
from finetune.export import export_adapter
from finetune.unet.lora import TARGETS, target_modules

if TYPE_CHECKING:
    import torch
from published_adapters import published
from tiny_adapters import KINDS, PLAIN, fresh_unet, output, painted, write_trained

pytestmark = pytest.mark.tiny


@pytest.fixture
def adapter(tmp_path: Path, base: ResolvedBase) -> Path:
    return write_trained(tmp_path / "adapter", base)[0]


def rewrite(path: Path, tensors: dict[str, torch.Tensor] | None = None, drop: str = "", **metadata: str) -> Path:
    """The adapter file again with other tensors, without some, or with other metadata."""
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    with safe_open(path, "pt") as handle:
        kept = handle.metadata() | metadata
    state = {k: t for k, t in load_file(path).items() if not (drop and drop in k)} | (tensors or {})
    save_file(state, path, metadata={k: v for k, v in kept.items() if v})
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_reloaded_it_predicts_the_same(kind: str, base: ResolvedBase, tmp_path: Path) -> None:
    import torch

    path, expected, modules = write_trained(tmp_path, base, **KINDS[kind])
    unet = fresh_unet(base)
    before = output(unet)
    targets = (PLAIN | KINDS[kind])["targets"]
    assert modules == len(target_modules(unet, targets))
    assert adapter_file.attach(unet, adapter_file.read_header(path)) == modules
    assert torch.equal(output(unet), expected)
    assert (expected - before).abs().mean() > 1e-3
    unet.disable_lora()
    assert torch.equal(output(unet), before)


@pytest.mark.parametrize("kind", KINDS)
def test_plain_diffusers_loads_it(kind: str, base: ResolvedBase, tmp_path: Path) -> None:
    import torch

    _, expected, modules = write_trained(tmp_path / "0001", base, **KINDS[kind])
    (tmp_path / "0001" / adapter_file.MANIFEST).write_text("{}", encoding="utf-8")  # stands beside it in real life
    pipeline = load_pipeline(base, dtype=torch.float32, device="cpu")
    pipeline.load_lora_weights(str(tmp_path / "0001"))
    assert torch.equal(output(pipeline.unet.eval()), expected)
    assert sum(hasattr(m, "lora_A") for m in pipeline.unet.modules()) == modules


def test_header_says_how_it_was_made(base: ResolvedBase, tmp_path: Path) -> None:
    from safetensors import safe_open

    path, _, modules = write_trained(tmp_path, base, alpha=11, rslora=True)
    header = adapter_file.read_header(path)
    lora_config, manifest, names = header.lora_config, header.manifest, header.modules
    assert (lora_config["r"], lora_config["lora_alpha"], lora_config["use_rslora"]) == (4, 11, True)
    assert sorted(lora_config["target_modules"]) == ["to_k", "to_out.0", "to_q", "to_v"]
    assert manifest["label"] == "Nº 5"
    assert manifest["base"]["fingerprint"] == base.fingerprint
    assert names == set(target_modules(fresh_unet(base), "attention"))
    assert len(names) == modules
    with safe_open(path, "pt") as handle:
        metadata = handle.metadata()
    # the name and the prefix under which diffusers looks for it
    assert json.loads(metadata["lora_adapter_metadata"])["unet.lora_alpha"] == 11
    assert all(key.startswith("unet.") for key in json.loads(metadata["lora_adapter_metadata"]))


def test_half_precision_base_takes_it(adapter: Path, base: ResolvedBase) -> None:
    import torch

    exact, half = fresh_unet(base), fresh_unet(base, "bfloat16")
    header = adapter_file.read_header(adapter)
    assert adapter_file.attach(exact, header) == adapter_file.attach(half, header)
    predicted = output(half)
    assert predicted.dtype == torch.bfloat16
    torch.testing.assert_close(predicted.float(), output(exact), atol=0.1, rtol=0.1)


@pytest.mark.parametrize("kind", ["plain", "dora"])
def test_scale_zero_is_the_base_alone(kind: str, base: ResolvedBase, tmp_path: Path) -> None:
    path, _, modules = write_trained(tmp_path, base, **KINDS[kind])
    alone = painted(load_inpainter(base, None, device="cpu"))
    inpainter = load_inpainter(base, read_adapter(path), device="cpu")
    assert inpainter.modules == modules
    full = painted(inpainter)
    assert (full != alone).mean() > 0.2
    inpainter.set_adapter_scale(0.0)
    np.testing.assert_array_equal(painted(inpainter), alone)
    inpainter.set_adapter_scale(0.5)
    half = painted(inpainter)
    assert (half != alone).any()
    assert (half != full).any()
    inpainter.set_adapter_scale(1.0)
    np.testing.assert_array_equal(painted(inpainter), full)
    np.testing.assert_array_equal(painted(load_inpainter(base, read_adapter(path), scale=0.0, device="cpu")), alone)


def test_adapter_of_another_base_is_refused_before_loading(adapter: Path, tiny_base_4: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_base_4, tmp_path / "other")
    other = resolve_base(str(tmp_path / "other"))
    for weights in (tmp_path / "other").glob("*/*.safetensors"):
        weights.unlink()  # loading the base would fail: the adapter is looked at first
    with pytest.raises(AdapterMismatch, match=r"trained on base .* \(9 channels.* \(4 channels") as caught:
        load_inpainter(other, read_adapter(adapter), device="cpu")
    assert "train again" in caught.value.hint
    assert "\n" not in caught.value.message


def test_adapter_of_another_architecture_is_refused(adapter: Path, base: ResolvedBase) -> None:
    import torch

    stranger = {f"unet.nowhere.to_q.lora_{half}.weight": torch.zeros(4, 4) for half in "AB"}
    rewrite(adapter, stranger)
    with pytest.raises(AdapterMismatch, match=r"adapts 1 modules .* first: nowhere\.to_q"):
        adapter_file.attach(fresh_unet(base), adapter_file.read_header(adapter))


def test_tensor_of_another_shape_is_refused(adapter: Path, base: ResolvedBase) -> None:
    import torch

    name = target_modules(fresh_unet(base), "attention")[0]
    rewrite(adapter, {f"unet.{name}.lora_A.weight": torch.zeros(4, 48)})
    with pytest.raises(AdapterMismatch, match="does not fit this base") as caught:
        adapter_file.attach(fresh_unet(base), adapter_file.read_header(adapter))
    assert "\n" not in caught.value.message


def test_half_an_adapter_is_refused(adapter: Path, base: ResolvedBase) -> None:
    name = target_modules(fresh_unet(base), "attention")[0]
    whole = adapter.read_bytes()
    rewrite(adapter, drop=f"{name}.lora_B")
    with pytest.raises(AdapterError, match="incomplete"):
        adapter_file.attach(fresh_unet(base), adapter_file.read_header(adapter))
    adapter.write_bytes(whole)
    rewrite(adapter, drop=f"{name}.lora_")
    with pytest.raises(AdapterMismatch, match=f"has no weights for 1 modules of this base .*: {name}"):
        adapter_file.attach(fresh_unet(base), adapter_file.read_header(adapter))


def test_dora_without_its_magnitudes_is_refused(base: ResolvedBase, tmp_path: Path) -> None:
    path, _, _ = write_trained(tmp_path, base, dora=True)
    rewrite(path, drop="lora_magnitude_vector")
    with pytest.raises(AdapterError, match="incomplete"):
        adapter_file.attach(fresh_unet(base), adapter_file.read_header(path))


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "no header", "header is no JSON", "header is a list"])
def test_damaged_files_are_refused_in_one_line(damage: str, adapter: Path, base: ResolvedBase) -> None:
    if damage == "no header":
        rewrite(adapter, lora_adapter_metadata="")
    elif damage == "header is no JSON":
        rewrite(adapter, packshot_manifest="{")
    elif damage == "header is a list":
        rewrite(adapter, lora_adapter_metadata="[]")
    else:
        whole = adapter.read_bytes()
        adapter.write_bytes({"cut": whole[:-100], "empty": b"", "text": b"hello, I am no adapter"}[damage])
    with pytest.raises(AdapterError, match=r"adapter\.safetensors") as caught:
        load_inpainter(base, read_adapter(adapter), device="cpu")
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_no_file_is_refused(base: ResolvedBase, tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="no adapter file"):
        read_adapter(tmp_path / "none.safetensors")


def test_a_header_is_read_once_on_the_way_to_a_picture_or_to_a_child(
    base: ResolvedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace(tmp_path)
    version, _ = published(workspace, base)
    exported = export_adapter(version, "kohya", tmp_path / "exported.safetensors", device="cpu").path
    opened, real = list[Path](), adapter_file.read_safetensors_header

    def counted(path: Path) -> SafetensorsHeader:
        opened.append(path)
        return real(path)

    monkeypatch.setattr(adapter_file, "read_safetensors_header", counted)
    assert load_inpainter(base, find_version(workspace, "bottle01").adapter, device="cpu").modules > 0
    assert opened == [version.weights]
    opened.clear()
    other = find_version(workspace, "mug01", str(exported))
    assert load_inpainter(base, other.adapter, device="cpu").modules > 0
    assert opened == [exported]
    opened.clear()
    shape = Shape(rank=4, alpha=4.0, rslora=False, dora=False, targets=tuple(sorted(TARGETS["attention"])))
    parent = find_parent(workspace, "mug01", str(version.folder), base, shape)
    assert parent is not None
    assert len(read_weights(parent)) == 2 * len(parent.adapter.modules)
    assert opened == [version.weights]
