"""What is measured on a cut-out photo before training: blur, exposure, colour, likeness. Called by `finetune.check`.

Pure functions, arrays in and numbers out. A cutout is (H, W, 4) uint8 with straight alpha, sRGB. Whether a number is
good or bad is not said here: thresholds and words are `check`'s. Nothing reads or writes a file.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import fft, ndimage
from scipy.spatial import cKDTree
from skimage.color import lab2rgb, rgb2lab

from finetune.core.images import Array, Floats, to_linear, to_srgb8
from finetune.core.masks import Mask

FINE, COARSE = 1.0, 2.0
"""The two scales (standard deviations, px) at which gradients are compared to measure blur."""
EDGE_SHARE = 0.01
"""Share of the looked-at pixels that count as edges: the steepest ones."""
LEAST_SLOPE = 1.5
"""Grey levels a pixel under which nothing is an edge."""
FEW_EDGES = 40
"""With fewer edge pixels than this blur is not measured."""
SAMPLE_SIDE = 640
"""Blur is measured on the busiest square of this side (px): as exact, and quick on large photos."""
COLOUR_SIDE = 256
"""Longer side at which colours are looked at (px)."""
HASH_SIDE, HASH_KEPT = 64, 16
"""A hash keeps the lowest 16 x 16 frequencies of a 64 px picture."""
PALETTE_COLOURS = 1500
LIGHTNESS_WEIGHT = np.array([0.5, 1, 1], dtype=np.float32)
LIKE_COLOUR = 9.0
"""Two colours this near (CIELAB, lightness counted half) are the same paint in another light."""
SHIFT_GAIN = 0.5
"""A shift of all colours counts when it leaves at most this share of the misfit."""
LEAST_GAIN = 0.12
"""Stops of light under which two grounds are equally lit."""
CLIPPED_GROUND = 0.98
"""Linear level from which on a ground says only how light it is at least."""
WELL_FITTED = 2.0
"""Misfit, there and back, under which colours need no explanation."""
LIGHT_STEPS = (1.0, 1.1, 1.2, 1.3, 1.5, 1.8)
"""How much lighter than its clipped ground a photo may be lit."""
BLOWN, CRUSHED = 254, 2
"""Levels from which on all three channels are clipped."""


@dataclass(frozen=True)
class Exposure:
    """How a product uses the range from black to white."""

    blown: float
    """Share of the product's opaque pixels that are clipped white in all three channels, 0..1."""
    crushed: float
    """Share that is clipped black in all three, 0..1."""
    highlight: float
    """CIE L* (0..100) that 2 % of the product exceed."""


def blur_width(grey: Floats, region: Mask) -> float | None:
    """Blur of the edges inside a region: standard deviation of the Gaussian that would have made them, pixels.

    An edge of blur s has gradients |g(a)| ~ 1 / sqrt(s^2 + a^2) at scale a; the ratio R = |g(1)| / |g(2)| gives
    s^2 = (4 - R^2) / (R^2 - 1) (Zhuo and Sim, "Defocus map estimation from a single image", 2011).

    Args:
        grey: (H, W) 0..255, gamma-encoded. region: (H, W), where edges count.

    Returns:
        The median over the steepest hundredth of the region; about 0.5 for a sharp camera picture. None where there
        are too few edges to say anything.
    """
    grey, region = _busiest(grey, region)
    fine = ndimage.gaussian_gradient_magnitude(grey, FINE)
    coarse = ndimage.gaussian_gradient_magnitude(grey, COARSE)
    inside = fine[region]
    if inside.size < FEW_EDGES:
        return None
    steep = region & (fine >= max(LEAST_SLOPE, float(np.quantile(inside, 1 - EDGE_SHARE))))
    if int(steep.sum()) < FEW_EDGES:
        return None
    ratio = np.clip(fine[steep] / np.maximum(coarse[steep], 1e-6), 1.02, COARSE / FINE)
    squared = (COARSE**2 - ratio**2 * FINE**2) / (ratio**2 - 1)
    return float(np.median(np.sqrt(np.maximum(squared, 0))))


def _busiest(grey: Floats, region: Mask) -> tuple[Floats, Mask]:
    """The square of `SAMPLE_SIDE` with the most contrast inside the region; all of it where it is smaller."""
    if max(grey.shape) <= SAMPLE_SIDE:
        return grey, region
    step = 8
    coarse = ndimage.uniform_filter(grey, step)[::step, ::step]
    activity = np.where(region[::step, ::step], ndimage.gaussian_gradient_magnitude(coarse, 1.0), 0)
    total = ndimage.uniform_filter(activity, SAMPLE_SIDE // step, mode="constant")
    row, column = np.unravel_index(int(total.argmax()), total.shape)
    top = int(np.clip(row * step - SAMPLE_SIDE // 2, 0, max(0, grey.shape[0] - SAMPLE_SIDE)))
    left = int(np.clip(column * step - SAMPLE_SIDE // 2, 0, max(0, grey.shape[1] - SAMPLE_SIDE)))
    where = np.s_[top : top + SAMPLE_SIDE, left : left + SAMPLE_SIDE]
    return grey[where], region[where]


def exposure_of(cutout: Array) -> Exposure:
    """Clipping and highlights of a product's opaque pixels.

    Args:
        cutout: (H, W, 4).
    """
    pixels = _opaque(cutout)
    blown = (pixels >= BLOWN).all(axis=1).mean()
    crushed = (pixels <= CRUSHED).all(axis=1).mean()
    return Exposure(float(blown), float(crushed), highlight(pixels))


def highlight(pixels: Array) -> float:
    """CIE L* (0..100) that 2 % of the pixels (..., 3) exceed."""
    luminance = to_linear(pixels.reshape(-1, 3)) @ np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)
    return _lightness(float(np.quantile(luminance, 0.98)))


def _lightness(luminance: float) -> float:
    """CIE 1976 L* of a relative luminance in 0..1."""
    return 116 * luminance ** (1 / 3) - 16 if luminance > 0.008856 else 903.3 * luminance


def _opaque(cutout: Array) -> Array:
    """(N, 3) pixels of alpha 255; those of the highest alpha where there is none."""
    alpha = cutout[..., 3]
    return np.asarray(cutout[..., :3][alpha >= max(1, min(255, int(alpha.max())))])


def palette(cutout: Array) -> Floats:
    """Colours of a product's opaque pixels, evenly picked: (N <= 1500, 3) CIE L* / 2, a*, b*.

    Lightness counts half, for light differs from shot to shot more than colour does.
    """
    lab = rgb2lab(_opaque(_small(cutout, COLOUR_SIDE))[None])[0]
    picked = np.linspace(0, len(lab) - 1, min(PALETTE_COLOURS, len(lab))).astype(np.intp)
    return np.asarray(lab[picked] * LIGHTNESS_WEIGHT, dtype=np.float32)


def unexplained(colours: Floats, others: Floats) -> float:
    """Share (0..1) of `colours` that have no like (within 9 units of CIELAB) among `others`; both (N, 3) palettes.

    Another side of the same product shows hardly a colour that no other photo has; another product mostly does.
    """
    distance, _ = cKDTree(others).query(colours)
    return float((distance > LIKE_COLOUR).mean())


def colour_shift(colours: Floats, others: Floats) -> tuple[float, float, float]:
    """The shift (L*, a*, b*) by which a palette differs as a whole from what other photos of the product show.

    Nearest colours are matched and the shift is their median difference, repeated (iterated closest point), so that
    a view which shows other parts of the product is not taken for a cast. Zero unless the shift makes the colours
    fit at least twice as well, there and back.
    """
    tree = cKDTree(others)
    best, shift = SHIFT_GAIN * _fit(tree, colours), np.zeros(3)
    for start in (np.zeros(3), np.median(colours, axis=0) - np.median(others, axis=0)):
        moved = start
        for _ in range(8):
            _, nearest = tree.query(colours - moved)
            moved = np.median(colours - others[nearest], axis=0)
        left = _fit(tree, colours - moved)
        if left < best:
            best, shift = left, moved
    light, a, b = shift / LIGHTNESS_WEIGHT
    return float(light), float(a), float(b)


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
    """A palette as it would be with the light divided by `gains` (3,), linear RGB."""
    linear = to_linear(lab2rgb((colours / LIGHTNESS_WEIGHT)[None])[0].astype(np.float32))
    divided = (linear / np.maximum(gains, 1e-3)).astype(np.float32)
    return np.asarray(rgb2lab(to_srgb8(divided)[None])[0] * LIGHTNESS_WEIGHT, dtype=np.float32)


def equally_lit(ground: Floats, grounds: Floats) -> bool:
    """Is a ground, (3,), of the same light as the median of others, (N, 3), and not clipped so that one can't tell?"""
    ratio = np.maximum(ground, 1e-3) / np.maximum(np.median(grounds, axis=0), 1e-3)
    return bool((ground < CLIPPED_GROUND).all() and (np.abs(np.log2(ratio)) < LEAST_GAIN).all())


def light_gains(colours: Floats, ground: Floats, others: Floats, grounds: Floats) -> Floats | None:
    """Gains (3,), linear RGB, by which a photo is lit differently: those of its ground, if they explain the product.

    A ground of another colour leaves the product as it is; another light changes both alike. So the ratio of the
    grounds is believed where the product's palette, with that light taken off, fits the others' at least twice as
    well. Where a channel of the ground is clipped its gain is only a lower bound, and larger ones are tried.

    Args:
        colours, others: palettes. ground, grounds: (3,) and (N, 3), from `ground_light`.
    """
    tree = cKDTree(others)
    plain = _fit(tree, colours)
    ratio = ground / np.maximum(np.median(grounds, axis=0), 1e-3)
    clipped = ground > CLIPPED_GROUND
    steps = [(step,) * 3 for step in LIGHT_STEPS] if clipped.all() else product(LIGHT_STEPS, repeat=int(clipped.sum()))
    tried = []
    for step in steps if plain > WELL_FITTED else ():
        gains = ratio.copy()
        gains[clipped] *= step
        if np.abs(np.log2(np.maximum(gains, 1e-3))).max() > LEAST_GAIN:
            tried.append(gains)
    scored = [(_fit(tree, relit(colours, gains)), gains) for gains in tried]
    best, gains = min(scored, key=lambda pair: pair[0], default=(np.inf, ratio))
    return np.asarray(gains, dtype=np.float32) if best < SHIFT_GAIN * plain else None


def perceptual_hash(cutout: Array) -> NDArray[np.bool_]:
    """A hash (255 bits) of a cutout that survives scaling, re-encoding and another ground.

    The product, on mid-grey, fitted into a square; the signs of its lowest 16 x 16 cosine frequencies against their
    median, the constant one left out (pHash; Zauner, "Implementation and benchmarking of perceptual image hash
    functions", 2010).
    """
    low = fft.dctn(_squared(cutout, HASH_SIDE), norm="ortho")[:HASH_KEPT, :HASH_KEPT].ravel()[1:]
    return np.asarray(low > np.median(low))


def hash_distance(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Share of the bits that differ, 0..1; about 0.5 for unrelated pictures."""
    return float((first != second).mean())


def _squared(cutout: Array, side: int) -> Floats:
    alpha = cutout[..., 3:].astype(np.float32) / 255
    over = cutout[..., :3] * alpha + 128 * (1 - alpha)
    grey = Image.fromarray((over @ np.array([0.299, 0.587, 0.114], dtype=np.float32)).astype(np.float32))
    return np.asarray(_fitted(grey, side, 128), dtype=np.float32)


def _fitted(picture: Image.Image, side: int, fill: int = 0) -> Image.Image:
    scale = side / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    square = Image.new(picture.mode, (side, side), fill)
    square.paste(picture.resize(size, Image.Resampling.BOX), ((side - size[0]) // 2, (side - size[1]) // 2))
    return square


def _small(cutout: Array, side: int) -> Array:
    """Scaled down by whole steps to about `side`; no new colours come of it."""
    step = max(1, max(cutout.shape[:2]) // side)
    return cutout[::step, ::step]


def piece_areas(cutout: Array) -> list[int]:
    """Areas (px) of the pieces the silhouette falls into, largest first."""
    labels, count = ndimage.label(cutout[..., 3] > 127, structure=np.ones((3, 3)))
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    return sorted((int(area) for area in areas), reverse=True)
