"""A LoRA on a UNet through PEFT: which modules, which scale, how many parameters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from finetune.core.adapters.file import ADAPTER_NAME
from finetune.core.errors import BaseModelError

if TYPE_CHECKING:
    import torch
    from diffusers import UNet2DConditionModel

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
FEEDFORWARD = ("ff.net.0.proj", "ff.net.2", "proj_in", "proj_out")
TARGETS = {"attention": ATTENTION, "attention+feedforward": ATTENTION + FEEDFORWARD}


@dataclass(frozen=True)
class AdapterSize:
    """Size of an adapter."""

    modules: int
    parameters: int


def target_modules(unet: UNet2DConditionModel, targets: str) -> list[str]:
    """Names of the Linear layers of `unet` that `targets` means, in the order of the model.

    `attention`: q, k, v and output of every attention (SDXL: 560); `attention+feedforward`: those, both feed-forward
    layers and the projections around each transformer (SDXL: 722).
    """
    import torch

    suffixes = tuple("." + name for name in TARGETS[targets])
    return [n for n, m in unet.named_modules() if isinstance(m, torch.nn.Linear) and n.endswith(suffixes)]


def add_lora(
    unet: UNet2DConditionModel,
    *,
    rank: int,
    alpha: float,
    rslora: bool,
    dora: bool,
    targets: str,
    seed: int,
) -> tuple[dict[str, Any], AdapterSize]:
    """Add a trainable LoRA named `packshot`; its weights are fp32 whatever the base's dtype.

    Args:
        unet: changed in place.
        rank: of every LoRA matrix.
        alpha: scale numerator.
        rslora: whether the scale is alpha / sqrt(rank) instead of alpha / rank.
        dora: whether magnitudes are learned too (arXiv 2402.09353).
        targets: see `target_modules`.
        seed: of the random half of the initialisation (A Kaiming-uniform, B zero: the adapter starts as identity).

    Returns:
        PEFT's configuration as plain values (what goes into the adapter file), and the adapter's size.

    Raises:
        BaseModelError: the UNet has none of the target modules.
    """
    import torch
    from diffusers.training_utils import cast_training_params
    from peft import LoraConfig

    names = target_modules(unet, targets)
    if not names:
        raise BaseModelError("the base's UNet has no attention layers a LoRA could adapt", "use an SDXL base")
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        use_rslora=rslora,
        use_dora=dora,
        target_modules=list(TARGETS[targets]),
        init_lora_weights=True,
        lora_dropout=0.0,
        bias="none",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet.add_adapter(config, adapter_name=ADAPTER_NAME)
    cast_training_params(unet, dtype=torch.float32)
    parameters = lora_parameters(unet)
    return config.to_dict(), AdapterSize(len(names), sum(p.numel() for p in parameters))


def lora_parameters(unet: UNet2DConditionModel) -> list[torch.nn.Parameter]:
    """The trainable parameters, in the order of the model."""
    return [p for p in unet.parameters() if p.requires_grad]


@contextmanager
def adapter_off(unet: UNet2DConditionModel) -> Iterator[None]:
    """Switch the adapter off inside the context; no gradients may be taken there.

    diffusers' `disable_adapters` and `enable_adapters` also switch the gradients of every weight off and on, which
    on SDXL leaves a GPU idle for 0.3 to 0.7 s of each pass (docs/log.md). `_disable_adapters` is PEFT's (seen in 0.19).
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [module for module in unet.modules() if isinstance(module, BaseTunerLayer)]
    before = [layer._disable_adapters for layer in layers]
    for layer in layers:
        layer._disable_adapters = True
    try:
        yield
    finally:
        for layer, off in zip(layers, before, strict=True):
            layer._disable_adapters = off


def lora_state(unet: UNet2DConditionModel) -> dict[str, torch.Tensor]:
    """The adapter's weights by PEFT key (`<module>.lora_A.weight`)."""
    from peft import get_peft_model_state_dict

    state: dict[str, torch.Tensor] = get_peft_model_state_dict(unet, adapter_name=ADAPTER_NAME)
    return state


def load_lora_state(unet: UNet2DConditionModel, state: dict[str, torch.Tensor]) -> None:
    """Load saved weights into an existing adapter of the same shape (resume, `adapter.init_from`)."""
    from peft import set_peft_model_state_dict

    result = set_peft_model_state_dict(unet, state, adapter_name=ADAPTER_NAME)
    assert not getattr(result, "unexpected_keys", None), result.unexpected_keys
