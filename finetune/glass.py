"""What of a product lets its ground through, and how much: the glass layer. Called by `finetune.cutting`.

On a plain ground of known light B a transparent part shows T B, so its transmittance is T = C / B, per channel, in
linear light. Whether a light, even area is glass or white matter no single pixel says. Glass tells by its outline: it
bends the ground's light away there, so that a dark line runs between the bright inside and the ground, and it is as
even as the ground behind it. Reads pictures, writes nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from finetune.core.errors import CutoutError
from finetune.core.images import Floats, to_linear, to_srgb8
from finetune.core.masks import Mask
from finetune.ground import estimate_ground
from finetune.matte import WORKING_SIDE, Cutout

GlassMode = Literal["auto", "yes", "no"]
GLASS_NOUNS = re.compile(
    r"glass|bottle|jar|vase|vial|flask|decanter|carafe|tumbler|goblet|perfume|fragrance|parfum", re.IGNORECASE
)
"""Class nouns that make glass likely: then less evidence is asked of the picture."""
LIGHT, DARKEST = 0.75, 0.3
"""T of a part that can prove to be glass: its largest channel at least, and the smallest of any part."""
DEEPER = 0.55
"""Largest channel's T, at least, of parts beside proven glass."""
TINTED, SAME_TINT = 0.08, 0.9
"""Spread of T's channels from which on glass is tinted; cosine between the absorbances of one tint."""
EVEN = 0.02
"""Largest slope of T (a pixel) in a transmitting part."""
LINE = 0.7
"""A line at the outline is dark below this share of the part's T."""
STREAK = 0.93
"""A streak between two parts of one glass is darker than this share of the darker one."""
LEAST_PART, PRINT = 0.002, 0.04
"""Smallest part looked at, and largest print on glass, as shares of the product's area."""
NEAR, GAP = 0.05, 0.03
"""How near the outline a part must come, and how near each other parts of one glass lie; shares of the product's size
(the root of its area)."""


@dataclass(frozen=True)
class Evidence:
    """What speaks for glass, at least (`spread`: at most)."""

    area: float
    """Share of the product."""
    outline: float
    """Share of the product's outline the part lies at."""
    lined: float
    """Share of that outline with a dark line."""
    spread: float
    """5th to 95th percentile of the part's T."""


DEMANDED = {
    "picture alone": Evidence(0.05, 0.1, 0.15, 0.05),
    "glass noun": Evidence(0.03, 0.1, 0.5, 0.12),
    "forced": Evidence(0.01, 0.03, 0.0, 1.0),
}
"""Either of the first two suffices where both apply."""


def with_glass(cutout: Cutout, picture: Image.Image, mode: GlassMode, class_noun: str) -> Cutout:
    """The cutout with its glass layer, if the product has one.

    Args:
        picture: the photo it was cut out of. mode: `set.yaml`'s `glass`.
        class_noun: what the product is.

    Raises:
        CutoutError: glass is forced, but the ground is not plain or nothing lets it through.
    """
    if mode == "no" or (mode == "auto" and cutout.source != "plain ground"):
        return cutout
    factor = max(1, max(picture.size) // WORKING_SIDE)
    photo = picture.convert("RGB")
    light = to_linear(np.asarray(photo.reduce(factor)))
    ground = estimate_ground(light).colour
    cover = Image.new("L", picture.size)
    cover.paste(cutout.rgba.getchannel("A").resize((cutout.box.width, cutout.box.height)), cutout.box[:2])
    solid = np.asarray(cover.reduce(factor)) > 127
    demanded = ["forced"] if mode == "yes" else ["picture alone"]
    if mode == "auto" and GLASS_NOUNS.search(class_noun):
        demanded.append("glass noun")
    share = transmitting(np.clip(light / ground, 0, 1), solid, [DEMANDED[name] for name in demanded])
    if share is None:
        if mode == "yes":
            raise CutoutError(
                "nothing in it lets the ground through, but set.yaml says glass: yes",
                "light it against a plain white ground, or set glass: auto",
            )
        return cutout
    return replace(cutout, glass=_layer(cutout, share, ground, factor))


def transmitting(transmittance: Floats, cover: Mask, demanded: list[Evidence]) -> Floats | None:
    """Which share of each pixel transmits.

    Args:
        transmittance: (H, W, 3) in 0..1. cover: (H, W), the product. demanded: any of these suffices.

    Returns:
        (H, W) in 0..1; None where nothing does.
    """
    area = int(cover.sum())
    if not area:
        return None
    size = float(np.sqrt(area))
    depth = ndimage.distance_transform_edt(cover)
    light = cover & (transmittance.max(axis=-1) > DEEPER) & (transmittance.min(axis=-1) > DARKEST) & (depth > 1.5)
    for channel in range(3):  # a label can be as light as the glass around it, but not of its colour
        light &= ndimage.gaussian_gradient_magnitude(transmittance[..., channel], 1.0) < EVEN
    labels, count = ndimage.label(ndimage.binary_opening(light, iterations=2))
    if not count:
        return None
    apart, nearest = ndimage.distance_transform_edt(labels == 0, return_indices=True)
    owner = labels[nearest[0], nearest[1]]
    reach = max(4.0, NEAR * size)
    glass = _proven(transmittance, labels, owner, cover, depth, apart <= reach, round(reach), demanded)
    if not glass.any():
        return None
    glass = _with_neighbours(glass, transmittance, labels, max(4.0, GAP * size), area)
    part = np.append(False, glass[1:])[labels]
    at_rim = cover & (depth <= reach) & (apart <= reach) & glass[owner]
    radius = max(3, round(GAP * size / 2))
    closed = ndimage.distance_transform_edt(ndimage.distance_transform_edt(~part) <= radius) > radius
    other = (labels > 0) & (np.bincount(labels.ravel())[labels] > PRINT * area) & ~part
    region = cover & (part | at_rim | closed) & ~other
    region |= _small_holes(region, PRINT * area) & cover
    return np.asarray(ndimage.gaussian_filter(region.astype(np.float32), 0.7), dtype=np.float32)


def _small_holes(region: Mask, largest: float) -> Mask:
    """What a region encloses, hole by hole, if it is small: print on the glass, drops, reflections."""
    labels, _ = ndimage.label(ndimage.binary_fill_holes(region) & ~region)
    small = np.bincount(labels.ravel()) <= largest
    small[0] = False
    return np.asarray(small[labels])


def _proven(
    transmittance: Floats,
    labels: NDArray[np.int32],
    owner: NDArray[np.int32],
    cover: Mask,
    depth: NDArray[np.float64],
    near: Mask,
    reach: int,
    demanded: list[Evidence],
) -> Mask:
    """Per label: is there evidence enough that this part is glass?"""
    level = transmittance.mean(axis=-1)
    rim = cover & (depth <= 1.5)
    darkest = ndimage.minimum_filter(np.where(cover & (depth > 1), level, 1), size=reach | 1)
    proven = np.zeros(labels.max() + 1, dtype=bool)
    area, outline = cover.sum(), max(1, int(rim.sum()))
    for number in range(1, len(proven)):
        values = level[labels == number]
        if len(values) < 0.01 * area or np.median(transmittance[labels == number], axis=0).max() < LIGHT:
            continue
        low, middle, high = np.percentile(values, (5, 50, 95))
        beside = darkest[rim & near & (owner == number)]
        lined = float((beside < LINE * middle).mean()) if len(beside) else 0.0
        found = Evidence(len(values) / area, len(beside) / outline, lined, high - low)
        proven[number] = any(
            found.area >= asked.area
            and found.outline >= asked.outline
            and found.lined >= asked.lined
            and found.spread <= asked.spread
            for asked in demanded
        )
    return proven


def _with_neighbours(glass: Mask, transmittance: Floats, labels: NDArray[np.int32], gap: float, area: int) -> Mask:
    """Parts parted from glass by a streak darker than both, or of the same tint, are glass as well.

    A label is parted from the glass around it by a step, and is lighter than tinted glass in some channel.
    """
    chosen = glass.copy()
    level = transmittance.mean(axis=-1)
    large = [n for n in range(1, len(chosen)) if (labels == n).sum() > LEAST_PART * area]
    colour = {n: np.median(transmittance[labels == n], axis=0) for n in large}
    around = {n: ndimage.distance_transform_edt(labels != n) <= gap for n in large}
    waiting = [n for n in large if chosen[n]]
    while waiting:
        known = waiting.pop()
        for other in large:
            between = around[known] & around[other] & (labels == 0)
            if chosen[other] or not between.any():
                continue
            streak = STREAK * min(colour[known].mean(), colour[other].mean())
            streaked = np.percentile(level[between], 30) < streak and (colour[other] <= 1.1 * colour[known]).all()
            if streaked or _same_tint(colour[known], colour[other]):
                chosen[other] = True
                waiting.append(other)
    return chosen


def _same_tint(first: Floats, second: Floats) -> bool:
    """Do two parts absorb the same colours, like thin and thick glass of one dye? False for clear glass."""
    absorbed = [-np.log(np.clip(colour, 0.01, 1)) for colour in (first, second)]
    tinted = all(np.ptp(colour) > TINTED for colour in (first, second))
    along = float(absorbed[0] @ absorbed[1] / (np.linalg.norm(absorbed[0]) * np.linalg.norm(absorbed[1]) + 1e-6))
    return tinted and along > SAME_TINT


def _layer(cutout: Cutout, share: Floats, ground: Floats, factor: int) -> Image.Image:
    """The layer at the cutout's size: RGB is T as sRGB would show it, A the share of the pixel that transmits."""
    size, box = cutout.rgba.size, cutout.box
    left, top, right, bottom = (edge / factor for edge in box)
    planes = [share, *np.moveaxis(ground, -1, 0)]
    share, *channels = (
        np.asarray(
            Image.fromarray(np.ascontiguousarray(p)).resize(
                size, Image.Resampling.BILINEAR, box=(left, top, right, bottom)
            )
        )
        for p in planes
    )
    pixels = np.asarray(cutout.rgba)
    transmittance = to_srgb8(np.clip(to_linear(pixels[..., :3]) / np.stack(channels, axis=-1), 0, 1))
    amount = np.where(pixels[..., 3] > 0, np.clip(share, 0, 1) * 255 + 0.5, 0).astype(np.uint8)
    layer = np.dstack([transmittance, amount])
    layer[amount == 0] = 0
    return Image.fromarray(layer)
