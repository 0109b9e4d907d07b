"""References to bases: what they resolve to, and what is refused before anything loads."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from finetune.core.basemodel.resolve import part_fingerprint, resolve_base
from finetune.core.errors import BaseModelError


@pytest.mark.tiny
def test_folder_tells_channels_and_size(tiny_base: Path, tiny_base_4: Path) -> None:
    nine, four = resolve_base(str(tiny_base)), resolve_base(str(tiny_base_4))
    assert (nine.channels, nine.size, nine.prediction_type) == (9, 64, "epsilon")
    assert (four.channels, four.size) == (4, 64)
    assert nine.fingerprint != four.fingerprint


@pytest.mark.tiny
def test_fingerprints_follow_content_not_place(tiny_base: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(tiny_base, copy)
    assert resolve_base(str(copy)).fingerprint == resolve_base(str(tiny_base)).fingerprint
    before = part_fingerprint(resolve_base(str(copy)), "vae")
    weights = copy / "vae" / "diffusion_pytorch_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    changed = resolve_base(str(copy))
    assert changed.fingerprint != resolve_base(str(tiny_base)).fingerprint
    assert part_fingerprint(changed, "vae") != before
    assert part_fingerprint(changed, "text_encoder") == part_fingerprint(resolve_base(str(tiny_base)), "text_encoder")


@pytest.mark.tiny
def test_incomplete_folder_is_named(tiny_base: Path, tmp_path: Path) -> None:
    copy = tmp_path / "half"
    shutil.copytree(tiny_base, copy)
    shutil.rmtree(copy / "text_encoder_2")
    with pytest.raises(BaseModelError, match="lacks text_encoder_2"):
        resolve_base(str(copy))


def test_base_not_on_disk_without_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(BaseModelError, match="not on disk") as caught:
        resolve_base("stabilityai/stable-diffusion-xl-base-1.0")
    assert "hf download" in caught.value.hint


@pytest.mark.parametrize("model", ["./nowhere", "/no/such/folder", "missing.safetensors", "just-a-word"])
def test_missing_paths_are_refused(model: str) -> None:
    with pytest.raises(BaseModelError, match="no base at"):
        resolve_base(model)


def test_other_files_are_no_checkpoints(tmp_path: Path) -> None:
    text = tmp_path / "model.safetensors"
    text.write_text("hello", encoding="utf-8")
    with pytest.raises(BaseModelError, match="not a safetensors file"):
        resolve_base(str(text))
