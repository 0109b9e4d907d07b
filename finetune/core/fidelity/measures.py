"""Is it my product: colour, layout and structure of a drawn product against its packshot.

Pure functions on arrays: no files, no models, no torch. What a score has to reach is not decided here but in
`configs/gate.yaml`.

Pictures are (H, W, 3) uint8 sRGB, cutouts (H, W, 4) uint8 sRGB with straight alpha, colours CIELAB (D65, 2 degrees)
float64. Colour differences are CIEDE2000 (Sharma, Wu and Dalal, Color Research & Application 30(1), 2005; kL = kC =
kH = 1): 1 is just noticeable side by side, 5 another shade, 20 another colour.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize, signal
from scipy.cluster.vq import kmeans2
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.metrics import structural_similarity

from finetune.core.fidelity.parts import Patch, parts_found, patches_of
from finetune.core.pictures.images import LUMINANCE, Array, to_linear, to_srgb8
from finetune.core.pictures.masks import Mask

Lab = NDArray[np.float64]

MEASURES_FORMAT = 3
"""Bump when the same pictures would measure otherwise: fidelity reports are then renewed. Adapters stay up to date:
training does not depend on it, although a choice among candidates may have been made by an earlier format."""
OPAQUE = 253
"""Alpha from which a pixel counts as the product's own: the soft edge carries the ground's colour."""
MIN_OPAQUE_SHARE = 0.1
"""Below this share of opaque pixels the product is glass throughout, and half-covered pixels count too."""
PALETTE_PIXELS = 2048
"""Pixels a palette is made of at most; more are sampled."""
LLOYD_ROUNDS = 12
"""Iterations of k-means."""
LAYOUT_BLUR = 0.04
"""Blur of the layout measure as a share of the longer side: placement of colours, not the edge of each letter."""
SSIM_SIGMA = 1.5
"""Standard deviation of SSIM's Gaussian window, pixels."""
MIN_SIDE = 16
"""Shortest side of a view, pixels."""
EXPOSURE_LIMIT = 2.5
"""How much brighter or darker than its packshot (1.3 stops) a drawn product may be before that counts against it."""


class Embedder(Protocol):
    """A vision model that turns pictures into vectors; the cosine of two says how alike the pictures look."""

    name: str
    """Model and crop, as the report names them: values of two models are not comparable."""

    def embed(self, pictures: list[Array]) -> NDArray[np.float32]:
        """(N, D) vectors of length 1 for N pictures."""
        ...


@dataclass(frozen=True)
class Palette:
    """The colours of a region: (K, 3) CIELAB swatches and their (K,) shares, which sum to 1."""

    colours: Lab
    weights: NDArray[np.float64]


def to_lab(rgb: Array) -> Lab:
    """sRGB uint8 -> CIELAB (D65, 2 degrees), same leading shape."""
    return np.asarray(rgb2lab(rgb), dtype=np.float64)


def palette(colours: Lab, *, swatches: int = 8, seed: int = 0) -> Palette:
    """Palette of colours by k-means (Lloyd's algorithm with a k-means++ start).

    Args:
        colours: (N, 3) CIELAB; of more than 2048, a random sample is used.
        swatches: Number of swatches; where there are no more distinct colours, each of them is one.
        seed: Of the sample and the start.

    Raises:
        ValueError: There is no colour.
    """
    if not len(colours):
        raise ValueError("no pixels to take a palette of")
    generator = np.random.default_rng(seed)
    if len(colours) > PALETTE_PIXELS:
        colours = colours[generator.choice(len(colours), PALETTE_PIXELS, replace=False)]
    centres, counts = np.unique(colours, axis=0, return_counts=True)
    if len(centres) > swatches:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "One of the clusters is empty", UserWarning)  # it is dropped below
            centres, nearest = kmeans2(colours, swatches, iter=LLOYD_ROUNDS, minit="++", rng=generator)
        counts = np.bincount(nearest, minlength=swatches)
    shares = counts[counts > 0].astype(np.float64)
    return Palette(np.asarray(centres[counts > 0], dtype=np.float64), shares / shares.sum())


def palette_distance(first: Palette, second: Palette) -> float:
    """Least mean CIEDE2000 by which one palette is moved onto the other: the earth mover's distance.

    EMD = min_F sum_ij F_ij dE00(a_i, b_j), F >= 0, sum_j F_ij = w_i, sum_i F_ij = v_j (Rubner, Tomasi and Guibas,
    IJCV 40(2), 2000), solved exactly as a linear program. 0 for equal palettes, wherever their colours are.
    """
    cost = deltaE_ciede2000(first.colours[:, None, :], second.colours[None, :, :])
    rows, columns = cost.shape
    supplied = np.kron(np.eye(rows), np.ones(columns))
    wanted = np.kron(np.ones(rows), np.eye(columns))
    solution = optimize.linprog(
        cost.ravel(),
        A_eq=np.vstack([supplied, wanted])[:-1],  # the last equation follows from the others: shares sum to 1
        b_eq=np.concatenate([first.weights, second.weights])[:-1],
        method="highs",
    )
    return float(max(0.0, solution.fun))


@dataclass(frozen=True)
class View:
    """One packshot at the scale of measuring, with what is compared computed once."""

    name: str
    rgb: Array
    """(H, W, 3)"""
    lab: Lab
    """(H, W, 3)"""
    region: Mask
    """(H, W): pixels of the product that are compared (opaque ones)."""
    palette: Palette
    silhouette: Mask
    """(H, W): the product with its glass."""
    patches: list[Patch]
    """Its parts; none for a product without any marks."""
    mirrored: list[Patch]
    """Those of its mirror image."""


def make_view(name: str, cutout: Array) -> View:
    """Prepare a cutout for comparing.

    Args:
        name: Of the view: the photo's.
        cutout: (H, W, 4) uint8 at the scale of measuring.

    Raises:
        ValueError: It is smaller than 16 pixels a side, or has no pixel of the product.
    """
    if min(cutout.shape[:2]) < MIN_SIDE:
        raise ValueError(f"a view of {cutout.shape[1]}x{cutout.shape[0]} is too small to compare")
    alpha = cutout[..., 3]
    region = alpha >= OPAQUE
    if region.sum() < MIN_OPAQUE_SHARE * (alpha >= 128).sum():
        region = alpha >= 128
    if not region.any():
        raise ValueError(f"view '{name}' has no pixel of a product")
    rgb = np.ascontiguousarray(cutout[..., :3])
    lab = to_lab(rgb)
    lightness = lab[..., 0]
    mirrored = patches_of(lightness[:, ::-1], region[:, ::-1])
    return View(name, rgb, lab, region, palette(lab[region]), alpha >= 128, patches_of(lightness, region), mirrored)


@dataclass(frozen=True)
class Likeness:
    """How like a view a drawn product is."""

    view: str
    palette: float
    """Distance of the palettes inside the silhouette, dE00: right colours in right shares, wherever they stand."""
    layout: float
    """Mean dE00 in place after a blur: right colours at the right places."""
    structure: float
    """SSIM of the lightness inside the silhouette, -1..1: parts, edges, print."""
    shift: tuple[int, int]
    """Rows and columns by which the drawn product was off its box, pixels at the scale of measuring."""
    exposure: float
    """Gain by which the drawn product was brought to the packshot's light before it was compared."""
    parts: float | None = None
    """Its parts, found again, 0..1 (`fidelity.parts`); None for a product without any marks."""
    mirrored: float | None = None
    """Those of its mirror image."""

    @property
    def distance(self) -> float:
        """One number to rank products by, in dE00: the mean of palette and layout.

        Structure is left out: siblings share it, and over rendered scenes it ranked them no better than chance.
        """
        return (self.palette + self.layout) / 2


def compare(drawn: Array, view: View, *, reach: int) -> Likeness:
    """Compare a drawn product with a view, after alignment by box and in the packshot's exposure.

    The box in which the product was requested is known, so no detector is needed: `drawn` is that box with `reach`
    pixels around it, and the view is shifted over it by up to `reach` pixels to where they differ least. A scene has
    its own light, which is no fault of the product: one gain for all three channels is removed, within limits. (On
    rendered scenes of known products this halves the distance to the right product; a gain for each channel would
    forgive a wrong colour.)

    Args:
        drawn: (H + 2 reach, W + 2 reach, 3) uint8 for a view of (H, W).
        view: The packshot.
        reach: Pixels by which the drawn product may be off its box.

    Raises:
        ValueError: The sizes do not match.
    """
    lab, found, (top, left), gain = _aligned(drawn, view, reach)
    return Likeness(
        view=view.name,
        palette=palette_distance(palette(found[view.region]), view.palette),
        layout=layout_difference(found, view.lab, view.region),
        structure=structure_similarity(found, view.lab, view.region),
        shift=(top - reach, left - reach),
        exposure=gain,
        parts=parts_found(lab[..., 0], view.patches, reach=reach),
        mirrored=parts_found(lab[..., 0], view.mirrored, reach=reach),
    )


def distance_to(drawn: Array, view: View, *, reach: int) -> float:
    """`Likeness.distance` alone, for products that are only to be told apart. Arguments as for `compare`."""
    found = _aligned(drawn, view, reach)[1]
    colours = palette_distance(palette(found[view.region]), view.palette)
    return (colours + layout_difference(found, view.lab, view.region)) / 2


def _aligned(drawn: Array, view: View, reach: int) -> tuple[Lab, Lab, tuple[int, int], float]:
    """The drawn box in the packshot's exposure, its part under the view, that part's top and left, and the gain."""
    height, width = view.region.shape
    if drawn.shape[:2] != (height + 2 * reach, width + 2 * reach):
        raise ValueError(f"drawn {drawn.shape[:2]} does not frame a view of {(height, width)} by {reach}")
    gain = exposure_gain(drawn[reach : reach + height, reach : reach + width], view)
    lab = to_lab(to_srgb8(to_linear(drawn) * np.float32(gain)))
    top, left = best_shift(lab, view)
    return lab, lab[top : top + height, left : left + width], (top, left), gain


def exposure_gain(drawn: Array, view: View) -> float:
    """Factor in linear light that gives `drawn` (H, W, 3) the view's mean luminance in its region, 1/2.5 to 2.5."""
    there = float((to_linear(view.rgb)[view.region] @ LUMINANCE).mean())
    here = float((to_linear(drawn)[view.region] @ LUMINANCE).mean())
    return float(np.clip(there / max(here, 1e-6), 1 / EXPOSURE_LIMIT, EXPOSURE_LIMIT))


def best_shift(lab: Lab, view: View) -> tuple[int, int]:
    """Top and left of the view inside the larger `lab` where the mean squared CIELAB difference is least."""
    mask = view.region.astype(np.float64)
    difference = np.sum(
        [
            _correlate(lab[..., channel] ** 2, mask) - 2 * _correlate(lab[..., channel], view.lab[..., channel] * mask)
            for channel in range(3)
        ],
        axis=0,
    )
    top, left = np.unravel_index(int(np.argmin(difference)), difference.shape)
    return int(top), int(left)


def _correlate(plane: NDArray[np.float64], pattern: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of plane x pattern at every place where the pattern lies inside the plane."""
    return np.asarray(signal.correlate(plane, pattern, mode="valid", method="fft"))


def layout_difference(drawn: Lab, reference: Lab, region: Mask) -> float:
    """Mean dE00 over the region between both pictures blurred within it (a coarse S-CIELAB, Zhang and Wandell 1996).

    Args:
        drawn: (H, W, 3) CIELAB.
        reference: (H, W, 3) CIELAB.
        region: (H, W) bool. The blur is 4 % of its longer side and takes nothing from outside it.
    """
    sigma = LAYOUT_BLUR * max(region.shape)
    mask = region.astype(np.float64)
    cover = np.maximum(ndimage.gaussian_filter(mask, sigma), 1e-6)

    def smooth(lab: Lab) -> Lab:
        planes = [ndimage.gaussian_filter(lab[..., channel] * mask, sigma) / cover for channel in range(3)]
        return np.stack(planes, axis=-1)[region]

    return float(deltaE_ciede2000(smooth(drawn), smooth(reference)).mean())


def structure_similarity(drawn: Lab, reference: Lab, region: Mask) -> float:
    """SSIM of CIELAB lightness, Gaussian window of sigma 1.5, averaged over the region (Wang et al., 2004).

    SSIM = (2 mx my + C1)(2 sxy + C2) / ((mx^2 + my^2 + C1)(sx^2 + sy^2 + C2)), C1 = 1, C2 = 9 for L* in 0..100.
    Outside the region the reference takes the drawn picture's pixels, so the ground is not compared.

    Args:
        drawn: (H, W, 3) CIELAB.
        reference: (H, W, 3) CIELAB.
        region: (H, W) bool.

    Returns:
        -1..1, 1 for equal structure.
    """
    ground = np.where(region, reference[..., 0], drawn[..., 0])
    _, values = structural_similarity(
        drawn[..., 0],
        ground,
        data_range=100.0,
        gaussian_weights=True,
        sigma=SSIM_SIGMA,
        use_sample_covariance=False,
        full=True,
    )
    return float(values[region].mean())


def nearest(drawn: list[Likeness]) -> Likeness:
    """The most similar view: a prompt does not fix the view, so each is allowed, and to every product alike.

    Its parts are those of the view whose parts are best found: colour tells views apart badly.
    """
    parts = [likeness.parts for likeness in drawn if likeness.parts is not None]
    mirrored = [likeness.mirrored for likeness in drawn if likeness.mirrored is not None]
    closest = min(drawn, key=lambda likeness: likeness.distance)
    return replace(closest, parts=max(parts, default=None), mirrored=max(mirrored, default=None))
