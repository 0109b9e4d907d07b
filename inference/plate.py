"""Plates: the photographs or renders into which a product is put, from the gallery or one's own.

The gallery's plates are rendered, so that camera, ground and light are known and stored beside each
(`inference/plates/<name>/plate.json`); of one's own photograph nothing is known but its pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from PIL import Image
from pydantic import Field

from finetune.core.compositing.grounding import Grounding
from finetune.core.compositing.light import Light
from finetune.core.compositing.reflection import Surface
from finetune.core.errors import ImageError, did_you_mean
from finetune.core.json_files import Document, read_json
from finetune.core.pictures.images import open_picture
from finetune.core.text_files import check_text, expanded
from inference.light_estimate import estimate_light
from inference.manifest import file_sha256

GALLERY = Path(__file__).parent / "plates"
PICTURE, FACTS = "plate.avif", "plate.json"
LARGEST = 8192
"""Longest side of a plate in pixels."""
FREE_ELEVATION = 14.0
"""Degrees by which the camera of one's own photograph is taken to look down at the product."""
REINSTALL = "install Packshot again: its gallery is damaged"

Share = Annotated[float, Field(ge=0, le=1)]
Channels = tuple[Share, Share, Share]


class _Spot(Document):
    x: Share
    y: Share


class _PlateLight(Document):
    azimuth: float = Field(ge=0, le=360)
    height: float = Field(ge=0, le=90)
    softness: Share
    colour: Channels
    shade: Channels


class _PlateSurface(Document):
    name: str
    reflectance: Share
    roughness: Share


class _PlateFile(Document):
    """`plate.json` of the gallery. Angles in degrees; places are shares of width and height."""

    format: Literal[1]
    name: str
    title: str
    width: int = Field(gt=0, le=LARGEST)
    height: int = Field(gt=0, le=LARGEST)
    pose: Literal["standing", "lying"]
    spot: _Spot
    mm_per_width: float = Field(gt=0)
    horizon: float | None
    elevation: float = Field(gt=0, le=90)
    light: _PlateLight
    surface: _PlateSurface


@dataclass(frozen=True)
class Plate:
    """A scene to put a product into."""

    name: str
    path: Path
    picture: Image.Image
    """RGB."""
    title: str = ""
    known: _PlateFile | None = None
    """What the gallery knows of it; None for one's own photograph."""

    @cached_property
    def sha256(self) -> str:
        """Of the picture's file."""
        return file_sha256(self.path)

    @property
    def spot(self) -> tuple[float, float]:
        """Where a product stands unless told otherwise, in pixels."""
        x, y = (self.known.spot.x, self.known.spot.y) if self.known else (0.5, 0.84)
        return x * self.picture.width, y * self.picture.height

    def grounding(self, foot: tuple[float, float]) -> Grounding:
        """Light, ground and camera; what is not known of a photograph is estimated.

        Args:
            foot: Column and row where the product stands.
        """
        if self.known is None:
            return Grounding(estimate_light(self.picture, foot), elevation=FREE_ELEVATION)
        light, surface = self.known.light, self.known.surface
        return Grounding(
            Light(light.azimuth, light.height, light.softness, light.shade),
            pose="lying" if self.known.pose == "lying" else "standing",
            surface=Surface(surface.reflectance, surface.roughness),
            elevation=self.known.elevation,
            horizon=self.known.horizon,
        )


def gallery() -> list[str]:
    """Names of the gallery's plates, sorted."""
    return sorted(path.parent.name for path in GALLERY.glob(f"*/{FACTS}"))


def open_plate(reference: str) -> Plate:
    """Open a plate: a word without dot and slash names one of the gallery, everything else a picture file.

    Raises:
        ImageError: There is no such plate, it cannot be read, or it is larger than 8192 pixels.
    """
    if reference and not set(reference) & set("./\\"):
        return _of_gallery(reference)
    check_text(reference, "the plate's name", ImageError)
    path = expanded(reference)
    if not path.is_file():
        raise ImageError(
            f"there is no plate {reference}", "give a picture file, or a name that `packshot plates` lists"
        )
    picture = open_picture(path).convert("RGB")
    if max(picture.size) > LARGEST:
        raise ImageError(
            f"the plate {path.name} is {picture.width}x{picture.height} pixels; the largest side may be {LARGEST}",
            "scale it down first",
        )
    return Plate(path.stem, path, picture)


def _of_gallery(name: str) -> Plate:
    folder = GALLERY / name
    if not (folder / FACTS).is_file():
        raise ImageError(
            f"the gallery has no plate '{name}'", did_you_mean(name, gallery()) or f"plates: {', '.join(gallery())}"
        )
    known = read_json(folder / FACTS, _PlateFile, ImageError, hint=REINSTALL)
    picture = open_picture(folder / PICTURE).convert("RGB")
    return Plate(name, folder / PICTURE, picture, known.title, known)
