"""A VAE in place of the base's own (`base.vae`): found, loaded, counted, recorded; or refused by its reason."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from single_files import VAE, original_vae, write_pair
from tiny_training import tiny_config, train

from finetune.core.adapters.file import check_fits
from finetune.core.basemodel.load import load_pipeline
from finetune.core.basemodel.resolve import part_fingerprint, resolve_base, resolve_recorded, resolve_single_file
from finetune.core.errors import AdapterMismatch, BaseModelError
from finetune.core.products.catalog import Workspace
from finetune.doctor import inspect_base
from finetune.plan import base_folder
from inference.request import DrawnWith, find_subject

if TYPE_CHECKING:
    import torch

    State = dict[str, torch.Tensor]

pytestmark = pytest.mark.tiny
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def other(tiny_base: Path, tmp_path: Path) -> Path:
    """Folder of a VAE with weights of its own, as sdxl-vae-fp16-fix lies on the hub."""
    from safetensors.torch import save_file

    folder = tmp_path / "vae-fix"
    folder.mkdir()
    config = json.loads((tiny_base / "vae" / "config.json").read_text(encoding="utf-8")) | {"force_upcast": False}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file({key: tensor * 0.5 for key, tensor in own_state(tiny_base).items()}, folder / WEIGHTS, {"format": "pt"})
    return folder


def own_state(base: Path) -> State:
    from safetensors.torch import load_file

    return load_file(base / "vae" / WEIGHTS)


def loaded(reference: str, vae: str) -> torch.nn.Module:
    import torch

    pipeline = load_pipeline(resolve_base(reference, vae=vae), dtype=torch.float32, device="cpu")
    module: torch.nn.Module = pipeline.vae
    return module


def assert_halved(found: torch.nn.Module, base: Path) -> None:
    import torch

    state, wanted = found.state_dict(), own_state(base)
    assert state.keys() == wanted.keys()
    assert all(torch.equal(state[key], wanted[key] * 0.5) for key in wanted)


def as_file(folder: Path, to: Path, prefix: str | None) -> Path:
    """The VAE in a folder as one file: in the original layout with a prefix, or under diffusers' names (None)."""
    from safetensors.torch import load_file, save_file

    state = load_file(folder / WEIGHTS)
    if prefix is not None:
        state = {prefix + key: tensor for key, tensor in original_vae(state, 4).items()}
    save_file({key: tensor.contiguous() for key, tensor in state.items()}, to)
    return to


def test_a_folder_takes_the_place_of_the_bases_own(other: Path, tiny_base: Path, tmp_path: Path) -> None:
    found = loaded(str(tiny_base), str(other))
    assert_halved(found, tiny_base)
    assert found.config["force_upcast"] is False  # type: ignore[index]
    (tmp_path / "whole" / "vae").parent.mkdir()
    shutil.copytree(other, tmp_path / "whole" / "vae")
    assert_halved(loaded(str(tiny_base), str(tmp_path / "whole")), tiny_base)


@pytest.mark.parametrize("prefix", [VAE, "", None])
def test_a_file_does_too(prefix: str | None, other: Path, tiny_base: Path, tmp_path: Path) -> None:
    file = as_file(other, tmp_path / "vae.safetensors", prefix)
    assert_halved(loaded(str(tiny_base), str(file)), tiny_base)


def test_it_replaces_that_of_a_checkpoint(other: Path, tiny_base: Path, tmp_path: Path) -> None:
    import dataclasses

    import torch

    from finetune.core.basemodel.separate_vae import resolve_vae

    _, file = write_pair(tiny_base, tmp_path)
    config = tmp_path / "diffusers"
    base = resolve_single_file(str(file), file, config)
    base = dataclasses.replace(base, vae=resolve_vae(str(other), config / "vae"))
    assert_halved(load_pipeline(base, dtype=torch.float32, device="cpu").vae, tiny_base)


def test_it_counts_in_fingerprints_and_is_recorded(other: Path, tiny_base: Path) -> None:
    alone, both = resolve_base(str(tiny_base)), resolve_base(str(tiny_base), vae=str(other))
    assert alone.fingerprint != both.fingerprint
    assert part_fingerprint(alone, "vae") != part_fingerprint(both, "vae")
    assert part_fingerprint(alone, "text_encoder") == part_fingerprint(both, "text_encoder")
    assert "vae" not in alone.summary()
    assert resolve_recorded(both.summary()).fingerprint == both.fingerprint
    assert resolve_recorded(both.summary(), str(tiny_base)).fingerprint == both.fingerprint
    with pytest.raises(AdapterMismatch):
        check_fits({"base": alone.summary()}, both)


def test_training_with_it_and_placing_find_the_same(other: Path, workspace: Workspace, tiny_base: Path) -> None:
    config = tiny_config(tiny_base, f"base.vae={other}")
    version = train(workspace, config).version
    assert version.manifest["base"]["vae"] == str(other)
    assert find_subject(workspace, "bottle01").base.vae is not None
    assert not train(workspace, config).made
    assert train(workspace, tiny_config(tiny_base)).made
    shutil.rmtree(other)
    with pytest.raises(BaseModelError, match="was trained with the VAE at"):
        find_subject(workspace, "bottle01", DrawnWith(version.number))


def setting(name: str, value: object) -> Callable[[Path], object]:
    def edit(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        (folder / "config.json").write_text(json.dumps(config | {name: value}), encoding="utf-8")

    return edit


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing there": (shutil.rmtree, "there is no VAE at"),
    "no configuration": (lambda folder: (folder / "config.json").unlink(), r"lacks config\.json"),
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), "has no safetensors weights"),
    "cut": (lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-9]), "is damaged"),
    "the first Stable Diffusion's": (setting("scaling_factor", 0.18215), "makes latents of another scale"),
    "sixteen channels": (setting("latent_channels", 16), r"has another architecture .*latent_channels"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_another_one_is_refused_alike_everywhere(name: str, other: Path, tiny_base: Path) -> None:
    edit, reason = REFUSED[name]
    edit(other)
    config = tiny_config(tiny_base, f"base.vae={other}")
    with pytest.raises(BaseModelError, match=reason) as planned:
        base_folder(config)
    assert planned.value.hint
    assert not re.search(r"\n", planned.value.message + planned.value.hint)
    told = inspect_base(str(tiny_base), str(other))
    assert told["verdict"] == f"cannot be used: {planned.value.message}"
    assert told["hint"] == planned.value.hint


def test_files_that_are_no_vae(tiny_base: Path, other: Path, tmp_path: Path) -> None:
    unet = tiny_base / "unet" / WEIGHTS
    with pytest.raises(BaseModelError, match="no VAE at '~nosuchuser/vae'"):
        resolve_base(str(tiny_base), vae="~nosuchuser/vae")
    with pytest.raises(BaseModelError, match="is not a VAE: it lacks encoder"):
        resolve_base(str(tiny_base), vae=str(unet))
    wide = as_file(Path(resolve_base("embedded").path) / "vae", tmp_path / "wide.safetensors", None)
    with pytest.raises(BaseModelError, match="another architecture than the base's: its first layer is"):
        resolve_base(str(tiny_base), vae=str(wide))
    told = inspect_base(str(tiny_base), str(other))
    assert told["vae"].endswith(f"in place of the base's own ({other})")
