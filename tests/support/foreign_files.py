"""LoRA files as other trainers write them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiny_adapters import fresh_unet, output

from finetune.core.adapters.kohya_names import kohya_name
from finetune.core.basemodel.resolve import ResolvedBase

if TYPE_CHECKING:
    import torch


LAYERS = 1  # layers_per_block of the tiny base


ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]


LIGHTNING = [*ATTENTION, "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2", "time_emb_proj", "conv1", "conv2"]


@dataclass
class Trained:
    """Another trainer's LoRA before it is written: its layers, each with scale, and what the UNet predicts with it."""

    state: dict[str, torch.Tensor]
    alphas: dict[str, float]
    predicted: torch.Tensor
    config: dict[str, Any]

    def layers(self) -> list[str]:
        return sorted(self.alphas)

    def halves(self, layer: str) -> tuple[torch.Tensor, torch.Tensor]:
        return self.state[f"{layer}.lora_A.weight"], self.state[f"{layer}.lora_B.weight"]


def trained(base: ResolvedBase, targets: list[str] | None = None, **options: Any) -> Trained:
    """PEFT's layers with random weights. `ranks` and `alphas`: of layers whose name ends so, as PEFT's patterns."""
    import torch
    from peft import LoraConfig, get_peft_model_state_dict

    unet = fresh_unet(base)
    settings = {"r": 4, "lora_alpha": 4.0, "init_lora_weights": False} | options
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        unet.add_adapter(LoraConfig(target_modules=targets or ATTENTION, **settings), adapter_name="theirs")
        with torch.no_grad():
            for name, weight in unet.named_parameters():
                if "magnitude" in name:
                    weight.mul_(1 + 0.1 * torch.randn_like(weight))
    alphas = {
        name: float(module.scaling["theirs"] * module.r["theirs"])
        for name, module in unet.named_modules()
        if hasattr(module, "lora_A")
    }
    state = get_peft_model_state_dict(unet, adapter_name="theirs")
    return Trained({k: v.detach().clone() for k, v in state.items()}, alphas, output(unet), settings)


def write(path: Path, tensors: dict[str, torch.Tensor], **metadata: str) -> Path:
    from safetensors.torch import save_file

    save_file({k: t.detach().contiguous() for k, t in tensors.items()}, path, metadata=metadata or None)
    return path


def kohya(lora: Trained, *, stability: bool = True, alpha: bool = True) -> dict[str, torch.Tensor]:
    """kohya's keys: with Stability's block names as sd-scripts write them, or with diffusers' as LCM-LoRA has them."""
    import torch

    found = {}
    for layer in lora.layers():
        name = kohya_name(layer, LAYERS) if stability else "lora_unet_" + layer.replace(".", "_")
        found[f"{name}.lora_down.weight"], found[f"{name}.lora_up.weight"] = lora.halves(layer)
        if alpha:
            found[f"{name}.alpha"] = torch.tensor(lora.alphas[layer])
        if f"{layer}.lora_magnitude_vector" in lora.state:
            found[f"{name}.dora_scale"] = lora.state[f"{layer}.lora_magnitude_vector"].reshape(-1, 1)
    return found


VARIED = {"r": 4, "rank_pattern": {"to_q": 2, "conv1": 3}, "alpha_pattern": {"to_k": 9.0, "conv2": 1.0, "proj_in": 6.0}}
