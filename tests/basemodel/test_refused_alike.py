"""A base that cannot be used is refused by doctor, plan, train and place in the same words, with the same cure."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from base_layouts import POINTER, into_hub_cache, make_material, write_layout
from click.testing import CliRunner
from drawn_products import draw_bottle, write_set
from made_once import made_once

from finetune.core.commands import main

pytestmark = pytest.mark.tiny
MODEL = "someone/tiny-sdxl"
UNET = "unet/diffusion_pytorch_model"
PLAIN, SHARDS, HALF = {"": ("plain",)}, {"": ("plain-shards",)}, {"": ("fp16",)}
Kinds = dict[str, tuple[str, ...]]


def drop(name: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()

    return edit


def text(content: str, name: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).write_text(content, encoding="utf-8")

    return edit


def dead(name: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).symlink_to("../nowhere")

    return edit


def cut(folder: Path) -> None:
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-100])


CASES: dict[str, tuple[Kinds, Callable[[Path], None], str]] = {
    "no weights": (PLAIN, drop(f"{UNET}.safetensors"), "has no safetensors weights in unet/"),
    "no shard": (SHARDS, drop(f"{UNET}-00002-of-00002.safetensors"), "is not complete: it lacks unet/"),
    "no index of shards": (SHARDS, drop(f"{UNET}.safetensors.index.json"), "holds shards without"),
    "a pointer": (PLAIN, text(POINTER, f"{UNET}.safetensors"), "is a Git LFS pointer"),
    "a dead link": (PLAIN, dead("vae/diffusion_pytorch_model.safetensors"), "is a link to a file that is gone"),
    "cut": (PLAIN, cut, "is damaged"),
    "no scheduler": (PLAIN, drop("scheduler"), "lacks scheduler/scheduler_config.json"),
    "no tokenizer": (PLAIN, drop("tokenizer_2"), "lacks tokenizer_2/"),
    "no index": (PLAIN, drop("model_index.json"), "lacks model_index.json"),
    "another model": (PLAIN, text('{"_class_name": "FluxPipeline"}', "model_index.json"), "it is a FluxPipeline"),
}


@pytest.fixture
def hub_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache of the hub, and no network."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture(scope="session")
def material(tiny_base: Path) -> Path:
    return made_once("base-layouts", lambda folder: make_material(tiny_base, folder))


def answers(root: Path, reference: str) -> dict[str, tuple[str, str]]:
    """(message, hint) of every command that is given this base."""
    write_set(root, "bottle01", {"front": draw_bottle(120)})
    lines = {
        "plan": ["plan", "--config", "embedded", "--set", f"base.model={reference}"],
        "train": ["train", "bottle01", "--config", "embedded", "--set", f"base.model={reference}"],
        "place": ["place", "bottle01", "--prompt", "on oak", "--adapter", "none", "--base", reference],
    }
    found = {}
    for name, line in lines.items():
        done = CliRunner().invoke(main, [*line, "--workspace", str(root)])
        assert done.exit_code == 1, (name, done.output)
        said = [text for text in done.stderr.splitlines() if text.startswith(("Error: ", "hint: "))]
        assert len(said) == 2, (name, done.stderr)
        found[name] = (said[0].removeprefix("Error: "), said[1].removeprefix("hint: "))
    done = CliRunner().invoke(main, ["doctor", "--base", reference, "--json", "--workspace", str(root)])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)[f"base {reference}"]
    found["doctor"] = (told["verdict"].removeprefix("cannot be used: "), told["hint"])
    return found


@pytest.mark.parametrize("name", CASES)
def test_a_folder(name: str, tiny_base: Path, material: Path, tmp_path: Path) -> None:
    kinds, edit, reason = CASES[name]
    folder = write_layout(tiny_base, material, tmp_path / "base", kinds)
    edit(folder)
    found = answers(tmp_path / "work", str(folder))
    assert len(set(found.values())) == 1, found
    assert reason in found["train"][0]
    assert found["train"][1]


def test_a_relative_path(tiny_base: Path, material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drop("scheduler")(write_layout(tiny_base, material, tmp_path / "base", PLAIN))
    monkeypatch.chdir(tmp_path)
    found = answers(tmp_path / "work", "./base")
    assert len(set(found.values())) == 1, found
    assert found["train"][0].startswith("base './base' is not complete: ")


def test_a_partly_filled_hub_cache(tiny_base: Path, material: Path, hub_cache: Path, tmp_path: Path) -> None:
    snapshot = into_hub_cache(write_layout(tiny_base, material, tmp_path / "base", HALF), hub_cache, MODEL)
    drop(f"{UNET}.fp16.safetensors")(snapshot)
    found = answers(tmp_path / "work", MODEL)
    assert len(set(found.values())) == 1, found
    assert found["train"][0].startswith(f"base '{MODEL}' has no safetensors weights in unet/")
    assert f"hf download {MODEL}" in found["train"][1]


def test_a_checkpoint_that_is_none(tmp_path: Path, tiny_base: Path) -> None:
    shutil.copyfile(tiny_base / f"{UNET}.safetensors", tmp_path / "sdxl.safetensors")
    found = answers(tmp_path / "work", str(tmp_path / "sdxl.safetensors"))
    assert len(set(found.values())) == 1, found
    assert "is not an SDXL checkpoint" in found["train"][0]
