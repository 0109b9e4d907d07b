"""Exported adapters: other programs' loaders get what the version predicts, the header says what it is, or no file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result
from full_size_unet import sdxl_unet
from tiny_adapters import KINDS, PLAIN, fresh_unet, output

from finetune import export
from finetune.adapters import modelspec
from finetune.core.adapters import file as adapter_file
from finetune.core.adapters import foreign
from finetune.core.adapters.kohya_names import kohya_name, spellings
from finetune.core.basemodel.load import load_pipeline
from finetune.core.basemodel.resolve import ResolvedBase
from finetune.core.commands import main
from finetune.core.errors import AdapterError
from finetune.core.products.catalog import Workspace
from finetune.settings import TrainConfig
from finetune.unet.lora import add_lora, lora_state, target_modules

if TYPE_CHECKING:
    import torch
from published_adapters import published

pytestmark = pytest.mark.tiny


def header(path: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(path, "pt") as handle:
        return dict(handle.metadata())


def in_diffusers(path: Path, base: ResolvedBase) -> torch.Tensor:
    """What the UNet predicts with the file, loaded as anybody would in diffusers."""
    import torch

    pipeline = load_pipeline(base, dtype=torch.float32, device="cpu")
    pipeline.load_lora_weights(str(path.parent), weight_name=path.name)
    return output(pipeline.unet.eval())


@pytest.mark.parametrize("layout", export.LAYOUTS)
@pytest.mark.parametrize("kind", [k for k in KINDS if k != "plain"])
def test_exported_it_predicts_the_same_elsewhere(layout: str, kind: str, base: ResolvedBase, tmp_path: Path) -> None:
    import torch

    version, expected = published(Workspace(tmp_path), base, **KINDS[kind])
    path = tmp_path / "out" / "bottle01-0001.safetensors"
    if layout == "kohya" and KINDS[kind].get("dora"):
        with pytest.raises(AdapterError, match="DoRA cannot be exported in kohya's layout") as caught:
            export.export_adapter(version, layout, path, device="cpu")
        assert "--format diffusers" in caught.value.hint
        assert not path.parent.exists()
        return
    done = export.export_adapter(version, layout, path, device="cpu")
    assert done.dtype == "float32"
    assert done.max_difference <= 1e-5
    assert done.effect > 0.01
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    torch.testing.assert_close(in_diffusers(path, base), expected, atol=1e-5, rtol=0)
    assert (expected - output(fresh_unet(base))).abs().max() > 0.01
    assert isinstance(foreign.read_adapter(path), foreign.ForeignAdapter) == (layout == "kohya")
    if layout == "kohya":
        unet = fresh_unet(base)
        assert foreign.attach_foreign(unet, foreign.read_adapter(path), base.name) == done.modules
        torch.testing.assert_close(output(unet), expected, atol=1e-5, rtol=0)
    else:
        unet = fresh_unet(base)
        assert adapter_file.attach(unet, adapter_file.read_header(path)) == done.modules
        assert torch.equal(output(unet), expected)


@pytest.mark.parametrize("layout", export.LAYOUTS)
@pytest.mark.parametrize(("numbers", "stored"), [("fp16", "F16"), ("bf16", "BF16")])
def test_in_sixteen_bits_it_is_half_as_large_and_predicts_nearly_the_same(
    numbers: str, stored: str, layout: str, base: ResolvedBase, tmp_path: Path
) -> None:
    from safetensors import safe_open

    version, expected = published(Workspace(tmp_path), base, alpha=11)
    path = tmp_path / "out" / "a.safetensors"
    done = export.export_adapter(version, layout, path, device="cpu", numbers=numbers)
    with safe_open(path, "pt") as handle:
        found = {key: handle.get_slice(key).get_dtype() for key in handle.keys()}  # noqa: SIM118
    assert {kind for key, kind in found.items() if not key.endswith(".alpha")} == {stored}
    assert {kind for key, kind in found.items() if key.endswith(".alpha")} <= {"F32"}
    allowed = export.tolerance(export.DTYPES[numbers], "float32")
    print(layout, numbers, done.max_difference / done.effect)
    assert 0 < done.max_difference <= allowed * done.effect
    effect = (expected - output(fresh_unet(base))).abs().max()
    assert (in_diffusers(path, base) - expected).abs().max() <= allowed * effect
    unet = fresh_unet(base)
    read = foreign.read_adapter(path)
    if isinstance(read, foreign.ForeignAdapter):
        foreign.attach_foreign(unet, read, base.name)
    else:
        adapter_file.attach(unet, read)
    assert (output(unet) - expected).abs().max() <= allowed * effect


def test_the_tolerance_follows_file_and_computation() -> None:
    assert export.tolerance("float32", "float32") == 1e-4
    assert export.tolerance("float16", "float32") < export.tolerance("bfloat16", "float32")
    assert export.tolerance("float32", "bfloat16") == export.HALF_TOLERANCE


def test_numbers_too_large_for_fp16_are_not_exported_as_such(base: ResolvedBase, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    version, _ = published(Workspace(tmp_path), base)
    header_ = adapter_file.read_header(version.weights)
    state = {key.removeprefix("unet."): tensor * 1e6 for key, tensor in load_file(version.weights).items()}
    adapter_file.write_adapter(version.weights, state, header_.lora_config, header_.manifest)
    with pytest.raises(AdapterError, match="does not reproduce the adapter") as caught:
        export.export_adapter(version, "kohya", tmp_path / "a.safetensors", device="cpu", numbers="fp16")
    assert "--dtype fp32" in caught.value.hint
    assert not (tmp_path / "a.safetensors").exists()


def test_diffusers_still_drops_kohyas_dora_magnitudes(base: ResolvedBase, tmp_path: Path) -> None:
    """The reason for refusing that export: the day this fails, it can be allowed."""
    import torch
    from safetensors.torch import load_file

    version, expected = published(Workspace(tmp_path), base, dora=True)
    state = {k.removeprefix("unet."): t for k, t in load_file(version.weights).items()}
    tensors = export.kohya_state({k: t for k, t in state.items() if "magnitude" not in k}, 1.0, 1)
    for key, magnitude in state.items():
        if "magnitude" in key:
            name = kohya_name(key.removesuffix(".lora_magnitude_vector"), 1)
            tensors[f"{name}.dora_scale"] = magnitude.reshape(-1, 1)
    path = tmp_path / "dora.safetensors"
    adapter_file.write_tensors(path, tensors, {})
    assert (in_diffusers(path, base) - expected).abs().max() > 0.01
    unet = fresh_unet(base)
    foreign.attach_foreign(unet, foreign.read_adapter(path), base.name)
    torch.testing.assert_close(output(unet), expected, atol=1e-5, rtol=0)


def test_a_file_that_reads_back_otherwise_is_not_written(
    base: ResolvedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from diffusers.utils.state_dict_utils import convert_state_dict_to_kohya

    def as_diffusers_does(state: dict[str, Any], scale: float, layers: int) -> dict[str, Any]:
        return convert_state_dict_to_kohya({"unet." + k: t for k, t in state.items()})  # alpha = rank

    version, _ = published(Workspace(tmp_path), base, alpha=11)
    path = tmp_path / "out" / "bottle01-0001.safetensors"
    path.parent.mkdir()
    path.write_text("the export of before")
    real = export.kohya_state
    monkeypatch.setattr(export, "kohya_state", as_diffusers_does)
    with pytest.raises(AdapterError, match="does not reproduce the adapter"):
        export.export_adapter(version, "kohya", path, device="cpu", force=True)

    def without_one(state: dict[str, Any], scale: float, layers: int) -> dict[str, Any]:
        found = real(state, scale, layers)
        first = min(found).split(".")[0]
        return {k: t for k, t in found.items() if not k.startswith(first + ".")}

    monkeypatch.setattr(export, "kohya_state", without_one)
    with pytest.raises(AdapterError, match=r"reached \d+ of the \d+ modules"):
        export.export_adapter(version, "kohya", path, device="cpu", force=True)

    def of_nothing(state: dict[str, Any], scale: float, layers: int) -> dict[str, Any]:
        return real(state, scale, layers) | {"lora_unet_nowhere.lora_up.weight": torch.zeros(4, 4)}

    monkeypatch.setattr(export, "kohya_state", of_nothing)
    with pytest.raises(AdapterError, match="does not take the exported file"):
        export.export_adapter(version, "kohya", path, device="cpu", force=True)
    assert path.read_text() == "the export of before"
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_the_version_itself_is_never_replaced(base: ResolvedBase, tmp_path: Path) -> None:
    version, _ = published(Workspace(tmp_path), base)
    before = version.weights.read_bytes()
    with pytest.raises(AdapterError, match="replace the version itself"):
        export.export_adapter(version, "kohya", version.weights, device="cpu")
    assert version.weights.read_bytes() == before


def run_cli(workspace: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["adapters", *arguments, "--workspace", str(workspace)])


def test_the_command_prints_path_and_difference(
    base: ResolvedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(Workspace(tmp_path), base, alpha=11)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    result = run_cli(tmp_path, "export", "bottle01", "--version", "1", "--format", "kohya", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert result.stdout == "bottle01-0001.safetensors\n"
    assert "predictions differ by at most" in result.stderr
    megabytes = Path("bottle01-0001.safetensors").stat().st_size / 1e6
    assert f"modules in kohya's layout, fp32, {megabytes:.1f} MB; " in result.stderr
    assert "float32; the adapter's own effect is" in result.stderr
    first = Path("bottle01-0001.safetensors").read_bytes()
    again = run_cli(tmp_path, "export", "bottle01", "--format", "kohya", "--output", "again.safetensors")
    assert again.stdout == "again.safetensors\n"
    assert Path("again.safetensors").read_bytes() == first
    assert run_cli(tmp_path, "export", "bottle01").exit_code == 2
    assert run_cli(tmp_path, "export", "bottle01", "--version", "9", "--format", "kohya").exit_code == 1
    foreign_one = run_cli(
        tmp_path, "export", "bottle01", "--version", "again.safetensors", "--format", "diffusers", "--output", "x"
    )
    assert foreign_one.exit_code == 1
    assert "another trainer's file" in foreign_one.stderr


def test_header_of_a_version_follows_modelspec(base: ResolvedBase, tmp_path: Path) -> None:
    version, _ = published(Workspace(tmp_path), base, alpha=8, rank=2, rslora=True)
    found = header(version.weights)
    must = {"sai_model_spec": "1.0.1", "implementation": "diffusers", "title": "bottle01 (perfume bottle)"}
    must |= {"trigger_phrase": "bttl01 perfume bottle", "resolution": "64x64", "prediction_type": "epsilon"}
    assert {k: found[f"modelspec.{k}"] for k in must} == must
    assert found["modelspec.architecture"] == "stable-diffusion-xl-v1-reduced/lora"  # the tiny base is no SDXL
    assert "9 input channels" in found["modelspec.description"]
    assert "modelspec.date" not in found  # trained again, it has the same bytes
    data = version.weights.read_bytes()
    digest = hashlib.sha256(data[8 + int.from_bytes(data[:8], "little") :]).hexdigest()
    assert found["modelspec.hash_sha256"] == f"0x{digest}"
    assert found["sshs_model_hash"] == digest
    assert json.loads(found["ss_tag_frequency"]) == {"bottle01": {"bttl01": 24, "perfume bottle": 24}}
    assert found["ss_num_train_images"] == "24"
    assert found["modelspec.tags"] == "product, perfume bottle, packshot"
    assert (found["ss_network_dim"], found["ss_network_alpha"]) == ("2", "8")
    assert (found["ss_network_module"], found["ss_sd_model_name"]) == ("networks.lora", base.name)
    assert "not by sd-scripts" in found["ss_training_comment"]
    assert found["lora_adapter_metadata"]
    assert json.loads(found["packshot_manifest"])["token"] == "bttl01"


def test_header_of_an_export_has_version_date_and_folded_alpha(base: ResolvedBase, tmp_path: Path) -> None:
    version, _ = published(Workspace(tmp_path), base, alpha=8, rank=4, rslora=True)
    path = tmp_path / "out.safetensors"
    export.export_adapter(version, "kohya", path, device="cpu")
    found = header(path)
    assert found["modelspec.title"] == "bottle01 0001 (perfume bottle)"
    assert found["modelspec.date"] == "2026-01-02T03:04:05"
    assert found["modelspec.implementation"] == "https://github.com/Stability-AI/generative-models"
    assert (found["ss_output_name"], found["ss_network_dim"]) == ("bottle01-0001", "4")
    assert found["ss_network_alpha"] == "16"  # 8 / sqrt(4) * 4
    assert "lora_adapter_metadata" not in found  # diffusers would prefer it to the alphas
    (version.folder / adapter_file.MANIFEST).unlink()
    assert export.trained_at(version) == ""


def sdxl_labels(channels: int, prediction: str = "epsilon") -> dict[str, str]:
    """The labels of an adapter on SDXL itself, from shapes alone."""
    import torch

    unet = sdxl_unet(channels)
    with torch.device("meta"):
        lora_config, _ = add_lora(unet, **(PLAIN | {"targets": "attention"}))
    manifest: dict[str, Any] = {
        "sku": "perfume01",
        "kind": "sku",
        "class_noun": "perfume bottle",
        "token": "prfm01",
        "tool": "packshot 0.1",
        "objective": "inpainting",
        "base": {"model": "/models/sdxl.safetensors", "channels": channels, "prediction_type": prediction},
        "config": TrainConfig().model_dump(mode="json"),
    }
    return modelspec.labels(manifest, lora_state(unet), lora_config)


@pytest.mark.slow
def test_labels_of_sdxl() -> None:
    plain, inpainting = sdxl_labels(4, "v_prediction"), sdxl_labels(9)
    for found in (plain, inpainting):
        assert found["modelspec.architecture"] == "stable-diffusion-xl-v1-base/lora"
        assert found["ss_base_model_version"] == "sdxl_base_v1-0"
        assert found["ss_sd_model_name"] == "sdxl.safetensors"  # no path of this machine
        assert all(isinstance(value, str) for value in found.values())
        assert "ss_num_train_images" not in found  # this manifest does not say, and nothing is guessed
    assert plain["modelspec.prediction_type"] == "v"
    assert "inpainting" in inpainting["modelspec.usage_hint"]
    assert "inpainting" not in plain["modelspec.usage_hint"]


@pytest.mark.slow
@pytest.mark.parametrize("channels", [4, 9])
def test_names_of_full_size_lead_to_one_layer_each_and_back(channels: int) -> None:
    import torch
    from diffusers import StableDiffusionXLPipeline
    from diffusers.utils import convert_unet_state_dict_to_peft

    unet = sdxl_unet(channels)
    layers = [n for n, m in unet.named_modules() if isinstance(m, (torch.nn.Linear, torch.nn.Conv2d))]
    assert len(layers) == 794
    assert len(spellings(layers, 2)) == 4 * 794
    targets = target_modules(unet, "attention+feedforward")
    assert len(targets) == 722
    state = {f"{n}.lora_{half}.weight": torch.zeros(1, 1) for n in targets for half in "AB"}
    exported = export.kohya_state(state, 1.0, 2)
    assert len({key.split(".")[0] for key in exported}) == 722
    blocks = ("lora_unet_input_blocks_", "lora_unet_middle_block_1_", "lora_unet_output_blocks_")
    assert all(key.startswith(blocks) for key in exported)
    table = spellings(layers, 2)
    assert {table[key.split(".")[0]] for key in exported} == set(targets)
    # and by diffusers' own conversion, as its loader calls it
    read, _ = StableDiffusionXLPipeline.lora_state_dict(exported, unet_config=unet.config)
    back = convert_unet_state_dict_to_peft({k.removeprefix("unet."): t for k, t in read.items()})
    assert set(back) == set(state)
    # known names, as sd-scripts writes them for SDXL
    assert kohya_name("down_blocks.1.attentions.0.proj_in", 2) == "lora_unet_input_blocks_4_1_proj_in"
    assert kohya_name("up_blocks.0.upsamplers.0.conv", 2) == "lora_unet_output_blocks_2_2_conv"
    assert kohya_name("down_blocks.0.downsamplers.0.conv", 2) == "lora_unet_input_blocks_3_0_op"
