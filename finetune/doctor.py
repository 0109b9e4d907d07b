"""Recipe of `packshot doctor`: what this machine can do, as plain findings; it changes nothing."""

from __future__ import annotations

import os
from importlib import metadata
from pathlib import Path
from typing import Any

from finetune.core.basemodel.resolve import resolve_base
from finetune.core.device import computes_bf16
from finetune.core.environment import environment
from finetune.core.errors import PackshotError
from finetune.core.products.catalog import Workspace

SDXL_BASES = ("diffusers/stable-diffusion-xl-1.0-inpainting-0.1", "stabilityai/stable-diffusion-xl-base-1.0")


def examine(workspace: Workspace) -> dict[str, Any]:
    """Device, versions, bases on disk, product sets, and what else on this machine could get in the way."""
    return {
        "device": _device(),
        "versions": environment(),
        "bases": _bases(),
        "product sets": workspace.skus() or "none",
        "problems": _clashes() or "none found",
    }


def _device() -> dict[str, str]:
    import torch

    found = {"cpu": f"{os.cpu_count()} cores, {torch.get_num_threads()} used by torch"}
    for index in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(index)
        bf16 = "bf16" if computes_bf16(index) else "fp16 only"
        found[f"gpu {index}"] = f"{card.name}, {card.total_memory / 2**30:.1f} GiB, {bf16}"
    if len(found) == 1:
        found["gpu"] = "none; without one, use the embedded base for training and placing"
    return found


def _without_kernels() -> list[str]:
    """GPUs that this build of torch has no kernels for, because they are newer or older than those it was built for."""
    import torch

    made_for = [name.split("_") for name in torch.cuda.get_arch_list()]
    problems = []
    for index in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(index)
        # machine code runs on later minor versions of its major one, `compute` is compiled for any later card
        fits = any(
            (int(number[:-1]) == card.major or kind == "compute") and int(number) <= card.major * 10 + card.minor
            for kind, number in ((kind, text.rstrip("af")) for kind, text in made_for)
        )
        if not fits:
            problems.append(
                f"gpu {index}: this torch has no kernels for sm_{card.major}{card.minor}, only for "
                f"{', '.join('_'.join(name) for name in made_for)}; install a build for its CUDA version"
            )
    return problems


def _bases() -> dict[str, str]:
    """The embedded base, and which hub bases are in the local cache. Never asks the network."""
    from huggingface_hub import snapshot_download

    found = {"embedded": _describe("embedded")}
    for model in SDXL_BASES:
        try:
            snapshot_download(model, local_files_only=True, allow_patterns=["*.json"])
        except Exception:
            found[model] = "not on disk"
        else:
            found[model] = _describe(model)
    return found


def _describe(model: str) -> str:
    try:
        base = resolve_base(model)
    except PackshotError as error:
        return error.message
    return f"{base.size} px, {base.channels} channels, content {base.fingerprint}"


def _clashes() -> list[str]:
    """What keeps Packshot from working here: other packages of its names, a shadowed library, missing kernels."""
    problems = []
    problems += _without_kernels()
    for name in ("finetune", "inference"):
        owners = {d for d in metadata.packages_distributions().get(name, []) if d != "packshot"}
        problems += [f"distribution '{d}' also installs the package '{name}'; use another environment" for d in owners]
    if Path("datasets", "__init__.py").is_file():
        problems.append("datasets/__init__.py shadows Hugging Face's package `datasets`; remove it")
    return problems
