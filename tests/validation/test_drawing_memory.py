"""Memory that does not suffice to draw during and after training: the run goes on, and to the same bytes."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from drawn_products import draw_bottle, write_set
from validated_runs import config_of, run_of, story_of, train, write_gate

from finetune.core import console
from finetune.core.basemodel.resolve import resolve_base
from finetune.core.errors import OutOfMemory
from finetune.core.products.catalog import Workspace
from finetune.latents import class_images
from finetune.train import TrainResult
from finetune.unet import live_pipeline

pytestmark = pytest.mark.tiny
# no frozen pass: it switches the adapter on again in every step, and would hide one that was left off
PLAIN = ("objective.base_preservation_weight=0", "train.steps=4", "preview.every=2", "validation.examples=1")
CLASS = class_images.ClassImages(count=2, weight=1.0, size=64, precision="fp32")
Decodes = list[weakref.ref[torch.Tensor]]


@pytest.fixture
def decoding_runs_out(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Decodes]:
    """Have the VAE raise torch's own error at the given decodes, counted from 1.

    What is returned gets a reference to a tensor of every decode's own frame.
    """

    def start(*decodes: int) -> Decodes:
        seen: Decodes = []
        real = AutoencoderKL.decode

        def decode(vae: Any, *arguments: Any, **named: Any) -> Any:
            activations = torch.zeros(1000)
            seen.append(weakref.ref(activations))
            if len(seen) in decodes:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return real(vae, *arguments, **named)

        monkeypatch.setattr(AutoencoderKL, "decode", decode)
        return seen

    return start


def adapter_of(result: TrainResult) -> bytes:
    """The bytes of an adapter's weights, without the header that names the run."""
    data = result.version.weights.read_bytes()
    return data[8 + int.from_bytes(data[:8], "little") :]


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gate(tmp_path_factory.mktemp("gate"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path, gate: Path) -> TrainResult:
    """A run that draws nothing."""
    root = tmp_path_factory.mktemp("undisturbed")
    write_set(root, "bottle01", {"front": draw_bottle()})
    return train(Workspace(root), config_of(tiny_base, gate, *PLAIN, "preview.every=0", "validation.choose=loss"))


def test_a_run_outlives_its_drawings(
    undisturbed: TrainResult,
    tmp_path: Path,
    tiny_base: Path,
    gate: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    decoding_runs_out: Callable[..., Decodes],
) -> None:
    monkeypatch.setattr(console, "_EARLIER_WARNINGS", set())
    write_set(tmp_path, "bottle01", {"front": draw_bottle()})
    released = []

    def release(device: str) -> None:
        released.append([reference() for reference in decodes])

    monkeypatch.setattr(live_pipeline, "release_memory", release)
    decodes = decoding_runs_out(2, 3)  # a preview's empty scene, the adapter switched off; the choice's first picture
    result = train(Workspace(tmp_path), config_of(tiny_base, gate, *PLAIN))
    said = capsys.readouterr().err
    assert said.count("Warning: no more previews from step 2 on: the device has too little memory") == 1
    assert said.count("Warning: candidates are ranked by validation loss alone: the device has too little memory") == 1
    assert released == [[None] * 2, [None] * 3], "what the error's frames held was gone when memory was asked for"
    assert list((run_of(Workspace(tmp_path), result) / "previews").iterdir()) == []
    told = story_of(result)["choice"]
    assert told["rule"] == "loss"
    assert "not measured: the device has too little memory" in told["why"]
    assert len(told["candidates"]) == 2
    assert result.version.manifest["chosen_step"] == undisturbed.version.manifest["chosen_step"]
    assert adapter_of(result) == adapter_of(undisturbed)


def test_class_pictures_say_what_helps_and_keep_what_is_there(
    tmp_path: Path, tiny_base: Path, decoding_runs_out: Callable[..., Decodes]
) -> None:
    decodes = decoding_runs_out(2)
    base = resolve_base(str(tiny_base))
    with pytest.raises(OutOfMemory, match="to draw pictures of 'mug'") as caught:
        class_images.class_rows(tmp_path, base, "mug", CLASS, device="cpu", progress=lambda done, total: None)
    assert "objective.prior_weight=0" in caught.value.hint
    assert [reference() for reference in decodes] == [None, None]
    assert len(list(tmp_path.glob("*.png"))) == 1
    drawn = []
    rows = class_images.class_rows(
        tmp_path, base, "mug", CLASS, device="cpu", progress=lambda done, total: drawn.append(total)
    )
    assert (drawn, len(rows)) == ([1], 2)
