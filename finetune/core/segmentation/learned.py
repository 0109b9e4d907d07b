"""Masks by a learned model: rembg's (extra `cutout`), from a file on disk. Called by `finetune.matting.sources`.

Nothing is ever downloaded: rembg would, so its way to a file is replaced by one that was found here. Its models that
send pictures to a service, or answer another question than "what stands in front", are not used.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from finetune.core import fingerprint
from finetune.core.errors import CutoutError, did_you_mean
from finetune.core.pictures.images import Floats

BEST_FIRST = ("birefnet-general", "birefnet-general-lite", "isnet-general-use", "u2net", "silueta", "u2netp")
"""Models looked for where none is named. Not among them: bria-rmbg, whose licence forbids commercial use."""
NOT_OURS = ("sam", "u2net_cloth_seg", "u2net_custom", "dis_custom", "ben_custom", "withoutbg", "atlascloud")
"""Sessions of rembg that want points, tell clothes apart, or ask a service."""
GUIDE_SIDE = 1024
"""Longest side at which the guided filter's coefficients are found."""
GUIDE_RADIUS = 0.006
"""Radius of its windows as a share of that side: twice the cell of a model that sees 320 px."""
FLATNESS = 1e-5
"""Variance of colour (0..1) below which a window counts as flat: its mask is averaged, not fitted."""
UNSURE, SOFT = 0.5, 0.6
"""Spread of values around one half that counts as doubtful, before and after: what lies beyond is wholly in or out."""
INSTALL = "pip install 'packshot[cutout]'"


def find_model(wanted: str, folder: Path) -> Path:
    """The model file of a set.

    Args:
        wanted: a name rembg knows, or the path of an .onnx file; empty for the best on disk.
        folder: what a path is relative to.

    Raises:
        CutoutError: there is no such file; says where to put it.
    """
    if wanted.endswith(".onnx") or "/" in wanted:
        path = folder / Path(wanted).expanduser()
        if not path.is_file():
            raise CutoutError(f"there is no model {path}", "cutout_model is a name, or a path from the set's folder")
        return path
    for name in (wanted,) if wanted else BEST_FIRST:
        for path in _places(name):
            if path.is_file():
                return path
    name = wanted or "u2netp"
    raise CutoutError(
        f"the model '{name}' is not on disk" if wanted else "no model for cutouts is on disk",
        f"put {name}.onnx (from rembg's releases) at {_places(name)[0]}; nothing is downloaded by itself",
    )


def _places(name: str) -> list[Path]:
    """Where rembg keeps a model: the flat folder of all its versions first, then that of the newer ones."""
    home = os.environ.get("U2NET_HOME", "")
    data = os.environ.get("XDG_DATA_HOME", "")
    flat = Path(home or f"{data or '~'}/.u2net").expanduser()
    newer = Path(home or os.environ.get("REMBG_HOME", "") or (f"{data}/rembg" if data else "~/.rembg")).expanduser()
    return [flat / f"{name}.onnx", newer / "models" / name / f"{name}.onnx"]


def model_content(path: Path) -> str:
    """Fingerprint of a model file, read once a process for each state of the file."""
    state = path.stat()
    return _content(path, state.st_size, state.st_mtime_ns)


@functools.lru_cache(maxsize=8)
def _content(path: Path, size: int, changed: int) -> str:
    return fingerprint.of_file(path)


def learned_mask(picture: Image.Image, model: Path) -> Image.Image:
    """What stands in front, mode L at the picture's size, its edges drawn to those of the picture.

    Raises:
        CutoutError: the extra is not installed, rembg does not know the model, the file is damaged, or the model
            finds nothing.
    """
    flat = picture.convert("RGB")
    coarse = _session(model, model.stat().st_mtime_ns).predict(flat)[0].convert("L")
    if coarse.getextrema()[1] < 128:
        raise CutoutError(f"the model {model.stem} finds no product", "give a mask in masks/")
    return drawn_to_edges(flat, coarse)


def drawn_to_edges(picture: Image.Image, coarse: Image.Image) -> Image.Image:
    """A coarse mask with its outline drawn to the edges of the picture: the guided filter, with colour as the guide.

    He, Sun and Tang, "Guided Image Filtering", TPAMI 2013, section 3.4; its coefficients are found on a reduced picture
    and applied to the whole one (He and Sun, "Fast Guided Filter", 2015). Models see 320 to 1024 px, so their outlines
    are several pixels soft on a photo of 3,000.

    Args:
        picture: RGB. coarse: L, of its size.

    Returns:
        L, of its size.
    """
    scale = min(1.0, GUIDE_SIDE / max(picture.size))
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    guide = np.asarray(picture.resize(size, Image.Resampling.BOX), dtype=np.float32) / np.float32(255)
    mask = np.asarray(coarse.resize(size, Image.Resampling.BOX), dtype=np.float32) / np.float32(255)
    mask = np.clip((mask - 0.5) / UNSURE + 0.5, 0, 1).astype(np.float32)
    slopes, offset = _fitted(guide, mask, max(2, round(GUIDE_RADIUS * max(size))))
    values = _enlarged(offset, picture.size)
    for channel in range(3):
        light = np.asarray(picture.getchannel(channel), dtype=np.float32) / np.float32(255)
        values += _enlarged(slopes[..., channel], picture.size) * light
    return Image.fromarray((np.clip((values - 0.5) / SOFT + 0.5, 0, 1) * 255 + 0.5).astype(np.uint8))


def _fitted(guide: Floats, mask: Floats, radius: int) -> tuple[Floats, Floats]:
    """Slopes (H, W, 3) and offset (H, W) of the local linear models mask = slope . colour + offset, averaged."""

    def mean(plane: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(ndimage.uniform_filter(plane, 2 * radius + 1, mode="nearest"))

    colour = np.stack([mean(guide[..., c]) for c in range(3)], axis=-1)
    level = mean(mask)
    slopes, offset = np.zeros_like(guide), level.copy()
    band = (level > 0) & (level < 1)  # elsewhere the mask is constant and so is its model
    together = (
        np.stack([mean(guide[..., c] * mask)[band] for c in range(3)], axis=-1) - colour[band] * level[band, None]
    )
    spread = np.empty((len(together), 3, 3), dtype=np.float32)
    for i in range(3):
        for j in range(3):
            product = mean(guide[..., i] * guide[..., j])[band] - colour[band][:, i] * colour[band][:, j]
            spread[:, i, j] = product + (FLATNESS if i == j else 0)
    slopes[band] = np.linalg.solve(spread, together[..., None])[..., 0]
    offset[band] = level[band] - (slopes[band] * colour[band]).sum(axis=-1)
    return np.stack([mean(slopes[..., c]) for c in range(3)], axis=-1), mean(offset)


def _enlarged(plane: Floats, size: tuple[int, int]) -> Floats:
    return np.array(Image.fromarray(plane).resize(size, Image.Resampling.BILINEAR), dtype=np.float32)


@functools.lru_cache(maxsize=2)
def _session(model: Path, changed: int) -> Any:
    """A session of rembg on a file; a pure function of the file, so it is kept."""
    try:
        import onnxruntime  # rembg ends the whole process when it is missing
        from rembg.sessions import sessions
    except ImportError as error:
        raise CutoutError(f"the learned model needs the extra `cutout` ({error})", INSTALL) from error
    known = {name: kind for name, kind in sessions.items() if name not in NOT_OURS}
    if model.stem not in known:
        near = did_you_mean(model.stem, known) or f"it must be called as one of {', '.join(sorted(known))}"
        raise CutoutError(f"rembg knows no model '{model.stem}'", near)
    found = classmethod(lambda cls, *arguments, **options: str(model))
    on_disk = type("OnDisk", (known[model.stem],), {"download_models": found})
    options = onnxruntime.SessionOptions()
    threads = int(os.environ.get("OMP_NUM_THREADS") or 0)
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    try:
        return on_disk(model.stem, options)
    except Exception as error:  # onnxruntime's own errors have no common ancestor but this
        raise CutoutError(f"{model} is damaged or no model of that name", "copy the file again") from error
