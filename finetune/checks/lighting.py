"""How the light on one photo of a product differs from that on others: by its ground, or by its colours alone.

Pure functions of arrays. Colour samples are `measures.colour_sample`'s: (N, 3) CIE L* / 2, a*, b*. Gains are factors of
linear red, green and blue, (3,). Nothing is judged here.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial import cKDTree
from skimage.color import lab2rgb, rgb2lab

from finetune.checks.measures import COLOUR_SIDE, LIGHTNESS_WEIGHT, LIKE_COLOUR
from finetune.core.pictures.images import Floats, to_linear, to_srgb8

SHIFT_GAIN = 0.5
"""Gains explain a difference if they leave at most this share of the misfit."""
LEAST_GAIN = 0.12
"""Difference in stops of light under which two grounds are equally lit."""
CLIPPED_GROUND = 0.98
"""Linear level from which a ground is clipped, so that its level is only a lower bound."""
WELL_FITTED = 2.0
"""Misfit in CIELAB, both ways added, under which colours need no explanation."""
CLIPPED_LIGHTNESS = 99.0
"""L* from which a colour is clipped white."""
STRONGEST_CAST = 5.0
"""Largest ratio between the gains of two channels: no real light is stronger coloured."""
FEW_COLOURS = 50
"""Matched colours under which a channel's gain is not estimated."""
SCREENED = 4
"""While many gains are compared, only one in this many colours is looked at."""
FITTED_COLOURS = 3000
"""About how many colours of the other photos the light is fitted to."""
LIGHT_STEPS = (1.0, 1.1, 1.2, 1.35, 1.5, 1.7, 2.0, 2.4, 3.0, 4.0)
"""How many times lighter than its clipped ground a photo may be lit."""


def colour_gains(colours: Floats, others: Floats) -> Floats | None:
    """Estimate by which gains a photo's colours differ from those of other photos of the product.

    For photos whose ground tells nothing about their light. Other light and another white balance multiply the channels
    (von Kries). The best of a few gains are refined by iterated closest points: nearest colours are matched and the
    gains are their median ratios, so that a view which shows other parts of the product is not taken for a cast.

    Args:
        colours: the photo's colour sample, (N, 3).
        others: the other photos' samples, (M, 3).

    Returns:
        (3,); None unless the colours then fit at least twice as well, both ways, in light within `STRONGEST_CAST`.
    """
    others = others[:: max(1, len(others) // FITTED_COLOURS)]
    plain = _fit(cKDTree(others), colours)
    if plain <= WELL_FITTED:
        return None
    few, fewer = others[::SCREENED], colours[::SCREENED]
    tried = sorted(((_fit(cKDTree(relit(few, gains)), fewer), gains) for gains in _gains_tried()), key=_score)
    seen, there = _linear(colours), _linear(others)
    best, found = np.inf, tried[0][1]
    for _, gains in tried[:2]:
        for _ in range(6):
            _, nearest = cKDTree(relit(others, gains)).query(colours)
            pair = np.maximum(there[nearest], 1e-3)
            gains = np.array([_ratio(seen[:, c], pair[:, c], gains[c]) for c in range(3)])
        left = _fit(cKDTree(relit(others, gains)), colours)
        if left < best and gains.max() / gains.min() <= STRONGEST_CAST:
            best, found = left, gains
    return np.asarray(found, dtype=np.float32) if best < SHIFT_GAIN * plain else None


def _gains_tried() -> list[NDArray[np.float64]]:
    """Gains from dim to bright, each neutral, warm, cool, green and magenta, weakly and strongly."""
    directions = np.array([(0, 0, 0), (1, 0, -1), (-1, 0, 1), (-1, 1, -1), (1, -1, 1)])
    tints = [directions[0], *(strength * direction for direction in directions[1:] for strength in (0.35, 0.8))]
    return [2.0 ** (level + tint) for level in (-1.0, -0.5, 0.0, 0.4, 0.8) for tint in tints]


def _score(pair: tuple[float, NDArray[np.float64]]) -> float:
    return pair[0]


def _ratio(seen: Floats, there: Floats, otherwise: float) -> float:
    """Median ratio of one channel over colours neither clipped nor nearly black; `otherwise` if these are few."""
    usable = (seen < CLIPPED_GROUND) & (seen > 0.01) & (there > 0.01)
    return float(np.median(seen[usable] / there[usable])) if usable.sum() > FEW_COLOURS else otherwise


def _linear(colours: Floats) -> Floats:
    """A colour sample as linear RGB."""
    return to_linear(lab2rgb((colours / LIGHTNESS_WEIGHT)[None])[0].astype(np.float32))


def _fit(others: cKDTree, colours: NDArray[np.floating]) -> float:
    """Misfit of two colour samples: mean distance (CIELAB, at most 9 each) to the nearest colour, both ways added."""
    there, _ = others.query(colours)
    back, _ = cKDTree(colours).query(others.data)
    return float(np.minimum(there, LIKE_COLOUR).mean() + np.minimum(back, LIKE_COLOUR).mean())


def ground_light(picture: Image.Image) -> Floats:
    """Colour of a plain ground, linear light (3,): the median of the picture's outermost pixels."""
    small = picture.convert("RGB")
    small.thumbnail((COLOUR_SIDE, COLOUR_SIDE), Image.Resampling.BOX)
    pixels = np.asarray(small)
    edges = (pixels[:4], pixels[-4:], pixels[:, :4], pixels[:, -4:])
    return np.median(to_linear(np.concatenate([edge.reshape(-1, 3) for edge in edges])), axis=0).astype(np.float32)


def relit(colours: Floats, gains: NDArray[np.floating]) -> Floats:
    """A colour sample as it would be photographed in light multiplied by gains; what is too light clips.

    Args:
        colours: (N, 3).
        gains: (3,).
    """
    lighter = np.clip(_linear(colours) * gains, 0, 1).astype(np.float32)
    return np.asarray(rgb2lab(to_srgb8(lighter)[None])[0] * LIGHTNESS_WEIGHT, dtype=np.float32)


def without_white(colours: Floats) -> Floats:
    """A colour sample without clipped white, which a cutout on clipped ground lacks; unchanged if all is white."""
    kept = colours[colours[:, 0] < CLIPPED_LIGHTNESS * LIGHTNESS_WEIGHT[0]]
    return kept if len(kept) else colours


def equally_lit(ground: Floats, grounds: Floats) -> bool:
    """Whether a ground has the same light as the median of others. A clipped ground never has: its level is unknown.

    Args:
        ground: (3,), from `ground_light`.
        grounds: (N, 3).
    """
    ratio = np.maximum(ground, 1e-3) / np.maximum(np.median(grounds, axis=0), 1e-3)
    return bool((ground < CLIPPED_GROUND).all() and (np.abs(np.log2(ratio)) < LEAST_GAIN).all())


def light_gains(colours: Floats, ground: Floats, others: Floats, grounds: Floats) -> Floats | None:
    """Estimate by which gains a photo is lit differently from others: those of its ground, if they explain the product.

    A ground of another colour leaves the product unchanged; another light changes both alike. So the ratio of the
    grounds is accepted only if the others' colours in that light fit the product's at least twice as well. Where a
    channel of the ground is clipped, its gain is only a lower bound and larger ones are tried.

    Args:
        colours: the photo's colour sample, (N, 3).
        ground: the photo's ground, (3,), from `ground_light`.
        others: the other photos' samples, (M, 3).
        grounds: the other photos' grounds, (K, 3).

    Returns:
        (3,); None if the ground does not explain the product's colours.
    """
    others = others[:: max(1, len(others) // FITTED_COLOURS)]
    plain = _fit(cKDTree(others), colours)
    ratio = ground / np.maximum(np.median(grounds, axis=0), 1e-3)
    clipped = ground > CLIPPED_GROUND
    steps = [(step,) * 3 for step in LIGHT_STEPS] if clipped.all() else product(LIGHT_STEPS, repeat=int(clipped.sum()))
    tried = []
    for step in steps if plain > WELL_FITTED else ():
        gains = ratio.copy()
        gains[clipped] *= step
        if np.abs(np.log2(np.maximum(gains, 1e-3))).max() > LEAST_GAIN:
            tried.append(gains)
    few, fewer = others[::SCREENED], colours[::SCREENED]
    scored = [(_fit(cKDTree(seen_in(few, gains, clipped)), fewer), gains) for gains in tried]
    if not scored:
        return None
    gains = min(scored, key=_score)[1]
    best = _fit(cKDTree(seen_in(others, gains, clipped)), colours)
    return np.asarray(gains, dtype=np.float32) if best < SHIFT_GAIN * plain else None


def seen_in(colours: Floats, gains: NDArray[np.floating], clipped: NDArray[np.bool_]) -> Floats:
    """The colours a cutout would show in another light: on wholly clipped ground none that are clipped themselves.

    Args:
        colours: a colour sample, (N, 3).
        gains: (3,).
        clipped: whether each channel of the ground is clipped, (3,).
    """
    lit = relit(colours, gains)
    return without_white(lit) if clipped.all() else lit
