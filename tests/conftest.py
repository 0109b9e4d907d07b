"""Fixtures: drawn products, a workspace, and a tiny SDXL of about 1 M parameters built on the spot."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from finetune.core import console
from finetune.core.catalog import ProductSet, Workspace
from finetune.core.errors import PackshotError
from finetune.cutting import Cut, Failure, cut_photo, refusals

console.quiet_libraries()


def draw_bottle(size: int = 200, colour: tuple[int, int, int] = (190, 90, 40), shift: int = 0) -> Image.Image:
    """A bottle with a label on white: body, neck, cap, drawn four times larger and scaled down for soft edges."""
    big = Image.new("RGB", (size * 4, size * 4), "white")
    pen, u = ImageDraw.Draw(big), size * 4 / 100
    x = shift * 4
    pen.rounded_rectangle((x + 32 * u, 40 * u, x + 68 * u, 88 * u), 5 * u, fill=colour)
    pen.rectangle((x + 44 * u, 28 * u, x + 56 * u, 41 * u), fill=colour)
    pen.rectangle((x + 42 * u, 16 * u, x + 58 * u, 29 * u), fill=(40, 38, 36))
    pen.rectangle((x + 38 * u, 54 * u, x + 62 * u, 76 * u), fill=(245, 238, 220))
    pen.rectangle((x + 42 * u, 60 * u, x + 58 * u, 63 * u), fill=(30, 30, 30))
    pen.rectangle((x + 45 * u, 67 * u, x + 55 * u, 69 * u), fill=(30, 30, 30))
    return big.resize((size, size), Image.Resampling.LANCZOS)


def write_set(workspace: Path, sku: str, photos: dict[str, Image.Image], **config: object) -> Path:
    """Write datasets/<sku> with set.yaml and PNG photos; returns its folder."""
    folder = workspace / "datasets" / sku
    (folder / "photos").mkdir(parents=True)
    lines = {"class_noun": "perfume bottle"} | config
    (folder / "set.yaml").write_text("".join(f"{k}: {json.dumps(v)}\n" for k, v in lines.items()), encoding="utf-8")
    for name, picture in photos.items():
        picture.save(folder / "photos" / f"{name}.png")
    return folder


def write_shop(workspace: Path, config: str, base: Path) -> None:
    """A workspace for commands: `bottle01` in two views and tiny.yaml, the config with `BASE` for the base's folder."""
    write_set(workspace, "bottle01", {"front": draw_bottle(), "side": draw_bottle(shift=6)})
    (workspace / "tiny.yaml").write_text(config.replace("BASE", str(base)), encoding="utf-8")


def noting(names: list[str], work: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The same work on a photo; its name is noted."""

    def noted(job: Any) -> Any:
        names.append(job.task.photo.path.name)
        return work(job)

    return noted


class Killed(Exception):
    """Stands for a crash in the middle of a run."""


@contextmanager
def training_dies(after: int) -> Iterator[None]:
    """Training crashes when it computes the loss of one batch more than `after`, and that is expected."""
    from finetune import loop

    real, calls, patch = loop.batch_loss, [], pytest.MonkeyPatch()

    def dies(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) > after:
            raise Killed
        return real(*arguments)

    patch.setattr(loop, "batch_loss", dies)
    try:
        with pytest.raises(Killed):
            yield
    finally:
        patch.undo()


def cut_all(product: ProductSet) -> tuple[list[Cut], list[Failure]]:
    """Every photo of a set cut out, and those that can't be."""
    cuts, failures = [], refusals(product)
    for photo in product.photos:
        try:
            cuts.append(cut_photo(photo, product.config))
        except PackshotError as error:
            failures.append(Failure(photo, error))
    return cuts, failures


@pytest.fixture(autouse=True)
def one_torch_thread() -> None:
    """Two threads may sum in another order and move a pixel by one step; equality here means equality."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def fresh_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each text is warned of once a process; here a test is a process."""
    monkeypatch.setattr(console, "_EARLIER_WARNINGS", set())


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with one drawn product, `bottle01`, in two views."""
    write_set(tmp_path, "bottle01", {"front": draw_bottle(), "side": draw_bottle(shift=6)})
    return Workspace(tmp_path)


def make_tiny_base(folder: Path, channels: int = 9) -> Path:
    """Write a tiny SDXL (64 px, random weights, fixed seed) in diffusers' folder layout."""
    import torch
    from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionXLInpaintPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=channels,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(32, 64, 64),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 1, 2),
        attention_head_dim=(2, 4, 4),
        norm_num_groups=16,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 32,
        cross_attention_dim=64,
    )
    vae = AutoencoderKL(
        block_out_channels=(16, 16, 32, 32),
        norm_num_groups=8,
        layers_per_block=1,
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        latent_channels=4,
        sample_size=64,
        scaling_factor=0.5,
    )
    _write_tokenizer(folder / "own")
    tokenizer = CLIPTokenizer.from_pretrained(folder / "own")
    StableDiffusionXLInpaintPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(_text_config()),
        text_encoder_2=CLIPTextModelWithProjection(_text_config()),
        tokenizer=tokenizer,
        tokenizer_2=CLIPTokenizer.from_pretrained(folder / "own"),
        unet=unet,
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            steps_offset=1,
            timestep_spacing="leading",
        ),
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
    ).save_pretrained(folder / "base")
    return folder / "base"


def _text_config() -> object:
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=191,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=77,
        projection_dim=32,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )


def _write_tokenizer(folder: Path) -> None:
    folder.mkdir(parents=True)
    signs = [chr(i) for i in range(33, 127)]
    tokens = ["<|startoftext|>", "<|endoftext|>", *signs, *(s + "</w>" for s in signs), "<|unknown|>"]
    vocab = {token: index for index, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    config = {"model_max_length": 77, "tokenizer_class": "CLIPTokenizer", "unk_token": "<|unknown|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the tiny SDXL with a 9-channel UNet."""
    return make_tiny_base(tmp_path_factory.mktemp("tiny9"))


@pytest.fixture(scope="session")
def tiny_base_4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the tiny SDXL with a plain 4-channel UNet."""
    return make_tiny_base(tmp_path_factory.mktemp("tiny4"), channels=4)


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed."""
    return np.random.default_rng(7)
