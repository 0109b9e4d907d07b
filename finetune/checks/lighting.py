"""In which light a photo of a product was taken, against other photos of it: by its ground, or by its colours alone.

Pure functions, arrays in and numbers out; palettes are `check_measures.palette`'s: (N, 3) CIE L* / 2, a*, b*. Called by
`finetune.checks.set_findings`, and by `finetune.checks.photo_facts` for the ground; whether light is uneven is not said here.
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
"""A shift of all colours counts when it leaves at most this share of the misfit."""
LEAST_GAIN = 0.12
"""Stops of light under which two grounds are equally lit."""
CLIPPED_GROUND = 0.98
"""Linear level from which on a ground says only how light it is at least."""
WELL_FITTED = 2.0
"""Misfit, there and back, under which colours need no explanation."""
CLIPPED_LIGHTNESS = 99.0
"""L* from which on a colour is clipped white."""
STRONGEST_CAST = 5.0
"""Gain of the strongest channel over that of the weakest, at most: what is beyond is no light."""
FEW_COLOURS = 50
"""With fewer matched colours than this a channel's gain is not told."""
SCREENED = 4
"""One in so many colours is looked at while the best of many gains is found."""
FITTED_COLOURS = 3000
"""Colours of the other photos that light is fitted to, about."""
LIGHT_STEPS = (1.0, 1.1, 1.2, 1.35, 1.5, 1.7, 2.0, 2.4, 3.0, 4.0)
"""How much lighter than its clipped ground a photo may be lit."""


def colour_gains(colours: Floats, others: Floats) -> Floats | None:
    """Gains (3,), linear RGB, by which a palette differs as a whole from what other photos of the product show.

    For photos whose ground says nothing of their light. Other light, and other white balance, multiply the channels
    (von Kries). The best of a few gains are refined: nearest colours are matched, the gains are their median ratios,
    repeated (iterated closest point), so that a view which shows other parts of the product is not taken for a cast.

    Returns:
        None unless the colours fit at least twice as well, there and back, in light that is within `STRONGEST_CAST`.
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
    """Light from dim to bright, each neutral, warm, cool, green and magenta, weakly and strongly."""
    directions = np.array([(0, 0, 0), (1, 0, -1), (-1, 0, 1), (-1, 1, -1), (1, -1, 1)])
    tints = [directions[0], *(strength * direction for direction in directions[1:] for strength in (0.35, 0.8))]
    return [2.0 ** (level + tint) for level in (-1.0, -0.5, 0.0, 0.4, 0.8) for tint in tints]


def _score(pair: tuple[float, NDArray[np.float64]]) -> float:
    return pair[0]


def _ratio(seen: Floats, there: Floats, otherwise: float) -> float:
    """Median ratio of one channel over colours that are neither clipped nor nearly black."""
    told = (seen < CLIPPED_GROUND) & (seen > 0.01) & (there > 0.01)
    return float(np.median(seen[told] / there[told])) if told.sum() > FEW_COLOURS else otherwise


def _linear(colours: Floats) -> Floats:
    """A palette as linear RGB."""
    return to_linear(lab2rgb((colours / LIGHTNESS_WEIGHT)[None])[0].astype(np.float32))


def _fit(others: cKDTree, colours: NDArray[np.floating]) -> float:
    """Mean distances (CIELAB, at most 9 each) of colours to the nearest of a palette, and back, added."""
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
    """A palette as it would be photographed in light times `gains` (3,), linear RGB; what is too light clips."""
    lighter = np.clip(_linear(colours) * gains, 0, 1).astype(np.float32)
    return np.asarray(rgb2lab(to_srgb8(lighter)[None])[0] * LIGHTNESS_WEIGHT, dtype=np.float32)


def without_white(colours: Floats) -> Floats:
    """A palette without its clipped white, which a cutout on clipped ground cannot hold; as it is if all is white."""
    kept = colours[colours[:, 0] < CLIPPED_LIGHTNESS * LIGHTNESS_WEIGHT[0]]
    return kept if len(kept) else colours


def equally_lit(ground: Floats, grounds: Floats) -> bool:
    """Is a ground, (3,), of the same light as the median of others, (N, 3), and not clipped so that one can't tell?"""
    ratio = np.maximum(ground, 1e-3) / np.maximum(np.median(grounds, axis=0), 1e-3)
    return bool((ground < CLIPPED_GROUND).all() and (np.abs(np.log2(ratio)) < LEAST_GAIN).all())


def light_gains(colours: Floats, ground: Floats, others: Floats, grounds: Floats) -> Floats | None:
    """Gains (3,), linear RGB, by which a photo is lit differently: those of its ground, if they explain the product.

    A ground of another colour leaves the product as it is; another light changes both alike. So the ratio of the
    grounds is believed where the others' palette, in that light, fits the product's at least twice as well. Where a
    channel of the ground is clipped its gain is only a lower bound, and larger ones are tried.

    Args:
        colours, others: palettes. ground, grounds: (3,) and (N, 3), from `ground_light`.
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
    """What a cutout shows of a palette in another light: on wholly `clipped` ground (3,) not what is clipped itself."""
    lit = relit(colours, gains)
    return without_white(lit) if clipped.all() else lit
