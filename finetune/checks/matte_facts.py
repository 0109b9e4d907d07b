"""What a cutout's own matte shows of its faults: measured beside the photo, each with the place where it is worst.

Nothing is judged here: the thresholds stand beside the findings. All is measured on the photo reduced by a whole factor
to about `SIDE` pixels, inside the product's box, so that a large photo costs no more than a small one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from skimage.color import deltaE_ciede2000, rgb2lab

from finetune.core.errors import CutoutError
from finetune.core.pictures.images import Array, Floats, over, to_float
from finetune.core.pictures.masks import Box, Mask, bounding_box, dilate
from finetune.matting.ground import deviation_of, estimate_ground
from finetune.matting.matte import Cutout

FlawKind = Literal["fringe", "filled", "frayed", "island", "cut off", "too alike"]
SIDE = 1000
"""Longer side in pixels at which a matte is measured, about."""
AROUND = 12
"""Pixels of ground around the product that are looked at."""
ALIKE = 6.0
"""CIEDE2000 from which product and ground can be told apart."""
BESIDE, OUTSIDE = 2, 4
"""Distances (px) from the outline, inside and outside it, at which their colours are compared: sharpening has ended
there."""
RIM, DARK_FROM, INSIDE, FURTHEST = 1.5, 3.5, 7.0, 10.0
"""Depths in pixels: of the rim, from which a fringe has ended, of the product's own colour, and of it at most."""
TOWARDS, INSIDE_AT_MOST, CONTRAST = 0.55, 0.25, 0.25
"""A rim pixel is fringe when it is this far on the way from the product to the ground and the pixels just behind it at
most that far, where both differ by so much (sRGB)."""
SMOOTH, NEAR_UNSEEN = 2.5, 3
"""Standard deviation (px) of the smoothing that a frayed outline is compared with, and distance (px) from an unseen
outline up to which roughness is frayed."""
WINDOW = 25
"""Side (px) of the window in which a flaw along the outline is counted to find its worst place."""
LIKE_GROUND, LIKE_SPREAD, NOISES = 0.02, 0.012, 3
"""Largest mean distance from the ground (sRGB), its largest spread, and both in multiples of the ground's noise, of a
region that looks like the ground."""
REGION = 30
"""Pixels from which such a region counts."""


@dataclass(frozen=True)
class Flaw:
    """One fault of a matte."""

    kind: FlawKind
    amount: float
    """A share, 0..1: of the outline (`fringe`, `frayed`, `too alike`: of it, what is not seen) or of the product's area
    (`filled`, `island`, `cut off`: share of the border's length)."""
    box: Box
    """Where it is worst, in the photo's pixels."""
    places: int = 1
    """Number of places."""


@dataclass(frozen=True)
class MatteFacts:
    """What was measured on a matte."""

    transparent: float
    """Share of the product's silhouette that is glass, 0..1."""
    core: float
    """Share of it that is opaque and fully covered, 0..1."""
    flaws: tuple[Flaw, ...]
    """At most one of each kind; kinds of which nothing was seen are missing."""


@dataclass(frozen=True)
class _View:
    """A cutout in its photo's crop, reduced. Arrays are (H, W)."""

    pixels: Array
    """(H, W, 3), the photo."""
    own: Array
    """(H, W, 3), the cutout's unmixed colours."""
    alpha: Floats
    glass: Mask
    ground: Floats | None
    """(H, W, 3) sRGB 0..1; None unless the ground is plain."""
    noise: float
    corner: tuple[int, int]
    """(left, top) of the crop in the photo, reduced."""
    factor: int

    @property
    def solid(self) -> Mask:
        """The silhouette."""
        return np.asarray(self.alpha > 0.5)

    def in_photo(self, box: Box) -> Box:
        """A box of the crop in the photo's own pixels."""
        left, top = self.corner
        moved = (box.left + left, box.top + top, box.right + left, box.bottom + top)
        return Box(*(edge * self.factor for edge in moved))


def measure_matte(cutout: Cutout, picture: Image.Image) -> MatteFacts:
    """Measure a cutout's matte.

    Args:
        cutout: the product.
        picture: the photo it was cut out of, RGB or RGBA.
    """
    alpha = np.asarray(cutout.rgba.getchannel("A"))
    glass = np.zeros_like(alpha) if cutout.glass is None else np.asarray(cutout.glass.getchannel("A"))
    silhouette = alpha > 127
    area = max(1, int(silhouette.sum()))
    transparent = float((glass[silhouette] / 255.0).sum() / area)
    core = float((silhouette & (alpha == 255) & (glass == 0)).sum() / area)
    view = _view(cutout, picture)
    found = [_cut_off(cutout, alpha), _islands(view)]
    if view.ground is not None:
        at, unseen = _unseen(view)
        found += [_along(view, "too alike", at, unseen), _frayed(view, at, unseen)]
        found += [_fringe(view, view.ground), _filled(view, view.ground)]
    return MatteFacts(transparent, core, tuple(flaw for flaw in found if flaw is not None))


def _view(cutout: Cutout, picture: Image.Image) -> _View:
    factor = max(1, round(max(picture.size) / SIDE))
    flat = over(picture, "white")
    small = flat.reduce(factor) if factor > 1 else flat
    frame = Image.new("RGBA", picture.size)
    frame.paste(cutout.rgba, cutout.box[:2])
    cover = frame.getchannel("A").reduce(factor)
    clear = Image.new("L", picture.size)
    if cutout.glass is not None:
        clear.paste(cutout.glass.getchannel("A"), cutout.box[:2])
    encoded, noise = None, 0.0
    if cutout.source == "plain ground":
        try:
            ground = estimate_ground(to_float(np.asarray(small)))
            encoded, noise = ground.encoded, ground.noise
        except CutoutError:  # plain only at the size it was cut out at
            encoded = None
    box = bounding_box(np.asarray(cover) > 0) or Box(0, 0, *small.size)
    box = box.grown(AROUND, small.size)
    where = np.s_[box.top : box.bottom, box.left : box.right]
    return _View(
        np.asarray(small)[where],
        np.asarray(frame.convert("RGBa").reduce(factor).convert("RGBA"))[where][..., :3],
        (np.asarray(cover)[where] / 255.0).astype(np.float32),
        np.asarray(clear.reduce(factor))[where] > 0,
        None if encoded is None else encoded[where],
        noise,
        (box.left, box.top),
        factor,
    )


def _outline(solid: Mask) -> Mask:
    return solid & ~dilate(solid, -1)


def _unseen(view: _View) -> tuple[Mask, Mask]:
    """The outline, and its pixels at which product and ground look alike."""
    solid = view.solid
    at = _outline(solid)
    calm = ndimage.uniform_filter(view.pixels, (3, 3, 1))
    inner, outer = dilate(view.alpha > 0.98, -BESIDE), dilate(view.alpha < 0.02, -OUTSIDE)
    unseen = np.zeros_like(at)
    if not (inner.any() and outer.any() and at.any()):
        return at, unseen
    unseen[at] = _difference(calm, _nearest(inner, at), _nearest(outer, at)) < ALIKE
    return at, unseen


def _nearest(wanted: Mask, at: Mask) -> tuple[NDArray[np.intp], ...]:
    """Rows and columns of the nearest `wanted` pixel of each pixel in `at`."""
    rows, columns = ndimage.distance_transform_edt(~wanted, return_distances=False, return_indices=True)
    return rows[at], columns[at]


def _difference(pixels: Array, *places: tuple[NDArray[np.intp], ...]) -> Floats:
    """CIEDE2000 between the pixels at two lists of places, (N,)."""
    first, second = (rgb2lab(pixels[place][None])[0] for place in places)
    return np.asarray(deltaE_ciede2000(first, second), dtype=np.float32)


def _along(view: _View, kind: FlawKind, at: Mask, flawed: Mask) -> Flaw | None:
    """A flaw of some pixels of the outline."""
    if not flawed.any():
        return None
    return Flaw(kind, float(flawed.sum() / max(1, at.sum())), _worst(view, flawed))


def _worst(view: _View, flawed: Mask) -> Box:
    """The window with the most flawed pixels, in the photo's pixels."""
    count = ndimage.uniform_filter(flawed.astype(np.float32), WINDOW, mode="constant")
    row, column = (int(v) for v in np.unravel_index(int(count.argmax()), count.shape))
    half = WINDOW // 2
    near = np.zeros_like(flawed)
    near[max(0, row - half) : row + half + 1, max(0, column - half) : column + half + 1] = True
    box = bounding_box(near & flawed) or Box(column, row, column + 1, row + 1)
    return view.in_photo(box)


def _fringe(view: _View, ground: Floats) -> Flaw | None:
    """Rim pixels of the ground's colour, right in front of a product of another colour: what was not unmixed."""
    depth = ndimage.distance_transform_edt(view.solid)
    behind, deep = (depth >= DARK_FROM) & (depth < INSIDE), depth >= INSIDE
    rim = view.solid & (depth <= RIM) & ~view.glass
    if not (behind.any() and deep.any() and rim.any()):
        return None
    own = to_float(view.own)
    away, (rows, columns) = ndimage.distance_transform_edt(~deep, return_indices=True)
    rim &= away <= FURTHEST
    inside, there = own[rows[rim], columns[rim]], ground[rim]
    middle = own[_nearest(behind, rim)]
    axis = there - inside
    length = np.maximum((axis**2).sum(axis=-1), 1e-6)
    towards = ((own[rim] - inside) * axis).sum(axis=-1) / length
    before = ((middle - inside) * axis).sum(axis=-1) / length
    flawed = np.zeros_like(rim)
    flawed[rim] = (np.sqrt(length) > CONTRAST) & (towards > TOWARDS) & (before < INSIDE_AT_MOST)
    return _along(view, "fringe", view.solid & (depth <= RIM), flawed)


def _frayed(view: _View, at: Mask, unseen: Mask) -> Flaw | None:
    """Roughness of the outline against its smoothed self, where the photo shows no edge that would explain it."""
    solid = view.solid
    smooth = ndimage.gaussian_filter(solid.astype(np.float32), SMOOTH) > 0.5
    return _along(view, "frayed", at, (solid != smooth) & ~view.glass & dilate(unseen, NEAR_UNSEEN))


def _filled(view: _View, ground: Floats) -> Flaw | None:
    """Even regions inside the product that look like the ground, as an opening does that was taken for product."""
    difference = to_float(view.pixels) - ground
    inside = dilate(view.alpha > 0.98, -BESIDE) & ~view.glass
    limit = max(LIKE_GROUND, NOISES * view.noise)
    labels, count = ndimage.label(inside & (deviation_of(difference) < limit))
    if not count:
        return None
    number = np.arange(1, count + 1)
    areas = np.bincount(labels.ravel())[1:]
    spread = np.max([ndimage.standard_deviation(difference[..., c], labels, number) for c in range(3)], axis=0)
    chosen = (areas >= REGION) & (spread <= max(LIKE_SPREAD, NOISES * view.noise))
    return _regions(view, "filled", labels, np.flatnonzero(chosen) + 1)


def _islands(view: _View) -> Flaw | None:
    labels, count = ndimage.label(view.solid, structure=np.ones((3, 3)))
    if count < 2:
        return None
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    return _regions(view, "island", labels, np.flatnonzero((areas > 0) & (np.arange(count + 1) != areas.argmax())))


def _regions(view: _View, kind: FlawKind, labels: NDArray[np.int32], numbers: NDArray[np.intp]) -> Flaw | None:
    """The flaw that some labelled regions are; its place is the largest of them."""
    if not len(numbers):
        return None
    areas = np.bincount(labels.ravel())[numbers]
    box = bounding_box(labels == numbers[areas.argmax()])
    assert box is not None
    return Flaw(kind, float(areas.sum() / max(1, view.solid.sum())), view.in_photo(box), len(numbers))


def _cut_off(cutout: Cutout, alpha: Array) -> Flaw | None:
    """The stretch of the picture's border at which the product ends."""
    width, height = cutout.photo_size
    frame = np.zeros((height, width), dtype=bool)
    box = cutout.box
    frame[box.top : box.bottom, box.left : box.right] = alpha > 127
    border = np.zeros_like(frame)
    border[[0, -1]], border[:, [0, -1]] = True, True
    found = bounding_box(frame & border)
    return None if found is None else Flaw("cut off", float((frame & border).sum() / border.sum()), found)
