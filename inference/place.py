"""The recipe behind `packshot place`: adapter + cutout + prompt -> scenes, each with its manifest.

What the user can get wrong is found by `resolve_request`, before a model is loaded. A run's folder is named by the
fingerprint of all that decides its pictures, so that a complete run is never made twice; it is written under a
temporary name and renamed, so that nobody ever sees half of it. In preserve mode every PNG is read back and its
product core compared with the resampled packshot: one differing byte is an error, not a warning.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from finetune.core.adapters.file import check_objective
from finetune.core.adapters.reports import standing
from finetune.core.compositing.grounding import Grounding
from finetune.core.compositing.placement import placement_box, put_on_canvas
from finetune.core.console import say, warn
from finetune.core.environment import version_of
from finetune.core.errors import ConfigError, CutoutError
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
from finetune.core.products.catalog import Workspace
from finetune.core.products.housekeeping import check_folders
from finetune.core.progress import Progress
from finetune.core.storage.durable import sweep
from finetune.core.text_files import check_text
from inference import manifest
from inference.attempts import Attempted, paint_alone, write_rejected
from inference.brand import find_brand
from inference.grounding import painted_grounding
from inference.request import (
    PICTURES,
    DrawnWith,
    Painting,
    PlaceRequest,
    choose_photo,
    find_subject,
    plain_size,
    read_cutout,
    warn_of_another_product,
)
from inference.scene_files import ScenesRun, complete_run, core_of, placement_of, relight_of, write_run, write_scene
from inference.settings import PlaceConfig

MASKS = {"preserve": "background", "blend": "background", "insert": "box"}
"""Which of the masks that adapters are trained with each mode paints."""
FINISHING = 86
"""Bytes per pixel of the delivered picture while product, shadow and grain are put over the scene (measured)."""
SOFT_ABOVE = 1.05
"""Enlargement of the cutout from which the product looks soft."""


def resolve_request(
    workspace: Workspace,
    sku: str,
    prompt: str,
    *,
    config: PlaceConfig,
    photo: str | None = None,
    means: DrawnWith | None = None,
) -> PlaceRequest:
    """Find and check everything a placing needs.

    Args:
        workspace: Where the product and its adapters are.
        sku: The product.
        prompt: Where it stands, in the user's words.
        config: The settings of the placing.
        photo: Stem of the photo whose cutout is placed; the first of the set if None.
        means: Adapter, base and VAE; None for those that follow from the product.

    Raises:
        PackshotError: Of the fitting kind: an empty prompt, an unknown photo, a product that does not fit into the
            frame, or what `find_subject` raises.
    """
    check_text(config.sampling.negative, "the negative prompt", ConfigError)
    check_prompt(prompt)
    subject = find_subject(workspace, sku, means)
    prepared, version = subject.prepared, subject.version
    chosen = choose_photo(prepared, photo)
    cutout, glass, sha256 = read_cutout(subject.product, prepared, chosen)
    if version is not None and (missing := check_objective(version.manifest, subject.base, MASKS[config.mode])):
        warn(missing)
    prompts = {
        name: resolve_prompt(
            getattr(config.prompts, name), token=prepared.token, class_noun=prepared.class_noun, prompt=prompt
        )
        for name in (("scene", "insert") if config.mode == "insert" else ("place",))
    }
    brand = find_brand(workspace, subject.product, subject.base, means.brand if means else None)
    if brand is not None:
        prompts = {name: brand.in_prompt(resolved) for name, resolved in prompts.items()}
    p = config.placement
    box = placement_box(cutout.size, config.frame, anchor=p.anchor, scale=p.scale, ground=p.ground)
    placed = put_on_canvas(cutout, box, config.frame, glass)
    if config.mode != "insert" and not placed.core.any():
        raise CutoutError(
            f"the cutout of '{chosen.photo}' has no opaque pixel",
            f"put a mask of the product into masks/, then run: packshot prepare {sku}",
        )
    painting = _painting(config, painted_grounding(config, subject.product.config, prompt, placed))
    return PlaceRequest(workspace, sku, prompt.strip(), subject, chosen, sha256, placed, prompts, painting, brand)


def check_prompt(prompt: str) -> None:
    """Refuse a prompt that says nothing or cannot be written; raises ConfigError."""
    check_text(prompt, "the prompt", ConfigError)
    if not prompt.strip():
        raise ConfigError("the prompt is empty", 'say where the product stands: --prompt "on a white marble vanity"')


def _painting(config: PlaceConfig, grounding: Grounding) -> Painting:
    blends = config.mode == "blend"
    return Painting(
        mode=config.mode,
        candidates=config.candidates,
        seed=config.seed,
        adapter_scale=config.adapter_scale,
        precision=config.precision,
        sampling=Sampling(**config.sampling.model_dump()),
        mask_grow=config.mask_grow,
        retries=config.retries,
        finish=Finish(config.blend.fringe, config.blend.grain, grounding, config.blend_budget if blends else 0.0),
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
    if (done := complete_run(folder)) is not None:
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
        finishing=FINISHING * request.placed.size[0] * request.placed.size[1] + request.style_bytes,
    )
    inpainter = load_inpainter(
        request.subject.base,
        version.adapter if version else None,
        scale=painting.adapter_scale,
        precision=painting.precision,
        device=device,
        style=request.brand.style if request.brand else None,
    )
    inpainter.check_prompts([*request.prompts.values(), painting.sampling.negative])

    def make(part: Path) -> list[dict[str, Any]]:
        with Progress("painting", len(request.prompts) * painting.candidates * painting.sampling.steps_run) as bar:
            inpainter.after_step = bar.advance
            return [_make(request, inpainter, index, part, bar) for index in range(painting.candidates)]

    facts = {"sku": request.sku, "prompt": request.user_prompt, "recipe": request.recipe}
    return write_run(folder, make, facts)


def _tell(request: PlaceRequest) -> None:
    version, base, placed = request.subject.version, request.subject.base, request.placed
    if version is None:
        say(f"{request.sku}: base '{base.name}' without an adapter")
    else:
        if other := version.manifest.get("foreign"):
            state = f"a file in {other['layout']}'s layout, {other['layers']} layers"
        else:
            state = f"{'published' if version.published else 'not published'}; {standing(version)}"
        say(f"{request.sku}: adapter {version.number} ({state}) on base '{base.name}'")
        warn_of_another_product(request.sku, version)
    if placed.upscaled > SOFT_ABOVE:
        warn(
            f"the product in '{request.photo.photo}' is only {request.photo.height} pixels high and is enlarged to "
            f"{placed.box.height}: it will look soft"
        )


def _make(request: PlaceRequest, inpainter: Inpainter, index: int, folder: Path, bar: Progress) -> dict[str, Any]:
    """Paint, write and check one candidate; returns its manifest."""
    seed, name = request.painting.seed + index, f"{index + 1:02d}"
    if request.painting.mode == "insert":
        made = Attempted(_insert(request, inpainter, seed), seed)
    else:
        made = paint_alone(
            inpainter,
            request.placed.matte,
            partial(_preserve, request, inpainter),
            seed=seed,
            retries=request.painting.retries,
            more=bar.extend,
        )
    write_rejected(made.rejected, folder, name)
    found = _manifest(request, made)
    return write_scene(made.painted.picture, found, request.placed, folder / f"{name}.png", made.painted.relit)


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
    size = request.placed.size
    scene = empty_scene(inpainter, request.prompts["scene"], sampling=how.sampling, seed=seed, frame=size)
    where = InsertBox(request.placed.box, size, how.box_margin)
    return insert_picture(inpainter, scene, where, request.prompts["insert"], sampling=how.sampling, seed=seed)


def _manifest(request: PlaceRequest, made: Attempted) -> dict[str, Any]:
    """How a picture was made, without the section `picture`, which needs the written file."""
    how, placed, subject, painted = request.painting, request.placed, request.subject, made.painted
    core = core_of(painted.picture, placed, painted.relit) if how.mode != "insert" else None
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
        "brand": request.brand.facts if request.brand else None,
        "base": subject.base.summary(),
        "prompt": {"user": request.user_prompt, "resolved": request.prompts, "negative": negative},
        "seed": made.seed,
        "second_objects": made.facts if core else None,
        "sampling": sampling,
        "size": plain_size(placed.size),
        "placement": placement_of(placed),
        "mask": {"coverage": round(painted.coverage, 4), "grow": painted.grow},
        "ground": how.ground if core else None,
        "blend": how.blend if core else None,
        "relight": relight_of(painted.relit, how.finish.budget),
        "core": core,
    }


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
