"""SDXL as people have it on disk, incomplete: each layout is refused with reason and cure."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

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
    material_of,
    nothing,
    renamed,
    stem,
    text,
    write_layout,
)

from finetune.core.basemodel.resolve import resolve_base
from finetune.core.errors import BaseModelError


@pytest.fixture(scope="session")
def material(tiny_base: Path) -> Path:
    return material_of(tiny_base)


@pytest.fixture(autouse=True)
def hub_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return empty_hub_cache(monkeypatch, tmp_path)


HF = r"hf download someone/tiny-sdxl --include '\*\.json' --include '\*/\*\.txt' --include '\*/\*"


AGAIN = "download the complete model again"


REFUSED: dict[str, tuple[Kinds, Edit, str, str]] = {
    "no weights": (PLAIN, drop(f"{UNET}.safetensors"), "has no safetensors weights in unet/", AGAIN),
    "no index": (
        SHARDS,
        drop(f"{UNET}.safetensors.index.json"),
        r"unet/ holds shards without diffusion_pytorch_model\.safetensors\.index\.json",
        AGAIN,
    ),
    "no fp16 index": (
        HALF_SHARDS,
        drop("text_encoder_2/model.safetensors.index.fp16.json"),
        r"text_encoder_2/ holds shards without model\.safetensors\.index\.fp16\.json",
        AGAIN,
    ),
    "no shard": (
        SHARDS,
        drop(f"{UNET}-00002-of-00002.safetensors"),
        r"lacks unet/diffusion_pytorch_model-00002-of-00002\.safetensors",
        AGAIN,
    ),
    "no fp16 shard": (
        HALF_SHARDS,
        drop("text_encoder/model.fp16-00001-of-00002.safetensors"),
        r"lacks text_encoder/model\.fp16-00001-of-00002\.safetensors",
        AGAIN,
    ),
    "damaged index": (
        SHARDS,
        text("{", f"{UNET}.safetensors.index.json"),
        r"unet/diffusion_pytorch_model\.safetensors\.index\.json is damaged",
        AGAIN,
    ),
    "an index that leads out": (
        SHARDS,
        text('{"metadata": {}, "weight_map": {"a": "../b.safetensors"}}', f"{UNET}.safetensors.index.json"),
        r"index\.json is damaged",
        AGAIN,
    ),
    "an index of another model": (
        SHARDS,
        text(
            json.dumps(
                {"metadata": {}, "weight_map": {"nowhere": "diffusion_pytorch_model-00001-of-00002.safetensors"}}
            ),
            f"{UNET}.safetensors.index.json",
        ),
        r"unet/diffusion_pytorch_model-00001-of-00002\.safetensors lacks nowhere, which .*index\.json names",
        AGAIN,
    ),
    "pointers": (
        PLAIN,
        text(POINTER, *(f"{part}/{stem(part)}.safetensors" for part in PARTS)),
        r"unet/diffusion_pytorch_model\.safetensors is a Git LFS pointer",
        r"run `git lfs pull` in /.*/base$",
    ),
    "a pointer among shards": (
        HALF_SHARDS,
        text(POINTER, "text_encoder/model.fp16-00002-of-00002.safetensors"),
        r"text_encoder/model\.fp16-00002-of-00002\.safetensors is a Git LFS pointer",
        "git lfs pull",
    ),
    "a vocabulary that is a pointer": (
        PLAIN,
        text(POINTER, "tokenizer/tokenizer.json", "tokenizer/vocab.json"),
        r"tokenizer/(tokenizer|vocab)\.json is a Git LFS pointer",
        "git lfs pull",
    ),
    "a dead link": (
        PLAIN,
        dead("vae/diffusion_pytorch_model.safetensors"),
        r"vae/diffusion_pytorch_model\.safetensors is a link to a file that is gone",
        AGAIN,
    ),
    "no scheduler": (PLAIN, drop("scheduler"), r"lacks scheduler/scheduler_config\.json", AGAIN),
    "no configuration of the scheduler": (
        PLAIN,
        drop("scheduler/scheduler_config.json"),
        r"lacks scheduler/scheduler_config\.json",
        AGAIN,
    ),
    "no configurations": (
        PLAIN,
        drop("vae/config.json", "text_encoder/config.json"),
        r"lacks vae/config\.json, text_encoder/config\.json",
        AGAIN,
    ),
    "no tokenizer": (PLAIN, drop("tokenizer_2"), r"lacks tokenizer_2/vocab\.json, tokenizer_2/merges\.txt", AGAIN),
    "no index of the model": (PLAIN, drop("model_index.json"), r"lacks model_index\.json", AGAIN),
    "only pickles": (
        {"": ("plain",), "vae": ()},
        text("pickle", "vae/diffusion_pytorch_model.bin"),
        r"vae/, only diffusion_pytorch_model\.bin, which is never opened",
        "safetensors",
    ),
    "a name of its own": (
        PLAIN,
        renamed("vae/diffusion_pytorch_model.safetensors", "vae/sdxl_vae.safetensors"),
        r"vae/ holds sdxl_vae\.safetensors, but no diffusion_pytorch_model\.safetensors",
        "the name diffusion_pytorch_model",
    ),
    "another autoencoder": (
        PLAIN,
        text('{"_class_name": "StableDiffusionXLPipeline", "unet": ["diffusers", "FluxModel"]}', "model_index.json"),
        "lacks vae, text_encoder",
        "Packshot trains SDXL only",
    ),
}


def assert_refused(reference: str, reason: str, cure: str) -> None:
    with pytest.raises(BaseModelError, match=reason) as caught:
        resolve_base(reference)
    assert re.search(cure, caught.value.hint), caught.value.hint
    assert "\n" not in caught.value.message + caught.value.hint


@pytest.mark.tiny
@pytest.mark.parametrize("name", REFUSED)
def test_an_incomplete_layout_is_refused_by_its_reason(
    name: str, tiny_base: Path, material: Path, tmp_path: Path
) -> None:
    kinds, edit, reason, cure = REFUSED[name]
    folder = write_layout(tiny_base, material, tmp_path / "base", kinds)
    edit(folder)
    assert_refused(str(folder), reason, cure)


PARTIAL: dict[str, tuple[Kinds, Edit, str, str]] = {
    "no weights yet": ({"": ()}, nothing, "has no safetensors weights in unet/", HF + r"\.fp16\.safetensors'"),
    "one part to come": (
        HALF,
        drop("vae/diffusion_pytorch_model.fp16.safetensors"),
        "has no safetensors weights in vae/",
        HF + r"\.fp16\.safetensors'",
    ),
    "a plain part to come": (
        PLAIN,
        drop("text_encoder/model.safetensors"),
        "has no safetensors weights in text_encoder/",
        HF + r"\.safetensors'",
    ),
    "a shard to come": (
        HALF_SHARDS,
        drop(f"{UNET}.fp16-00002-of-00002.safetensors"),
        "lacks unet/diffusion_pytorch_model.fp16-00002-of-00002",
        r"--include '\*/\*\.fp16-\*\.safetensors'",
    ),
    "a dead link": (
        HALF,
        dead(f"{UNET}.fp16.safetensors"),
        "fp16.safetensors is a link to a file that is gone",
        HF + r"\.fp16\.safetensors'",
    ),
    "no vocabulary": (HALF, drop("tokenizer"), "lacks tokenizer/vocab.json, tokenizer/merges.txt", HF),
    "no scheduler": (HALF, drop("scheduler"), "lacks scheduler/scheduler_config.json", HF),
}


@pytest.mark.tiny
@pytest.mark.parametrize("name", PARTIAL)
def test_a_partly_filled_hub_cache_names_the_command(
    name: str, tiny_base: Path, material: Path, hub_cache: Path, tmp_path: Path
) -> None:
    kinds, edit, reason, cure = PARTIAL[name]
    folder = write_layout(tiny_base, material, tmp_path / "base", kinds)
    snapshot = into_hub_cache(folder, hub_cache, MODEL)
    edit(snapshot)
    assert_refused(MODEL, reason, cure)
    assert_refused(str(snapshot), reason, cure)


@pytest.mark.tiny
def test_a_folder_around_the_base_is_answered_with_the_path(tiny_base: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoints" / "sd_xl_base_1.0.safetensors"
    checkpoint.parent.mkdir()
    shutil.copyfile(tiny_base / f"{UNET}.safetensors", checkpoint)
    assert_refused(str(checkpoint.parent), "is a folder that holds a checkpoint", f"give the file: {checkpoint}")
    shutil.copytree(tiny_base, tmp_path / "models" / "sdxl")
    assert_refused(str(tmp_path / "models"), "is a folder around a base", f"give {tmp_path}/models/sdxl")
    (tmp_path / "empty").mkdir()
    assert_refused(str(tmp_path / "empty"), "holds no model_index.json", "diffusers' layout")


def test_a_checkpoint_that_stands_for_another_file(tmp_path: Path) -> None:
    pointer, link = tmp_path / "sdxl.safetensors", tmp_path / "gone.safetensors"
    pointer.write_text(POINTER, encoding="utf-8")
    link.symlink_to(tmp_path / "nowhere")
    assert_refused(str(pointer), "sdxl.safetensors is a Git LFS pointer", f"git lfs pull` in {tmp_path}$")
    assert_refused(str(link), "gone.safetensors is a link to a file that is gone", AGAIN)
