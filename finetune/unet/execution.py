"""How the UNet's arithmetic is carried out: memory format, TF32, regional compilation. Never what is computed.

Called by the training session: first of all `set_deterministic`, `set_layout` before the adapter is added, and
`compile_blocks` after it.
"""

from __future__ import annotations

import os
import shutil
import sys
from typing import Any

from finetune.core.console import say
from finetune.core.errors import ConfigError


def allow_tf32(device: str) -> None:
    """Let a CUDA device round the inputs of fp32 matrix products to TF32 (19 bits); elsewhere it changes nothing.

    The base computes in 16 bits already; what is left in fp32 are the adapter's small products and an fp32 run.
    """
    if device.startswith("cuda"):
        import torch

        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True


def set_deterministic(wanted: bool, device: str) -> None:
    """Have torch take only algorithms that give the same bits every time, or, as by default, the fastest ones.

    On a GPU sums are otherwise made in the order in which they come in, and a resumed run is not bit-equal to one never
    interrupted. On a CPU, with one number of threads, torch gives the same bits anyway: there it changes nothing.
    To be called before anything is computed on the device: cuBLAS reads its setting once.
    """
    import torch

    if wanted and device.startswith("cuda"):
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        say("  deterministic algorithms only: bit-equal on this GPU, and slower")
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
    """See that regional compilation can work here.

    Raises:
        ConfigError: no C++ compiler, or a system for which torch has no code generator.
    """
    if sys.platform == "win32":
        import importlib.util

        if importlib.util.find_spec("triton") is None:
            raise ConfigError("train.compile needs triton", "pip install triton-windows, or train.compile=false")
    elif not any(shutil.which(name) for name in ("g++", "clang++", "c++")):
        raise ConfigError("train.compile needs a C++ compiler", "apt install g++, or train.compile=false")


def compile_blocks(unet: Any) -> None:
    """Compile each kind of transformer block once instead of the whole UNet (regional compilation, diffusers).

    SDXL's 70 transformer blocks are of one class in two widths: two graphs to compile, not seventy. Compiled with
    the adapter on and again with it off, when the frozen base's prediction is asked for.
    """
    import torch

    # widths x (adapter on and off) x (training and previews) x frames of several shapes; at torch's limit of 8 it would
    # go on uncompiled with a mere warning
    torch._dynamo.config.recompile_limit = 64
    unet.compile_repeated_blocks()
