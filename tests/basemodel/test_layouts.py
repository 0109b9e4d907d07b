"""SDXL as people have it on disk: each layout loads to the weights it holds, or is refused with reason and cure."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from base_layouts import (
    HALF,
    HALF_SHARDS,
    MODEL,
    PARTS,
    PLAIN,
    POINTER,
    SHARDS,
    UNET,
    Edit,
    Kinds,
    dead,
    drop,
    empty_hub_cache,
    into_hub_cache,
    linked,
    material_of,
    nothing,
    stem,
    text,
    write_layout,
)

from finetune.core.adapters.file import check_fits
from finetune.core.basemodel import folder_layout
from finetune.core.basemodel.load import load_pipeline
from finetune.core.basemodel.resolve import part_fingerprint, resolve_base
from finetune.core.errors import AdapterMismatch
from finetune.doctor import inspect_base

if TYPE_CHECKING:
    import torch


@pytest.fixture(scope="session")
def material(tiny_base: Path) -> Path:
    return material_of(tiny_base)


@pytest.fixture(autouse=True)
def hub_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return empty_hub_cache(monkeypatch, tmp_path)


LOADS: dict[str, tuple[Kinds, Edit, dict[str, str]]] = {
    "plain": (PLAIN, nothing, {"": "plain"}),
    "fp16": (HALF, nothing, {"": "fp16"}),
    "both": ({"": ("fp16", "plain")}, nothing, {"": "fp16"}),
    "unet fp16, others plain": ({"": ("plain",), "unet": ("fp16",)}, nothing, {"": "plain", "unet": "fp16"}),
    "vae plain among fp16": ({"": ("fp16",), "vae": ("plain",)}, nothing, {"": "fp16", "vae": "plain"}),
    "text encoder plain among fp16": (
        {"": ("fp16",), "text_encoder_2": ("plain",)},
        nothing,
        {"": "fp16", "text_encoder_2": "plain"},
    ),
    "shards": (SHARDS, nothing, {"": "plain"}),
    "fp16 shards": (HALF_SHARDS, nothing, {"": "fp16"}),
    "shards of both": ({"": ("plain-shards", "fp16-shards")}, nothing, {"": "fp16"}),
    "unet in fp16 shards, vae plain": (
        {"": ("fp16",), "unet": ("fp16-shards",), "vae": ("plain",)},
        nothing,
        {"": "fp16", "vae": "plain"},
    ),
    "unet in shards, others fp16": ({"": ("fp16",), "unet": ("plain-shards",)}, nothing, {"": "fp16", "unet": "plain"}),
    "whole beside shards": ({"": ("plain", "plain-shards")}, nothing, {"": "plain"}),
    "fp16 with non_ema": (
        {"": ("fp16",)},
        linked(f"{UNET}.fp16.safetensors", f"{UNET}.non_ema.safetensors"),
        {"": "fp16"},
    ),
    "plain with non_ema": (PLAIN, linked(f"{UNET}.safetensors", f"{UNET}.non_ema.safetensors"), {"": "plain"}),
    "fp16 pointer beside plain": (PLAIN, text(POINTER, f"{UNET}.fp16.safetensors"), {"": "plain"}),
    "fp16 dead link beside plain": (PLAIN, dead(f"{UNET}.fp16.safetensors"), {"": "plain"}),
    "broken fp16 shards beside plain": (
        {"": ("plain", "fp16-shards")},
        drop(f"{UNET}.fp16-00001-of-00002.safetensors"),
        {"": "fp16", "unet": "plain"},
    ),
    "a checkpoint beside the folders": (
        PLAIN,
        linked("vae/diffusion_pytorch_model.safetensors", "sd_xl_base_1.0.safetensors"),
        {"": "plain"},
    ),
    "pickles beside fp16": (HALF, text("pickle", f"{UNET}.bin", "vae/diffusion_pytorch_model.bin"), {"": "fp16"}),
}


def state_of(material: Path, kind: str, part: str) -> dict[str, torch.Tensor]:
    import torch
    from safetensors.torch import load_file

    middle = ".fp16" if kind == "fp16" else ""
    state = load_file(material / kind / part / f"{stem(part)}{middle}.safetensors")
    return {key: tensor.to(torch.float32) for key, tensor in state.items()}


def assert_loads(reference: str, material: Path, expected: dict[str, str]) -> None:
    import torch

    pipeline = load_pipeline(resolve_base(reference), dtype=torch.float32, device="cpu")
    for part in PARTS:
        loaded = getattr(pipeline, part).state_dict()
        wanted = state_of(material, expected.get(part, expected[""]), part)
        assert wanted.keys() == loaded.keys()
        assert all(torch.equal(loaded[key], wanted[key]) for key in wanted), part


@pytest.mark.tiny
@pytest.mark.parametrize("name", LOADS)
def test_a_layout_loads_the_weights_it_holds(name: str, tiny_base: Path, material: Path, tmp_path: Path) -> None:
    kinds, edit, expected = LOADS[name]
    folder = write_layout(tiny_base, material, tmp_path / "base", kinds)
    edit(folder)
    assert_loads(str(folder), material, expected)


@pytest.mark.tiny
@pytest.mark.parametrize("kinds", [HALF, PLAIN, HALF_SHARDS, {"": ("fp16",), "vae": ("plain",)}])
def test_a_hub_cache_loads(kinds: Kinds, tiny_base: Path, material: Path, hub_cache: Path, tmp_path: Path) -> None:
    into_hub_cache(write_layout(tiny_base, material, tmp_path / "base", kinds), hub_cache, MODEL)
    expected = {part: names[0].removesuffix("-shards") for part, names in kinds.items()}
    assert_loads(MODEL, material, expected)
    assert resolve_base(MODEL).name == MODEL


@pytest.mark.tiny
def test_relative_paths(tiny_base: Path, material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_layout(tiny_base, material, tmp_path / "models" / "base", HALF)
    monkeypatch.chdir(tmp_path)
    assert_loads("models/base", material, {"": "fp16"})
    monkeypatch.chdir(folder)
    assert resolve_base(".").fingerprint == resolve_base(str(folder)).fingerprint


@pytest.mark.tiny
def test_missing_tokenizer_configurations_mean_sdxls_own(tiny_base: Path, material: Path, tmp_path: Path) -> None:
    import torch

    folder = write_layout(tiny_base, material, tmp_path / "base", PLAIN)
    drop("tokenizer/tokenizer_config.json", "tokenizer_2/tokenizer_config.json")(folder)
    base = resolve_base(str(folder))
    pipeline = load_pipeline(base, dtype=torch.float32, device="cpu", without=("unet", "vae"))
    assert pipeline.tokenizer.model_max_length == pipeline.tokenizer_2.model_max_length == 77
    assert (pipeline.tokenizer.pad_token, pipeline.tokenizer_2.pad_token) == ("<|endoftext|>", "!")
    for part in ("tokenizer", "tokenizer_2"):
        shutil.copyfile(folder_layout.standard_tokenizer(part), folder / part / "tokenizer_config.json")
    again = resolve_base(str(folder))
    assert again.fingerprint == base.fingerprint
    assert part_fingerprint(again, "tokenizer_2") == part_fingerprint(base, "tokenizer_2")


EMBEDDED_CONTENT = ("b3ee7890be13466e", "e422570300e3b69c", "26174538f33c53ee")
"""Fingerprints of the embedded base, its VAE and its text parts, as computed before parts were chosen one by one."""


def contents(reference: str) -> tuple[str, str, str]:
    base = resolve_base(reference)
    text_parts = part_fingerprint(base, "tokenizer", "tokenizer_2", "text_encoder", "text_encoder_2")
    return base.fingerprint, part_fingerprint(base, "vae"), text_parts


def test_fingerprints_of_ordinary_layouts_stay(tmp_path: Path) -> None:
    assert contents("embedded") == EMBEDDED_CONTENT
    folder = tmp_path / "half"
    shutil.copytree(resolve_base("embedded").path, folder)
    for file in folder.glob("*/*.safetensors"):
        file.rename(file.with_name(file.name.replace(".safetensors", ".fp16.safetensors")))
    assert contents(str(folder)) == EMBEDDED_CONTENT
    assert resolve_base(str(folder)).former_fingerprints == ()


@pytest.mark.tiny
def test_files_that_are_not_loaded_do_not_count(tiny_base: Path, material: Path, tmp_path: Path) -> None:
    half = resolve_base(str(write_layout(tiny_base, material, tmp_path / "half", HALF)))
    plain = resolve_base(str(write_layout(tiny_base, material, tmp_path / "plain", PLAIN)))
    assert half.fingerprint != plain.fingerprint
    for name, more in (("both", "plain"), ("shards", "plain-shards")):
        folder = write_layout(tiny_base, material, tmp_path / name, {"": ("fp16", more)})
        both = resolve_base(str(folder))
        assert contents(str(folder)) == contents(str(half.path))
        check_fits({"base": {"fingerprint": half.fingerprint}}, both)
        if more == "plain":  # what earlier versions trained on in this very folder
            check_fits({"base": {"fingerprint": plain.fingerprint}}, both)
    with pytest.raises(AdapterMismatch):
        check_fits({"base": {"fingerprint": plain.fingerprint}}, half)


@pytest.mark.tiny
def test_the_null_prompt_is_part_of_the_content(tiny_base: Path, material: Path, tmp_path: Path) -> None:
    folder = write_layout(tiny_base, material, tmp_path / "base", PLAIN)
    before = resolve_base(str(folder)).fingerprint
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    text(json.dumps(index | {"force_zeros_for_empty_prompt": False}), "model_index.json")(folder)
    other = resolve_base(str(folder))
    assert other.fingerprint != before
    check_fits({"base": {"fingerprint": before}}, other)


@pytest.mark.tiny
def test_doctor_tells_every_part(tiny_base: Path, material: Path, hub_cache: Path, tmp_path: Path) -> None:
    kinds: Kinds = {"": ("fp16",), "unet": ("plain-shards",)}
    folder = write_layout(tiny_base, material, tmp_path / "base", kinds)
    found = inspect_base(str(folder))
    assert found["unet"].startswith("diffusion_pytorch_model-00001-of-00002.safetensors and 1 more, ")
    assert found["unet"].endswith("MiB, F32, by diffusion_pytorch_model.safetensors.index.json")
    assert found["vae"].startswith("diffusion_pytorch_model.fp16.safetensors, ")
    assert found["vae"].endswith("MiB, F16")
    assert found["verdict"].startswith("can be used: base, 64 px, 9 channels")
    drop(f"{UNET}-00002-of-00002.safetensors", "scheduler", "text_encoder/config.json")(folder)
    snapshot = into_hub_cache(folder, hub_cache, MODEL)
    found = inspect_base(MODEL)
    assert found["place"] == str(snapshot)
    assert "lacks unet/diffusion_pytorch_model-00002-of-00002.safetensors" in found["unet"]
    assert (found["scheduler"], found["tokenizer"]) == ("scheduler_config.json: missing", "complete")
    assert found["text_encoder"].startswith("config.json: missing; model.fp16.safetensors, ")
    assert found["verdict"].startswith("cannot be used: ")
    assert "hf download" in found["hint"]
    assert inspect_base("nobody/nothing")["verdict"].startswith(
        "nothing on disk; download it: hf download nobody/nothing"
    )
    assert inspect_base("embedded")["verdict"].startswith("can be used: embedded, 256 px")
