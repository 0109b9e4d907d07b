"""The 4-bit base: real Linear4bit layers on the CPU, trained over, resumed, the adapter used on the base as it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from drawn_products import draw_bottle, write_set
from tiny_adapters import fresh_unet, output
from tiny_training import killed_and_resumed, losses, tiny_config, train

from finetune.core.adapters import file as adapter_file
from finetune.core.adapters.versions import list_versions
from finetune.core.basemodel.load import load_unet
from finetune.core.basemodel.resolve import resolve_base
from finetune.core.console import quiet_libraries
from finetune.core.errors import ConfigError, PackshotError
from finetune.core.products.catalog import Workspace
from finetune.export import export_adapter
from finetune.memory.step_trace import fake_batch
from finetune.training import loop
from finetune.unet import checkpointing, nf4
from finetune.unet.lora import add_lora, lora_parameters, target_modules

pytestmark = pytest.mark.tiny
NF4 = (
    "memory.quantize=nf4", "memory.check=false", "validation.every=0", "validation.choose=last",
    "adapter.targets=attention+feedforward",
)  # fmt: skip


def nf4_unet(base: Path, dtype: torch.dtype = torch.float32) -> object:
    unet, _ = nf4.load_frozen_unet(resolve_base(str(base)), "nf4", dtype=dtype, device="cpu")
    return unet.eval()


@dataclass
class Trained:
    workspace: Workspace
    said: str
    losses: list[float]


@pytest.fixture(scope="module")
def trained(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Four steps on the quantised tiny base, with previews drawn in between."""
    quiet_libraries()
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("nf4")
    write_set(root, "bottle01", {"front": draw_bottle(), "side": draw_bottle(shift=6)})
    workspace = Workspace(root)
    overrides = ("train.steps=4", "train.checkpoint_every=2", "preview.every=2", "preview.steps=2")
    capture = pytest.MonkeyPatch()
    said: list[str] = []
    capture.setattr(nf4, "say", said.append)
    try:
        train(workspace, tiny_config(tiny_base, *NF4, *overrides))
    finally:
        capture.undo()
    return Trained(workspace, "\n".join(said), losses(workspace))


def test_the_layers_are_really_four_bit_and_the_rest_is_not(tiny_base: Path) -> None:
    before = load_unet(resolve_base(str(tiny_base)), dtype=torch.bfloat16, device="cpu")[0]
    names = nf4.layers_to_quantize(before)
    unet = nf4_unet(tiny_base, torch.bfloat16)
    assert len(names) == 124
    assert set(names) == set(target_modules(unet, "attention+feedforward"))
    for name in names:
        layer = unet.get_submodule(name)
        count = before.get_submodule(name).weight.numel()
        assert type(layer).__name__ == "Linear4bit"
        assert (layer.weight.dtype, layer.weight.numel()) == (torch.uint8, count // 2)
        assert layer.weight.quant_state.quant_type == "nf4"
        assert layer.weight.quant_state.nested, "double quantisation"
        assert layer.weight.quant_state.absmax.dtype == torch.uint8
    others = {n: p for n, p in unet.named_parameters() if p.dtype != torch.uint8}
    assert {p.dtype for p in others.values()} == {torch.bfloat16}
    assert "conv_in.weight" in others
    assert "time_embedding.linear_1.weight" in others
    assert not any(p.requires_grad for p in unet.parameters())


def test_what_it_predicts_is_near_the_base_and_the_same_in_both_modes(tiny_base: Path) -> None:
    unet = nf4_unet(tiny_base)
    exact = output(fresh_unet(resolve_base(str(tiny_base))))
    found = output(unet)
    assert 1e-3 < float((found - exact).norm() / exact.norm()) < 0.25
    # an eval pass on AVX512-BF16 would repack the weights for a kernel without backward pass
    assert torch.equal(output(unet.train()), found)
    add_lora(unet, rank=4, alpha=4, rslora=False, dora=False, targets="attention+feedforward", seed=0)
    assert torch.equal(output(unet.eval()), found), "a fresh adapter is the identity"


def test_gradients_are_those_of_the_unpacked_weights_and_checkpointing_keeps_them(tiny_base: Path) -> None:
    from bitsandbytes.functional import dequantize_4bit

    def gradients(unet: object, level: str) -> list[torch.Tensor]:
        checkpointing.set_level(unet, level)
        draw = torch.Generator().manual_seed(3)
        arguments = (torch.randn(1, 9, 8, 8, generator=draw), torch.tensor([400]))
        text = torch.randn(1, 77, 64, generator=draw)
        added = {"text_embeds": torch.randn(1, 32, generator=draw), "time_ids": torch.zeros(1, 6)}
        unet.zero_grad()
        unet(*arguments, encoder_hidden_states=text, added_cond_kwargs=added).sample.square().mean().backward()
        return [p.grad.clone() for p in lora_parameters(unet)]

    unet, plain = nf4_unet(tiny_base), fresh_unet(resolve_base(str(tiny_base)))
    for name in nf4.layers_to_quantize(plain):
        weight = unet.get_submodule(name).weight
        plain.get_submodule(name).weight.data = dequantize_4bit(weight.data, weight.quant_state)
    for each in (unet, plain):
        add_lora(each, rank=4, alpha=4, rslora=False, dora=False, targets="attention", seed=0)
        each.train()
    wanted, found = gradients(plain, "none"), gradients(unet, "none")
    assert sum(float(g.abs().sum()) for g in wanted) > 0
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(gradients(unet, "all"), found, rtol=1e-5, atol=1e-8)


def test_training_says_the_size_and_what_it_was(trained: Trained) -> None:
    assert len(trained.losses) == 4
    assert all(0 < loss < 10 for loss in trained.losses)
    assert "quantised 124 layers of the base to nf4: the UNet takes 5 MiB (8 in float32)" in trained.said
    (version,) = list_versions(trained.workspace, "bottle01")
    assert version.manifest["config"]["memory"]["quantize"] == "nf4"
    previews = trained.workspace.runs.glob("bottle01/*/previews/*.png")
    assert {path.name[:6] for path in previews} == {"000002", "000004"}


def test_on_one_batch_the_loss_falls(tiny_base: Path) -> None:
    unet = nf4_unet(tiny_base).train()
    add_lora(unet, rank=4, alpha=4, rslora=False, dora=False, targets="attention+feedforward", seed=0)
    draw = torch.Generator().manual_seed(5)
    batch = fake_batch(unet, size=64, batch=2)
    for name in ("latents", "masked", "embeds", "pooled", "noise"):
        getattr(batch, name).normal_(generator=draw)
    for name, value in (("mask", 1), ("product", 1), ("ring", 0), ("time_ids", 64), ("timesteps", 500)):
        getattr(batch, name).fill_(value)
    settings = loop.Objective(torch.linspace(0.999, 0.005, 1000), "epsilon", 5.0, 1.0, 0.5, 0.0)
    optimizer = torch.optim.AdamW(lora_parameters(unet), lr=3e-3)
    found = []
    for _ in range(8):
        loss = loop.batch_loss(unet, batch, settings, torch.float32)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(float(loss.detach()))
    assert found == sorted(found, reverse=True)
    assert found[-1] < 0.97 * found[0], found


def test_the_frozen_target_is_the_quantised_bases(
    tiny_base: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the adapter off the UNet in training predicts what the quantised base does, after steps too."""
    seen: list[torch.Tensor] = []
    real = loop.predict

    def watched(unet: object, batch: object, noisy: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        found = real(unet, batch, noisy, dtype)
        if not torch.is_grad_enabled():
            bare = nf4_unet(tiny_base).train()
            with torch.no_grad():
                seen.append((found - real(bare, batch, noisy, dtype)).abs().max())
        return found

    monkeypatch.setattr(loop, "predict", watched)
    train(workspace, tiny_config(tiny_base, *NF4, "train.steps=2"))
    assert len(seen) == 2
    assert max(seen) == 0


def test_resumed_it_is_the_same_to_the_bit(tiny_base: Path, workspace: Workspace, tmp_path: Path) -> None:
    config = tiny_config(tiny_base, *NF4, "memory.gradient_checkpointing=all", "train.checkpoint_every=1")
    straight = train(workspace, config).version.weights.read_bytes()
    assert killed_and_resumed(workspace, config, tmp_path) == straight


def test_the_adapter_acts_on_the_base_as_it_is_and_is_exported_against_it(trained: Trained, tiny_base: Path) -> None:
    (version,) = list_versions(trained.workspace, "bottle01")
    base = resolve_base(str(tiny_base))
    unet = fresh_unet(base)
    alone = output(unet)
    assert adapter_file.attach(unet, version.adapter) == version.manifest["modules"] == 124
    assert float((output(unet) - alone).abs().max()) > 1e-3
    done = export_adapter(version, "kohya", trained.workspace.root / "out.safetensors", device="cpu")
    assert done.modules == 124
    assert done.max_difference <= 1e-4 * done.effect


def test_in_bf16_the_layers_hand_on_the_dtype_of_the_computation(tiny_base: Path) -> None:
    layer = next(nf4.quantized_layers(nf4_unet(tiny_base, torch.bfloat16)))
    assert layer(torch.ones(1, layer.in_features)).dtype == torch.bfloat16


def test_dora_on_it_is_refused_before_anything_loads(tiny_base: Path) -> None:
    with pytest.raises(ConfigError, match="learns the magnitudes"):
        tiny_config(tiny_base, "memory.quantize=nf4", "adapter.dora=true")


def test_without_bitsandbytes_it_is_refused(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "bitsandbytes.nn", None)
    with pytest.raises(PackshotError, match="bitsandbytes does not load on this machine") as caught:
        nf4_unet(tiny_base)
    assert "memory.quantize=none" in caught.value.hint


@pytest.mark.parametrize(
    ("part", "wanted", "cure"),
    [("nn", NF4, "memory.quantize=none"), ("optim", ("train.optimizer=adamw8bit",), "train.optimizer=adamw")],
)
def test_without_bitsandbytes_a_run_ends_before_it_encodes(
    part: str,
    wanted: tuple[str, ...],
    cure: str,
    tiny_base: Path,
    cold_workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, f"bitsandbytes.{part}", None)
    with pytest.raises(ConfigError, match="bitsandbytes does not load on this machine") as caught:
        train(cold_workspace, tiny_config(tiny_base, *wanted))
    assert cure in caught.value.hint
    assert not list(cold_workspace.cache.rglob("latents/*"))
