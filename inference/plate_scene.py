"""The recipe behind `packshot place --plate`: a cutout put into a photograph, with its shadow and mirror image.

Nothing is painted and no base is read: it takes seconds on any machine. Nothing of the plate changes but where the
shadow or the mirror image falls, and nothing of the product's core changes at all, which is read back and proven.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from finetune.core import fingerprint
from finetune.core.compositing.camera import camera_over
from finetune.core.compositing.glass import composite_glass
from finetune.core.compositing.grounding import Grounding, ground_product
from finetune.core.compositing.placement import LATENT, Placed, put_on_canvas
from finetune.core.compositing.relight import Relit, relight
from finetune.core.console import say, warn
from finetune.core.environment import version_of
from finetune.core.errors import ConfigError
from finetune.core.pictures.masks import Box
from finetune.core.products.catalog import SetConfig, Workspace
from finetune.core.products.housekeeping import check_folders
from finetune.core.products.prepared import PreparedPhoto, PreparedSet
from finetune.core.storage.durable import sweep
from inference import manifest
from inference.grounding import choose_pose, grounding, tell
from inference.plate import Plate, open_plate
from inference.pose import usual_height
from inference.request import choose_photo, find_prepared, read_cutout
from inference.scene_files import ScenesRun, complete_run, core_of, placement_of, relight_of, write_run, write_scene
from inference.settings import PlaceConfig

PICTURES = 1
"""Bump when the same settings would produce different pixels; older runs are then made again."""
FILLS = 0.88
"""Share of the plate a product fills at most when its size follows from millimetres."""
USUAL_SHARE = 0.42
"""Height of a product, share of the plate's, where the plate's scale is not known."""
WIDEST = 0.6
"""Its width, share of the plate's, at most."""
SOFT_ABOVE = 1.05
"""Enlargement of the cutout from which the product looks soft."""


@dataclass(frozen=True)
class Where:
    """Where on the plate, in its pixels or, with numbers of at most 1, in shares; neither: the plate's own spot."""

    spot: tuple[float, float] | None = None
    """Middle of the product's foot; of the product itself on a plate seen from above."""
    box: tuple[float, float, float, float] | None = None
    """Left, top, width and height of a box that the product fills from its lower edge."""


@dataclass(frozen=True)
class PlateRequest:
    """A product in a plate, everything found and checked."""

    workspace: Workspace
    sku: str
    prepared: PreparedSet
    photo: PreparedPhoto
    cutout_sha256: str
    plate: Plate
    placed: Placed
    how: Grounding
    budget: float
    """Largest colour change of the product by the plate's light; 0 keeps the packshot's pixels."""
    height_mm: float | None
    """The product's height in the picture in millimetres of the plate; None where its scale is not known."""

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """All that decides the picture; its fingerprint names the run."""
        return {
            "pictures": PICTURES,
            "cutout": self.cutout_sha256,
            "plate": self.plate.sha256,
            "box": list(self.placed.box),
            "ground": self.how.facts,
            "budget": self.budget,
        }

    @cached_property
    def folder(self) -> Path:
        """Where the run's picture belongs: the plate's name and the fingerprint."""
        name = "-".join(re.findall(r"[a-z0-9]+", self.plate.name.lower())[:5]) or "plate"
        return self.workspace.scenes / self.sku / f"{name}-{fingerprint.of_value(self.recipe)[:12]}"


def resolve_plate(
    workspace: Workspace, sku: str, reference: str, *, config: PlaceConfig, where: Where, photo: str | None = None
) -> PlateRequest:
    """Find and check everything.

    Args:
        workspace: Where the product is.
        sku: The product.
        reference: Name of a plate of the gallery, or a picture file.
        config: Scale, light, pose, shadow and reflection of it count.
        where: Where on the plate.
        photo: Stem of the photo whose cutout is placed; the first of the set if None.

    Raises:
        PackshotError: Of the fitting kind: no such plate or product, a place outside the plate, a product that does
            not fit.
    """
    product, prepared = find_prepared(workspace, sku)
    plate = open_plate(reference)
    chosen = choose_photo(prepared, photo)
    cutout, glass, sha256 = read_cutout(product, prepared, chosen)
    foot = _foot(plate, where)
    box, height_mm = _box(plate, cutout.size, foot, config.placement.scale, where, product.config)
    found = plate.grounding((box.left + box.width / 2, float(box.bottom)))
    placed = put_on_canvas(cutout, box, plate.picture.size, glass)
    pose = choose_pose(config, product.config, placed.matte)
    _tell_of_pose(plate, pose, asked=config.pose != "auto")
    if _from_above(plate) and pose == "standing" and config.pose == "auto":
        pose = "lying"
    how = grounding(config, replace(found, pose=pose))
    tell(how, "as given" if config.light else "the plate's own" if plate.known else "estimated; --light changes it")
    budget = config.blend_budget if config.mode == "blend" else 0.0
    return PlateRequest(workspace, sku, prepared, chosen, sha256, plate, placed, how, budget, height_mm)


def _tell_of_pose(plate: Plate, pose: str, *, asked: bool) -> None:
    if asked or pose != "lying" or _from_above(plate):
        return
    seen = "is seen from the side; choose" if plate.known else "may be seen from the side; give"
    warn(
        f"the product was photographed lying, but the plate '{plate.name}' {seen} a plate seen from above, or set "
        "--pose standing"
    )


def _foot(plate: Plate, where: Where) -> tuple[float, float]:
    """Where the product stands, in pixels of the plate."""
    width, height = plate.picture.size
    if where.box is not None:
        left, top, wide, high = _pixels(where.box, plate)
        if wide < LATENT or high < LATENT or left < 0 or top < 0 or left + wide > width or top + high > height:
            raise ConfigError(
                f"--box lies outside the plate, which is {width}x{height} pixels", "--box LEFT,TOP,WIDTH,HEIGHT"
            )
        return left + wide / 2, top + high
    if where.spot is None:
        return plate.spot
    x, y = _pixels(where.spot, plate)
    if not (0 <= x <= width and 0 < y <= height):
        raise ConfigError(f"--spot lies outside the plate, which is {width}x{height} pixels", "--spot X,Y")
    return x, y


def _pixels(numbers: tuple[float, ...], plate: Plate) -> tuple[float, ...]:
    """Places in pixels: numbers of at most 1 are shares of width and height, in turn."""
    if max(numbers) > 1:
        if any(0 < value < 1 for value in numbers):
            text = ",".join(f"{value:g}" for value in numbers)
            raise ConfigError(f"'{text}' mixes pixels and shares of the plate", "give --spot and --box in one of them")
        return numbers
    return tuple(value * plate.picture.size[at % 2] for at, value in enumerate(numbers))


def _box(
    plate: Plate,
    cutout: tuple[int, int],
    foot: tuple[float, float],
    scale: float | None,
    where: Where,
    product: SetConfig,
) -> tuple[Box, float | None]:
    """The product's box on the plate, on whole pixels, and its height in mm where the plate's scale is known."""
    width, height = plate.picture.size
    shape = cutout[0] / cutout[1]
    if where.box is not None:
        _, _, wide, high = _pixels(where.box, plate)
        tall = min(high, wide / shape)
    elif scale is not None:
        tall = scale * height
    elif plate.known is not None:
        tall = _true_size(plate, foot, cutout, product)
    else:
        tall = min(USUAL_SHARE * height, WIDEST * width / shape, FILLS * foot[1])
    rows, columns = round(tall), round(tall * shape)
    if min(rows, columns) < LATENT:
        raise ConfigError(f"the product would be only {columns}x{rows} pixels", "use a larger --scale or --box")
    centred = _from_above(plate) and where.box is None  # the spot is the middle of what lies
    left, top = round(foot[0] - columns / 2), round(foot[1]) - (rows // 2 if centred else rows)
    box = Box(left, top, left + columns, top + rows)
    if box.left < 0 or box.top < 0 or box.right > width or box.bottom > height:
        raise ConfigError(
            f"the product would leave the plate: it is {columns}x{rows} pixels at ({left}, {top}) of {width}x{height}",
            "use a smaller --scale, or another --spot",
        )
    scale_mm = _mm_per_pixel(plate, foot)
    return box, None if scale_mm is None else round(rows * scale_mm, 1)


def _from_above(plate: Plate) -> bool:
    return plate.known is not None and plate.known.pose == "lying"


def _true_size(plate: Plate, foot: tuple[float, float], cutout: tuple[int, int], product: SetConfig) -> float:
    """Height in pixels of a product of true size; less, with a warning, where the plate shows too little for it."""
    mm = product.height_mm or usual_height(product.class_noun)
    if (per_pixel := _mm_per_pixel(plate, foot)) is None:
        raise ConfigError("the product's foot is above the plate's horizon", "use a lower --spot, or give --scale")
    wanted = mm / per_pixel
    width, height = plate.picture.size
    room = 2 * min(foot[0], width - foot[0])
    tallest = 2 * min(foot[1], height - foot[1]) if _from_above(plate) else min(foot[1], height)
    fits = min(FILLS * tallest, FILLS * room * cutout[1] / cutout[0])
    told = "set.yaml" if product.height_mm else f"usual for '{product.class_noun}'; height_mm in set.yaml sets it"
    if wanted > fits:
        warn(
            f"the product ({mm:g} mm high: {told}) is too large for this place; it is drawn at {fits / wanted:.0%} of "
            "its true size"
        )
        return fits
    say(f"  {mm:g} mm high ({told})")
    return wanted


def _mm_per_pixel(plate: Plate, foot: tuple[float, float]) -> float | None:
    """Millimetres of a pixel at a place of the plate's ground; None where it is not known, or above the horizon."""
    if plate.known is None:
        return None
    width, height = plate.picture.size
    at_spot = plate.known.mm_per_width / width
    if _from_above(plate) or plate.known.horizon is None:
        return at_spot
    horizon = plate.known.horizon * height
    camera = camera_over((width, height), plate.spot, elevation=plate.known.elevation, horizon=horizon)
    deeper = camera.depth(foot[1])
    return None if deeper is None else at_spot * deeper


def place_on_plate(request: PlateRequest) -> ScenesRun:
    """Make the picture of a request, or find it made.

    Raises:
        RunError: The product's core in the picture is not the packshot's, or the folder cannot be written.
    """
    check_folders(request.workspace, request.sku)
    sweep(request.folder.parent)
    if (done := complete_run(request.folder)) is not None:
        say(f"{request.sku}: the scene in {request.folder} is up to date")
        return done
    if request.placed.upscaled > SOFT_ABOVE:
        warn(
            f"the product in '{request.photo.photo}' is only {request.photo.height} pixels high and is enlarged to "
            f"{request.placed.box.height}: it will look soft"
        )
    facts = {"sku": request.sku, "plate": request.plate.name, "recipe": request.recipe}
    return write_run(request.folder, lambda part: [_make(request, part)], facts)


def _make(request: PlateRequest, folder: Path) -> dict[str, Any]:
    placed = request.placed
    scene = np.asarray(request.plate.picture)
    relit = relight(placed, scene, request.how.light, budget=request.budget) if request.budget > 0 else None
    ground = ground_product(scene, placed, request.how)
    product = relit.rgb if relit else placed.rgb
    picture = Image.fromarray(composite_glass(product, placed.matte, ground, placed.glass))
    return write_scene(picture, _manifest(request, picture, relit), placed, folder / "01.png", relit)


def _manifest(request: PlateRequest, picture: Image.Image, relit: Relit | None) -> dict[str, Any]:
    """How the picture was made, without the section `picture`, which needs the written file."""
    plate, placed = request.plate, request.placed
    return {
        "format": manifest.FORMAT,
        "tool": {"name": "packshot", "version": version_of("packshot"), "pictures": PICTURES},
        "digitalSourceType": manifest.SOURCE_TYPES["gallery" if plate.known else "plate"],
        "sku": request.sku,
        "class_noun": request.prepared.class_noun,
        "mode": "plate",
        "source": {
            "photo": request.photo.photo,
            "cutout": request.photo.cutout,
            "sha256": request.cutout_sha256,
        },
        "plate": {"name": plate.name, "title": plate.title, "file": plate.path.name, "sha256": plate.sha256},
        "seed": None,
        "size": list(picture.size),
        "placement": placement_of(placed) | {"height_mm": request.height_mm},
        "ground": request.how.facts,
        "relight": relight_of(relit, request.budget),
        "core": core_of(picture, placed, relit),
    }
