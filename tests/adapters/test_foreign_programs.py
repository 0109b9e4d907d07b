"""Files as SimpleTuner, ComfyUI and PEFT write them are read whole; what is no LoRA of SDXL is called what it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from foreign_files import LAYERS, LIGHTNING, kohya, trained, write
from published_adapters import published
from tiny_adapters import fresh_unet, output

from finetune import export
from finetune.core import console
from finetune.core.adapters import foreign
from finetune.core.adapters.foreign import read_adapter
from finetune.core.adapters.kohya_names import stability_name
from finetune.core.basemodel.resolve import ResolvedBase
from finetune.core.errors import AdapterError
from finetune.core.products.catalog import Workspace

if TYPE_CHECKING:
    import torch

pytestmark = pytest.mark.tiny


def attached(path: Path, base: ResolvedBase) -> tuple[torch.Tensor, foreign.ForeignAdapter]:
    unet, adapter = fresh_unet(base), read_adapter(path)
    assert isinstance(adapter, foreign.ForeignAdapter)
    foreign.check_foreign(adapter, base)
    assert foreign.attach_foreign(unet, adapter, base.name) == len(adapter.layers)
    return output(unet), adapter


@pytest.mark.parametrize("kind", ["LoRA", "LoCon", "DoRA"])
def test_simpletuners_lycoris_is_read(kind: str, base: ResolvedBase, tmp_path: Path) -> None:
    import torch

    options: dict[str, Any] = {"LoCon": {"targets": LIGHTNING}, "DoRA": {"use_dora": True}}.get(kind, {})
    lora = trained(base, lora_alpha=9.0, **options)
    theirs = {"lycoris_" + key.removeprefix("lora_unet_"): t for key, t in kohya(lora, stability=False).items()}
    predicted, adapter = attached(write(tmp_path / "theirs.safetensors", theirs), base)
    assert len(adapter.layers) == len(lora.layers())
    torch.testing.assert_close(predicted, lora.predicted, atol=2e-5, rtol=0)


def test_comfyuis_zero_differences_are_skipped_and_others_refused(base: ResolvedBase, tmp_path: Path) -> None:
    import torch

    lora, theirs = trained(base, LIGHTNING), {}
    for layer in lora.layers():
        name = "diffusion_model." + stability_name(layer, LAYERS)
        theirs[name + ".lora_down.weight"], theirs[name + ".lora_up.weight"] = lora.halves(layer)
        theirs[name + ".diff_b"] = torch.zeros(4)
    theirs["diffusion_model.out.0.diff"] = torch.full((4,), -0.0, dtype=torch.bfloat16)
    path = tmp_path / "theirs.safetensors"
    predicted, adapter = attached(write(path, theirs), base)
    torch.testing.assert_close(predicted, lora.predicted, atol=2e-5, rtol=0)
    assert adapter.manifest["foreign"]["zero_differences_left_out"] == len(lora.layers()) + 1
    for number in (1e-30, float("nan")):
        odd = {"diffusion_model.out.0.diff": torch.tensor([0.0, 0.0, number])}
        with pytest.raises(AdapterError, match=r"is full differences of weights, not a LoRA: 1 key: diffusion_model"):
            read_adapter(write(path, theirs | odd))


def test_text_encoders_of_comfyui_are_counted_once(base: ResolvedBase, tmp_path: Path) -> None:
    import torch

    theirs = kohya(trained(base))
    for encoder in ("clip_l", "clip_g"):
        for layer in range(3):
            name = f"text_encoders.{encoder}.transformer.text_model.encoder.layers.{layer}.mlp.fc1"
            theirs |= {f"{name}.{end}": torch.ones(4, 4) for end in ("lora_up.weight", "lora_down.weight")}
            theirs |= {f"{name}.alpha": torch.tensor(4.0), f"{name}.diff_b": torch.ones(4)}
    _, adapter = attached(write(tmp_path / "theirs.safetensors", theirs), base)
    assert adapter.text_encoder == 6


@pytest.mark.parametrize("prefix", ["base_model.model.", "base_model.model.unet."])
@pytest.mark.parametrize("rslora", [False, True])
def test_pefts_own_file_is_read_with_the_alpha_beside_it(
    prefix: str, rslora: bool, base: ResolvedBase, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    lora = trained(base, LIGHTNING, lora_alpha=11.0, use_rslora=rslora, alpha_pattern={"to_k": 3.0})
    path = write(tmp_path / "adapter_model.safetensors", {prefix + key: t for key, t in lora.state.items()})
    bare, adapter = attached(path, base)
    assert len(adapter.layers) == len(lora.layers())
    assert (bare - lora.predicted).abs().max() > 0.01
    assert "adapter_config.json" in capsys.readouterr().err
    console._EARLIER_WARNINGS.clear()
    beside = tmp_path / "adapter_config.json"
    beside.write_text(json.dumps(lora.config | {"peft_type": "LORA"}))
    torch.testing.assert_close(attached(path, base)[0], lora.predicted, atol=2e-5, rtol=0)
    assert capsys.readouterr().err == ""
    for damaged in ("", "[]", "[" * 100_000):
        beside.write_text(damaged)
        with pytest.raises(AdapterError, match=r"adapter_config\.json beside adapter_model\.safetensors is damaged"):
            read_adapter(path)


@pytest.mark.parametrize(
    ("keys", "says", "do"),
    [
        (["clip_l", "clip_g"], "is a file of tokens (textual inversion)", "give the LoRA it belongs to"),
        (["emb_params"], "is a file of tokens", "give the LoRA"),
        (
            ["model.diffusion_model.out.0.weight", "first_stage_model.decoder.conv_in.bias"],
            "is a whole model",
            "--base",
        ),
        (["down_blocks.0.resnets.0.conv1.weight", "mid_block.resnets.0.conv1.bias"], "is a whole model", "--base"),
        (["lora_unet_output_blocks_0_1_proj_in.a2.weight"], "is GLoRA, not a LoRA", "reads LoRA, DoRA, LoHa and LoKr"),
        (["transformer.blocks.0.to_q.lora_A.weight"], "is not a LoRA of an SDXL UNet", "trained on SDXL"),
        (["foo"], "is no LoRA", "trained on SDXL"),
    ],
)
def test_what_is_no_lora_of_sdxl_is_called_what_it_is(keys: list[str], says: str, do: str, tmp_path: Path) -> None:
    import torch

    with pytest.raises(AdapterError) as caught:
        read_adapter(write(tmp_path / "theirs.safetensors", {key: torch.ones(2, 2) for key in keys}))
    assert says in caught.value.message
    assert sorted(keys)[0] in caught.value.message
    assert do in caught.value.hint
    assert "\n" not in caught.value.message + caught.value.hint


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_is_called_one_and_not_read(zipped: bool, tmp_path: Path) -> None:
    import torch

    path = tmp_path / "theirs.pt"
    torch.save({"a": torch.ones(1)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(AdapterError, match="is a pickle of PyTorch") as caught:
        read_adapter(path)
    assert "save it as .safetensors" in caught.value.hint
    path.write_bytes(b"{}")
    with pytest.raises(AdapterError, match="is damaged, or not a safetensors file"):
        read_adapter(path)


def test_an_export_that_another_program_changed_is_called_that(
    base: ResolvedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from safetensors import safe_open
    from safetensors.torch import load_file

    monkeypatch.setattr(export, "compare", lambda *_, **__: (0.0, 1.0))
    version, _ = published(Workspace(tmp_path), base)
    for layout in export.LAYOUTS:
        path = export.export_adapter(version, layout, tmp_path / f"{layout}.safetensors", device="cpu").path
        with safe_open(path, "pt") as handle:
            header = dict(handle.metadata())
        write(path, load_file(path) | {"transformer.lora_A.weight": torch.ones(2, 2)}, **header)
        with pytest.raises(AdapterError, match="is an export of Packshot that another program changed: 1 key"):
            read_adapter(path)
