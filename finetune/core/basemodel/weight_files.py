"""Which weight files a part of a base in diffusers' layout is loaded from, chosen part by part by what is there.

Of each part there may be half-precision files (variant `fp16`) or plain ones, whole or as shards with an index. The
first of the two that is whole is taken, fp16 before plain: those are the files a download from the hub brings, so a
folder keeps its content's fingerprint when plain files are added to it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from finetune.core.basemodel.architecture import FIRST_LAYERS
from finetune.core.basemodel.base_files import MISSING, IncompleteBase, fault_of, faulty, read_json
from finetune.core.errors import BaseModelError

VARIANTS = ("fp16", None)
DIFFUSERS_PARTS = ("unet", "vae")
"""Loaded by diffusers, which takes an index before a single file; transformers does the opposite."""
INDEX = re.compile(r".+\.(?:safetensors|bin|msgpack|h5)\.index(?:\.[\w-]+)?\.json")


@dataclass(frozen=True)
class PartFiles:
    """What a part is loaded from."""

    part: str
    """Name of its folder."""
    variant: str | None
    """As diffusers and transformers call it: `fp16`, or None for files of plain names."""
    index: Path | None
    """The file that says which shard holds which tensor, where there are shards."""
    files: tuple[Path, ...]
    """The weight files by name."""


def stem_of(part: str) -> str:
    """Beginning of the names of a part's weight files."""
    return "diffusion_pytorch_model" if part in DIFFUSERS_PARTS else "model"


def find_weights(folder: Path, model: str, cure: str, part: str = "") -> PartFiles:
    """The files that loading is going to open.

    Args:
        folder: Of the part.
        model: The base, for messages.
        cure: What completes the download, for hints.
        part: Which part it is; by default the one its folder is named after.

    Raises:
        BaseModelError: Weights, an index or a shard are not there; it names the file.
    """
    part, problems = part or folder.name, list[BaseModelError]()
    for variant in VARIANTS:
        try:
            found = _of_variant(folder, part, variant, model, cure)
        except BaseModelError as error:
            problems.append(error)
        else:
            if found:
                return found
    raise problems[0] if problems else _no_weights(folder, part, model, cure)


def names_of(part: str, variant: str | None) -> tuple[str, str]:
    """Names of a part's only weight file, and of the index of its shards."""
    stem, middle = stem_of(part), f".{variant}" if variant else ""
    return f"{stem}{middle}.safetensors", f"{stem}.safetensors.index{middle}.json"


def _of_variant(folder: Path, part: str, variant: str | None, model: str, cure: str) -> PartFiles | None:
    """What the loaders open when asked for a variant; None where there is nothing of it."""
    single, index = (folder / name for name in names_of(part, variant))
    wanted = re.compile(re.escape(single.name.removesuffix(".safetensors")) + r"-\d+-of-\d+\.safetensors")
    shards = [path for path in folder.iterdir() if wanted.fullmatch(path.name)] if folder.is_dir() else []
    order = (index, single) if part in DIFFUSERS_PARTS else (single, index)
    chosen = next((path for path in order if path.is_file()), None)
    chosen = chosen or next((path for path in order if path.is_symlink()), index if shards else None)
    if chosen is None:
        return None
    if fault := fault_of(chosen):
        if fault == MISSING:
            raise IncompleteBase(
                f"base '{model}' is not complete: {folder.name}/ holds shards without {index.name}", cure
            )
        raise faulty(chosen, fault, model, cure)
    if chosen == single:
        return PartFiles(part, variant, None, (single,))
    return PartFiles(part, variant, index, _shards_of(index, model, cure))


def _shards_of(index: Path, model: str, cure: str) -> tuple[Path, ...]:
    data = read_json(index, model, cure)
    names = data.get("weight_map")
    sound = isinstance(names, dict) and names and isinstance(data.get("metadata"), dict)
    if not isinstance(names, dict) or not sound or any(Path(str(name)).name != name for name in names.values()):
        raise BaseModelError(f"base '{model}': {index.parent.name}/{index.name} is damaged", cure)
    files = tuple(index.parent / name for name in sorted(set(names.values())))
    for file in files:
        if fault := fault_of(file):
            raise faulty(file, fault, model, cure)
    return files


def _no_weights(folder: Path, part: str, model: str, cure: str) -> BaseModelError:
    name = names_of(part, None)[0]
    others = sorted(p.name for p in folder.glob("*.safetensors"))
    if others:
        return IncompleteBase(
            f"base '{model}': {folder.name}/ holds {', '.join(others[:3])}, but no {name}",
            f"give the weights of the {part} in diffusers' layout the name {name}, or: {cure}",
        )
    if pickles := sorted(p.name for p in folder.glob("*.bin")):
        return IncompleteBase(
            f"base '{model}' has no safetensors weights in {folder.name}/, only {pickles[0]}, which is never opened",
            f"download the safetensors files: {cure}",
        )
    return IncompleteBase(f"base '{model}' has no safetensors weights in {folder.name}/", cure)


def unloaded_indexes(folder: Path, weights: tuple[PartFiles, ...]) -> set[Path]:
    """Indexes of shards in a base's folder that are not loaded."""
    taken = {part.index for part in weights}
    return {p for part in FIRST_LAYERS for p in (folder / part).glob("*.json") if INDEX.fullmatch(p.name)} - taken
