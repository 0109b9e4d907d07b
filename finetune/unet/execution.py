"""How the UNet's arithmetic is carried out: determinism, memory format, TF32, regional compilation.

Order matters: `set_deterministic` before anything is computed, `set_layout` before the adapter is added,
`compile_blocks` after it.
"""

from __future__ import annotations

import os
import shutil
from typing import Any

from finetune.core.console import say
from finetune.core.errors import ConfigError


def allow_tf32(device: str) -> None:
    """Let a CUDA device round the inputs of fp32 matrix products to TF32 (19 bits); no effect elsewhere.

    The base computes in 16 bits already; only the adapter's small products and fp32 runs are in fp32.
    """
    if device.startswith("cuda"):
        import torch

        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True


def set_deterministic(wanted: bool, device: str) -> None:
    """Restrict torch to deterministic algorithms, or allow the fastest ones (the default).

    On a GPU sums are otherwise taken in varying order, and a resumed run is not bit-equal to an uninterrupted one. On a
    CPU with a fixed number of threads the bits are the same anyway. Call it before anything is computed on the device:
    cuBLAS reads its setting once.
    """
    import torch

    if wanted and device.startswith("cuda"):
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        say("  using deterministic algorithms only: slower, and bit-equal when repeated on this GPU")
    torch.use_deterministic_algorithms(wanted)
    torch.backends.cudnn.deterministic = wanted
    if wanted:
        torch.backends.cudnn.benchmark = False  # it chooses by stopwatch


def set_layout(unet: Any, *, channels_last: bool) -> None:
    """Store the convolutions' weights as NHWC, the layout tensor cores read; activations follow them."""
    if channels_last:
        import torch

        unet.to(memory_format=torch.channels_last)


def check_compiler() -> None:
    """Check that this machine can compile blocks.

    Raises:
        ConfigError: there is no C++ compiler.
    """
    if not any(shutil.which(name) for name in ("g++", "clang++", "c++")):
        raise ConfigError(
            "train.compile needs a C++ compiler", "install one (apt install g++), or set train.compile=false"
        )


def compile_blocks(unet: Any) -> None:
    """Compile each kind of transformer block once instead of the whole UNet (regional compilation, diffusers).

    SDXL's 70 transformer blocks are of one class in two widths: two graphs to compile, not seventy. Each is compiled
    with the adapter on, and again with it off when the frozen base predicts.
    """
    import torch

    # widths x (adapter on and off) x (training and previews) x frames of several shapes; at torch's limit of 8 it would
    # go on uncompiled with a mere warning
    torch._dynamo.config.recompile_limit = 64
    unet.compile_repeated_blocks()
