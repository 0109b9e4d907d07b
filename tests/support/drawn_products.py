"""Drawn products, their folders in a workspace, and how tests cut them out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from finetune.core.errors import PackshotError
from finetune.core.products.catalog import ProductSet
from finetune.core.products.set_files import UnusablePhoto
from finetune.matting.photo import CutPhoto, cut_photo, unusable


def draw_bottle(size: int = 200, colour: tuple[int, int, int] = (190, 90, 40), shift: int = 0) -> Image.Image:
    """A bottle with a label on white: body, neck, cap, drawn four times larger and scaled down for soft edges."""
    big = Image.new("RGB", (size * 4, size * 4), "white")
    pen, u = ImageDraw.Draw(big), size * 4 / 100
    x = shift * 4
    pen.rounded_rectangle((x + 32 * u, 40 * u, x + 68 * u, 88 * u), 5 * u, fill=colour)
    pen.rectangle((x + 44 * u, 28 * u, x + 56 * u, 41 * u), fill=colour)
    pen.rectangle((x + 42 * u, 16 * u, x + 58 * u, 29 * u), fill=(40, 38, 36))
    pen.rectangle((x + 38 * u, 54 * u, x + 62 * u, 76 * u), fill=(245, 238, 220))
    pen.rectangle((x + 42 * u, 60 * u, x + 58 * u, 63 * u), fill=(30, 30, 30))
    pen.rectangle((x + 45 * u, 67 * u, x + 55 * u, 69 * u), fill=(30, 30, 30))
    return big.resize((size, size), Image.Resampling.LANCZOS)


def write_set(workspace: Path, sku: str, photos: dict[str, Image.Image], **config: object) -> Path:
    """Write datasets/<sku> with set.yaml and PNG photos; returns its folder."""
    folder = workspace / "datasets" / sku
    (folder / "photos").mkdir(parents=True)
    lines = {"class_noun": "perfume bottle"} | config
    (folder / "set.yaml").write_text("".join(f"{k}: {json.dumps(v)}\n" for k, v in lines.items()), encoding="utf-8")
    for name, picture in photos.items():
        picture.save(folder / "photos" / f"{name}.png")
    return folder


def write_shop(workspace: Path, config: str, base: Path) -> None:
    """A workspace for commands: `bottle01` in two views and tiny.yaml, the config with `BASE` for the base's folder."""
    write_set(workspace, "bottle01", {"front": draw_bottle(), "side": draw_bottle(shift=6)})
    (workspace / "tiny.yaml").write_text(config.replace("BASE", str(base)), encoding="utf-8")


def noting(names: list[str], work: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The same work on a photo; its name is noted."""

    def noted(job: Any) -> Any:
        names.append(job.task.photo.path.name)
        return work(job)

    return noted


def cut_all(product: ProductSet) -> tuple[list[CutPhoto], list[UnusablePhoto]]:
    """Every photo of a set cut out, and those that can't be."""
    cuts, failures = [], list(product.unusable)
    for photo in product.photos:
        try:
            cuts.append(cut_photo(photo, product.config))
        except PackshotError as error:
            failures.append(unusable(photo, error))
    return cuts, failures
