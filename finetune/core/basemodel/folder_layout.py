"""A base in diffusers' folder layout: whether all that loading opens is there, and the fingerprint of it.

Everything a folder lacks is named at once, with what completes it; nothing is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.core import fingerprint
from finetune.core.basemodel import architecture
from finetune.core.basemodel.base_files import (
    MISSING,
    PARTS,
    IncompleteBase,
    fault_of,
    faulty,
    read_header,
    read_json,
    sampled_fingerprint,
)
from finetune.core.basemodel.weight_files import PartFiles, find_weights, unloaded_indexes
from finetune.core.errors import BaseModelError

INDEX = "model_index.json"
CONFIGS = dict.fromkeys(architecture.FIRST_LAYERS, "config.json") | {"scheduler": "scheduler_config.json"}
TOKENIZERS = ("tokenizer", "tokenizer_2")
TOKENIZER_CONFIG = "tokenizer_config.json"
VOCABULARIES = (("tokenizer.json",), ("vocab.json", "merges.txt"))
CLASSES = {
    "unet": "UNet2DConditionModel",
    "vae": "AutoencoderKL",
    "text_encoder": "CLIPTextModel",
    "text_encoder_2": "CLIPTextModelWithProjection",
}
SDXL_ONLY = "Packshot trains SDXL only; give an SDXL base or inpainting model"
NULL_SETTING = "force_zeros_for_empty_prompt"
"""Setting of the index: whether an empty prompt is zeros, as SDXL's own index says, or what the encoders answer."""


@dataclass(frozen=True)
class FolderLayout:
    """What a base's folder says, and what is loaded of it."""

    index: dict[str, Any]
    unet: dict[str, Any]
    vae: dict[str, Any]
    scheduler: dict[str, Any]
    weights: tuple[PartFiles, ...]


def read_layout(folder: Path, model: str, cure: str) -> FolderLayout:
    """Read a base's configurations and the headers of the weights that loading is going to open.

    Args:
        folder: The base's.
        model: The base, for messages.
        cure: What completes the download, for hints.

    Raises:
        BaseModelError: Files are missing, damaged, or not SDXL's.
    """
    index = read_index(folder, model, cure)
    for path in required_files(folder):
        if (fault := fault_of(path)) and fault != MISSING:
            raise faulty(path, fault, model, cure)
    if missing := [path for path in required_files(folder) if fault_of(path)]:
        names = ", ".join(path.relative_to(folder).as_posix() for path in missing)
        raise IncompleteBase(f"base '{model}' is not complete: it lacks {names}", cure)
    unet, vae = (read_json(folder / part / CONFIGS[part], model, cure) for part in ("unet", "vae"))
    scheduler = read_json(folder / "scheduler" / CONFIGS["scheduler"], model, cure)
    architecture.check_architecture(index, unet, vae, scheduler, model)
    weights = tuple(find_weights(folder / part, model, cure) for part in architecture.FIRST_LAYERS)
    for part in weights:
        _check_part(folder, part, model, cure)
    return FolderLayout(index, unet, vae, scheduler, weights)


def read_index(folder: Path, model: str, cure: str) -> dict[str, Any]:
    """The content of `model_index.json`, once it is that of an SDXL.

    Raises:
        BaseModelError: There is none, or it is another model's.
    """
    if fault_of(folder / INDEX) == MISSING:
        raise _no_index(folder, model, cure)
    index = read_json(folder / INDEX, model, cure)
    if "StableDiffusionXL" not in str(index.get("_class_name", "")):
        raise BaseModelError(f"base '{model}' is not an SDXL model: it is a {index.get('_class_name')}", SDXL_ONLY)
    if unnamed := [part for part in PARTS if not _class_of(index, part)]:
        raise BaseModelError(
            f"base '{model}' is not a complete SDXL model: it lacks {', '.join(unnamed)} in {INDEX}", SDXL_ONLY
        )
    for part, wanted in CLASSES.items():
        if (found := _class_of(index, part)) != wanted:
            raise BaseModelError(
                f"base '{model}' is not an SDXL model: its {part} is a {found}, not {wanted}", SDXL_ONLY
            )
    return index


def _class_of(index: dict[str, Any], part: str) -> str:
    entry = index.get(part)
    return str(entry[1] or "") if isinstance(entry, list) and len(entry) == 2 else ""


def _no_index(folder: Path, model: str, cure: str) -> BaseModelError:
    """Why a folder without an index is no base: often the base is inside it."""
    checkpoints = sorted(p.name for p in folder.glob("*.safetensors"))
    if checkpoints and not any((folder / part).is_dir() for part in PARTS):
        count = "a checkpoint" if len(checkpoints) == 1 else f"{len(checkpoints)} checkpoints"
        return BaseModelError(
            f"'{model}' is a folder that holds {count}, not a base in diffusers' layout",
            f"give the file: {' or '.join(str(Path(model) / name) for name in checkpoints[:3])}",
        )
    if inside := sorted(p.parent.name for p in folder.glob(f"*/{INDEX}")):
        return BaseModelError(
            f"'{model}' is a folder around a base: {INDEX} is in {inside[0]}/",
            f"give {' or '.join(str(Path(model) / name) for name in inside[:3])}",
        )
    if any((folder / part).is_dir() for part in PARTS):
        return IncompleteBase(f"base '{model}' is not complete: it lacks {INDEX}", cure)
    return IncompleteBase(f"'{model}' is no base: it holds no {INDEX}", "a base folder must have diffusers' layout")


def required_files(folder: Path) -> list[Path]:
    """Configurations and vocabularies that loading opens, there or not."""
    wanted = [folder / part / name for part, name in CONFIGS.items()]
    for part in TOKENIZERS:
        start = [names for names in VOCABULARIES if fault_of(folder / part / names[0]) != MISSING]
        wanted += [folder / part / name for name in (start or VOCABULARIES[1:])[0]]
    return wanted


def _check_part(folder: Path, part: PartFiles, model: str, cure: str) -> None:
    """Hold the headers of a part's files against its index and its configuration."""
    shapes: dict[str, tuple[int, ...]] = {}
    for file in part.files:  # a download that broke off is noticed now, not when it is loaded
        shapes |= read_header(file, model).shapes
    if part.index:
        named = read_json(part.index, model, cure)["weight_map"]
        if absent := sorted(named.keys() - shapes.keys()):
            raise IncompleteBase(
                f"base '{model}': {part.part}/{named[absent[0]]} lacks {absent[0]}, which {part.index.name} names", cure
            )
    architecture.check_weights(part.part, shapes, read_json(folder / part.part / "config.json", model, cure), model)


def content_fingerprint(folder: Path, layout: FolderLayout) -> str:
    """Fingerprint of what is loaded: configurations, and each part's weights (large files by samples).

    Args:
        folder: The base's.
        layout: What `read_layout` found there.
    """
    unloaded = unloaded_indexes(folder, layout.weights)
    small = [path for path in sorted(folder.glob("*/*.json")) if path not in unloaded]
    configs = {p.relative_to(folder).as_posix(): fingerprint.of_file(p) for p in small if p.is_file()}
    for part in TOKENIZERS:
        configs.setdefault(f"{part}/{TOKENIZER_CONFIG}", fingerprint.of_file(standard_tokenizer(part)))
    weights = {part.part: [sampled_fingerprint(file) for file in part.files] for part in layout.weights}
    content: list[Any] = [configs, weights]
    if not layout.index.get(NULL_SETTING, True):
        content.append({NULL_SETTING: False})
    return fingerprint.of_value(content)


def former_fingerprint(folder: Path, layout: FolderLayout) -> str:
    """What earlier versions called this folder, who counted all configurations and every plain weight file.

    Args:
        folder: The base's.
        layout: What `read_layout` found there.

    Returns:
        Empty where they refused it, or where no file is there that only they counted.
    """
    weights: dict[str, list[Path]] = {}
    for part in architecture.FIRST_LAYERS:
        files = sorted((folder / part).glob("*.safetensors"))
        weights[part] = [file for file in files if ".fp16." not in file.name] or files
    same = all(weights[part.part] == list(part.files) for part in layout.weights)
    same = same and all((folder / part / TOKENIZER_CONFIG).is_file() for part in TOKENIZERS)
    if same and layout.index.get(NULL_SETTING, True) and not unloaded_indexes(folder, layout.weights):
        return ""
    small = sorted(folder.glob("*/*.json"))
    if any(fault_of(path) for path in [*small, *(file for files in weights.values() for file in files)]):
        return ""
    configs = {p.relative_to(folder).as_posix(): fingerprint.of_file(p) for p in small}
    sampled = {part: [sampled_fingerprint(file) for file in files] for part, files in weights.items()}
    return fingerprint.of_value([configs, sampled])


def standard_tokenizer(part: str) -> Path:
    """SDXL's own configuration of a tokenizer, which holds where a base has none."""
    return Path(__file__).resolve().parent / "sdxl" / "base" / part / TOKENIZER_CONFIG


def small_files(folder: Path, part: str, weights: PartFiles | None) -> list[str]:
    """Fingerprints of a part's configurations and vocabulary.

    Args:
        folder: The base's.
        part: Name of the part's folder.
        weights: What it is loaded from, where it has weights.
    """
    unloaded = unloaded_indexes(folder, (weights,) if weights else ())
    found = [path for path in sorted((folder / part).glob("*.json")) if path not in unloaded]
    if part in TOKENIZERS and not (folder / part / TOKENIZER_CONFIG).is_file():
        found = sorted([*found, standard_tokenizer(part)], key=lambda path: path.name)
    return [fingerprint.of_file(path) for path in [*found, *sorted((folder / part).glob("*.txt"))]]
