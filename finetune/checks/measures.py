"""What is measured on a cut-out photo before training: blur, exposure, colour, likeness. Called by `finetune.check`.

Pure functions, arrays in and numbers out. A cutout is (H, W, 4) uint8 with straight alpha, sRGB. Whether a number is
good or bad is not said here: thresholds and words are `check`'s. Nothing reads or writes a file.
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

from finetune.core.pictures.images import Array, Floats, to_linear
from finetune.core.pictures.masks import Mask

FINE, COARSE = 1.0, 2.0
"""The two scales (standard deviations, px) at which gradients are compared to measure blur."""
EDGE_SHARE = 0.01
"""Share of the looked-at pixels that count as edges: the steepest ones."""
LEAST_SLOPE = 1.5
"""Grey levels a pixel under which nothing is an edge."""
DIRECTIONS, FAINT = 4, 0.2
"""Directions in which a smear is looked for; slope under which edges of one are faint, share of the steepest ones."""
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
BLOWN, CRUSHED = 254, 2
"""Levels from which on all three channels are clipped."""


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
        grey: (H, W) 0..255, gamma-encoded. region: (H, W), where edges count.

    Returns:
        The median over the steepest hundredth of the region; about 0.5 for a sharp camera picture. None where there
        are too few edges to say anything.
    """
    grey, region = _busiest(grey, region)
    fine = ndimage.gaussian_gradient_magnitude(grey, FINE)
    steep = _steepest(fine, region, LEAST_SLOPE)
    return None if steep is None else _blur_of(fine[steep], ndimage.gaussian_gradient_magnitude(grey, COARSE)[steep])


def smear_width(grey: Floats) -> float | None:
    """Blur of the edges that face the direction in which they are softest: what moved is sharp along its movement.

    As `blur_width`, for edges of four directions by themselves; directions with faint edges only don't count.

    Args:
        grey: (H, W) 0..255, gamma-encoded: the product with some plain ground around, so that its outline is there.
    """
    grey, region = _busiest(grey, np.ones(grey.shape, dtype=bool))
    across, down = (ndimage.gaussian_filter(grey, FINE, order=order) for order in ((0, 1), (1, 0)))
    fine, coarse = np.hypot(across, down), ndimage.gaussian_gradient_magnitude(grey, COARSE)
    facing = np.round(np.arctan2(down, across) / (np.pi / DIRECTIONS)).astype(np.int8) % DIRECTIONS
    faint = max(LEAST_SLOPE, FAINT * float(np.quantile(fine[region], 1 - EDGE_SHARE)))
    steep = (_steepest(fine, facing == direction, faint) for direction in range(DIRECTIONS))
    return max((_blur_of(fine[edges], coarse[edges]) for edges in steep if edges is not None), default=None)


def _steepest(slopes: Floats, region: Mask, least: float) -> Mask | None:
    """The steepest hundredth of a region that is at least so steep; None where that is too little."""
    inside = slopes[region]
    if inside.size < FEW_EDGES:
        return None
    steep = region & (slopes >= max(least, float(np.quantile(inside, 1 - EDGE_SHARE))))
    return steep if int(steep.sum()) >= FEW_EDGES else None


def _blur_of(fine: Floats, coarse: Floats) -> float:
    """Median blur of edges by their slopes at the two scales."""
    ratio = np.clip(fine / np.maximum(coarse, 1e-6), 1.02, COARSE / FINE)
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
    clipped = (pixels >= BLOWN).any(axis=1).mean()
    return Exposure(float(blown), float(crushed), float(clipped), highlight(pixels))


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


def perceptual_hash(cutout: Array) -> NDArray[np.bool_]:
    """A hash (255 bits) of a cutout, on mid-grey, that survives scaling, re-encoding and another ground."""
    alpha = cutout[..., 3:].astype(np.float32) / 255
    over = cutout[..., :3] * alpha + 128 * (1 - alpha)
    return _hash(Image.fromarray((over @ np.array([0.299, 0.587, 0.114], dtype=np.float32)).astype(np.float32)), 128)


def picture_hash(picture: Image.Image) -> NDArray[np.bool_]:
    """A hash (255 bits) of a whole photo, RGB or RGBA, that survives scaling, re-encoding, blur and other light."""
    white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
    grey = (Image.alpha_composite(white, picture) if picture.mode == "RGBA" else picture).convert("L")
    return _hash(grey, int(np.median(np.asarray(grey.resize((HASH_SIDE, HASH_SIDE), Image.Resampling.BOX)))))


def _hash(grey: Image.Image, fill: int) -> NDArray[np.bool_]:
    """The signs of a picture's lowest 16 x 16 cosine frequencies against their median, the constant one left out.

    The picture is fitted into a square, the rest of which is `fill` (pHash; Zauner, "Implementation and benchmarking of
    perceptual image hash functions", 2010).
    """
    square = np.asarray(_fitted(grey, HASH_SIDE, fill), dtype=np.float32)
    low = fft.dctn(square, norm="ortho")[:HASH_KEPT, :HASH_KEPT].ravel()[1:]
    return np.asarray(low > np.median(low))


def hash_distances(hashes: Sequence[NDArray[np.bool_]]) -> Floats:
    """(N, N) shares of the bits in which two hashes differ, 0..1; about 0.5 for unrelated pictures."""
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
    """Scaled down by whole steps to about `side`; no new colours come of it."""
    step = max(1, max(cutout.shape[:2]) // side)
    return cutout[::step, ::step]


def piece_areas(cutout: Array) -> list[int]:
    """Areas (px) of the pieces the silhouette falls into, largest first."""
    labels, count = ndimage.label(cutout[..., 3] > 127, structure=np.ones((3, 3)))
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    return sorted((int(area) for area in areas), reverse=True)
