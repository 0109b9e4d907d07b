"""The device that work must fit on, and traced results kept by content: a full-size model takes a while to trace."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import RootModel

from finetune.core import fingerprint
from finetune.core.console import warn
from finetune.core.device import computes_bf16, free_gpu_memory
from finetune.core.environment import environment
from finetune.core.errors import BaseModelError, RunError
from finetune.core.json_files import read_json, read_object
from finetune.core.machine_memory import anonymous_memory, machine_memory
from finetune.core.storage.durable import write_text

SPARE = 0.04
"""Share of the device left free: the allocator's fragments and cuDNN's workspace, which no trace sees. Past the end of
its memory a card on Windows spills into RAM and crawls instead of failing."""
LIBRARIES = ("torch", "diffusers", "peft", "accelerate", "bitsandbytes")
UNTOLD = ("_name_or_path", "_diffusers_version", "transformers_version", "torch_dtype", "dtype")
"""Keys of configurations that say where a model is from and how it was saved, and nothing of its architecture."""


class Traced(RootModel[dict[str, int]]):
    """A traced result in the cache: bytes by name."""


@dataclass(frozen=True)
class Device:
    """The device a run must fit on."""

    name: str
    memory: int
    """Bytes a run may use: free memory of a GPU or of the machine, or of a card that is not here."""
    cuda: bool
    context: int
    """Bytes of the process itself there."""
    bf16: bool = True


def this_device(where: str = "auto") -> Device:
    """This machine's GPU with its free memory; without one, or asked for, the CPU with the machine's free memory.

    Args:
        where: `auto`, `cpu`, `cuda` or `cuda:1`.
    """
    import torch

    if where != "cpu" and torch.cuda.is_available():
        card = "cuda" if where == "auto" else where
        # the context of this very process is taken off already
        name = torch.cuda.get_device_name() if card == "cuda" else torch.cuda.get_device_name(card)
        return Device(name, free_gpu_memory(card), cuda=True, context=0, bf16=computes_bf16(card))
    _import_what_is_used()
    here = anonymous_memory()
    memory = machine_memory()
    name = f"CPU, limited to {memory.total / 2**30:.1f} GiB by its cgroup" if memory.limited else "CPU"
    return Device(name, memory.available + here, cuda=False, context=here)


def _import_what_is_used() -> None:
    """Import the models' classes, so that the process is as large as it will be."""
    from diffusers import StableDiffusionXLInpaintPipeline  # noqa: F401
    from transformers import CLIPTextModelWithProjection  # noqa: F401


def architecture(config: dict[str, Any]) -> dict[str, Any]:
    """What of a model's configuration decides its shapes: copies at two places share what was traced.

    Args:
        config: content of a `config.json`.
    """
    return {key: value for key, value in config.items() if key not in UNTOLD}


def architecture_of(folder: Path, *parts: str) -> list[dict[str, Any]]:
    """`architecture` of some parts of a base; `folder` holds its configuration files."""
    files = (folder / part / "config.json" for part in parts)
    return [architecture(read_object(file, BaseModelError, hint="download the base again")) for file in files]


def cached(cache: Path, key: list[Any], make: Callable[[], dict[str, int]]) -> dict[str, int]:
    """A result from the cache by this key and the libraries' versions, or computed now and kept.

    Args:
        cache: the workspace's cache folder.
        key: what the result depends on, as JSON values.
        make: computes it.
    """
    file = place_of(cache, key)
    if file.is_file():
        try:
            return read_json(file, Traced, RunError).root
        except RunError as error:
            warn(f"{error.message}; tracing again")
    made = make()
    write_text(file, json.dumps(made))
    return made


def place_of(cache: Path, key: list[Any]) -> Path:
    """The file in which a result is kept, there or not; arguments as for `cached`."""
    versions = environment(LIBRARIES)
    name = fingerprint.of_value([*key, {name: versions[name] for name in LIBRARIES}])
    return cache / "plans" / f"{name}.json"
