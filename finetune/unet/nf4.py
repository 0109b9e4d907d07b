"""The frozen UNet's transformer layers in 4 bits, through bitsandbytes; a LoRA on top stays in fp32 (QLoRA).

NF4 with double quantisation (Dettmers et al., arXiv 2305.14314): blocks of 64 weights share a scale, blocks of 256
scales share one of their own. Convolutions, norms, embeddings and the layers outside the transformers keep the run's
dtype. diffusers' own loader of quantised models wants a GPU, so the layers are swapped here; that works on the CPU too.
A quantised base is never written to disk: an adapter trained on it is used on the unquantised base.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from finetune.core.basemodel.load import load_unet
from finetune.core.basemodel.resolve import ResolvedBase
from finetune.core.console import count, say
from finetune.core.errors import BaseModelError, ConfigError
from finetune.unet.lora import target_modules

if TYPE_CHECKING:
    import torch
    from torch import Tensor

KIND = "nf4"
BLOCK, SCALES_BLOCK = 64, 256
"""Weights that share a scale, and scales that share one: bitsandbytes' own (and its kernels') sizes."""


def import_bitsandbytes(part: str) -> Any:
    """Import bitsandbytes' module `optim` or `nn`; its compiled library may not fit the machine.

    Args:
        part: `optim` or `nn`.

    Raises:
        ConfigError: it can't be imported on this machine.
    """
    cures = {"optim": "train.optimizer=adamw", "nn": "memory.quantize=none"}
    try:
        return importlib.import_module(f"bitsandbytes.{part}")
    except (ImportError, RuntimeError, OSError) as error:
        raise ConfigError(
            f"bitsandbytes does not load on this machine ({error})", f"use --set {cures[part]}"
        ) from error


def load_frozen_unet(base: ResolvedBase, kind: str, *, dtype: torch.dtype, device: str) -> tuple[Any, Any]:
    """The frozen UNet and the scheduler of a base; with kind `nf4` quantised, and its size printed.

    Args:
        base: the base on disk.
        kind: `none` or `nf4`.
        dtype: of weights and computation.
        device: where the UNet goes.
    """
    if kind != KIND:
        return load_unet(base, dtype=dtype, device=device)
    unet, scheduler = load_unet(base, dtype=dtype, device="cpu")
    before = bytes_in_memory(unet)
    layers = quantize_linears(unet, dtype=dtype, device=device)
    after = bytes_in_memory(unet)
    name = str(dtype).removeprefix("torch.")
    sizes = f"{after / 2**20:,.0f} MiB ({before / 2**20:,.0f} in {name})"
    say(f"  quantised {count(layers, 'layer')} of the base to {kind}: the UNet takes {sizes}")
    return unet, scheduler


def layers_to_quantize(unet: Any) -> list[str]:
    """Names of the Linear layers in the UNet's transformers, in the order of the model (SDXL: 722, 86 % of it)."""
    return target_modules(unet, "attention+feedforward")


def quantize_linears(unet: Any, *, dtype: torch.dtype, device: str) -> int:
    """Replace the transformers' Linear layers by bitsandbytes' `Linear4bit`, one after the other.

    The whole UNet never has to be on `device` unquantised: hand it over on the CPU.

    Args:
        unet: frozen, without an adapter; changed in place and moved to `device`.
        dtype: of the computation.

    Returns:
        How many layers were replaced.

    Raises:
        BaseModelError: the UNet has no such layers.
        ConfigError: bitsandbytes can't be imported on this machine.
    """
    parameters = import_bitsandbytes("nn").Params4bit
    names = layers_to_quantize(unet)
    if not names:
        raise BaseModelError("the base's UNet has no transformer layers to quantise", "use an SDXL base")
    for name in names:
        linear = unet.get_submodule(name)
        layer = _empty_layer(linear, dtype)
        weight = parameters(linear.weight.data, requires_grad=False, quant_type=KIND, module=layer)
        layer.weight = weight.to(device)  # here it is quantised
        layer.bias = linear.bias
        unet.set_submodule(name, layer)
    unet.to(device)
    return len(names)


def quantize_shapes(unet: Any, *, dtype: torch.dtype) -> int:
    """The same on tensors without data: every shape and dtype that `quantize_linears` makes, for the memory planner.

    Returns:
        How many layers were replaced.
    """
    import torch
    from bitsandbytes.functional import QuantState

    names = layers_to_quantize(unet)
    for name in names:
        linear = unet.get_submodule(name)
        layer = _empty_layer(linear, dtype)
        count = linear.weight.numel()
        scales = -(-count // BLOCK)
        inner = QuantState(
            absmax=torch.empty(-(-scales // SCALES_BLOCK)),
            code=torch.empty(256),
            blocksize=SCALES_BLOCK,
            dtype=torch.float32,
        )
        layer.quant_state = QuantState(
            absmax=torch.empty(scales, dtype=torch.uint8),
            shape=linear.weight.shape,
            code=torch.empty(16),
            blocksize=BLOCK,
            quant_type=KIND,
            dtype=linear.weight.dtype,
            offset=torch.empty(()),
            state2=inner,
        )
        packed = torch.empty(-(-count // 2), 1, dtype=torch.uint8)
        layer.weight = torch.nn.Parameter(packed, requires_grad=False)
        layer.weight.quant_state = layer.quant_state
        layer.bias = linear.bias
        unet.set_submodule(name, layer)
    return len(names)


def _empty_layer(linear: Any, dtype: torch.dtype) -> Any:
    """A `Linear4bit` like that layer, its weights still to come."""
    from bitsandbytes.nn import Linear4bit

    layer = Linear4bit(
        linear.in_features, linear.out_features, bias=False, compute_dtype=dtype, quant_type=KIND, device="meta"
    )
    layer.register_forward_pre_hook(_to_compute_dtype)
    # On processors with AVX512-BF16 a forward pass in eval mode (a preview) would repack the weights for an inference
    # kernel in bf16, which has no backward pass: training would go on with other numbers and without gradients.
    layer.support_avx512bf16_for_cpu = False
    return layer


def _to_compute_dtype(layer: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """What autocast does to a plain Linear; a `Linear4bit` would hand an fp32 input's dtype on to its output."""
    return (arguments[0].to(layer.compute_dtype), *arguments[1:])


def quantized_layers(unet: Any) -> Iterator[Any]:
    """The quantised layers of a UNet, in the order of the model."""
    for module in unet.modules():
        if getattr(module, "quant_state", None) is not None:
            yield module


def scales_of(unet: Any) -> Iterable[Tensor]:
    """Scales and tables of the quantised layers, each once: no parameters and no buffers, yet in memory."""
    found: dict[int, Tensor] = {}
    for layer in quantized_layers(unet):
        state = layer.quant_state
        for tensor in (state.absmax, state.code, state.offset, state.state2.absmax, state.state2.code):
            found[id(tensor)] = tensor
    return found.values()


def bytes_in_memory(unet: Any) -> int:
    """Bytes of a UNet: parameters, buffers, scales and tables."""
    tensors = [*unet.parameters(), *unet.buffers(), *scales_of(unet)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
