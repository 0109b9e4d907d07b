"""Measures of a cut-out photo: blur, exposure, colours, likeness to other photos.

Pure functions of arrays. A cutout is (H, W, 4) uint8 with straight alpha, sRGB. Nothing is judged here: the thresholds
stand beside the findings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import fft, ndimage
from scipy.spatial import cKDTree
from skimage.color import rgb2lab

from finetune.core.pictures.images import LUMINANCE, Array, Floats, over, to_linear
from finetune.core.pictures.masks import Mask

FINE, COARSE = 1.0, 2.0
"""The two scales (standard deviations, px) at which gradients are compared to measure blur."""
EDGE_SHARE = 0.01
"""Share of the pixels looked at that count as edges: the steepest ones."""
LEAST_SLOPE = 1.5
"""Slope under which nothing is an edge, grey levels per pixel."""
DIRECTIONS = 4
"""Directions in which a smear is looked for."""
FAINT = 0.2
"""Slope under which the edges of a direction are too faint to count, as a share of the steepest ones."""
FEW_EDGES = 40
"""Edge pixels under which blur is not measured."""
SAMPLE_SIDE = 640
"""Side in pixels of the busiest square, on which blur is measured: as exact, and quick on large photos."""
COLOUR_SIDE = 256
"""Longer side in pixels at which colours are sampled."""
HASH_SIDE, HASH_KEPT = 64, 16
"""A hash keeps the lowest 16 x 16 frequencies of a 64 px picture."""
SAMPLED_COLOURS = 1500
"""Pixels in a colour sample at most."""
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Weights of gamma-encoded red, green and blue in a grey picture (ITU-R BT.601), as Pillow has them."""
LIGHTNESS_WEIGHT = np.array([0.5, 1, 1], dtype=np.float32)
"""Weights of L*, a*, b* in a colour sample: lightness varies more from shot to shot than colour does."""
LIKE_COLOUR = 9.0
"""Distance in CIELAB (lightness halved) up to which two colours are the same paint in another light."""
BLOWN, CRUSHED = 254, 2
"""Levels (0..255) from which, and down to which, a channel is clipped."""


@dataclass(frozen=True)
class Exposure:
    """How a product uses the range from black to white."""

    blown: float
    """Share of the product's opaque pixels that are clipped white in all three channels, 0..1."""
    crushed: float
    """Share that is clipped black in all three, 0..1."""
    clipped: float
    """Share that is clipped white in one channel at least, 0..1."""
    highlight: float
    """CIE L* (0..100) that 2 % of the product exceed."""


def blur_width(grey: Floats, region: Mask) -> float | None:
    """Blur of the edges inside a region: standard deviation of the Gaussian that would have made them, pixels.

    An edge of blur s has gradients |g(a)| ~ 1 / sqrt(s^2 + a^2) at scale a; the ratio R = |g(1)| / |g(2)| gives
    s^2 = (4 - R^2) / (R^2 - 1) (Zhuo and Sim, "Defocus map estimation from a single image", 2011).

    Args:
        grey: (H, W) 0..255, gamma-encoded.
        region: (H, W), where edges count.

    Returns:
        The median over the steepest hundredth of the region; about 0.5 for a sharp camera picture. None where there
        are too few edges to say anything.
    """
    grey, region = _busiest(grey, region)
    fine = ndimage.gaussian_gradient_magnitude(grey, FINE)
    steep = _steepest(fine, region, LEAST_SLOPE)
    return None if steep is None else _blur_of(fine[steep], ndimage.gaussian_gradient_magnitude(grey, COARSE)[steep])


def smear_width(grey: Floats) -> float | None:
    """Blur of the edges that face the direction in which they are softest: motion blurs edges across it only.

    As `blur_width`, for the edges of each of four directions; a direction with only faint edges does not count.

    Args:
        grey: (H, W) 0..255, gamma-encoded: the product with some plain ground around it, so that its outline counts.

    Returns:
        Standard deviation in pixels; None where there are too few edges.
    """
    grey, region = _busiest(grey, np.ones(grey.shape, dtype=bool))
    across, down = (ndimage.gaussian_filter(grey, FINE, order=order) for order in ((0, 1), (1, 0)))
    fine, coarse = np.hypot(across, down), ndimage.gaussian_gradient_magnitude(grey, COARSE)
    facing = np.round(np.arctan2(down, across) / (np.pi / DIRECTIONS)).astype(np.int8) % DIRECTIONS
    faint = max(LEAST_SLOPE, FAINT * float(np.quantile(fine[region], 1 - EDGE_SHARE)))
    steep = (_steepest(fine, facing == direction, faint) for direction in range(DIRECTIONS))
    return max((_blur_of(fine[edges], coarse[edges]) for edges in steep if edges is not None), default=None)


def _steepest(slopes: Floats, region: Mask, least: float) -> Mask | None:
    """The steepest hundredth of a region, of slope `least` at least; None where that is too few pixels."""
    inside = slopes[region]
    if inside.size < FEW_EDGES:
        return None
    steep = region & (slopes >= max(least, float(np.quantile(inside, 1 - EDGE_SHARE))))
    return steep if int(steep.sum()) >= FEW_EDGES else None


def _blur_of(fine: Floats, coarse: Floats) -> float:
    """Median blur of edges, from their slopes at the two scales."""
    ratio = np.clip(fine / np.maximum(coarse, 1e-6), 1.02, COARSE / FINE)
    squared = (COARSE**2 - ratio**2 * FINE**2) / (ratio**2 - 1)
    return float(np.median(np.sqrt(np.maximum(squared, 0))))


def _busiest(grey: Floats, region: Mask) -> tuple[Floats, Mask]:
    """The square of `SAMPLE_SIDE` with the most contrast inside the region; the whole picture if it is smaller."""
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
    clipped = (pixels >= BLOWN).any(axis=1).mean()
    return Exposure(float(blown), float(crushed), float(clipped), highlight(pixels))


def highlight(pixels: Array) -> float:
    """CIE L* (0..100) that 2 % of the pixels (..., 3) exceed."""
    luminance = to_linear(pixels.reshape(-1, 3)) @ LUMINANCE
    return _lightness(float(np.quantile(luminance, 0.98)))


def _lightness(luminance: float) -> float:
    """CIE 1976 L* of a relative luminance in 0..1."""
    return 116 * luminance ** (1 / 3) - 16 if luminance > 0.008856 else 903.3 * luminance


def _opaque(cutout: Array) -> Array:
    """(N, 3) pixels of alpha 255; those of the highest alpha if there is none."""
    alpha = cutout[..., 3]
    return np.asarray(cutout[..., :3][alpha >= max(1, min(255, int(alpha.max())))])


def colour_sample(cutout: Array) -> Floats:
    """Colours of up to 1500 evenly spread opaque pixels of a product, (N, 3): CIE L* / 2, a*, b*.

    Args:
        cutout: (H, W, 4).
    """
    lab = rgb2lab(_opaque(_small(cutout, COLOUR_SIDE))[None])[0]
    picked = np.linspace(0, len(lab) - 1, min(SAMPLED_COLOURS, len(lab))).astype(np.intp)
    return np.asarray(lab[picked] * LIGHTNESS_WEIGHT, dtype=np.float32)


def unexplained(colours: Floats, others: Floats) -> float:
    """Share (0..1) of `colours` without a similar one (within 9 units of CIELAB) among `others`.

    Another side of the same product shows hardly a colour that no other photo has; another product mostly does.

    Args:
        colours: a colour sample, (N, 3).
        others: another, (M, 3).
    """
    distance, _ = cKDTree(others).query(colours)
    return float((distance > LIKE_COLOUR).mean())


def perceptual_hash(cutout: Array) -> NDArray[np.bool_]:
    """A hash (255 bits) of a cutout on mid-grey: it survives scaling, re-encoding and another ground.

    Args:
        cutout: (H, W, 4).
    """
    alpha = cutout[..., 3:].astype(np.float32) / 255  # in floating point: a hash of rounded pixels would be another
    flat = cutout[..., :3] * alpha + 128 * (1 - alpha)
    return _hash(Image.fromarray((flat @ LUMA).astype(np.float32)), 128)


def picture_hash(picture: Image.Image) -> NDArray[np.bool_]:
    """A hash (255 bits) of a whole photo, RGB or RGBA: it survives scaling, re-encoding, blur and other light."""
    grey = over(picture, "white").convert("L")
    return _hash(grey, int(np.median(np.asarray(grey.resize((HASH_SIDE, HASH_SIDE), Image.Resampling.BOX)))))


def _hash(grey: Image.Image, fill: int) -> NDArray[np.bool_]:
    """The signs of a picture's lowest 16 x 16 cosine frequencies relative to their median, without the constant one.

    The picture is fitted into a square filled with `fill` (pHash; Zauner, "Implementation and benchmarking of
    perceptual image hash functions", 2010).
    """
    square = np.asarray(_fitted(grey, HASH_SIDE, fill), dtype=np.float32)
    low = fft.dctn(square, norm="ortho")[:HASH_KEPT, :HASH_KEPT].ravel()[1:]
    return np.asarray(low > np.median(low))


def hash_distances(hashes: Sequence[NDArray[np.bool_]]) -> Floats:
    """Shares of the bits in which each two of N hashes differ, (N, N) in 0..1; about 0.5 for unrelated pictures."""
    if not hashes:
        return np.zeros((0, 0), dtype=np.float32)
    signs = np.stack(hashes).astype(np.float32) * 2 - 1
    return np.asarray((1 - signs @ signs.T / signs.shape[1]) / 2, dtype=np.float32)


def _fitted(picture: Image.Image, side: int, fill: int = 0) -> Image.Image:
    scale = side / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    square = Image.new(picture.mode, (side, side), fill)
    square.paste(picture.resize(size, Image.Resampling.BOX), ((side - size[0]) // 2, (side - size[1]) // 2))
    return square


def _small(cutout: Array, side: int) -> Array:
    """Every n-th pixel, to about `side` pixels: unlike averaging this makes no new colours."""
    step = max(1, max(cutout.shape[:2]) // side)
    return cutout[::step, ::step]


def piece_areas(cutout: Array) -> list[int]:
    """Areas in pixels of the separate pieces of the silhouette, largest first."""
    labels, count = ndimage.label(cutout[..., 3] > 127, structure=np.ones((3, 3)))
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    return sorted((int(area) for area in areas), reverse=True)
