"""LoHa and LoKr files predict what the base with their difference in its weights predicts; the rest is refused."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from foreign_files import ATTENTION, LAYERS, kohya, trained, write
from tiny_adapters import fresh_unet, output

from finetune.core.adapters import foreign
from finetune.core.adapters.foreign import read_adapter
from finetune.core.adapters.kohya_names import kohya_name
from finetune.core.basemodel.resolve import ResolvedBase, resolve_base
from finetune.core.errors import AdapterError

if TYPE_CHECKING:
    import torch

    State = dict[str, torch.Tensor]

pytestmark = pytest.mark.tiny
LAYERS_ADAPTED = ("to_q", "to_out.0", "proj_in", "ff.net.2", "conv1", "conv2", "time_emb_proj")


def small(draw: torch.Generator, *shape: int) -> torch.Tensor:
    import torch

    return 0.3 * torch.randn(*shape, generator=draw)


def loha(draw: torch.Generator, weight: torch.Size, rank: int) -> tuple[State, torch.Tensor]:
    """One layer's tensors, and its difference by LyCORIS' formula."""
    import torch

    out, into = weight[0], weight[1:].numel()
    w1a, w2a = small(draw, out, rank), small(draw, out, rank)
    w1b, w2b = small(draw, rank, into), small(draw, rank, into)
    difference = ((w1a @ w1b) * (w2a @ w2b)).reshape(weight) * (3.0 / rank)
    parts = {"hada_w1_a": w1a, "hada_w1_b": w1b, "hada_w2_a": w2a, "hada_w2_b": w2b, "alpha": torch.tensor(3.0)}
    return parts, difference


def lokr(draw: torch.Generator, weight: torch.Size, kind: str) -> tuple[State, torch.Tensor]:
    """The same of LoKr: both factors whole, the second in halves, both in halves."""
    import torch

    rank, kernel = 2, weight[2:]
    parts: State = {"alpha": torch.tensor(6.0)}
    if kind == "both in halves":
        parts |= {"lokr_w1_a": small(draw, 4, rank), "lokr_w1_b": small(draw, rank, 8)}
        first = parts["lokr_w1_a"] @ parts["lokr_w1_b"]
    else:
        first = parts["lokr_w1"] = small(draw, 4, 8)
    out, into = weight[0] // 4, weight[1] // 8
    if kind == "whole":
        second = parts["lokr_w2"] = small(draw, out, into, *kernel)
    else:
        parts |= {"lokr_w2_a": small(draw, out, rank), "lokr_w2_b": small(draw, rank, into * kernel.numel())}
        second = (parts["lokr_w2_a"] @ parts["lokr_w2_b"]).reshape(out, into, *kernel)
    first = first[(...,) + (None,) * len(kernel)]
    return parts, torch.kron(first, second) * (1.0 if kind == "whole" else 6.0 / rank)


def file_and_truth(base: ResolvedBase, kind: str, path: Path) -> tuple[Path, torch.Tensor, int]:
    """A file of that kind, what the base predicts with its differences merged, and its number of layers."""
    import torch

    draw, unet, tensors = torch.Generator().manual_seed(4), fresh_unet(base), {}
    chosen = [n for n, m in unet.named_modules() if n.endswith(LAYERS_ADAPTED) and hasattr(m, "weight")]
    for layer in chosen:
        weight = unet.get_submodule(layer).weight
        if kind.startswith("LoHa"):
            parts, difference = loha(draw, weight.shape, rank=int(kind.split()[-1]))
        else:
            parts, difference = lokr(draw, weight.shape, kind.removeprefix("LoKr, "))
        tensors |= {f"{kohya_name(layer, LAYERS)}.{part}": tensor for part, tensor in parts.items()}
        with torch.no_grad():
            weight.add_(difference)
    return write(path, tensors), output(unet), len(chosen)


@pytest.mark.parametrize(
    "kind", ["LoHa of rank 2", "LoHa of rank 8", "LoKr, whole", "LoKr, second in halves", "LoKr, both in halves"]
)
def test_they_predict_what_their_formula_says(kind: str, base: ResolvedBase, tmp_path: Path) -> None:
    import torch

    path, truth, count = file_and_truth(base, kind, tmp_path / "theirs.safetensors")
    adapter, unet = read_adapter(path), fresh_unet(base)
    assert isinstance(adapter, foreign.ForeignAdapter)
    assert adapter.manifest["foreign"]["methods"] == [kind[:4]]
    foreign.check_foreign(adapter, base)
    assert foreign.attach_foreign(unet, adapter, base.name) == count >= 30
    scale = float(truth.abs().max())
    torch.testing.assert_close(output(unet), truth, atol=2e-4 * max(scale, 1), rtol=0)
    assert (truth - output(fresh_unet(base))).abs().max() > 0.05
    unet.disable_lora()
    torch.testing.assert_close(output(unet), output(fresh_unet(base)), atol=1e-6, rtol=0)


def test_what_is_incomplete_mixed_or_of_another_shape_is_refused(base: ResolvedBase, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    path, _, _ = file_and_truth(base, "LoHa of rank 2", tmp_path / "theirs.safetensors")
    good = load_file(path)
    first = sorted(good)[0].rsplit(".", 1)[0]
    without = {key: tensor for key, tensor in good.items() if key != f"{first}.hada_w2_b"}
    for tensors, says in (
        (without, f"incomplete: 1 key: {first} without all matrices of one method"),
        (good | {f"{first}.lora_down.weight": torch.ones(2, 2)}, "without all matrices of one method"),
        (good | {f"{first}.hada_w1_a": torch.ones(3, 2)}, "shapes differ in 1 key"),
        (good | {f"{first}.hada_w1_a": torch.ones(2)}, "shapes differ in 1 key"),
        (good | {f"{first}.hada_t1": torch.ones(2, 2, 3, 3)}, "is a Tucker-decomposed LoHa, not a LoRA"),
        (good | {f"{first}.lokr_t2": torch.ones(2, 2, 3, 3)}, "is a Tucker-decomposed LoKr, not a LoRA"),
        (good | {f"{first}.lokr_w1": torch.ones(2, 2)}, "without all matrices of one method"),
    ):
        with pytest.raises(AdapterError, match=says):
            foreign.check_foreign(read_adapter(write(path, tensors)), base)


@pytest.mark.parametrize("kind", ["LoRA", "LoHa"])
def test_a_first_layer_for_four_channels_acts_on_the_noisy_latents(
    kind: str, base: ResolvedBase, tiny_base_4: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    unet, path = fresh_unet(base), tmp_path / "theirs.safetensors"
    weight = unet.conv_in.weight
    assert weight.shape[1] == 9
    lora = trained(resolve_base(str(tiny_base_4)), [*ATTENTION, "conv_in"])
    if kind == "LoRA":
        tensors = {key: tensor for key, tensor in kohya(lora).items() if "input_blocks_0_0" in key}
        down, up = lora.halves("conv_in")
        difference = torch.einsum("or,ri...->oi...", up.flatten(1), down)
    else:
        parts, difference = loha(torch.Generator().manual_seed(4), torch.Size((weight.shape[0], 4, 3, 3)), rank=2)
        tensors = {f"lora_unet_input_blocks_0_0.{part}": tensor for part, tensor in parts.items()}
    write(path, tensors)
    with torch.no_grad():
        weight[:, :4] += difference
    truth, attached = output(unet), fresh_unet(base)
    foreign.check_foreign(read_adapter(path), base)
    assert foreign.attach_foreign(attached, read_adapter(path), base.name) == 1
    torch.testing.assert_close(output(attached), truth, atol=2e-4, rtol=0)
    assert (
        "conv_in in theirs.safetensors expects 4 input channels; the base has 9, zeros fill the others"
        in capsys.readouterr().err
    )
