"""The recipe behind `packshot place`: adapter + cutout + prompt -> scenes, each with its manifest.

Everything that can be wrong is found in `inference.request`, before a model is loaded. A run's folder is named by the
fingerprint of all that makes its pictures, so that a run that is complete is never made twice; it is written into a
temporary sibling and renamed, so that nobody ever sees half of it. In preserve mode every PNG is read back and its
product core compared with the resampled packshot: one differing byte is an error, not a warning.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from finetune.core.compositing import placement as compose
from finetune.core.compositing.contact_shadow import contact_shadow, darken
from finetune.core.console import say, warn
from finetune.core.environment import version_of
from finetune.core.errors import ConfigError, PackshotError, RunError
from finetune.core.painting.inpainter import MAX_PROMPT_TOKENS, Inpainter, Sampling, load_inpainter
from finetune.core.pictures.images import Array, open_picture, write_png
from finetune.core.storage.durable import atomic_folder
from inference import delivery, report
from inference import manifest as provenance
from inference.request import PICTURES, Plan

RUN_FILE = "run.json"


@dataclass(frozen=True)
class ScenesRun:
    """A complete run on disk."""

    folder: Path
    pictures: tuple[Path, ...]
    made: bool
    """False: it was complete already."""


@dataclass(frozen=True)
class Painted:
    """One finished candidate, not yet written."""

    picture: Array
    coverage: float
    grow: int


def place(plan: Plan, *, device: str = "auto") -> ScenesRun:
    """Make the pictures of a plan, or find them made.

    Raises:
        RunError: a picture's product core is not the packshot's, or the folder cannot be written.
        ConfigError: a prompt is longer than the base can read.
    """
    folder = plan.folder
    if (done := _complete(folder)) is not None:
        say(f"{plan.sku}: scenes are up to date in {folder}")
        return done
    _tell(plan)
    config = plan.config
    inpainter = load_inpainter(
        plan.base,
        plan.version.adapter if plan.version else None,
        scale=config.adapter_scale,
        precision=config.precision,
        device=device,
    )
    _check_prompts(inpainter, [*plan.prompts.values(), config.sampling.negative])
    try:
        with atomic_folder(folder, replace=True) as part:  # it may hold an incomplete or damaged run
            manifests = [_make(plan, inpainter, index, part) for index in range(config.candidates)]
            _finish(plan, manifests, part)
    except OSError as error:
        raise RunError(
            f"can't write {folder}: {error.strerror or error}", "free some space, or give --workspace"
        ) from error
    return ScenesRun(folder, tuple(folder / m["picture"]["file"] for m in manifests), made=True)


def _complete(folder: Path) -> ScenesRun | None:
    """The run in `folder` if it is whole: every picture it names holds what its manifest says."""
    if not (folder / RUN_FILE).is_file():
        return None
    try:
        names = provenance.read_json(folder / RUN_FILE)["pictures"]
        pictures = tuple(folder / name for name in names)
        for picture in pictures:
            provenance.check_picture(picture)
    except (PackshotError, KeyError, TypeError) as error:
        warn(f"{folder.name} is made again: {error}")
        return None
    return ScenesRun(folder, pictures, made=False)


def _tell(plan: Plan) -> None:
    version = plan.version
    if version is None:
        say(f"{plan.sku}: no adapter, base '{plan.base.name}' alone")
    else:
        state = "" if version.published else " (not yet published)"
        if other := version.manifest.get("foreign"):
            state = f" (a file in {other['layout']}'s layout, {other['layers']} layers)"
        say(f"{plan.sku}: adapter {version.number}{state} on base '{plan.base.name}'")
        trained_on = version.manifest.get("sku", plan.sku)
        if trained_on != plan.sku:
            warn(f"this adapter was trained on '{trained_on}', not on '{plan.sku}'")
    if plan.placed.upscaled > 1.05:
        warn(
            f"the product in '{plan.photo.photo}' is {plan.photo.height} pixels high and is enlarged to "
            f"{plan.placed.box.height}: it will look soft"
        )


def _check_prompts(inpainter: Inpainter, prompts: list[str]) -> None:
    for prompt in prompts:
        if (tokens := inpainter.prompt_tokens(prompt)) > MAX_PROMPT_TOKENS:
            raise ConfigError(
                f"the prompt has {tokens} tokens, the base reads {MAX_PROMPT_TOKENS}: '{prompt}'", "shorten it"
            )


def _make(plan: Plan, inpainter: Inpainter, index: int, folder: Path) -> dict[str, Any]:
    """Paint, write and check one candidate; its manifest."""
    config = plan.config
    seed = config.seed + index
    sampling = Sampling(**config.sampling.model_dump())
    paint = _preserve if config.mode == "preserve" else _insert
    painted = paint(plan, inpainter, sampling, seed)
    manifest = _manifest(plan, painted, seed)
    picture = folder / f"{index + 1:02d}.png"
    write_png(Image.fromarray(painted.picture), picture, provenance.png_text(manifest))
    if config.mode == "preserve":
        _prove_core(picture, plan.placed, manifest["core"])
    manifest["picture"] = provenance.picture_section(picture)
    provenance.write_manifest(manifest, picture.with_suffix(".json"))
    say(f"  {picture.name}: seed {seed}, {report.core_line(manifest)}")
    return manifest


def _preserve(plan: Plan, inpainter: Inpainter, sampling: Sampling, seed: int) -> Painted:
    """The product's own pixels in a painted scene."""
    config, placed = plan.config, plan.placed
    grow = compose.default_grow(inpainter.size) if config.mask_grow is None else config.mask_grow
    job = compose.around_product(placed, inpainter.size, grow=grow, rng=np.random.default_rng([seed, 0]))
    if job.mask.all():
        warn(f"the product is so small on this base ({inpainter.size} px) that the scene is painted without seeing it")
    scene = inpainter.paint(job.picture, job.mask, plan.prompts["place"], sampling=sampling, seed=seed)
    large = np.asarray(delivery.bring_to_size(scene, config.size))
    large = delivery.clear_fringe(large, placed.solid, config.blend.fringe * config.size / inpainter.size)
    light = contact_shadow(placed.matte, strength=config.shadow.strength, softness=config.shadow.softness)
    grained = delivery.add_grain(darken(large, light), config.blend.grain, np.random.default_rng([seed, 1]))
    return Painted(delivery.put_product_over(placed.rgb, placed.matte, grained, placed.glass), job.coverage, job.grow)


def _insert(plan: Plan, inpainter: Inpainter, sampling: Sampling, seed: int) -> Painted:
    """An empty scene from the base alone, then the product drawn into a box by the adapter. Nothing is pasted."""
    config = plan.config
    blank = compose.whole_frame(inpainter.size, np.random.default_rng([seed, 0]))
    inpainter.set_adapter_scale(0.0)
    scene = inpainter.paint(blank.picture, blank.mask, plan.prompts["scene"], sampling=sampling, seed=seed)
    inpainter.set_adapter_scale(config.adapter_scale)
    job = compose.box_around(scene, plan.placed.box, config.size, margin=config.box_margin)
    drawn = inpainter.paint(job.picture, job.mask, plan.prompts["insert"], sampling=sampling, seed=seed)
    return Painted(np.asarray(delivery.bring_to_size(drawn, config.size)), job.coverage, job.grow)


def _prove_core(picture: Path, placed: compose.Placed, expected: dict[str, Any]) -> None:
    """Read the PNG back: its core has to be the resampled packshot's, byte for byte."""
    written = np.asarray(open_picture(picture, min_side=1).convert("RGB"))
    found = delivery.check_core(written, placed.rgb, placed.core)
    if found.max_difference or found.sha256 != expected["sha256"]:
        raise RunError(
            f"the product's core in {picture.name} differs from the packshot by up to {found.max_difference}",
            "this is a defect of Packshot: please report it with the packshot",
        )


def _manifest(plan: Plan, painted: Painted, seed: int) -> dict[str, Any]:
    """How a picture was made, all but the hashes of the picture itself."""
    config, placed, version = plan.config, plan.placed, plan.version
    core = None
    if config.mode == "preserve":
        check = delivery.check_core(painted.picture, placed.rgb, placed.core)
        core = {
            "pixels": check.pixels,
            "max_difference": check.max_difference,
            "sha256": check.sha256,
            "mask": provenance.core_section(placed.core, placed.box),
        }
    return {
        "format": provenance.FORMAT,
        "tool": {"name": "packshot", "version": version_of("packshot"), "pictures": PICTURES},
        "digitalSourceType": provenance.SOURCE_TYPES[config.mode],
        "sku": plan.sku,
        "class_noun": plan.prepared.class_noun,
        "token": plan.prepared.token,
        "mode": config.mode,
        "source": {"photo": plan.photo.photo, "cutout": plan.photo.cutout, "sha256": plan.cutout_sha256},
        "adapter": version
        and {
            "version": version.number,
            "published": version.published,
            "sha256": provenance.file_sha256(version.weights),
            "scale": config.adapter_scale,
        }
        | ({"foreign": version.manifest["foreign"]} if "foreign" in version.manifest else {}),
        "base": plan.base.summary(),
        "prompt": {"user": plan.user_prompt, "resolved": plan.prompts, "negative": config.sampling.negative},
        "seed": seed,
        "sampling": config.sampling.model_dump(exclude={"negative"}),
        "size": config.size,
        "placement": {
            "left": placed.box.left,
            "top": placed.box.top,
            "width": placed.box.width,
            "height": placed.box.height,
            "enlarged": round(placed.upscaled, 4),
        },
        "mask": {"coverage": round(painted.coverage, 4), "grow": painted.grow},
        "shadow": config.shadow.model_dump() if core else None,
        "blend": config.blend.model_dump() if core else None,
        "core": core,
    }


def _finish(plan: Plan, manifests: list[dict[str, Any]], folder: Path) -> None:
    """Contact sheet, page and `run.json`, which is last: its presence says the run is whole."""
    names = [manifest["picture"]["file"] for manifest in manifests]
    captions = [f"{m['picture']['file']} seed {m['seed']}" for m in manifests]
    report.write_contact_sheet([folder / name for name in names], captions, folder / "contact_sheet.png")
    report.write_index(manifests, folder / "index.html")
    run = {"format": 1, "sku": plan.sku, "prompt": plan.user_prompt, "recipe": plan.recipe, "pictures": names}
    provenance.write_manifest(run, folder / RUN_FILE)
