"""A VAE of its own in place of the base's: `base.vae`, a folder in diffusers' layout or a single file.

It has to be SDXL's architecture with the base's scale of latents, since the UNet and the adapter know no other latents.
Only configurations and headers are read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.core.basemodel import architecture
from finetune.core.basemodel.base_files import fault_of, faulty, read_header, read_json, sampled_fingerprint
from finetune.core.basemodel.weight_files import find_weights
from finetune.core.errors import BaseModelError
from finetune.core.fingerprint import of_file, of_value
from finetune.core.text_files import expanded

ORIGINAL_PREFIX = "first_stage_model."
"""Beginning of a VAE's keys in a checkpoint that holds more than the VAE."""
ORIGINAL_LAYER, DIFFUSERS_LAYER = "encoder.down.0.block.0.conv1.weight", "encoder.down_blocks.0.resnets.0.conv1.weight"
DEFAULT_SCALE = 0.18215
"""diffusers' scaling factor where a configuration names none: that of the first Stable Diffusion."""
SAME = ("in_channels", "out_channels", "latent_channels", "block_out_channels", "layers_per_block")
HINT = "give the folder of an SDXL VAE in diffusers' layout, or its .safetensors file"


@dataclass(frozen=True)
class SeparateVae:
    """A VAE that is on disk, as it is loaded."""

    reference: str
    """As the user gave it."""
    path: Path
    """Its folder, or its file."""
    config: Path
    """Folder of its `config.json`; for a file the base's own VAE folder."""
    files: tuple[Path, ...]
    variant: str | None
    fingerprint: str
    """Content of its configuration and (sampled) of its weights."""

    @property
    def single_file(self) -> bool:
        """Whether it is a file, not a folder."""
        return self.path.is_file()


def resolve_vae(reference: str, own: Path) -> SeparateVae:
    """Find a VAE on disk and hold it against the one it replaces.

    Args:
        reference: A folder with `config.json` and weights, a base with a `vae/` folder, or a `.safetensors` file.
        own: The folder of the base's own VAE, or of the configuration that stands for it.

    Raises:
        BaseModelError: It is not there, incomplete, or no VAE of this base's latents.
    """
    path = expanded(reference)
    if path.is_dir():
        return _from_folder(reference, path.resolve(), own)
    if path.is_file():
        return _from_file(reference, path.resolve(), own)
    if path.is_symlink():
        raise faulty(path, fault_of(path), reference, "download the complete VAE again")
    raise BaseModelError(f"there is no VAE at '{reference}'", HINT)


def _from_folder(reference: str, folder: Path, own: Path) -> SeparateVae:
    if not (folder / "config.json").exists() and (folder / "vae").is_dir():
        folder = folder / "vae"
    cure = "download the complete VAE again"
    config = read_json(folder / "config.json", reference, cure)
    _check_config(config, read_json(own / "config.json", reference), reference)
    found = find_weights(folder, reference, cure, part="vae")
    shapes: dict[str, tuple[int, ...]] = {}
    for file in found.files:
        shapes |= read_header(file, reference).shapes
    architecture.check_weights("vae", shapes, config, reference)
    content = [of_file(folder / "config.json"), [sampled_fingerprint(file) for file in found.files]]
    return SeparateVae(reference, folder, folder, found.files, found.variant, of_value(content))


def _from_file(reference: str, path: Path, own: Path) -> SeparateVae:
    shapes = read_header(path, reference).shapes
    names = {name.removeprefix(ORIGINAL_PREFIX) for name in shapes}
    if not names & {ORIGINAL_LAYER, DIFFUSERS_LAYER}:
        raise BaseModelError(f"'{reference}' is not a VAE: it lacks {DIFFUSERS_LAYER}", HINT)
    config = read_json(own / "config.json", reference)
    first = next(shape for name, shape in shapes.items() if name.endswith("encoder.conv_in.weight"))
    if first[:2] != (config["block_out_channels"][0], config["in_channels"]):
        raise BaseModelError(
            f"VAE '{reference}' has another architecture than the base's: its first layer is {list(first[:2])}, "
            f"not {[config['block_out_channels'][0], config['in_channels']]}",
            HINT,
        )
    return SeparateVae(reference, path, own, (path,), None, of_value(["file", sampled_fingerprint(path)]))


def _check_config(config: dict[str, Any], own: dict[str, Any], reference: str) -> None:
    scale, wanted = (float(each.get("scaling_factor", DEFAULT_SCALE)) for each in (config, own))
    differing = [name for name in SAME if config.get(name) != own.get(name)]
    if differing or config.get("latents_mean") or config.get("latents_std"):
        what = ", ".join(differing) or "latents_mean and latents_std"
        raise BaseModelError(f"VAE '{reference}' has another architecture than the base's ({what} differ)", HINT)
    if abs(scale - wanted) > 1e-6:
        raise BaseModelError(
            f"VAE '{reference}' makes latents of another scale: its scaling_factor is {scale:g}, the base's {wanted:g}",
            HINT,
        )
