"""The facts the checks measure on one cut-out photo, as a record that JSON keeps to the last bit.

The prepared set keeps the record beside the photo's files, so that an unchanged photo is checked again without being
opened. Nothing is judged here.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator
from scipy import ndimage

from finetune.checks import measures
from finetune.checks.lighting import ground_light
from finetune.checks.matte_facts import MatteFacts, measure_matte
from finetune.checks.measures import Exposure
from finetune.core.pictures.decoded import Remark
from finetune.core.pictures.images import Floats
from finetune.core.pictures.masks import Box
from finetune.matting.matte import Cutout
from finetune.matting.photo import CutPhoto

INNER_MARGIN = 4
"""Pixels inside the outline that are left out when the blur of the product's own detail is measured."""
RIM_MARGIN = 8
"""Pixels of plain ground around the product in which its outline counts as an edge."""
PICTURE_SIDE = 256
"""Longer side in pixels at which a whole picture's brightness is measured."""


def _packed(values: NDArray[Any] | None) -> dict[str, Any] | None:
    """An array as its type, shape and bytes."""
    if values is None:
        return None
    data = base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()
    return {"type": values.dtype.str, "shape": list(values.shape), "bytes": data}


def _unpacked(data: NDArray[Any] | dict[str, Any] | None) -> NDArray[Any] | None:
    """The array that `_packed` described.

    Raises:
        ValueError: the description is not of that form.
    """
    if data is None or isinstance(data, np.ndarray):
        return data
    try:
        flat = np.frombuffer(base64.b64decode(data["bytes"]), dtype=np.dtype(data["type"]))
        return flat.reshape(data["shape"])
    except (KeyError, TypeError) as error:
        raise ValueError("not a packed array") from error


PackedFloats = Annotated[Floats, PlainValidator(_unpacked), PlainSerializer(_packed)]
PackedBits = Annotated[NDArray[np.bool_], PlainValidator(_unpacked), PlainSerializer(_packed)]


@dataclass(frozen=True)
class CutoutFacts:
    """What the checks need of a cutout, without its pixels. Fields as `finetune.matting.matte.Cutout` has them."""

    source: str
    box: Box
    photo_size: tuple[int, int]
    touches_border: bool
    share: float
    parts: int

    @classmethod
    def of(cls, cutout: Cutout) -> CutoutFacts:
        """The facts of a cutout."""
        return cls(
            cutout.source, cutout.box, cutout.photo_size, cutout.touches_border, float(cutout.share), cutout.parts
        )


class PhotoFacts(BaseModel):
    """Everything measured on a cut-out photo. Aliases are the keys in records of prepared sets."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True, populate_by_name=True)

    name: str
    """File name."""
    content: str
    """Fingerprint of the file's bytes."""
    cutout: CutoutFacts
    blur: float | None
    """Blur of its sharpest edges, standard deviation in pixels; None where there are too few edges."""
    smear: float | None
    """Blur in the direction in which it is strongest; None unless the ground is plain."""
    exposure: Exposure
    picture_highlight: float
    """CIE L* (0..100) that 2 % of the whole photo exceed."""
    ground: PackedFloats | None
    """Colour of its plain ground, linear light (3,); None if the ground is not plain."""
    pieces: tuple[int, ...]
    """Areas in pixels of the pieces of the silhouette, largest first."""
    colour_sample: PackedFloats = Field(validation_alias="palette", serialization_alias="palette")
    """From `measures.colour_sample`, (N, 3)."""
    hash: PackedBits
    """Perceptual hash of the cutout, (255,)."""
    picture_hash: PackedBits
    """Perceptual hash of the whole photo, (255,)."""
    remarks: tuple[Remark, ...] = ()
    """What was unusual about reading the file or cutting it out."""
    matte: MatteFacts | None = None
    """What was measured on its matte."""


def measure_photo(cut: CutPhoto, content: str) -> PhotoFacts:
    """Measure one cut-out photo.

    Args:
        cut: the photo and its cutout.
        content: fingerprint of the photo's file.
    """
    pixels = np.asarray(cut.cutout.rgba)
    small = cut.picture.convert("RGB")
    small.thumbnail((PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.BOX)
    plain = cut.cutout.source == "plain ground"
    around = _around(cut) if plain else None
    return PhotoFacts(
        name=cut.photo.path.name,
        content=content,
        cutout=CutoutFacts.of(cut.cutout),
        blur=_blur(cut, around),
        smear=None if around is None else measures.smear_width(around),
        exposure=measures.exposure_of(pixels),
        picture_highlight=float(measures.highlight(np.asarray(small))),
        ground=ground_light(cut.picture) if plain else None,
        pieces=tuple(measures.piece_areas(pixels)),
        colour_sample=measures.colour_sample(pixels),
        hash=measures.perceptual_hash(pixels),
        picture_hash=measures.picture_hash(cut.picture),
        remarks=cut.remarks,
        matte=measure_matte(cut.cutout, cut.picture),
    )


def _around(cut: CutPhoto) -> Floats:
    """The product with a rim of its ground, (H, W) grey, 0..255."""
    box = cut.cutout.box.grown(RIM_MARGIN, cut.picture.size)
    return np.asarray(cut.picture.convert("RGB").convert("L").crop(box), dtype=np.float32)


def _blur(cut: CutPhoto, around: Floats | None) -> float | None:
    """Blur of the product's inner detail; on a plain ground, where every edge is the product's, of its outline too.

    The sharper of the two counts: a plain product has no detail, and a round one may have a soft outline.
    """
    opaque = np.asarray(cut.cutout.rgba.getchannel("A")) == 255
    inner = ndimage.binary_erosion(opaque, iterations=INNER_MARGIN)
    found = [measures.blur_width(np.asarray(cut.cutout.rgba.convert("RGB").convert("L"), dtype=np.float32), inner)]
    if around is not None:
        found.append(measures.blur_width(around, np.ones(around.shape, dtype=bool)))
    return min((float(width) for width in found if width is not None), default=None)
