"""Recipe of `packshot doctor`: what this machine can do, as plain findings; it changes nothing."""

from __future__ import annotations

import os
from importlib import metadata
from pathlib import Path
from typing import Any

from finetune.core.basemodel.architecture import FIRST_LAYERS
from finetune.core.basemodel.base_files import fault_of, read_header
from finetune.core.basemodel.folder_layout import required_files
from finetune.core.basemodel.hub_cache import command, completing
from finetune.core.basemodel.resolve import HUB_ID, ResolvedBase, locate_base, resolve_base
from finetune.core.basemodel.weight_files import find_weights
from finetune.core.device import computes_bf16
from finetune.core.environment import environment
from finetune.core.errors import BaseModelError, PackshotError
from finetune.core.machine_memory import machine_memory
from finetune.core.products.catalog import Workspace

GIB = 2**30
SDXL_BASES = ("diffusers/stable-diffusion-xl-1.0-inpainting-0.1", "stabilityai/stable-diffusion-xl-base-1.0")


def examine(workspace: Workspace, base: str = "", vae: str = "") -> dict[str, Any]:
    """Device, versions, bases on disk, product sets, and what else on this machine could get in the way.

    Args:
        workspace: whose product sets are listed.
        base: a reference to a base that is looked at part by part; empty for none.
        vae: a separate VAE for that base, as `base.vae` takes it; empty for its own.
    """
    asked = {f"base {base}": inspect_base(base, vae)} if base else {}
    return asked | {
        "device": _device(),
        "versions": environment(),
        "bases": _bases(),
        "product sets": workspace.skus() or "none",
        "problems": _clashes() or "none found",
    }


def _device() -> dict[str, str]:
    import torch

    found = {"cpu": f"{os.cpu_count()} cores, {torch.get_num_threads()} used by torch", "memory": _memory()}
    for index in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(index)
        bf16 = "bf16" if computes_bf16(index) else "fp16 only"
        found[f"gpu {index}"] = f"{card.name}, {card.total_memory / 2**30:.1f} GiB, {bf16}"
    if torch.cuda.device_count() == 0:
        found["gpu"] = "none; SDXL trains and places on the CPU too, slowly; the embedded base does it in minutes"
    return found


def _memory() -> str:
    memory = machine_memory()
    whose = "a limit (cgroup) of this container or service" if memory.limited else "the machine's memory"
    return f"{memory.total / GIB:.1f} GiB, {memory.available / GIB:.1f} GiB of it free; {whose}"


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
    found = {"embedded": _describe("embedded")}
    for model in SDXL_BASES:
        place = locate_base(model)
        found[model] = _describe(model) if place else f"not on disk; download it: {command(model)}"
    return found


def inspect_base(reference: str, vae: str = "") -> dict[str, str]:
    """Every part of a base: its files, their size and numbers, or what is missing. Never asks the network.

    Args:
        reference: A reference to a base, as `base.model` takes it.
        vae: A separate VAE, as `base.vae` takes it.
    """
    place = locate_base(reference)
    if place is None:
        by_hub = f"download it: {command(reference)}" if HUB_ID.fullmatch(reference) else "give a folder or a file"
        return {"verdict": f"nothing on disk; {by_hub}"}
    found = {"place": str(place)}
    if place.is_dir():
        found |= _parts(place)
    elif place.is_file():
        found["checkpoint"] = _files([place])
    try:
        base = resolve_base(reference, vae=vae, offline=True)
    except PackshotError as error:
        return found | {"verdict": f"cannot be used: {error.message}", "hint": error.hint}
    if base.vae:
        found["vae"] = f"{_files(list(base.vae.files))}, in place of the base's own ({vae})"
    return found | {"verdict": f"can be used: {base.name}, {_facts(base)}"}


def _parts(folder: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in FIRST_LAYERS:
        try:
            weights = find_weights(folder / part, folder.name, completing(folder, ""))
            found[part] = _files(list(weights.files)) + (f", by {weights.index.name}" if weights.index else "")
        except BaseModelError as error:
            found[part] = error.message.removeprefix(f"base '{folder.name}'").removeprefix(":").strip()
    for path in required_files(folder):
        told = found.setdefault(path.parent.name, "complete")
        if fault := fault_of(path):
            more = "" if told == "complete" else f"; {told}"
            found[path.parent.name] = f"{path.name}: {fault}{more}"
    return found


def _files(files: list[Path]) -> str:
    """`x.safetensors, 4.8 GiB, F16`; of several files the first's name and how many there are."""
    try:
        numbers = sorted({name for file in files for name in read_header(file, file.name).dtypes[:1]})
    except BaseModelError as error:
        return error.message
    size = sum(file.stat().st_size for file in files)
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    told = f"{size / GIB:.2f} GiB" if size >= GIB else f"{size / 2**20:.1f} MiB"
    return f"{files[0].name}{more}, {told}, {' and '.join(numbers) or 'empty'}"


def _describe(model: str) -> str:
    try:
        base = resolve_base(model, offline=True)
    except PackshotError as error:
        return f"cannot be used: {error.message}"
    return f"can be used: {_facts(base)}"


def _facts(base: ResolvedBase) -> str:
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
