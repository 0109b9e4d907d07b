"""The recipe behind `packshot place`: adapter + cutout + prompt -> scenes, each with its manifest.

What the user can get wrong is found by `resolve_request`, before a model is loaded. A run's folder is named by the
fingerprint of all that decides its pictures, so that a complete run is never made twice; it is written under a
temporary name and renamed, so that nobody ever sees half of it. In preserve mode every PNG is read back and its
product core compared with the resampled packshot: one differing byte is an error, not a warning.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from finetune.core.adapters.file import check_objective
from finetune.core.compositing.placement import Placed, placement_box, put_on_canvas
from finetune.core.console import say, warn
from finetune.core.environment import version_of
from finetune.core.errors import ConfigError, CutoutError, PackshotError, RunError
from finetune.core.painting.inpainter import Inpainter, Sampling, load_inpainter
from finetune.core.painting.needs import check_drawing
from finetune.core.painting.pictures import (
    Finish,
    InsertBox,
    Painted,
    empty_scene,
    insert_picture,
    preserve_picture,
)
from finetune.core.painting.prompts import resolve_prompt
from finetune.core.pictures.images import open_picture, write_png
from finetune.core.products.catalog import Workspace
from finetune.core.products.housekeeping import check_folders
from finetune.core.progress import Progress
from finetune.core.storage.durable import atomic_folder, sweep
from finetune.core.text_files import check_text
from inference import delivery, manifest, report
from inference.request import (
    PICTURES,
    Painting,
    PlaceRequest,
    choose_photo,
    find_subject,
    read_cutout,
    warn_of_another_product,
)
from inference.settings import PlaceConfig

RUN_FILE = "run.json"
MASKS = {"preserve": "background", "insert": "box"}
"""Which of the masks that adapters are trained with each mode paints."""
FINISHING = 86
"""Bytes per pixel of the delivered picture while product, shadow and grain are put over the scene (measured)."""
SOFT_ABOVE = 1.05
"""Enlargement of the cutout from which the product looks soft."""


@dataclass(frozen=True)
class ScenesRun:
    """A complete run on disk."""

    folder: Path
    pictures: tuple[Path, ...]
    made: bool
    """False if it was complete already."""


def resolve_request(
    workspace: Workspace,
    sku: str,
    prompt: str,
    *,
    config: PlaceConfig,
    photo: str | None = None,
    adapter: str | None = None,
    base: str | None = None,
) -> PlaceRequest:
    """Find and check everything a placing needs.

    Args:
        workspace: Where the product and its adapters are.
        sku: The product.
        prompt: Where it stands, in the user's words.
        config: The settings of the placing.
        photo: Stem of the photo whose cutout is placed; the first of the set if None.
        adapter: As for `find_subject`.
        base: As for `find_subject`.

    Raises:
        PackshotError: Of the fitting kind: an empty prompt, an unknown photo, a product that does not fit into the
            frame, or what `find_subject` raises.
    """
    check_text(config.sampling.negative, "the negative prompt", ConfigError)
    check_prompt(prompt)
    subject = find_subject(workspace, sku, adapter, base=base)
    prepared, version = subject.prepared, subject.version
    chosen = choose_photo(prepared, photo)
    cutout, glass, sha256 = read_cutout(subject, chosen)
    if version is not None and (missing := check_objective(version.manifest, subject.base, MASKS[config.mode])):
        warn(missing)
    prompts = {
        name: resolve_prompt(
            getattr(config.prompts, name), token=prepared.token, class_noun=prepared.class_noun, prompt=prompt
        )
        for name in (("place",) if config.mode == "preserve" else ("scene", "insert"))
    }
    p = config.placement
    box = placement_box(cutout.size, config.size, anchor=p.anchor, scale=p.scale, ground=p.ground)
    placed = put_on_canvas(cutout, box, config.size, glass)
    if config.mode == "preserve" and not placed.core.any():
        raise CutoutError(
            f"the cutout of '{chosen.photo}' has no opaque pixel",
            f"put a mask of the product into masks/, then run: packshot prepare {sku}",
        )
    return PlaceRequest(workspace, sku, prompt.strip(), subject, chosen, sha256, placed, prompts, _painting(config))


def check_prompt(prompt: str) -> None:
    """Refuse a prompt that says nothing or cannot be written; raises ConfigError."""
    check_text(prompt, "the prompt", ConfigError)
    if not prompt.strip():
        raise ConfigError("the prompt is empty", 'say where the product stands: --prompt "on a white marble vanity"')


def _painting(config: PlaceConfig) -> Painting:
    return Painting(
        mode=config.mode,
        candidates=config.candidates,
        seed=config.seed,
        adapter_scale=config.adapter_scale,
        precision=config.precision,
        sampling=Sampling(**config.sampling.model_dump()),
        mask_grow=config.mask_grow,
        finish=Finish(config.blend.fringe, config.blend.grain, config.shadow.strength, config.shadow.softness),
        box_margin=config.box_margin,
    )


def place(request: PlaceRequest, *, device: str = "auto") -> ScenesRun:
    """Make the pictures of a request, or find them made.

    Args:
        request: What to place, where and how.
        device: `auto`, `cpu`, `cuda` or `cuda:1`.

    Raises:
        RunError: A picture's product core is not the packshot's, or the folder cannot be written.
        ConfigError: A prompt is longer than the base can read.
        OutOfMemory: The device has too little memory.
    """
    check_folders(request.workspace, request.sku)
    folder = request.folder
    sweep(folder.parent)
    if (done := _complete(folder)) is not None:
        say(f"{request.sku}: the scenes in {folder} are up to date")
        return done
    _tell(request)
    painting, version = request.painting, request.subject.version
    check_drawing(
        "placing",
        request.subject.base,
        version.adapter if version else None,
        cache=request.workspace.cache,
        precision=painting.precision,
        device=device,
        finishing=FINISHING * request.placed.size**2,
    )
    inpainter = load_inpainter(
        request.subject.base,
        version.adapter if version else None,
        scale=painting.adapter_scale,
        precision=painting.precision,
        device=device,
    )
    inpainter.check_prompts([*request.prompts.values(), painting.sampling.negative])
    try:
        with atomic_folder(folder, replace=True) as part:  # the folder may hold an incomplete or damaged run
            with Progress("painting", len(request.prompts) * painting.candidates * painting.sampling.steps_run) as bar:
                inpainter.after_step = bar.advance
                manifests = [_make(request, inpainter, index, part) for index in range(painting.candidates)]
            _finish(request, manifests, part)
    except OSError as error:
        if (done := _complete(folder)) is not None:  # another process made the same scenes meanwhile
            return done
        raise RunError(
            f"can't write {folder}: {error.strerror or error}", "free some disk space, or choose another --workspace"
        ) from error
    return ScenesRun(folder, tuple(folder / m["picture"]["file"] for m in manifests), made=True)


def _complete(folder: Path) -> ScenesRun | None:
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


def _tell(request: PlaceRequest) -> None:
    version, base, placed = request.subject.version, request.subject.base, request.placed
    if version is None:
        say(f"{request.sku}: base '{base.name}' without an adapter")
    else:
        state = "" if version.published else " (not yet published)"
        if other := version.manifest.get("foreign"):
            state = f" (a file in {other['layout']}'s layout, {other['layers']} layers)"
        say(f"{request.sku}: adapter {version.number}{state} on base '{base.name}'")
        warn_of_another_product(request.sku, version)
    if placed.upscaled > SOFT_ABOVE:
        warn(
            f"the product in '{request.photo.photo}' is only {request.photo.height} pixels high and is enlarged to "
            f"{placed.box.height}: it will look soft"
        )


def _make(request: PlaceRequest, inpainter: Inpainter, index: int, folder: Path) -> dict[str, Any]:
    """Paint, write and check one candidate; returns its manifest."""
    seed = request.painting.seed + index
    paint = _preserve if request.painting.mode == "preserve" else _insert
    painted = paint(request, inpainter, seed)
    found = _manifest(request, painted, seed)
    picture = folder / f"{index + 1:02d}.png"
    write_png(painted.picture, picture, manifest.png_text(found))
    if found["core"]:
        _prove_core(picture, request.placed, found["core"]["sha256"])
    whole = found | {"picture": manifest.picture_section(picture)}
    manifest.write_manifest(whole, picture.with_suffix(".json"))
    say(f"  {picture.name}: seed {seed}, {report.core_line(whole)}")
    return whole


def _preserve(request: PlaceRequest, inpainter: Inpainter, seed: int) -> Painted:
    """The product's own pixels in a painted scene."""
    how = request.painting
    painted = preserve_picture(
        inpainter,
        request.placed,
        request.prompts["place"],
        sampling=how.sampling,
        seed=seed,
        grow=how.mask_grow,
        finish=how.finish,
    )
    if painted.coverage == 1:
        warn(
            f"the product is under one latent cell at {inpainter.size} px; the scene is generated without it as context"
        )
    return painted


def _insert(request: PlaceRequest, inpainter: Inpainter, seed: int) -> Painted:
    """An empty scene from the base alone, then the product drawn into a box of it by the adapter."""
    how = request.painting
    scene = empty_scene(inpainter, request.prompts["scene"], sampling=how.sampling, seed=seed)
    where = InsertBox(request.placed.box, request.placed.size, how.box_margin)
    return insert_picture(inpainter, scene, where, request.prompts["insert"], sampling=how.sampling, seed=seed)


def _prove_core(picture: Path, placed: Placed, sha256: str) -> None:
    """Read the PNG back: its core has to be the resampled packshot's, byte for byte."""
    written = np.asarray(open_picture(picture, min_side=1).convert("RGB"))
    found = delivery.check_core(written, placed.rgb, placed.core)
    if found.max_difference or found.sha256 != sha256:
        raise RunError(
            f"the product's core in {picture.name} differs from the packshot by up to {found.max_difference}",
            "this is a bug in Packshot: please report it with the packshot",
        )


def _manifest(request: PlaceRequest, painted: Painted, seed: int) -> dict[str, Any]:
    """How a picture was made, without the section `picture`, which needs the written file."""
    how, placed, subject = request.painting, request.placed, request.subject
    core = _core(painted, placed) if how.mode == "preserve" else None
    sampling = asdict(how.sampling)
    negative = sampling.pop("negative")
    return {
        "format": manifest.FORMAT,
        "tool": {"name": "packshot", "version": version_of("packshot"), "pictures": PICTURES},
        "digitalSourceType": manifest.SOURCE_TYPES[how.mode],
        "sku": request.sku,
        "class_noun": subject.prepared.class_noun,
        "token": subject.prepared.token,
        "mode": how.mode,
        "source": {
            "photo": request.photo.photo,
            "cutout": request.photo.cutout,
            "sha256": request.cutout_sha256,
        },
        "adapter": _adapter(request),
        "base": subject.base.summary(),
        "prompt": {"user": request.user_prompt, "resolved": request.prompts, "negative": negative},
        "seed": seed,
        "sampling": sampling,
        "size": placed.size,
        "placement": {
            "left": placed.box.left,
            "top": placed.box.top,
            "width": placed.box.width,
            "height": placed.box.height,
            "enlarged": round(placed.upscaled, 4),
        },
        "mask": {"coverage": round(painted.coverage, 4), "grow": painted.grow},
        "shadow": how.shadow if core else None,
        "blend": how.blend if core else None,
        "core": core,
    }


def _core(painted: Painted, placed: Placed) -> dict[str, Any]:
    check = delivery.check_core(np.asarray(painted.picture), placed.rgb, placed.core)
    mask = manifest.core_section(placed.core, placed.box)
    return {"pixels": check.pixels, "max_difference": check.max_difference, "sha256": check.sha256, "mask": mask}


def _adapter(request: PlaceRequest) -> dict[str, Any] | None:
    version = request.subject.version
    if version is None:
        return None
    section = {
        "version": version.number,
        "published": version.published,
        "sha256": request.adapter_sha256,
        "scale": request.painting.adapter_scale,
    }
    return section | {key: version.manifest[key] for key in ("foreign",) if key in version.manifest}


def _finish(request: PlaceRequest, manifests: list[dict[str, Any]], folder: Path) -> None:
    """Contact sheet, page and `run.json`, which is last: its presence says that the run is complete."""
    names = [m["picture"]["file"] for m in manifests]
    captions = [f"{m['picture']['file']} seed {m['seed']}" for m in manifests]
    report.write_contact_sheet([folder / name for name in names], captions, folder / "contact_sheet.png")
    report.write_index(manifests, folder / "index.html")
    run = {
        "format": 1,
        "sku": request.sku,
        "prompt": request.user_prompt,
        "recipe": request.recipe,
        "pictures": names,
    }
    manifest.write_manifest(run, folder / RUN_FILE)
