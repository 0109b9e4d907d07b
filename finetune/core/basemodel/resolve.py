"""Which base a reference means, and whether it is on disk, complete, and an SDXL.

A reference is `embedded`, a hub id (`diffusers/stable-diffusion-xl-1.0-inpainting-0.1`), a folder in diffusers'
layout, or a single-file `.safetensors` checkpoint. Only configurations and headers are read, without torch, so that
every complaint comes before anything is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from finetune.core import fingerprint
from finetune.core.basemodel import architecture, folder_layout, hub_cache
from finetune.core.basemodel.base_files import (
    DEAD_LINK,
    IncompleteBase,
    fault_of,
    faulty,
    read_header,
    read_json,
    sampled_fingerprint,
)
from finetune.core.basemodel.separate_vae import SeparateVae, resolve_vae
from finetune.core.basemodel.weight_files import PartFiles
from finetune.core.errors import BaseModelError
from finetune.core.storage.safetensors_header import SafetensorsHeader
from finetune.core.text_files import expanded

EMBEDDED = "embedded"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
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
    fingerprint: str
    """Content of the configurations and (sampled) of the weights that are loaded."""
    weights: tuple[PartFiles, ...] = ()
    """What each part is loaded from; empty for a single file."""
    former_fingerprints: tuple[str, ...] = ()
    """Fingerprints that earlier versions gave this base, where unloaded files counted; adapters may name them."""
    vae: SeparateVae | None = None
    """A VAE that takes the place of the base's own (`base.vae`)."""
    zero_snr: bool = False
    """Whether its noise schedule ends in pure noise (`rescale_betas_zero_snr`, arXiv 2305.08891)."""

    @property
    def name(self) -> str:
        """Short name for talk and manifests."""
        return self.model if HUB_ID.fullmatch(self.model) or self.model == EMBEDDED else self.path.name

    def summary(self) -> dict[str, Any]:
        """What manifests record of a base."""
        recorded = {
            "model": self.model,
            "revision": self.revision,
            "channels": self.channels,
            "size": self.size,
            "prediction_type": self.prediction_type,
            "fingerprint": self.fingerprint,
        }
        return recorded | ({"vae": self.vae.reference} if self.vae else {})


def resolve_base(model: str, revision: str = "", vae: str = "", *, offline: bool = False) -> ResolvedBase:
    """Find a base on disk, or fetch a hub id where the network allows.

    Args:
        model: A reference to a base.
        revision: Of a hub model.
        vae: A folder or file whose VAE takes the place of the base's; empty for the base's own.
        offline: Whether to look on this disk alone.

    Raises:
        BaseModelError: not there, incomplete, or no SDXL model.
    """
    base = _resolve_alone(model, revision, offline)
    if not vae:
        return base
    separate = resolve_vae(vae, base.config / "vae")
    both = fingerprint.of_value([base.fingerprint, {"vae": separate.fingerprint}])
    return replace(base, vae=separate, fingerprint=both, former_fingerprints=())


def resolve_recorded(summary: dict[str, Any], model: str = "", vae: str = "") -> ResolvedBase:
    """The base that a manifest names, or another one in its place.

    Args:
        summary: What `ResolvedBase.summary` recorded; may be empty.
        model: A reference given instead; empty for the recorded one.
        vae: The same for the separate VAE.

    Raises:
        BaseModelError: As `resolve_base`.
    """
    vae = vae or str(summary.get("vae", ""))
    if model:
        return resolve_base(model, vae=vae)
    return resolve_base(str(summary.get("model", EMBEDDED)), str(summary.get("revision", "")), vae)


def _resolve_alone(model: str, revision: str, offline: bool) -> ResolvedBase:
    if model == EMBEDDED:
        return _from_folder(EMBEDDED, "", Path(__file__).resolve().parents[2] / "embedded")
    path = expanded(model)
    if path.is_dir():
        return _from_folder(model, "", path.resolve())
    if path.is_file():
        return resolve_single_file(model, path.resolve())
    if fault_of(path) == DEAD_LINK:
        raise faulty(path, DEAD_LINK, model, hub_cache.completing(path.absolute(), ""))
    if path.suffix in (".safetensors", ".ckpt") or model.startswith((".", "/", "~")) or not HUB_ID.fullmatch(model):
        raise BaseModelError(f"no base at '{model}'", "give a folder, a .safetensors file, a hub id, or `embedded`")
    if offline and (cached := hub_cache.cached_snapshot(model, revision)):
        return _from_folder(model, revision, cached)
    return _from_hub(model, revision)


def locate_base(model: str, revision: str = "") -> Path | None:
    """Where a base lies on disk, complete or not; None where nothing is. The network is never asked.

    Args:
        model: A reference as `resolve_base` takes it.
        revision: Of a hub model.
    """
    if model == EMBEDDED:
        return resolve_base(EMBEDDED).path
    path = expanded(model)
    if path.exists() or path.is_symlink():
        return path.absolute()
    return hub_cache.cached_snapshot(model, revision) if HUB_ID.fullmatch(model) else None


def _from_hub(model: str, revision: str) -> ResolvedBase:
    """A hub model out of the local cache; what is missing there is downloaded where that is possible."""
    cached = hub_cache.cached_snapshot(model, revision)
    if cached is None:
        return _from_folder(model, revision, hub_cache.download(model, revision))
    try:
        return _from_folder(model, revision, cached)
    except IncompleteBase as incomplete:
        try:
            folder = hub_cache.download(model, revision)
        except BaseModelError:
            raise incomplete from None  # it names the file, and the command that brings it
    return _from_folder(model, revision, folder)


def _from_folder(model: str, revision: str, folder: Path) -> ResolvedBase:
    layout = folder_layout.read_layout(folder, model, hub_cache.completing(folder, revision))
    content = folder_layout.content_fingerprint(folder, layout)
    former = folder_layout.former_fingerprint(folder, layout)
    return ResolvedBase(
        model=model,
        revision=revision,
        path=folder,
        layout="folder",
        config=folder,
        channels=int(layout.unet["in_channels"]),
        size=int(layout.unet["sample_size"]) * 2 ** (len(layout.vae["block_out_channels"]) - 1),
        prediction_type=str(layout.scheduler.get("prediction_type", "epsilon")),
        fingerprint=content,
        weights=layout.weights,
        former_fingerprints=() if former in ("", content) else (former,),
        zero_snr=bool(layout.scheduler.get("rescale_betas_zero_snr", False)),
    )


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
        kept = [base.fingerprint, hash_of(base.path)]
        return fingerprint.of_value([*kept, *(hash_of(f) for f in base.vae.files)] if base.vae else kept)
    entries: list[Any] = []
    weights = {each.part: each for each in base.weights}
    for part in parts:
        if part == "vae" and base.vae:
            entries.append([fingerprint.of_file(base.vae.config / "config.json"), *map(hash_of, base.vae.files)])
            continue
        entries.append(folder_layout.small_files(base.path, part, weights.get(part)))
        entries.append([hash_of(f) for f in weights[part].files] if part in weights else [])
    return fingerprint.of_value(entries)


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
    header = read_header(path, model)
    channels = architecture.check_single_file(header.shapes, path.name)
    config = config or single_file_config(channels, model)
    unet, vae = (read_json(config / part / "config.json", model) for part in ("unet", "vae"))
    return ResolvedBase(
        model=model,
        revision="",
        path=path,
        layout="single-file",
        config=config,
        channels=int(unet["in_channels"]),
        size=int(unet["sample_size"]) * 2 ** (len(vae["block_out_channels"]) - 1),
        prediction_type=_marked_prediction_type(header),
        fingerprint=sampled_fingerprint(path),
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
