"""Which base a reference means, and whether it is on disk, complete, and an SDXL.

A reference is `embedded`, a hub id (`diffusers/stable-diffusion-xl-1.0-inpainting-0.1`), a folder in diffusers'
layout, or a single-file `.safetensors` checkpoint. Only configurations and headers are read, without torch, so that
every complaint comes before anything is loaded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from finetune.core import fingerprint
from finetune.core.basemodel import architecture
from finetune.core.errors import BaseModelError
from finetune.core.storage.safetensors_header import SafetensorsHeader, UnreadableHeader, read_safetensors_header

EMBEDDED = "embedded"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
PARTS = ("unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler")
SAMPLED_BLOCKS, BLOCK = 64, 1 << 16
VOCABULARIES = (("tokenizer.json",), ("vocab.json", "merges.txt"))

V_PREDICTION_KEY, ZERO_SNR_KEY = "v_pred", "ztsnr"
"""Empty tensors by which fine-tuners mark a checkpoint's objective."""


@dataclass(frozen=True)
class ResolvedBase:
    """A base that is on disk."""

    model: str
    """The reference as the user gave it."""
    revision: str
    path: Path
    layout: Literal["folder", "single-file"]
    config: Path
    """Folder of its configuration files: `path` itself, or for a single file the shipped one of SDXL."""
    channels: int
    """Input channels of the UNet: 9 paints masks by design, 4 is a plain SDXL."""
    size: int
    """Native side in pixels: 1024 for SDXL, 256 for the embedded base."""
    prediction_type: str
    variant: str | None
    """`fp16` where only such weight files are there."""
    fingerprint: str
    """Content of the configurations and (sampled) of the weights."""
    zero_snr: bool = False
    """Whether its noise schedule ends in pure noise (`rescale_betas_zero_snr`, arXiv 2305.08891)."""

    @property
    def name(self) -> str:
        """Short name for talk and manifests."""
        return self.model if HUB_ID.fullmatch(self.model) or self.model == EMBEDDED else self.path.name

    def summary(self) -> dict[str, Any]:
        """What manifests record of a base."""
        return {
            "model": self.model,
            "revision": self.revision,
            "channels": self.channels,
            "size": self.size,
            "prediction_type": self.prediction_type,
            "fingerprint": self.fingerprint,
        }


def resolve_base(model: str, revision: str = "") -> ResolvedBase:
    """Find a base on disk, or fetch a hub id where the network allows.

    Raises:
        BaseModelError: not there, incomplete, or no SDXL model.
    """
    if model == EMBEDDED:
        return _from_folder(EMBEDDED, "", Path(__file__).resolve().parents[2] / "embedded")
    path = Path(model).expanduser()
    if path.is_dir():
        return _from_folder(model, "", path.resolve())
    if path.is_file():
        return resolve_single_file(model, path.resolve())
    if path.suffix in (".safetensors", ".ckpt") or model.startswith((".", "/", "~")) or not HUB_ID.fullmatch(model):
        raise BaseModelError(f"no base at '{model}'", "give a folder, a .safetensors file, a hub id, or `embedded`")
    return _from_folder(model, revision, _hub_snapshot(model, revision))


def _hub_snapshot(model: str, revision: str) -> Path:
    """Folder of a hub model in the local cache; downloaded first where that is possible."""
    from huggingface_hub import snapshot_download

    wanted = ["*.json", "*/*.json", "*/*.txt", "*/*.fp16.safetensors"]
    try:
        return Path(snapshot_download(model, revision=revision or None, local_files_only=True, allow_patterns=wanted))
    except Exception:  # not in the cache: any reason is answered by asking the hub
        pass
    try:
        return Path(snapshot_download(model, revision=revision or None, allow_patterns=wanted))
    except Exception as error:
        raise BaseModelError(
            f"base '{model}' is not on disk and the hub can't be reached ({type(error).__name__})",
            f"on a machine with network, run: hf download {model} --include '*.json' --include '*/*.txt' "
            "--include '*/*.fp16.safetensors'; or use a copy with --set base.model=FOLDER; "
            "`--config embedded` needs no SDXL",
        ) from error


def _from_folder(model: str, revision: str, folder: Path) -> ResolvedBase:
    index = _read_json(folder / "model_index.json", model)
    missing = [p for p in PARTS if p not in index or not (folder / p).is_dir()]
    if "StableDiffusionXL" not in str(index.get("_class_name", "")) or missing:
        what = f"lacks {', '.join(missing)}" if missing else f"is a {index.get('_class_name')}"
        raise BaseModelError(f"base '{model}' is not a complete SDXL model: it {what}", "Packshot trains SDXL only")
    unet = _read_json(folder / "unet" / "config.json", model)
    vae = _read_json(folder / "vae" / "config.json", model)
    scheduler = _read_json(folder / "scheduler" / "scheduler_config.json", model)
    architecture.check_architecture(index, unet, vae, scheduler, model)
    _check_vocabulary(folder, model)
    weights = {part: _weight_files(folder / part, model) for part in architecture.FIRST_LAYERS}
    return ResolvedBase(
        model=model,
        revision=revision,
        path=folder,
        layout="folder",
        config=folder,
        channels=int(unet["in_channels"]),
        size=int(unet["sample_size"]) * 2 ** (len(vae["block_out_channels"]) - 1),
        prediction_type=str(scheduler.get("prediction_type", "epsilon")),
        variant="fp16" if all(".fp16." in f.name for files in weights.values() for f in files) else None,
        fingerprint=_folder_fingerprint(folder, weights),
        zero_snr=bool(scheduler.get("rescale_betas_zero_snr", False)),
    )


def _check_vocabulary(folder: Path, model: str) -> None:
    for part in ("tokenizer", "tokenizer_2"):
        if not any(all((folder / part / name).is_file() for name in names) for names in VOCABULARIES):
            raise BaseModelError(f"base '{model}' has no vocabulary in {part}/", architecture.INCOMPLETE)


def _weight_files(folder: Path, model: str) -> list[Path]:
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise BaseModelError(f"base '{model}' has no safetensors weights in {folder.name}/", architecture.INCOMPLETE)
    chosen = [f for f in files if ".fp16." not in f.name] or files
    shapes: dict[str, tuple[int, ...]] = {}
    for file in chosen:  # a download that broke off is noticed now, not when it is loaded
        shapes |= _header(file, model).shapes
    architecture.check_weights(folder.name, shapes, _read_json(folder / "config.json", model), model)
    return chosen


def _folder_fingerprint(folder: Path, weights: dict[str, list[Path]]) -> str:
    configs = {p.relative_to(folder).as_posix(): fingerprint.of_file(p) for p in sorted(folder.glob("*/*.json"))}
    return fingerprint.of_value([configs, {k: [_sampled(f) for f in v] for k, v in weights.items()}])


def part_fingerprint(base: ResolvedBase, *parts: str, hash_of: Callable[[Path], str] = fingerprint.of_file) -> str:
    """Fingerprint of some parts of a base (`vae`, `text_encoder`, ...): what a cache's key needs, and no more.

    Every byte counts, also of weight files of which `ResolvedBase.fingerprint` reads only a sample. All parts of a
    single-file checkpoint have the same fingerprint.

    Args:
        base: The base.
        parts: Names of its folders.
        hash_of: Gives a file's fingerprint; replaced by a caller that remembers them.
    """
    if base.layout == "single-file":
        return fingerprint.of_value([base.fingerprint, hash_of(base.path)])
    entries: list[Any] = []
    for part in parts:
        folder = base.path / part
        small = sorted(folder.glob("*.json")) + sorted(folder.glob("*.txt"))
        entries.append([fingerprint.of_file(p) for p in small])
        entries.append([hash_of(f) for f in sorted(folder.glob("*.safetensors"))])
    return fingerprint.of_value(entries)


def _sampled(path: Path) -> str:
    """Fingerprint of a weight file: whole up to 64 MiB, else its size, header and 64 blocks spread evenly."""
    size = path.stat().st_size
    if size <= 64 << 20:
        return fingerprint.of_file(path)
    pieces = [str(size).encode()]
    with path.open("rb") as handle:
        for index in range(SAMPLED_BLOCKS + 1):
            handle.seek(index * (size - BLOCK) // SAMPLED_BLOCKS)
            pieces.append(handle.read(BLOCK))
    return fingerprint.of_bytes(b"".join(pieces))


def resolve_single_file(model: str, path: Path, config: Path | None = None) -> ResolvedBase:
    """A checkpoint in the original layout, all parts in one file; only its header is read.

    Args:
        model: The reference as the user gave it.
        path: The file.
        config: Folder of configuration files; by default SDXL's own with as many input channels as the file has.
            Another one describes a smaller model of the same architecture.

    Raises:
        BaseModelError: It is cut short, or not an SDXL checkpoint.
    """
    header = _header(path, model)
    channels = architecture.check_single_file(header.shapes, path.name)
    config = config or single_file_config(channels, model)
    unet, vae = (_read_json(config / part / "config.json", model) for part in ("unet", "vae"))
    return ResolvedBase(
        model=model,
        revision="",
        path=path,
        layout="single-file",
        config=config,
        channels=int(unet["in_channels"]),
        size=int(unet["sample_size"]) * 2 ** (len(vae["block_out_channels"]) - 1),
        prediction_type=_marked_prediction_type(header),
        variant=None,
        fingerprint=_sampled(path),
        zero_snr=ZERO_SNR_KEY in header.shapes,
    )


def _marked_prediction_type(header: SafetensorsHeader) -> str:
    """What a checkpoint says its UNet predicts: by the empty tensor `v_pred`, or by Stability's modelspec metadata."""
    marked = V_PREDICTION_KEY in header.shapes or header.metadata.get("modelspec.prediction_type") == "v"
    return "v_prediction" if marked else "epsilon"


def single_file_config(channels: int, model: str) -> Path:
    """Folder of the shipped SDXL configuration with that many UNet input channels (sources in its README)."""
    kind = "inpaint" if architecture.checked_channels(channels, model) == 9 else "base"
    return Path(__file__).resolve().parent / "sdxl" / kind


def _header(path: Path, model: str) -> SafetensorsHeader:
    """The header of a weight file.

    Raises:
        BaseModelError: It is not a safetensors file (pickled checkpoints are never opened), or it is cut short.
    """
    try:
        return read_safetensors_header(path)
    except UnreadableHeader as error:
        if error.cut:
            found = f"{path.name} has {path.stat().st_size} bytes, which is not the size its header describes"
            raise BaseModelError(f"'{model}' is damaged: {found}", "download it again") from error
        raise BaseModelError(
            f"'{model}' is not a safetensors file", "convert it first; pickles are not opened"
        ) from error
    except OSError as error:
        raise BaseModelError(f"{path} can't be read: {error.strerror or error}", "check its permissions") from error


def _read_json(path: Path, model: str) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BaseModelError(
            f"base '{model}' has no {path.parent.name}/{path.name}", "a base folder must have diffusers' layout"
        ) from error
    except ValueError as error:
        raise BaseModelError(f"base '{model}': {path.name} is damaged", "download it again") from error
    if not isinstance(data, dict):
        raise BaseModelError(f"base '{model}': {path.name} is damaged", "download it again")
    return data
