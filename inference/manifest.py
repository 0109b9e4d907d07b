"""The manifest beside every picture: how it was made, and whether the picture is still the one that was made.

`NN.json` holds everything needed to make `NN.png` again, the product core's mask and hash, and the hashes of the
picture. The PNG itself names the manifest's hash and carries IPTC's digital source type as XMP, so that neither can
be swapped unnoticed.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from PIL import Image
from pydantic import Field

from finetune.core.errors import ImageError, RunError
from finetune.core.json_files import Document, read_json, read_object
from finetune.core.pictures.images import Array, open_picture
from finetune.core.pictures.masks import Box, Mask
from finetune.core.storage.durable import write_text
from inference.delivery import core_sha256

FORMAT = 1
AGAIN = "place the scene again"
TEXT_KEY = "packshot"
XMP_KEY = "XML:com.adobe.xmp"
SOURCE_TYPES = {
    "preserve": "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia",
    "blend": "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia",
    "insert": "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia",
    "gallery": "http://cv.iptc.org/newscodes/digitalsourcetype/compositeSynthetic",
    "plate": "http://cv.iptc.org/newscodes/digitalsourcetype/composite",
}
"""IPTC's words for how a picture came about; a plate of the gallery is rendered, one's own may be anything."""
XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">
<Iptc4xmpExt:DigitalSourceType>{source_type}</Iptc4xmpExt:DigitalSourceType>
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"""


Side = Annotated[int, Field(gt=0, le=1 << 14)]


class _Version(Document):
    format: int


class _Picture(Document):
    sha256: str
    pixels_sha256: str


class _Core(Document):
    sha256: str
    mask: str = Field(max_length=1 << 24)


class _Placement(Document):
    left: int = Field(ge=0)
    top: int = Field(ge=0)
    width: int = Field(gt=0)
    height: int = Field(gt=0)


class _Manifest(Document):
    """The parts of a manifest that checking a picture needs."""

    format: int
    size: Side | tuple[Side, Side]
    """Side of a square picture, or width and height."""
    placement: _Placement
    core: _Core | None
    picture: _Picture


class ScenesRunFile(Document):
    """`run.json` of a folder of scenes: what was asked, and the names of its pictures."""

    pictures: tuple[Annotated[str, Field(pattern=r"^[0-9]{2,6}\.png$")], ...]


@dataclass(frozen=True)
class Verified:
    """What `check_picture` found."""

    picture: Path
    manifest: dict[str, Any]
    core: Literal["intact", "none"]
    """`none` for an insert picture, which has no photographed core."""
    same_file: bool
    """False if it was saved again without loss: the pixels are the same."""


def manifest_hash(manifest: dict[str, Any]) -> str:
    """SHA-256 of a manifest without its `picture` section, which is known only after the picture is written."""
    rest = {k: v for k, v in manifest.items() if k != "picture"}
    text = json.dumps(rest, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def png_text(manifest: dict[str, Any]) -> dict[str, str]:
    """Text chunks of the PNG: the manifest's hash, and the digital source type as XMP."""
    return {
        TEXT_KEY: f"manifest sha256 {manifest_hash(manifest)}",
        XMP_KEY: XMP.format(source_type=manifest["digitalSourceType"]),
    }


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, whole."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def picture_section(path: Path) -> dict[str, str]:
    """The manifest's `picture` section of a written PNG."""
    pixels = np.asarray(open_picture(path, min_side=1).convert("RGB"))
    return {
        "file": path.name,
        "sha256": file_sha256(path),
        "pixels_sha256": hashlib.sha256(pixels.tobytes()).hexdigest(),
    }


def core_section(core: Mask, box: Box) -> str:
    """The core's mask inside the product's box as a 1-bit PNG in base64: a kilobyte that lets anybody verify it."""
    buffer = io.BytesIO()
    Image.fromarray(core[box.top : box.bottom, box.left : box.right]).save(buffer, format="PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def read_core_mask(manifest: dict[str, Any]) -> Mask:
    """The core's mask of a manifest, (size, size) bool."""
    place = manifest["placement"]
    with Image.open(io.BytesIO(base64.b64decode(manifest["core"]["mask"])), formats=["PNG"]) as mask:
        if mask.size != (place["width"], place["height"]):  # before its pixels are read
            raise ValueError("the mask has another size than the product's box")
        inside = np.asarray(mask, dtype=bool)
    width, height = picture_size(manifest)
    core = np.zeros((height, width), dtype=bool)
    core[place["top"] : place["top"] + place["height"], place["left"] : place["left"] + place["width"]] = inside
    return core


def picture_size(manifest: dict[str, Any]) -> tuple[int, int]:
    """(width, height) of a manifest's picture in pixels."""
    size = manifest["size"]
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def rejected_name(picture: str, seed: int) -> str:
    """File name of what was seen of a rejected picture.

    Args:
        picture: Name of the picture that was made instead, without its ending.
        seed: Of the rejected one.
    """
    return f"{picture}.rejected-{seed}.png"


def write_manifest(manifest: dict[str, Any], path: Path) -> None:
    """Write a manifest."""
    write_text(path, json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")


def read_manifest(picture: Path) -> dict[str, Any]:
    """The manifest beside a picture.

    Raises:
        RunError: There is none, or it is damaged or of another format.
    """
    path = picture.with_suffix(".json")
    if not path.is_file():
        raise RunError(
            f"{picture.name} has no manifest {path.name} beside it", "keep a picture and its manifest in one folder"
        )
    number = read_json(path, _Version, RunError, hint=AGAIN).format
    if number != FORMAT:
        raise RunError(f"{path.name} is not a manifest of this version of Packshot (format {number})", AGAIN)
    return read_object(path, RunError, shape=_Manifest, hint=AGAIN)


def read_run(path: Path) -> ScenesRunFile:
    """The `run.json` of a folder of scenes.

    Raises:
        RunError: It is damaged.
    """
    return read_json(path, ScenesRunFile, RunError, hint=AGAIN)


def check_picture(picture: Path) -> Verified:
    """Check that a picture is still the one its manifest describes.

    Raises:
        ImageError: The picture cannot be read.
        RunError: No manifest, a manifest of another picture, changed pixels, or a changed product.
    """
    if not picture.is_file():
        raise ImageError(f"there is no picture {picture}", "check the path")
    manifest = read_manifest(picture)
    try:
        return _compared(picture, manifest)
    except (KeyError, TypeError, ValueError, IndexError, OSError) as error:
        raise RunError(f"the manifest of {picture.name} is damaged", AGAIN) from error


def _compared(picture: Path, manifest: dict[str, Any]) -> Verified:
    opened = open_picture(picture, min_side=1).convert("RGB")
    if opened.size != (size := picture_size(manifest)):
        raise RunError(
            f"{picture.name} is {opened.width}x{opened.height} pixels, but its manifest says {size[0]}x{size[1]}",
            "verify the original picture, not a resized copy",
        )
    pixels: Array = np.asarray(opened)
    core = manifest["core"]
    if core is not None and core_sha256(pixels, read_core_mask(manifest)) != core["sha256"]:
        raise RunError(
            f"the product in {picture.name} no longer matches the packshot: pixels of its core were changed",
            "use the original picture, or place the scene again",
        )
    if hashlib.sha256(pixels.tobytes()).hexdigest() != manifest["picture"]["pixels_sha256"]:
        kept = "the product's core is intact" if core is not None else "it has no photographed core"
        raise RunError(f"{picture.name} was edited after it was placed; {kept}", "use the original picture")
    same_file = file_sha256(picture) == manifest["picture"]["sha256"]
    named = _named_hash(picture)
    if (same_file or named) and named != manifest_hash(manifest):
        raise RunError(
            f"{picture.with_suffix('.json').name} was edited, or it belongs to another picture", "place the scene again"
        )
    return Verified(picture, manifest, "none" if core is None else "intact", same_file)


def _named_hash(picture: Path) -> str:
    """The manifest's hash that the PNG names; empty if it names none."""
    with Image.open(picture) as opened:
        opened.load()
        text = str(opened.info.get(TEXT_KEY, ""))
    return text.rpartition(" ")[2]
