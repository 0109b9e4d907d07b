"""What one looks at after placing: the contact sheet and `index.html` of a run of scenes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from finetune.core.compositing.light import Light
from finetune.core.pages.render import render
from finetune.core.pictures.contact_sheet import contact_sheet
from finetune.core.pictures.images import write_png
from finetune.core.storage.durable import write_text
from inference.manifest import picture_size, rejected_name

CELL = 512
"""Side of a picture on the contact sheet, pixels."""


def write_contact_sheet(pictures: Sequence[Path], captions: Sequence[str], path: Path) -> None:
    """Write one overview picture of a run's pictures."""
    opened = []
    for picture in pictures:
        with Image.open(picture) as file:
            opened.append(file.convert("RGB"))
    write_png(contact_sheet(opened, captions, columns=min(len(opened), 4), cell=CELL), path)


def write_index(manifests: Sequence[dict[str, Any]], path: Path) -> None:
    """Write the page of a run: its pictures, and how they were made. It needs the pictures beside it.

    Args:
        manifests: Of the run's pictures, in their order; at least one.
        path: Of the page.
    """
    first = manifests[0]
    page = render(
        "scenes.html",
        title=f"{first['sku']} · {first['mode']}",
        lead=_scene_words(first),
        scenes=[_scene(manifest) for manifest in manifests],
        rows=_facts(first),
    )
    write_text(path, page)


def _scene(manifest: dict[str, Any]) -> dict[str, Any]:
    file, second = manifest["picture"]["file"], manifest.get("second_objects") or {}
    return {
        "file": file,
        "manifest": Path(file).with_suffix(".json").name,
        "alt": f"{manifest['class_noun']} {_scene_words(manifest)}",
        "core": core_line(manifest),
        "seed": manifest["seed"],
        "rejected": [rejected_name(Path(file).stem, each["seed"]) for each in second.get("rejected", ())],
    }


def _scene_words(manifest: dict[str, Any]) -> str:
    """What the scene is: the user's prompt, or the plate's title."""
    if plate := manifest.get("plate"):
        return f"on the plate '{plate['title'] or plate['name']}'"
    return str(manifest["prompt"]["user"])


def core_line(manifest: dict[str, Any]) -> str:
    """One line on whether the product in a picture is the photographed one."""
    core = manifest["core"]
    if core is None:
        return "product drawn by the adapter, not photographed"
    if relit := manifest.get("relight"):
        change = f"colour change {relit['mean']:g} on average, {relit['p95']:g} at most on 95 % (CIEDE2000)"
        return f"product relit: {core['pixels']:,} pixels, {change}"
    return f"product core: {core['pixels']:,} pixels, identical to the packshot"


def _facts(manifest: dict[str, Any]) -> list[tuple[str, str]]:
    rows = _plate_facts(manifest) if "plate" in manifest else _painted_facts(manifest)
    return [
        *rows,
        *_ground_facts(manifest.get("ground")),
        ("placement", _placement(manifest)),
        ("packshot", f"{manifest['source']['photo']} ({manifest['source']['sha256'][:16]})"),
        ("made by", f"packshot {manifest['tool']['version']}"),
    ]


def _plate_facts(manifest: dict[str, Any]) -> list[tuple[str, str]]:
    plate = manifest["plate"]
    return [("plate", f"{plate['name']} ({plate['sha256'][:16]})")]


def _ground_facts(ground: dict[str, Any] | None) -> list[tuple[str, str]]:
    if ground is None:
        return []
    light, strength = Light(**ground["light"]), ground["strength"]
    return [
        ("light", light.text),
        ("pose", ground["pose"]),
        ("shadow", f"contact {strength['contact']:g}, cast {strength['cast']:g}"),
        ("reflection", f"{ground['reflection']:g}"),
    ]


def _placement(manifest: dict[str, Any]) -> str:
    place, (width, height) = manifest["placement"], picture_size(manifest)
    true = "" if place.get("height_mm") is None else f", {place['height_mm']:g} mm high"
    return f"{place['width']}x{place['height']} px at ({place['left']}, {place['top']}) of {width}x{height} px{true}"


def _painted_facts(manifest: dict[str, Any]) -> list[tuple[str, str]]:
    adapter, sampling = manifest["adapter"], manifest["sampling"]
    prompts = manifest["prompt"]["resolved"]
    return [
        *[("prompt" if len(prompts) == 1 else f"prompt ({name})", prompt) for name, prompt in prompts.items()],
        ("adapter", f"{adapter['version']} at scale {adapter['scale']:g}" if adapter else "none"),
        ("base", f"{manifest['base']['model']} ({manifest['base']['fingerprint']})"),
        ("sampling", ", ".join(f"{k} {v}" for k, v in sampling.items() if v != "")),
    ]
