"""LoRA files of other trainers: in every layout they predict what the trainer's own layers predict, or are refused.

The files are written here, in the layouts those trainers use; the truth is PEFT's own layers on the same UNet.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tiny_adapters import fresh_unet, output, painted

from finetune.core.adapters import foreign
from finetune.core.adapters.foreign import read_adapter
from finetune.core.adapters.kohya_names import kohya_name, spellings, stability_name
from finetune.core.basemodel.load import load_pipeline
from finetune.core.basemodel.resolve import ResolvedBase, resolve_base
from finetune.core.errors import AdapterError, AdapterMismatch
from finetune.core.painting.inpainter import load_inpainter

if TYPE_CHECKING:
    import torch
from foreign_files import ATTENTION, LAYERS, LIGHTNING, VARIED, Trained, kohya, trained, write

pytestmark = pytest.mark.tiny
LIGHTNING += ["conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv"]


def dotted(lora: Trained, down: str, up: str, prefix: str = "unet.") -> dict[str, torch.Tensor]:
    """diffusers' keys with those endings."""
    found = {}
    for layer in lora.layers():
        found[prefix + layer + down], found[prefix + layer + up] = lora.halves(layer)
        if f"{layer}.lora_magnitude_vector" in lora.state:
            found[f"{prefix}{layer}.lora_magnitude_vector"] = lora.state[f"{layer}.lora_magnitude_vector"]
    return found


def with_alpha(lora: Trained, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    import torch

    return tensors | {f"unet.{layer}.alpha": torch.tensor(alpha) for layer, alpha in lora.alphas.items()}


def mixed(lora: Trained) -> dict[str, torch.Tensor]:
    """What diffusers' training script saves: `lora.down` on attention, `lora_A` elsewhere."""
    found = {}
    for layer in lora.layers():
        ends = (".lora.down.weight", ".lora.up.weight") if ".to_" in layer else (".lora_A.weight", ".lora_B.weight")
        found["unet." + layer + ends[0]], found["unet." + layer + ends[1]] = lora.halves(layer)
    return found


def processors(lora: Trained) -> dict[str, torch.Tensor]:
    """diffusers' keys of 2023: attention processors, the output without its `.0`."""
    found = {}
    for layer in lora.layers():
        block, _, name = layer.removesuffix(".0").rpartition(".")
        for end, tensor in zip(("down", "up"), lora.halves(layer), strict=True):
            found[f"unet.{block}.processor.{name}_lora.{end}.weight"] = tensor
    return found


def comfyui(lora: Trained) -> dict[str, torch.Tensor]:
    found = {}
    for layer in lora.layers():
        name = "diffusion_model." + stability_name(layer, LAYERS)
        found[name + ".lora_A.weight"], found[name + ".lora_B.weight"] = lora.halves(layer)
    return found


def attached(path: Path, base: ResolvedBase) -> tuple[torch.Tensor, int]:
    unet = fresh_unet(base)
    count = foreign.attach_foreign(unet, foreign.read_adapter(path), base.name)
    return output(unet), count


LAYOUTS = {
    "kohya": lambda lora: kohya(lora),
    "kohya with diffusers' names": lambda lora: kohya(lora, stability=False),
    "diffusers with alpha": lambda lora: with_alpha(lora, dotted(lora, ".lora_A.weight", ".lora_B.weight")),
    "diffusers, older, with alpha": lambda lora: with_alpha(lora, dotted(lora, ".lora.down.weight", ".lora.up.weight")),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["attention", "with convolutions", "ranks and alphas vary", "rslora", "dora"])
def test_layouts_with_alpha_predict_what_their_trainer_does(
    layout: str, kind: str, base: ResolvedBase, tmp_path: Path
) -> None:
    import torch

    options: dict[str, Any] = {
        "attention": {"lora_alpha": 9.0},
        "with convolutions": {"targets": LIGHTNING, "lora_alpha": 2.0},
        "ranks and alphas vary": {"targets": LIGHTNING, **VARIED},
        "rslora": {"use_rslora": True, "lora_alpha": 6.0},
        "dora": {"use_dora": True, "lora_alpha": 6.0},
    }[kind]
    lora = trained(base, **options)
    if kind == "ranks and alphas vary":
        assert len(set(lora.alphas.values())) >= 4
        assert len({lora.halves(layer)[0].shape[0] for layer in lora.layers()}) == 3
    path = write(tmp_path / "theirs.safetensors", LAYOUTS[layout](lora))
    foreign.check_foreign(foreign.read_adapter(path), base)
    predicted, count = attached(path, base)
    assert count == len(lora.layers()) >= 28
    torch.testing.assert_close(predicted, lora.predicted, atol=2e-5, rtol=0)
    assert (lora.predicted - output(fresh_unet(base))).abs().max() > 0.05


@pytest.mark.parametrize("layout", ["kohya", "lora_A", "lora.down", "mixed", "processors", "comfyui"])
def test_layouts_without_alpha_have_scale_one(layout: str, base: ResolvedBase, tmp_path: Path) -> None:
    import torch

    plain = layout in ("processors",)
    lora = trained(base, ATTENTION if plain else LIGHTNING)
    tensors = {
        "kohya": lambda: kohya(lora, alpha=False),
        "lora_A": lambda: dotted(lora, ".lora_A.weight", ".lora_B.weight"),
        "lora.down": lambda: dotted(lora, ".lora.down.weight", ".lora.up.weight"),
        "mixed": lambda: mixed(lora),
        "processors": lambda: processors(lora),
        "comfyui": lambda: comfyui(lora),
    }[layout]()
    predicted, count = attached(write(tmp_path / "theirs.safetensors", tensors), base)
    assert count == len(lora.layers())
    torch.testing.assert_close(predicted, lora.predicted, atol=2e-5, rtol=0)


@pytest.mark.parametrize("rslora", [False, True])
def test_scale_in_the_header_counts(rslora: bool, base: ResolvedBase, tmp_path: Path) -> None:
    import torch

    lora = trained(base, LIGHTNING, lora_alpha=11.0, use_rslora=rslora, alpha_pattern={"to_k": 3.0, "conv2": 20.0})
    header = {"unet." + key: value for key, value in lora.config.items()} | {"text_encoder.r": 9}
    tensors = dotted(lora, ".lora_A.weight", ".lora_B.weight")
    path = write(tmp_path / "a.safetensors", tensors, lora_adapter_metadata=json.dumps(header))
    torch.testing.assert_close(attached(path, base)[0], lora.predicted, atol=2e-5, rtol=0)
    bare, _ = attached(write(tmp_path / "b.safetensors", tensors), base)
    assert (bare - lora.predicted).abs().max() > 0.01


def test_linear_layers_stored_as_convolutions_and_half_precision(base: ResolvedBase, tmp_path: Path) -> None:
    import torch

    lora = trained(base, lora_alpha=2.0)
    tensors = {k: t[..., None, None].half() if t.ndim == 2 else t for k, t in kohya(lora).items()}
    predicted, _ = attached(write(tmp_path / "theirs.safetensors", tensors), base)
    torch.testing.assert_close(predicted, lora.predicted, atol=5e-3, rtol=0)


def test_diffusers_loader_loses_alphas_that_differ(base: ResolvedBase, tmp_path: Path) -> None:
    """Why scales are folded in here: the day this fails, diffusers' own loader can be used."""
    import torch

    lora = trained(base, lora_alpha=4.0, alpha_pattern={"to_k": 16.0})
    write(tmp_path / "theirs.safetensors", kohya(lora))
    pipeline = load_pipeline(base, dtype=torch.float32, device="cpu")
    with pytest.warns(RuntimeWarning, match="alpha_pattern keys did not match"):
        pipeline.load_lora_weights(str(tmp_path), weight_name="theirs.safetensors")
    assert (output(pipeline.unet.eval()) - lora.predicted).abs().max() > 0.01
    same = trained(base, lora_alpha=7.0)  # with one alpha for all it is right
    write(tmp_path / "same.safetensors", kohya(same))
    pipeline.unload_lora_weights()
    pipeline.load_lora_weights(str(tmp_path), weight_name="same.safetensors")
    torch.testing.assert_close(output(pipeline.unet.eval()), same.predicted, atol=2e-5, rtol=0)


def test_every_layer_has_names_of_its_own(base: ResolvedBase) -> None:
    import torch

    unet = fresh_unet(base)
    layers = [n for n, m in unet.named_modules() if isinstance(m, (torch.nn.Linear, torch.nn.Conv2d))]
    table = spellings(layers, LAYERS)
    assert set(table.values()) == set(layers)
    assert len(layers) > 80
    # outside the blocks kohya's and diffusers' spelling may agree; nowhere else
    assert len(table) == 4 * len(layers)
    with pytest.raises(ValueError, match="not a layer"):
        stability_name("down_blocks.0.norm", LAYERS)


def refused(path: Path, base: ResolvedBase) -> AdapterError:
    """The refusal, which must come before a base is loaded: the base here has no weights."""
    with pytest.raises(AdapterError) as caught:
        load_inpainter(base, read_adapter(path), device="cpu")
    assert "\n" not in caught.value.message
    return caught.value


@pytest.fixture
def hollow(tiny_base: Path, tmp_path: Path) -> ResolvedBase:
    """The tiny base, resolved, its weights gone since: loading it would fail in another way."""
    shutil.copytree(tiny_base, tmp_path / "hollow")
    found = resolve_base(str(tmp_path / "hollow"))
    for weights in (tmp_path / "hollow").glob("*/*.safetensors"):
        weights.unlink()
    return found


def test_misfits_are_refused_with_their_keys(base: ResolvedBase, hollow: ResolvedBase, tmp_path: Path) -> None:
    import torch

    lora = trained(base)
    good, path = kohya(lora), tmp_path / "theirs.safetensors"
    first = kohya_name(lora.layers()[0], LAYERS)
    stranger = {f"lora_unet_input_blocks_77_1_proj_in.lora_{end}.weight": torch.zeros(4, 4) for end in ("down", "up")}
    error = refused(write(path, good | stranger), hollow)
    assert isinstance(error, AdapterMismatch)
    assert "does not have: 1 key: lora_unet_input_blocks_77_1_proj_in" in error.message
    assert "--base" in error.hint
    error = refused(write(path, good | {f"{first}.lora_down.weight": torch.zeros(4, 48)}), hollow)
    assert isinstance(error, AdapterMismatch)
    assert f"shapes differ in 1 key: {first}.lora_down.weight" in error.message
    error = refused(write(path, {k: t for k, t in good.items() if k != f"{first}.lora_up.weight"}), hollow)
    assert f"incomplete: 1 key: {first}" in error.message
    twice = {f"unet.{lora.layers()[0]}.lora_{end}.weight": torch.zeros(4, 64) for end in "AB"}
    twice[f"unet.{lora.layers()[0]}.lora_B.weight"] = torch.zeros(64, 4)
    assert "twice" in refused(write(path, good | twice), hollow).message


def test_dora_of_a_four_channel_conv_in_is_refused_on_a_nine_channel_base(
    tiny_base_4: Path, hollow: ResolvedBase, tmp_path: Path
) -> None:
    plain = resolve_base(str(tiny_base_4))
    lora = trained(plain, [*ATTENTION, "conv_in"], use_dora=True)
    path = write(tmp_path / "theirs.safetensors", kohya(lora))
    assert attached(path, plain)[1] == len(lora.layers())
    assert "1 key: lora_unet_input_blocks_0_0.lora_down.weight" in refused(path, hollow).message


@pytest.mark.parametrize(
    ("key", "says"),
    [
        (
            "lora_unet_output_blocks_0_1_proj_in.hada_t1",
            "is a Tucker-decomposed LoHa, not a LoRA: 1 key: lora_unet_out",
        ),
        ("lora_unet_output_blocks_0_1_proj_in.lokr_t2", "is a Tucker-decomposed LoKr"),
        ("lora_unet_output_blocks_0_0_in_layers_2.lora_mid.weight", "is a Tucker-decomposed LoRA"),
        ("lora_unet_out_2.diff_b", "is full differences of weights"),
        ("lora_unet_output_blocks_0_1_proj_in.a1.weight", "is GLoRA, not a LoRA"),
        ("transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight", "is not a LoRA of an SDXL UNet"),
        ("model.diffusion_model.input_blocks.0.0.weight", "is not a LoRA of an SDXL UNet"),
    ],
)
def test_other_methods_and_models_are_refused_by_name(
    key: str, says: str, base: ResolvedBase, hollow: ResolvedBase, tmp_path: Path
) -> None:
    import torch

    path = write(tmp_path / "theirs.safetensors", kohya(trained(base)) | {key: torch.ones(4, 4)})
    error = refused(path, hollow)
    assert says in error.message
    assert key in error.message


def test_dora_by_input_column_or_of_some_layers_is_refused(base: ResolvedBase, tmp_path: Path) -> None:
    import torch

    lora = trained(base, use_dora=True)
    tensors, path = kohya(lora), tmp_path / "theirs.safetensors"
    first = kohya_name(lora.layers()[0], LAYERS)
    columns = {f"{first}.dora_scale": torch.ones(1, lora.halves(lora.layers()[0])[0].shape[1])}
    assert "by input column" in refused(write(path, tensors | columns), base).message
    without = {k: t for k, t in tensors.items() if k != f"{first}.dora_scale"}
    assert "1 layers without magnitude" in refused(write(path, without), base).message


def test_damaged_files_are_refused(base: ResolvedBase, tmp_path: Path) -> None:
    import torch

    lora = trained(base)
    path = write(tmp_path / "theirs.safetensors", kohya(lora))
    path.write_bytes(path.read_bytes()[:-10])
    assert "is damaged" in refused(path, base).message
    first = kohya_name(lora.layers()[0], LAYERS) + ".lora_up.weight"
    tensors = kohya(lora)
    write(path, tensors | {first: torch.full_like(tensors[first], torch.nan)})
    assert "NaN" in refused(path, base).message
    text = {
        f"lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_{end}.weight": torch.zeros(4, 4) for end in ("down", "up")
    }
    assert "no layers for the UNet" in refused(write(path, text), base).message
    tensors = dotted(lora, ".lora_A.weight", ".lora_B.weight")
    assert "lora_adapter_metadata" in refused(write(path, tensors, lora_adapter_metadata="[]"), base).message


@pytest.mark.parametrize("kind", [{}, {"use_dora": True}])
def test_scale_works_on_it_and_zero_is_the_base_alone(kind: dict[str, Any], base: ResolvedBase, tmp_path: Path) -> None:
    path = write(tmp_path / "theirs.safetensors", kohya(trained(base, LIGHTNING, **kind)))
    alone = painted(load_inpainter(base, None, device="cpu"))
    inpainter = load_inpainter(base, read_adapter(path), device="cpu")
    assert inpainter.modules > 80
    full = painted(inpainter)
    assert (full != alone).mean() > 0.2
    inpainter.set_adapter_scale(0.5)
    half = painted(inpainter)
    assert (half != full).any()
    assert (half != alone).any()
    inpainter.set_adapter_scale(0.0)
    np.testing.assert_array_equal(painted(inpainter), alone)
