"""Which source cuts a photo out: given mask, alpha channel, plain ground, learned model, in this order unless set.yaml
names one (`cutout:`). Called by `finetune.matting.photo`; `finetune.matting.matte` and `finetune.core.segmentation.learned` do the work.

What was asked for and cannot be had is an error with its cures, never another source in silence.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from finetune.core.environment import version_of
from finetune.core.errors import CutoutError
from finetune.core.pictures.decoded import Remark
from finetune.core.segmentation.learned import INSTALL, find_model, learned_mask, model_content
from finetune.matting.matte import Cutout, cut_out

LEARNED = "learned model"
"""How a cutout's source begins when a model made it; the model's name follows."""


def cut_by(
    source: str, picture: Image.Image, mask: Image.Image | None, model: str, folder: Path
) -> tuple[Cutout, tuple[Remark, ...]]:
    """Cut the product out by the source asked for.

    Args:
        source: `auto`, `mask`, `alpha`, `plain` or `learned`.
        picture: RGB or RGBA, upright sRGB. mask: L, 255 = product, of the picture's size.
        model: name or path of the learned model, see `find_model`; empty for the best on disk.
        folder: of the set: what the model's path is relative to.

    Returns:
        The cutout, and what is to be known about how it was made.

    Raises:
        CutoutError: the source is not there, or finds no product; with `auto`, when the ground is not plain and there
            is no model either.
        ImageError: the mask's size is not the picture's.
    """
    if source == "mask":
        if mask is None:
            raise CutoutError("there is no mask, and set.yaml asks for one", "put one in masks/, or set `cutout: auto`")
        return cut_out(picture, mask), ()
    if source == "alpha":
        if picture.mode != "RGBA":
            raise CutoutError("there is no alpha channel, and set.yaml asks for one", "set `cutout: auto`")
        found = cut_out(picture)
        if found.source != "alpha":
            raise CutoutError("the alpha channel holds no silhouette", "set `cutout: auto`, or give a mask in masks/")
        return found, ()
    if source == "plain":
        return cut_out(_flattened(picture)), ()
    if source == "learned":
        return _learned(picture, find_model(model, folder))
    return _first_possible(picture, mask, model, folder)


def _first_possible(
    picture: Image.Image, mask: Image.Image | None, model: str, folder: Path
) -> tuple[Cutout, tuple[Remark, ...]]:
    empty = picture.mode == "RGBA" and int(np.asarray(picture.getchannel("A")).max()) < 128
    if mask is not None or empty:  # `cut_out` refuses a wholly transparent photo; a model would make something of it
        return cut_out(picture, mask), ()
    try:
        return cut_out(picture), ()
    except CutoutError as error:
        not_plain = error
    try:
        return _learned(picture, find_model(model, folder))
    except CutoutError as error:
        raise CutoutError(
            f"{not_plain.message}, and no learned model can step in: {error.message}",
            f"give a mask in masks/ (white is product), or use the learned model: {_cure(error)}",
        ) from error


def model_fingerprint(source: str, model: str, folder: Path) -> str:
    """Fingerprint of the model a set depends on by its set.yaml; empty where it names none.

    With `auto` and no model named none counts: a model that someone installs must not send every set, plain grounds
    and all, back into training.
    """
    if source != "learned" and not (source == "auto" and model):
        return ""
    try:
        return model_content(find_model(model, folder))
    except CutoutError:
        return "missing"


def circumstances(source: str, model: str, folder: Path) -> list[str]:
    """What besides its content may decide whether a photo can be read and cut out: the learned model that would be
    used, and the versions of the libraries. For photos that failed; see `finetune.dataset.records.LeftOut`.
    """
    found = ""
    if source in ("auto", "learned"):
        try:
            found = model_content(find_model(model, folder))
        except CutoutError:
            found = "missing"
    return [found, *_versions()]


@functools.lru_cache(maxsize=1)
def _versions() -> tuple[str, ...]:
    return tuple(version_of(name) for name in ("packshot", "pillow", "pillow-heif", "rembg", "onnxruntime"))


def _cure(error: CutoutError) -> str:
    """How to get the learned model: the extra comes first, then the file."""
    return error.hint if INSTALL in error.hint or _installed() else f"{INSTALL}, then {error.hint}"


def _installed() -> bool:
    from importlib.util import find_spec

    return find_spec("rembg") is not None and find_spec("onnxruntime") is not None


def _learned(picture: Image.Image, model: Path) -> tuple[Cutout, tuple[Remark, ...]]:
    flat = _flattened(picture)
    cutout = cut_out(flat, learned_mask(flat, model))
    remark = Remark(
        f"cut out by the learned model {model.stem}",
        "it guesses what the product is, and may take what stands beside it or leave out clear parts",
        "look at the cutout; give a mask in masks/ where it is wrong",
        serious=False,
    )
    return replace(cutout, source=f"{LEARNED} {model.stem}"), (remark,)


def _flattened(picture: Image.Image) -> Image.Image:
    """The picture on white, without its alpha channel."""
    if picture.mode != "RGBA":
        return picture.convert("RGB")
    white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, picture).convert("RGB")
