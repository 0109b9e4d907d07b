"""The tiny base in every layout that people have on disk, built by hard links out of one set of weight files."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from made_once import made_once

PARTS = ("unet", "vae", "text_encoder", "text_encoder_2")
UNET = "unet/diffusion_pytorch_model"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5135149760\n"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
MODEL = "someone/tiny-sdxl"
Kinds = dict[str, tuple[str, ...]]
Edit = Callable[[Path], object]
PLAIN: Kinds = {"": ("plain",)}
HALF: Kinds = {"": ("fp16",)}
SHARDS: Kinds = {"": ("plain-shards",)}
HALF_SHARDS: Kinds = {"": ("fp16-shards",)}


def stem(part: str) -> str:
    return "diffusion_pytorch_model" if part in ("unet", "vae") else "model"


def material_of(base: Path) -> Path:
    """What `make_material` writes, made once in a run of the tests."""
    return made_once("base-layouts", lambda folder: make_material(base, folder))


def empty_hub_cache(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    """An empty cache of the hub in a folder, and no network."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder / "hub"))
    return folder / "hub"


def make_material(base: Path, folder: Path) -> Path:
    """The weights of a base as `<kind>/<part>/...`: plain, fp16, and both as two shards with an index."""
    import torch
    from safetensors.torch import load_file, save_file

    for part in PARTS:
        whole = load_file(base / part / f"{stem(part)}.safetensors")
        for kind, middle, dtype in (("plain", "", torch.float32), ("fp16", ".fp16", torch.float16)):
            state = {key: tensor.to(dtype) for key, tensor in whole.items()}
            one, shards = folder / kind / part, folder / f"{kind}-shards" / part
            one.mkdir(parents=True)
            shards.mkdir(parents=True)
            save_file(state, one / f"{stem(part)}{middle}.safetensors", {"format": "pt"})
            names = sorted(state)
            placed: dict[str, str] = {}
            for number, keys in enumerate((names[::2], names[1::2]), 1):
                name = f"{stem(part)}{middle}-{number:05d}-of-00002.safetensors"
                save_file({key: state[key] for key in keys}, shards / name, {"format": "pt"})
                placed |= dict.fromkeys(keys, name)
            index = {"metadata": {"total_size": 1}, "weight_map": placed}
            (shards / f"{stem(part)}.safetensors.index{middle}.json").write_text(json.dumps(index), encoding="utf-8")
    return folder


def write_layout(base: Path, material: Path, to: Path, kinds: dict[str, tuple[str, ...]]) -> Path:
    """A copy of a base with the kinds of weights that are named for each part.

    Args:
        base: Whose configurations are taken.
        material: What `make_material` wrote.
        to: The folder that is made.
        kinds: Kinds by part; `""` stands for all other parts.
    """
    shutil.copytree(base, to, ignore=shutil.ignore_patterns("*.safetensors"))
    for part in PARTS:
        for kind in kinds.get(part, kinds[""]):
            for file in (material / kind / part).iterdir():
                os.link(file, to / part / file.name)
    return to


def into_hub_cache(folder: Path, cache: Path, model: str) -> Path:
    """Move a base into a hub cache, as links to blobs; returns the snapshot's folder."""
    root = cache / f"models--{model.replace('/', '--')}"
    snapshot, blobs = root / "snapshots" / COMMIT, root / "blobs"
    blobs.mkdir(parents=True)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(COMMIT, encoding="utf-8")
    for number, file in enumerate(sorted(p for p in folder.rglob("*") if p.is_file())):
        link = snapshot / file.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        os.link(file, blobs / f"{number:064x}")
        link.symlink_to(os.path.relpath(blobs / f"{number:064x}", link.parent))
    shutil.rmtree(folder)
    return snapshot


def drop(*names: str) -> Edit:
    def edit(folder: Path) -> None:
        for name in names:
            shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()

    return edit


def text(content: str, *names: str) -> Edit:
    """Put a text in place of files; the linked originals stay as they are."""

    def edit(folder: Path) -> None:
        for name in names:
            (folder / name).unlink(missing_ok=True)
            (folder / name).write_text(content, encoding="utf-8")

    return edit


def dead(*names: str) -> Edit:
    def edit(folder: Path) -> None:
        for name in names:
            (folder / name).unlink(missing_ok=True)
            (folder / name).symlink_to("../../../blobs/gone")

    return edit


def renamed(old: str, new: str) -> Edit:
    return lambda folder: (folder / old).rename(folder / new)


def linked(old: str, new: str) -> Edit:
    return lambda folder: os.link(folder / old, folder / new)


def nothing(folder: Path) -> None:
    """Leave it as it is."""
