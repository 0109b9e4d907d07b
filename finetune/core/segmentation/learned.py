"""Product masks by a learned model of rembg (extra `cutout`), from a file on disk.

Nothing is downloaded: rembg would do so, so its look-up of the model file is replaced by ours. Models of rembg that
send pictures to a service, or answer another question than "what is in front", are not used.
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
from finetune.core.text_files import expanded

BEST_FIRST = ("birefnet-general", "birefnet-general-lite", "isnet-general-use", "u2net", "silueta", "u2netp")
"""Models looked for if none is named. bria-rmbg is not among them: its licence forbids commercial use."""
NOT_OURS = ("sam", "u2net_cloth_seg", "u2net_custom", "dis_custom", "ben_custom", "withoutbg", "atlascloud")
"""Models of rembg that need points, segment clothes, or call a service."""
GUIDE_SIDE = 1024
"""Longer side in pixels at which the guided filter's coefficients are computed."""
GUIDE_RADIUS = 0.006
"""Radius of its windows as a share of that side: twice the cell of a model that sees 320 px."""
FLATNESS = 1e-5
"""Variance of colour (0..1) below which a window counts as flat: its mask is averaged, not fitted."""
UNSURE, SOFT = 0.5, 0.6
"""Width of the range of mask values around one half that stays soft, before and after filtering; values beyond it
become 0 or 1."""
INSTALL = "pip install 'packshot[cutout]'"


def find_model(wanted: str, folder: Path) -> Path:
    """Find the file of a learned model.

    Args:
        wanted: a name rembg knows, or the path of an .onnx file; empty for the best on disk.
        folder: which a path is relative to.

    Raises:
        CutoutError: there is no such file; the hint says where to put it.
    """
    if wanted.endswith(".onnx") or "/" in wanted:
        path = folder / expanded(wanted)
        if not path.is_file():
            hint = "cutout_model is a name, or a path relative to the set's folder"
            raise CutoutError(f"there is no model {path}", hint)
        return path
    for name in (wanted,) if wanted else BEST_FIRST:
        for path in _places(name):
            if path.is_file():
                return path
    name = wanted or "u2netp"
    raise CutoutError(
        f"the model '{name}' is not on disk" if wanted else "no cutout model is on disk",
        f"download {name}.onnx from rembg's releases to {_places(name)[0]}; Packshot downloads nothing itself",
    )


def _places(name: str) -> list[Path]:
    """Paths where rembg keeps a model: the flat folder that all its versions use, then that of the newer ones."""
    home = os.environ.get("U2NET_HOME", "")
    data = os.environ.get("XDG_DATA_HOME", "")
    flat = expanded(home or f"{data or '~'}/.u2net")
    newer = expanded(home or os.environ.get("REMBG_HOME", "") or (f"{data}/rembg" if data else "~/.rembg"))
    return [flat / f"{name}.onnx", newer / "models" / name / f"{name}.onnx"]


def model_content(path: Path) -> str:
    """Fingerprint of a model file; each state of the file is read once per process."""
    state = path.stat()
    return _content(path, state.st_size, state.st_mtime_ns)


@functools.lru_cache(maxsize=8)
def _content(path: Path, size: int, changed: int) -> str:
    return fingerprint.of_file(path)


def learned_mask(picture: Image.Image, model: Path) -> Image.Image:
    """Segment what is in front, and align the mask's outline with the edges of the picture.

    Args:
        picture: of any mode.
        model: its .onnx file.

    Returns:
        Mode L, of the picture's size.

    Raises:
        CutoutError: the extra is not installed, rembg does not know the model, the file is damaged, or the model
            finds nothing.
    """
    flat = picture.convert("RGB")
    coarse = _session(model, model.stat().st_mtime_ns).predict(flat)[0].convert("L")
    if coarse.getextrema()[1] < 128:
        raise CutoutError(f"the model {model.stem} finds no product", "add a mask in masks/")
    return align_to_edges(flat, coarse)


def align_to_edges(picture: Image.Image, coarse: Image.Image) -> Image.Image:
    """Align the outline of a coarse mask with the edges of the picture: the guided filter, with colour as the guide.

    He, Sun and Tang, "Guided Image Filtering", TPAMI 2013, section 3.4; its coefficients are computed on a reduced
    picture and applied to the whole one (He and Sun, "Fast Guided Filter", 2015). Models see 320 to 1024 px, so
    their outlines are several pixels soft on a photo of 3,000.

    Args:
        picture: RGB.
        coarse: L, of its size.

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
    """Averaged slopes (H, W, 3) and offset (H, W) of the local linear models mask = slope . colour + offset.

    Args:
        guide: (H, W, 3) in 0..1.
        mask: (H, W) in 0..1.
        radius: of the windows in pixels.
    """

    def mean(plane: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(ndimage.uniform_filter(plane, 2 * radius + 1, mode="nearest"))

    colour = np.stack([mean(guide[..., c]) for c in range(3)], axis=-1)
    level = mean(mask)
    slopes, offset = np.zeros_like(guide), level.copy()
    band = (level > 0) & (level < 1)  # elsewhere the mask is constant, and so is its model
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
    """A session of rembg for a model file, kept because it depends on the file alone."""
    try:
        import onnxruntime  # rembg ends the whole process when it is missing
        from rembg.sessions import sessions
    except ImportError as error:
        raise CutoutError(f"the learned model needs the extra `cutout` ({error})", INSTALL) from error
    known = {name: kind for name, kind in sessions.items() if name not in NOT_OURS}
    if model.stem not in known:
        near = did_you_mean(model.stem, known) or f"name the file after one of {', '.join(sorted(known))}"
        raise CutoutError(f"rembg knows no model '{model.stem}'", near)
    found = classmethod(lambda cls, *arguments, **options: str(model))
    on_disk = type("OnDisk", (known[model.stem],), {"download_models": found})
    options = onnxruntime.SessionOptions()
    threads = int(os.environ.get("OMP_NUM_THREADS") or 0)
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    try:
        return on_disk(model.stem, options)
    except Exception as error:  # onnxruntime's own errors have no common ancestor but this
        raise CutoutError(f"{model} is damaged, or not the model it is named after", "copy the file again") from error
