"""Which parts of a product let its ground through, and how much: the glass layer.

On a plain ground of known light B a transparent part shows T B, so its transmittance is T = C / B, per channel, in
linear light. No single pixel tells whether a light, even area is glass or white material. Glass is recognised by its
outline: it bends the ground's light away there, so that a dark line runs between the bright inside and the ground, and
by being as even as the ground behind it.
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
from finetune.core.pictures.images import Floats, to_float, to_linear, to_srgb8
from finetune.core.pictures.masks import Mask, bounding_box
from finetune.matting.ground import estimate_ground
from finetune.matting.matte import WORKING_SIDE, Cutout
from finetune.matting.opaque_parts import DARK, lighter_than, of_own_colour, small_holes

GlassMode = Literal["auto", "yes", "no"]
GLASS_NOUNS = re.compile(
    r"glass|bottle|jar|vase|vial|flask|decanter|carafe|tumbler|goblet|perfume|fragrance|parfum", re.IGNORECASE
)
"""Class nouns that make glass likely: less evidence is then required of the picture."""
LIGHT = 0.75
"""Least T, in its largest channel, of a part that can prove to be glass."""
DARKEST = 0.3
"""Least T, in its smallest channel, of any transmitting part."""
DEEPER = 0.55
"""Least T, in its largest channel, of parts beside proven glass."""
TINTED = 0.08
"""Spread of T's channels from which glass is tinted."""
SAME_TINT = 0.9
"""Cosine between two absorbances from which their tint is the same."""
EVEN = 0.02
"""Largest slope of T per pixel in a transmitting part."""
LINE = 0.7
"""Share of the part's T below which a line at the outline is dark."""
STREAK = 0.93
"""Share of the darker part's T below which a streak between two parts shows that they are one glass."""
LEAST_PART, PRINT = 0.002, 0.04
"""Smallest part examined, and largest print on glass, as shares of the product's area."""
SAME_COLOUR = 0.12
"""Largest spread of T's channels, relative to the glass's, at which pixels beside clear glass count as glass."""
STREAKED = 0.12
"""Distance from glass within which its uneven parts lie, as a share of the product's size."""
NEAR, GAP = 0.05, 0.03
"""Distance from the outline that a part must reach, and distance between parts of one glass, as shares of the product's
size (the square root of its area)."""


@dataclass(frozen=True)
class Evidence:
    """Evidence for glass, measured or demanded (at least; `spread` at most)."""

    area: float
    """Area as a share of the product's."""
    outline: float
    """Share of the product's outline that the part lies at."""
    lined: float
    """Share of that outline with a dark line."""
    spread: float
    """5th to 95th percentile of the part's T."""

    def suffices(self, asked: Evidence) -> bool:
        """Whether this evidence is as strong as what is asked."""
        enough = self.area >= asked.area and self.outline >= asked.outline and self.lined >= asked.lined
        return enough and self.spread <= asked.spread


DEMANDED = {
    "picture alone": Evidence(0.05, 0.1, 0.15, 0.05),
    "glass noun": Evidence(0.03, 0.15, 0.5, 0.12),
    "forced": Evidence(0.01, 0.03, 0.0, 1.0),
}
"""Where both of the first two apply, either suffices."""


def with_glass(cutout: Cutout, picture: Image.Image, mode: GlassMode, class_noun: str) -> Cutout:
    """The cutout with its glass layer, if the product has one.

    Args:
        cutout: the product.
        picture: the photo it was cut out of.
        mode: `glass` of set.yaml.
        class_noun: what the product is.

    Raises:
        CutoutError: glass is forced, but the ground is not plain or no part transmits it.
    """
    if mode == "no" or (mode == "auto" and cutout.source != "plain ground"):
        return cutout
    factor = max(1, max(picture.size) // WORKING_SIDE)  # whole factor that leaves at least this: lines are thin
    encoded = to_float(np.asarray(picture.convert("RGB").reduce(factor)))
    light, ground = to_linear(encoded), np.maximum(estimate_ground(encoded).colour, 1e-3)
    cover = Image.new("L", picture.size)
    cover.paste(cutout.rgba.getchannel("A").resize((cutout.box.width, cutout.box.height)), cutout.box[:2])
    solid = np.asarray(cover.reduce(factor)) > 127
    demanded = ["forced"] if mode == "yes" else ["picture alone"]
    if mode == "auto" and GLASS_NOUNS.search(class_noun):
        demanded.append("glass noun")
    asked = [DEMANDED[name] for name in demanded]
    share = transmitting(np.clip(light / ground, 0, 1), solid, asked, lighter_than(light, ground))
    if share is None:
        if mode == "yes":
            raise CutoutError(
                "set.yaml says `glass: yes`, but no part of the product lets the ground through",
                "photograph it against a plain white ground, or set `glass: auto`",
            )
        return cutout
    return replace(cutout, glass=_layer(cutout, share, ground, factor))


def transmitting(transmittance: Floats, cover: Mask, demanded: list[Evidence], lighter: Mask) -> Floats | None:
    """Find the share of each pixel that transmits.

    Args:
        transmittance: (H, W, 3) in 0..1.
        cover: (H, W), the product.
        demanded: evidence, of which any suffices.
        lighter: (H, W), what is lighter than the ground.

    Returns:
        (H, W) in 0..1; None if nothing transmits.
    """
    box = bounding_box(cover)
    if box is None:
        return None
    box = box.grown(2, (cover.shape[1], cover.shape[0]))
    where = np.s_[box.top : box.bottom, box.left : box.right]
    share = _share(np.ascontiguousarray(transmittance[where]), cover[where], demanded, lighter[where])
    if share is None:
        return None
    whole = np.zeros(cover.shape, dtype=np.float32)
    whole[where] = share
    return whole


def _share(transmittance: Floats, cover: Mask, demanded: list[Evidence], lighter: Mask) -> Floats | None:
    """`transmitting`, inside the product's box."""
    area = int(cover.sum())
    size = float(np.sqrt(area))
    labels, dark = _even_parts(transmittance, cover, PRINT * area)
    lit = np.bincount(labels.ravel(), lighter.ravel()) > 0.5 * np.bincount(labels.ravel())
    lit[0] = False
    opaque = lit[labels]
    labels, dark = np.where(opaque, 0, labels), dark | opaque
    if not _worth_a_look(transmittance, labels, area, demanded):
        return None
    depth = ndimage.distance_transform_edt(cover)
    apart, nearest = ndimage.distance_transform_edt(labels == 0, return_indices=True)
    reach = max(4.0, NEAR * size)
    parts = _Parts(transmittance, labels, labels[nearest[0], nearest[1]], apart <= reach, cover, depth)
    glass = _proven(parts, round(reach), demanded)
    if not glass.any():
        return None
    gap = round(max(4.0, GAP * size))
    glass = _with_neighbours(glass, transmittance, labels, gap, area)
    part = np.append(False, glass[1:])[labels]
    at_rim = cover & (depth <= reach) & parts.near & glass[parts.owner]
    closed = _closed(part, max(3, gap // 2))
    other = (labels > 0) & (np.bincount(labels.ravel())[labels] > PRINT * area) & ~part
    region = cover & (part | at_rim | closed) & ~(other | opaque)
    region = _grown_over(region, cover & ~other & ~dark, transmittance, part, round(STREAKED * size))
    printed = small_holes(region, PRINT * area) & cover & ~opaque
    region |= printed & ~of_own_colour(printed, transmittance, part)
    soft = ndimage.gaussian_filter(region.astype(np.float32), 0.7)
    return np.asarray(soft * (1 - _grazing_reflection(depth / depth[region].max())), dtype=np.float32)


@dataclass(frozen=True)
class _Parts:
    """The light and even parts of a product; arrays are (H, W)."""

    transmittance: Floats
    """(H, W, 3)."""
    labels: NDArray[np.int32]
    """Number of each pixel's part, 0 outside parts."""
    owner: NDArray[np.int32]
    """Number of the nearest part."""
    near: Mask
    """Whether that part is near enough to be seen at this pixel's outline."""
    cover: Mask
    """The product."""
    depth: NDArray[np.float64]
    """Distance from the product's outline in pixels."""


def _even_parts(transmittance: Floats, cover: Mask, large: float) -> tuple[NDArray[np.int32], Mask]:
    """Label the parts that are light and even enough to transmit, 0 elsewhere; mask large even parts that are dark."""
    largest, smallest = transmittance.max(axis=-1), transmittance.min(axis=-1)
    even = ndimage.binary_erosion(cover)
    for channel in range(3):  # a paper label can be as light as the glass around it, but not of its colour
        even &= ndimage.gaussian_gradient_magnitude(transmittance[..., channel], 1.0) < EVEN
    light = (largest > DEEPER) & (smallest > DARKEST)
    labels, _ = ndimage.label(ndimage.binary_opening(even & light, iterations=2))
    dark, _ = ndimage.label(ndimage.binary_opening(even & ~light & (largest > DARK), iterations=2))
    sizes = np.bincount(dark.ravel())
    sizes[0] = 0
    return np.asarray(labels, dtype=np.int32), np.asarray((sizes > large)[dark])


def _worth_a_look(transmittance: Floats, labels: NDArray[np.int32], area: int, demanded: list[Evidence]) -> bool:
    """Whether some part is large, light and even enough to be proven at all: saves time for most opaque products."""
    level = transmittance.mean(axis=-1)
    least, widest = min(asked.area for asked in demanded), max(asked.spread for asked in demanded)
    for number in np.flatnonzero(np.bincount(labels.ravel())[1:] >= max(0.01, least) * area) + 1:
        inside = labels == number
        low, high = np.percentile(level[inside], (5, 95))
        if high - low <= widest and np.median(transmittance[inside], axis=0).max() >= LIGHT:
            return True
    return False


def _closed(mask: Mask, radius: int) -> Mask:
    """Morphological closing by a disc."""
    padded = np.pad(mask, radius + 1)
    near = ndimage.distance_transform_edt(~padded) <= radius
    return np.asarray(
        (ndimage.distance_transform_edt(near) > radius)[radius + 1 : -radius - 1, radius + 1 : -radius - 1]
    )


def _grown_over(region: Mask, within: Mask, transmittance: Floats, glass: Mask, reach: int) -> Mask:
    """The region with the uneven glass beside it: bands of refraction, thick bottoms, rims of reflections.

    What is in no channel lighter than the glass, and has no colour that the glass lacks, may be glass; if it were taken
    for opaque, it would carry the photo's ground as a white streak into scenes. Dark parts look the same either way.
    """
    colour = np.median(transmittance[glass], axis=0)
    not_lighter = (transmittance <= 1.05 * colour).all(axis=-1)
    over = np.maximum(transmittance, 0.02) / colour
    same = over.max(axis=-1) - over.min(axis=-1) < SAME_COLOUR
    if np.ptp(colour) > TINTED:  # Beer's law: thicker glass absorbs more of the same
        absorbed = -np.log(np.clip(transmittance, 0.02, 1))
        direction = -np.log(np.clip(colour, 0.02, 1))
        along = absorbed @ direction / (np.linalg.norm(absorbed, axis=-1) * np.linalg.norm(direction) + 1e-6)
        same |= along > SAME_TINT
    allowed = within & ((not_lighter & same) | (transmittance.max(axis=-1) < DARK))
    grown = ndimage.binary_dilation(region, iterations=reach, mask=region | allowed)
    return np.asarray(ndimage.binary_opening(grown, iterations=1) | region)


def _grazing_reflection(depth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of light that the edge of a round body reflects instead of transmitting, beyond what its middle reflects.

    Without it clear glass would vanish from a dark scene except for its caps and prints. Schlick's approximation (1994)
    of Fresnel's law, (1 - cos)^5, for a cylinder.

    Args:
        depth: distance from the outline, in half widths of the body.
    """
    cosine = np.sqrt(np.clip(1 - np.square(1 - np.clip(depth, 0, 1)), 0, 1))
    return np.asarray((1 - cosine) ** 5)


def _proven(parts: _Parts, reach: int, demanded: list[Evidence]) -> Mask:
    """Per label, whether there is evidence enough that this part is glass."""
    level = parts.transmittance.mean(axis=-1)
    rim = parts.cover & (parts.depth <= 1.5)
    darkest = ndimage.minimum_filter(np.where(parts.cover & (parts.depth > 1), level, 1), size=reach | 1)
    proven = np.zeros(parts.labels.max() + 1, dtype=bool)
    area, outline = parts.cover.sum(), max(1, int(rim.sum()))
    for number in range(1, len(proven)):
        inside = parts.labels == number
        values = level[inside]
        if len(values) < 0.01 * area or np.median(parts.transmittance[inside], axis=0).max() < LIGHT:
            continue
        low, middle, high = np.percentile(values, (5, 50, 95))
        beside = darkest[rim & parts.near & (parts.owner == number)]
        lined = float((beside < LINE * middle).mean()) if len(beside) else 0.0
        found = Evidence(len(values) / area, len(beside) / outline, lined, high - low)
        proven[number] = any(found.suffices(asked) for asked in demanded)
    return proven


def _with_neighbours(glass: Mask, transmittance: Floats, labels: NDArray[np.int32], gap: int, area: int) -> Mask:
    """Parts separated from glass by a streak darker than both, or of the same tint, are glass as well.

    A paper label is separated from the glass around it by a step, and is lighter than tinted glass in some channel.
    """
    chosen = glass.copy()
    level = transmittance.mean(axis=-1)
    large = [n for n in range(1, len(chosen)) if (labels == n).sum() > LEAST_PART * area]
    colour = {n: np.median(transmittance[labels == n], axis=0) for n in large}
    around = {n: ndimage.maximum_filter(labels == n, size=2 * gap + 1) for n in large}
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
    """Whether two parts absorb the same colours, like thin and thick glass of one dye; False for clear glass."""
    absorbed = [-np.log(np.clip(colour, 0.01, 1)) for colour in (first, second)]
    tinted = all(np.ptp(colour) > TINTED for colour in (first, second))
    along = float(absorbed[0] @ absorbed[1] / (np.linalg.norm(absorbed[0]) * np.linalg.norm(absorbed[1]) + 1e-6))
    return tinted and along > SAME_TINT


def _layer(cutout: Cutout, share: Floats, ground: Floats, factor: int) -> Image.Image:
    """The layer at the cutout's size, RGBA: T as sRGB encodes it, and the share of the pixel that transmits."""
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
