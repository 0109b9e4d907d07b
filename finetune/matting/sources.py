"""The choice of what cuts a photo out: its mask, its alpha channel, the plain ground, or a learned model.

They are tried in this order unless set.yaml names one (`cutout:`). A source that is named but not available is an error
with its cure, never another source in silence.
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
from finetune.core.pictures.images import over
from finetune.core.segmentation.learned import INSTALL, find_model, learned_mask, model_content
from finetune.matting.hints import Hint
from finetune.matting.matte import Cutout, cut_out

HINTS_ONLY = "hints correct what is cut out by the plain ground: set `cutout: plain`, or remove the hint"
LEARNED = "learned model"
"""First words of a cutout's source if a model made it; the model's name follows."""


def cut_by(
    source: str,
    picture: Image.Image,
    mask: Image.Image | None,
    model: str,
    folder: Path,
    *,
    vessel: bool = False,
    hint: Hint | None = None,
) -> tuple[Cutout, tuple[Remark, ...]]:
    """Cut the product out by the source that set.yaml asks for.

    Args:
        source: `auto`, `mask`, `alpha`, `plain` or `learned`.
        picture: RGB or RGBA, upright sRGB.
        mask: L, 255 = product, of the picture's size; None without one.
        model: name or path of the learned model, see `find_model`; empty for the best on disk.
        folder: of the set, which the model's path is relative to.
        vessel: the product may be clear, see `cut_out`.
        hint: what is known of the pixels; only for a plain ground.

    Returns:
        The cutout, and remarks on how it was made.

    Raises:
        CutoutError: the source is missing or finds no product; with `auto`, if the ground is not plain and there is no
            model either.
        ImageError: the mask's size is not the picture's.
    """
    if hint is not None and source not in ("auto", "plain"):
        raise CutoutError(f"the photo has a hint, but set.yaml says `cutout: {source}`", HINTS_ONLY)
    if source == "mask":
        if mask is None:
            raise CutoutError("set.yaml asks for a mask, but there is none", "add one in masks/, or set `cutout: auto`")
        return cut_out(picture, mask), ()
    if source == "alpha":
        if picture.mode != "RGBA":
            raise CutoutError("set.yaml asks for an alpha channel, but there is none", "set `cutout: auto`")
        found = cut_out(picture)
        if found.source != "alpha":
            raise CutoutError("the alpha channel shows no silhouette", "set `cutout: auto`, or add a mask in masks/")
        return found, ()
    if source == "plain":
        return cut_out(over(picture, "white"), vessel=vessel, hint=hint), ()
    if source == "learned":
        return _learned(picture, find_model(model, folder))
    if hint is None:
        return _first_possible(picture, mask, model, folder, vessel)
    if mask is not None:
        raise CutoutError("the photo has a mask and a hint", "remove one of them: a mask decides every pixel")
    found = cut_out(picture, vessel=vessel, hint=hint)
    if found.source == "alpha":
        raise CutoutError("the photo has an alpha channel and a hint", HINTS_ONLY)
    return found, ()


def _first_possible(
    picture: Image.Image, mask: Image.Image | None, model: str, folder: Path, vessel: bool
) -> tuple[Cutout, tuple[Remark, ...]]:
    empty = picture.mode == "RGBA" and int(np.asarray(picture.getchannel("A")).max()) < 128
    if mask is not None or empty:  # `cut_out` rejects a fully transparent photo; a model would invent a product
        return cut_out(picture, mask), ()
    try:
        return cut_out(picture, vessel=vessel), ()
    except CutoutError as error:
        not_plain = error
    try:
        return _learned(picture, find_model(model, folder))
    except CutoutError as error:
        raise CutoutError(
            f"{not_plain.message}, and no learned model is available: {error.message}",
            f"add a mask in masks/ (white is product), or use the learned model: {_cure(error)}",
        ) from error


def model_fingerprint(source: str, model: str, folder: Path) -> str:
    """Fingerprint of the learned model that set.yaml makes a set depend on; empty if it names none.

    With `auto` and no model named, no model counts: installing one must not make every set out of date.

    Args:
        source: `cutout` of set.yaml.
        model: `cutout_model` of set.yaml.
        folder: of the set.
    """
    if source != "learned" and not (source == "auto" and model):
        return ""
    try:
        return model_content(find_model(model, folder))
    except CutoutError:
        return "missing"


def environment(source: str, model: str, folder: Path) -> list[str]:
    """What besides its content decides whether a photo can be read and cut out: the learned model and the libraries.

    Args:
        source: `cutout` of set.yaml.
        model: `cutout_model` of set.yaml.
        folder: of the set.

    Returns:
        Fingerprint of the learned model that would be used (empty if none would), then the libraries' versions.
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
    """How to get the learned model: first the extra, then the file."""
    return error.hint if INSTALL in error.hint or _installed() else f"{INSTALL}, then {error.hint}"


def _installed() -> bool:
    from importlib.util import find_spec

    return find_spec("rembg") is not None and find_spec("onnxruntime") is not None


def _learned(picture: Image.Image, model: Path) -> tuple[Cutout, tuple[Remark, ...]]:
    flat = over(picture, "white")
    cutout = cut_out(flat, learned_mask(flat, model))
    remark = Remark(
        f"the product was cut out by the learned model {model.stem}",
        "the model guesses what the product is: it may include things beside it or miss clear parts",
        "check the cutout, and add a mask in masks/ if it is wrong",
        serious=False,
    )
    return replace(cutout, source=f"{LEARNED} {model.stem}"), (remark,)
