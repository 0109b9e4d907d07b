"""Writing a run of scenes: each picture with its manifest, the product's core read back, then page and `run.json`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from finetune.core.compositing.placement import Placed
from finetune.core.compositing.relight import Relit
from finetune.core.console import say, warn
from finetune.core.errors import PackshotError, RunError
from finetune.core.pictures.images import Array, open_picture, write_png
from finetune.core.pictures.masks import Mask
from finetune.core.storage.durable import atomic_folder
from inference import delivery, manifest, report

RUN_FILE = "run.json"


@dataclass(frozen=True)
class ScenesRun:
    """A complete run on disk."""

    folder: Path
    pictures: tuple[Path, ...]
    made: bool
    """False if it was complete already."""


def complete_run(folder: Path) -> ScenesRun | None:
    """The run in `folder` if it is complete: every picture it names is what its manifest says."""
    if not (folder / RUN_FILE).is_file():
        return None
    try:
        pictures = tuple(folder / name for name in manifest.read_run(folder / RUN_FILE).pictures)
        for picture in pictures:
            manifest.check_picture(picture)
    except PackshotError as error:
        warn(f"regenerating {folder.name}, which is damaged: {error}")
        return None
    return ScenesRun(folder, pictures, made=False)


def write_run(folder: Path, make: Callable[[Path], list[dict[str, Any]]], facts: dict[str, Any]) -> ScenesRun:
    """Write a run under a temporary name, then give it its own.

    Args:
        folder: Of the run; what is there of an incomplete or damaged one gives way.
        make: Writes the pictures with their manifests into the folder it is given, and returns the manifests.
        facts: What `run.json` records besides the pictures.

    Raises:
        RunError: The folder cannot be written, or `make` raised it.
    """
    try:
        with atomic_folder(folder, replace=True) as part:
            manifests = make(part)
            _finish(manifests, facts, part)
    except OSError as error:
        if (done := complete_run(folder)) is not None:  # another process made the same scenes meanwhile
            return done
        raise RunError(
            f"can't write {folder}: {error.strerror or error}", "free some disk space, or choose another --workspace"
        ) from error
    return ScenesRun(folder, tuple(folder / m["picture"]["file"] for m in manifests), made=True)


def write_scene(
    picture: Image.Image, found: dict[str, Any], placed: Placed, path: Path, relit: Relit | None = None
) -> dict[str, Any]:
    """Write a picture with its manifest and prove its core; returns the whole manifest.

    Args:
        picture: RGB.
        found: Its manifest without the section `picture`, which needs the written file.
        placed: The product on the picture's canvas.
        path: Of the PNG; the manifest is written beside it.
        relit: The product as it was relit, if it was.

    Raises:
        RunError: The product's core in the written file is not the packshot's.
    """
    write_png(picture, path, manifest.png_text(found))
    if found["core"]:
        _prove_core(path, relit.rgb if relit else placed.rgb, placed.core, found["core"]["sha256"])
    whole = found | {"picture": manifest.picture_section(path)}
    manifest.write_manifest(whole, path.with_suffix(".json"))
    seed = "" if found["seed"] is None else f"seed {found['seed']}, "
    say(f"  {path.name}: {seed}{report.core_line(whole)}")
    return whole


def core_of(picture: Image.Image, placed: Placed, relit: Relit | None = None) -> dict[str, Any]:
    """The manifest's section on the product's core."""
    check = delivery.check_core(np.asarray(picture), relit.rgb if relit else placed.rgb, placed.core)
    mask = manifest.core_section(placed.core, placed.box)
    return {"pixels": check.pixels, "max_difference": check.max_difference, "sha256": check.sha256, "mask": mask}


def relight_of(relit: Relit | None, budget: float) -> dict[str, float] | None:
    """The manifest's section on how far the product was relit; None where its pixels are the packshot's."""
    if relit is None:
        return None
    return {
        "budget": budget,
        "share": round(relit.share, 4),
        "mean": round(relit.mean, 2),
        "p95": round(relit.p95, 2),
        "contrast": round(relit.contrast, 3),
    }


def placement_of(placed: Placed) -> dict[str, Any]:
    """The manifest's section on where the product stands."""
    box = placed.box
    return {
        "left": box.left,
        "top": box.top,
        "width": box.width,
        "height": box.height,
        "enlarged": round(placed.upscaled, 4),
    }


def _prove_core(picture: Path, product: Array, core: Mask, sha256: str) -> None:
    """Read the PNG back: its core has to be the product's, byte for byte."""
    written = np.asarray(open_picture(picture, min_side=1).convert("RGB"))
    found = delivery.check_core(written, product, core)
    if found.max_difference or found.sha256 != sha256:
        raise RunError(
            f"the product's core in {picture.name} differs from the packshot by up to {found.max_difference}",
            "this is a bug in Packshot: please report it with the packshot",
        )


def _finish(manifests: list[dict[str, Any]], facts: dict[str, Any], folder: Path) -> None:
    """Contact sheet, page and `run.json`, which is last: its presence says that the run is complete."""
    names = [m["picture"]["file"] for m in manifests]
    captions = [m["picture"]["file"] + ("" if m["seed"] is None else f" seed {m['seed']}") for m in manifests]
    report.write_contact_sheet([folder / name for name in names], captions, folder / "contact_sheet.png")
    report.write_index(manifests, folder / "index.html")
    manifest.write_manifest({"format": 1} | facts | {"pictures": names}, folder / RUN_FILE)
