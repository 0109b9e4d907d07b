# SPDX-License-Identifier: GPL-3.0-or-later
"""Render the sample product sets of datasets/ (see README.md beside this file).

    python render.py --set perfume01 --out ../../datasets

Imports ``bpy`` (Blender's Python module), hence GPL-compatible; the pictures it makes are CC0.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import brand
import numpy as np
import products
import shapes
import studio
import surfaces
from PIL import Image
from studio import View

PERFUME_VIEWS = (
    View("01-front", 0, 4, 0.74),
    View("02-left", -36, 6, 0.74),
    View("03-right", 34, 6, 0.74),
    View("04-above", 18, 24, 0.74),
    View("05-low", -14, -3, 0.76, 70),
    View("06-closer", 10, 9, 0.80, 135),
)
MUG_VIEWS = (
    View("01-front", 0, 8, 0.68),
    View("02-handle", -34, 12, 0.68),
    View("03-turned", 24, 10, 0.68),
    View("04-above", -14, 32, 0.70),
    View("05-low", -22, 3, 0.72, 70),
)
CARTON_VIEWS = (View("01-packshot", -33, 13, 0.78),)


@dataclass(frozen=True)
class Recipe:
    """How one set is photographed."""

    views: tuple[View, ...]
    samples: int  # a pixel; the denoiser does the rest
    key: float  # strength of the key panel
    side: float  # what stands beside the product: 0 is a black flag
    front: float  # what stands around the camera
    size: int = 1024
    backlight: float = 0.0  # strength of the panel seen through glass
    ground: bool = False  # a white ground that takes a soft shadow; the set then ships masks


RECIPES = {
    "perfume01": Recipe(PERFUME_VIEWS, 36, 9.0, 0.02, 0.25, backlight=1.12),
    "perfume02": Recipe(PERFUME_VIEWS, 36, 9.0, 0.02, 0.25, 768, backlight=1.12),
    "mug01": Recipe(MUG_VIEWS, 36, 6.5, 0.22, 0.35, 768, ground=True),
    "carton01": Recipe(CARTON_VIEWS, 36, 6.6, 0.35, 0.5),
}


def photograph(name: str, recipe: Recipe, view: View, size: int, samples: int) -> tuple[Image.Image, Image.Image]:
    """One packshot and its true mask."""
    scene = studio.reset(samples)
    product = products.build(name, view.turn)
    forward = studio.aim(scene, product.things, view, product.height)
    studio.bright_field(scene, forward, recipe.side, recipe.front)
    if recipe.backlight:
        studio.backlight(forward, product.height, recipe.backlight)
    studio.softboxes(product.height, recipe.key, recipe.key * 1.15, recipe.key * 0.75, lamps=recipe.ground)
    grounds = []
    if recipe.ground:
        white = surfaces.plain("ground", (0.9, 0.9, 0.9), 0.9)
        ground = shapes.cylinder("ground", 1.5, (-0.02, 0.0), (0.001, 0.001), white)
        ground.is_shadow_catcher = True
        grounds = [ground]
    rgba = studio.render(scene, size)
    alpha = studio.silhouette_alpha(scene, size, grounds) if grounds else rgba[..., 3].clip(0, 1)
    picture = studio.over_white(rgba, haze=0.16 if grounds else 0.0)
    mask = np.asarray(np.round(alpha * 255), np.uint8)
    return Image.fromarray(picture), Image.fromarray(mask)


def render_product(name: str, args: argparse.Namespace) -> None:
    """All views of one product set."""
    recipe = RECIPES[name]
    photos = args.out / name / "photos"
    photos.mkdir(parents=True, exist_ok=True)
    mask_folders = [args.masks / name] if args.masks else []
    if recipe.ground:
        mask_folders.append(args.out / name / "masks")
    for view in recipe.views:
        if args.view and args.view not in view.name:
            continue
        start = time.monotonic()
        picture, mask = photograph(name, recipe, view, args.size or recipe.size, args.samples or recipe.samples)
        picture.save(photos / f"{view.name}.jpg", quality=94, subsampling=0, optimize=True)
        for folder in mask_folders:
            folder.mkdir(parents=True, exist_ok=True)
            mask.save(folder / f"{view.name}.png", optimize=True)
        print(f"{name}/{view.name}: {time.monotonic() - start:.0f} s", flush=True)


def render_brand(name: str, args: argparse.Namespace) -> None:
    """All style pictures of the brand set."""
    photos = args.out / name / "photos"
    photos.mkdir(parents=True, exist_ok=True)
    for scene in brand.SCENES:
        if args.view and args.view not in scene:
            continue
        start = time.monotonic()
        picture = brand.photograph(scene, args.size or 768, args.samples or 36)
        picture.save(photos / f"{scene}.jpg", quality=93, subsampling=0, optimize=True)
        print(f"{name}/{scene}: {time.monotonic() - start:.0f} s", flush=True)


def main() -> None:
    """Read the command line and render."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", default="all", choices=("all", *RECIPES, "noire"), help="which set")
    parser.add_argument("--out", type=Path, default=Path("datasets"), help="folder that holds the sets")
    parser.add_argument("--masks", type=Path, help="also write every view's true mask under this folder")
    parser.add_argument("--view", default="", help="only views whose name contains this")
    parser.add_argument("--size", type=int, help="pixels a side (default: the set's own)")
    parser.add_argument("--samples", type=int, help="samples a pixel, for quick looks")
    args = parser.parse_args()
    for name in (*RECIPES, "noire"):
        if args.set not in ("all", name):
            continue
        if name == "noire":
            render_brand(name, args)
        else:
            render_product(name, args)


if __name__ == "__main__":
    main()
