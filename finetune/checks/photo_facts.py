"""A look: everything the checks measure on one cut-out photo, and its form as JSON.

Made by `look_at` for the recipes `check` and `prepare`; the prepared set keeps it beside the photo's files, so that an
unchanged photo is judged again without being opened. Judges nothing (`findings` and `set_findings` do), writes nothing.
"""

from __future__ import annotations

import base64
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from finetune.checks import measures
from finetune.checks.lighting import ground_light
from finetune.checks.measures import Exposure
from finetune.core.pictures.decoded import Remark
from finetune.core.pictures.images import Floats
from finetune.core.pictures.masks import Box
from finetune.matting.matte import Cutout
from finetune.matting.photo import Cut

INNER_MARGIN = 4
"""Pixels inside the rim that count as the product's own detail when blur is measured."""
RIM_MARGIN = 8
"""Pixels of plain ground around the product in which its outline counts as an edge."""
PICTURE_SIDE = 256
"""Side at which a whole picture's brightness is looked at."""


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


@dataclass(frozen=True)
class Look:
    """A cut-out photo and everything measured on it."""

    name: str
    """File name."""
    content: str
    """Fingerprint of the file's bytes."""
    cutout: CutoutFacts
    blur: float | None
    smear: float | None
    """Blur in the direction in which it is strongest; None on other than plain ground."""
    exposure: Exposure
    picture_highlight: float
    ground: Floats | None
    """Colour of its plain ground, linear light (3,); None where it has none."""
    pieces: list[int]
    palette: Floats
    hash: NDArray[np.bool_]
    """Of the cutout."""
    picture_hash: NDArray[np.bool_]
    """Of the whole photo."""
    remarks: tuple[Remark, ...] = ()
    """What was unusual about reading the file or cutting it out."""

    def as_json(self) -> dict[str, Any]:
        """Plain values; `look_from_json` gives the same look back, to the last bit."""
        return {
            "name": self.name,
            "content": self.content,
            "cutout": asdict(self.cutout),
            "blur": self.blur,
            "smear": self.smear,
            "exposure": asdict(self.exposure),
            "picture_highlight": self.picture_highlight,
            "ground": None if self.ground is None else _packed(self.ground),
            "pieces": self.pieces,
            "palette": _packed(self.palette),
            "hash": _packed(self.hash),
            "picture_hash": _packed(self.picture_hash),
            "remarks": [asdict(remark) for remark in self.remarks],
        }


def look_from_json(data: dict[str, Any]) -> Look:
    """The look that `Look.as_json` described.

    Raises:
        KeyError, TypeError, ValueError: the values are not of that form.
    """
    facts = data["cutout"]
    cutout = CutoutFacts(**facts | {"box": Box(*facts["box"]), "photo_size": tuple(facts["photo_size"])})
    return Look(
        **data
        | {
            "cutout": cutout,
            "exposure": Exposure(**data["exposure"]),
            "ground": None if data["ground"] is None else _unpacked(data["ground"]),
            "palette": _unpacked(data["palette"]),
            "hash": _unpacked(data["hash"]),
            "picture_hash": _unpacked(data["picture_hash"]),
            "remarks": tuple(Remark(**remark) for remark in data["remarks"]),
        }
    )


def look_at(cut: Cut, content: str) -> Look:
    """Measure one cut-out photo.

    Args:
        content: fingerprint of the photo's file.
    """
    pixels = np.asarray(cut.cutout.rgba)
    small = cut.picture.convert("RGB")
    small.thumbnail((PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.BOX)
    plain = cut.cutout.source == "plain ground"
    around = _around(cut) if plain else None
    return Look(
        name=cut.photo.path.name,
        content=content,
        cutout=CutoutFacts.of(cut.cutout),
        blur=_blur(cut, around),
        smear=None if around is None else measures.smear_width(around),
        exposure=measures.exposure_of(pixels),
        picture_highlight=float(measures.highlight(np.asarray(small))),
        ground=ground_light(cut.picture) if plain else None,
        pieces=[int(area) for area in measures.piece_areas(pixels)],
        palette=measures.palette(pixels),
        hash=measures.perceptual_hash(pixels),
        picture_hash=measures.picture_hash(cut.picture),
        remarks=cut.remarks,
    )


def _around(cut: Cut) -> Floats:
    """The product and a rim of its ground, grey."""
    box = cut.cutout.box.grown(RIM_MARGIN, cut.picture.size)
    return np.asarray(cut.picture.convert("RGB").convert("L").crop(box), dtype=np.float32)


def _blur(cut: Cut, around: Floats | None) -> float | None:
    """Blur of the product's inner detail; on a plain ground, where every edge is the product's, of its outline too.

    The sharper of the two counts: a plain product has no detail, and a round one may have a soft outline.
    """
    opaque = np.asarray(cut.cutout.rgba.getchannel("A")) == 255
    inner = ndimage.binary_erosion(opaque, iterations=INNER_MARGIN)
    found = [measures.blur_width(np.asarray(cut.cutout.rgba.convert("RGB").convert("L"), dtype=np.float32), inner)]
    if around is not None:
        found.append(measures.blur_width(around, np.ones(around.shape, dtype=bool)))
    return min((float(width) for width in found if width is not None), default=None)


def _packed(values: NDArray[Any]) -> dict[str, Any]:
    """An array as its type, shape and bytes."""
    data = base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()
    return {"type": values.dtype.str, "shape": list(values.shape), "bytes": data}


def _unpacked(data: dict[str, Any]) -> NDArray[Any]:
    flat = np.frombuffer(base64.b64decode(data["bytes"]), dtype=np.dtype(data["type"]))
    return flat.reshape(data["shape"])
