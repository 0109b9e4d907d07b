"""Is it my product: colour, layout and structure of a drawn product against its packshot, and scores with a verdict.

Pure functions on arrays: numpy, scipy and scikit-image, no files, no models, no torch. Evaluation calls them on
*insert* pictures; what a score has to reach is not decided here but in `configs/gate.yaml`.

Pictures are (H, W, 3) uint8 sRGB, cutouts (H, W, 4) uint8 sRGB with straight alpha, colours CIELAB (D65, 2 degrees)
float64. Colour differences are CIEDE2000 (Sharma, Wu and Dalal, Color Research & Application 30(1), 2005; kL = kC =
kH = 1): 1 is just noticeable side by side, 5 another shade, 20 another colour.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.metrics import structural_similarity

from finetune.core.pictures.images import LUMINANCE, Array, to_linear, to_srgb8
from finetune.core.pictures.masks import Mask

Lab = NDArray[np.float64]
Better = Literal["higher", "lower"]
Verdict = Literal["pass", "fail", "not available", "info"]

OPAQUE = 253
"""Alpha from which a pixel counts as the product's own: the soft edge carries the ground's colour."""
MIN_OPAQUE_SHARE = 0.1
"""Below this share of opaque pixels the product is glass throughout, and half-covered pixels count too."""
PALETTE_PIXELS = 2048
LLOYD_ROUNDS = 12
LAYOUT_BLUR = 0.04
"""Blur of the layout measure as a share of the longer side: placement of colours, not the edge of each letter."""
SSIM_SIGMA = 1.5
MIN_SIDE = 16
EXPOSURE_LIMIT = 2.5
"""Most a drawn product may be brighter or darker than its packshot (1.3 stops) before that counts as a difference."""


@dataclass(frozen=True)
class Score:
    """One line of a fidelity report. A score whose value is None is "not available", which is never a pass."""

    name: str
    value: float | None
    unit: str
    better: Better
    bar: float | None
    verdict: Verdict


def judge(name: str, value: float | None, unit: str, better: Better, bar: float | None) -> Score:
    """Hold a value against its bar: reaching the bar passes, a NaN fails, no bar is "info".

    Returns:
        The score; "not available" for a value of None, whatever the bar.
    """
    verdict: Verdict
    if value is None:
        verdict = "not available"
    elif bar is None:
        verdict = "info"
    elif math.isnan(value):
        verdict = "fail"
    else:
        verdict = "pass" if (value >= bar if better == "higher" else value <= bar) else "fail"
    return Score(name, value, unit, better, bar, verdict)


class Embedder(Protocol):
    """A vision model that turns pictures into vectors; cosine similarity of two says how alike they look."""

    name: str
    """Model and crop, as the report names them: numbers of two backbones don't compare."""

    def embed(self, pictures: list[Array]) -> NDArray[np.float32]:
        """(N, D) vectors of N pictures, each of length 1."""
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
    """Palette of (N, 3) CIELAB colours by k-means (Lloyd, k-means++ start, at most 2048 pixels, fixed seed).

    Returns:
        At most `swatches` swatches, fewer where there are fewer colours.

    Raises:
        ValueError: there is no colour.
    """
    if not len(colours):
        raise ValueError("no pixels to take a palette of")
    generator = np.random.default_rng(seed)
    if len(colours) > PALETTE_PIXELS:
        colours = colours[generator.choice(len(colours), PALETTE_PIXELS, replace=False)]
    centres = _spread_start(colours, swatches, generator)
    for _ in range(LLOYD_ROUNDS):
        nearest = _squared_distances(colours, centres).argmin(axis=1)
        kept = np.unique(nearest)
        centres = np.stack([colours[nearest == index].mean(axis=0) for index in kept])
    nearest = _squared_distances(colours, centres).argmin(axis=1)
    counts = np.bincount(nearest, minlength=len(centres)).astype(np.float64)
    return Palette(centres[counts > 0], counts[counts > 0] / counts.sum())


def _spread_start(colours: Lab, swatches: int, generator: np.random.Generator) -> Lab:
    """k-means++ (Arthur and Vassilvitskii, 2007): each next centre with odds by its squared distance from the last."""
    centres = [colours[generator.integers(len(colours))]]
    distances = _squared_distances(colours, np.stack(centres))[:, 0]
    while len(centres) < swatches and distances.sum() > 1e-9:
        centres.append(colours[generator.choice(len(colours), p=distances / distances.sum())])
        distances = np.minimum(distances, _squared_distances(colours, centres[-1][None])[:, 0])
    return np.stack(centres)


def _squared_distances(colours: Lab, centres: Lab) -> NDArray[np.float64]:
    return np.asarray(((colours[:, None, :] - centres[None]) ** 2).sum(axis=-1))


def palette_distance(first: Palette, second: Palette) -> float:
    """Least mean CIEDE2000 by which one palette is moved onto the other: the earth mover's distance.

    EMD = min_F sum_ij F_ij dE00(a_i, b_j), F >= 0, sum_j F_ij = w_i, sum_i F_ij = v_j (Rubner, Tomasi and Guibas,
    IJCV 40(2), 2000), solved exactly as a linear program. 0 for equal palettes; where things stand plays no part.
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
    """One packshot at the scale of measuring, with what is compared worked out once."""

    name: str
    rgb: Array
    """(H, W, 3)"""
    lab: Lab
    """(H, W, 3)"""
    region: Mask
    """(H, W): pixels of the product that are compared (opaque ones)."""
    palette: Palette


def make_view(name: str, cutout: Array) -> View:
    """Prepare a cutout (H, W, 4) for comparing.

    Raises:
        ValueError: it is smaller than 16 pixels a side, or has no pixel of the product.
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
    return View(name, rgb, lab, region, palette(lab[region]))


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
    """Rows and columns by which the drawn product lay off the box, in pixels of the measuring scale."""
    exposure: float
    """Gain by which the drawn product was brought to the packshot's light before it was compared."""

    @property
    def distance(self) -> float:
        """One number to rank products by, in dE00: the mean of palette and layout.

        Structure is left out: siblings share it, and over rendered scenes it ranked them no better than chance.
        """
        return (self.palette + self.layout) / 2


def compare(drawn: Array, view: View, *, reach: int) -> Likeness:
    """Compare a drawn product with a view, after alignment by box and in the packshot's exposure.

    The box in which the product was asked for is known, so no detector is needed: `drawn` is that box with `reach`
    pixels around it, and the view is slid over it by up to `reach` pixels to where they differ least. A scene has its
    own light, which is no fault of the product: one gain for all three channels is taken out, within limits. (Over
    rendered scenes of known products this halves the distance to the right product; a gain for each channel would
    forgive a wrong colour.)

    Args:
        drawn: (H + 2 reach, W + 2 reach, 3) for a view of (H, W).
        reach: Pixels the drawn product may lie off.

    Raises:
        ValueError: the sizes don't fit.
    """
    height, width = view.region.shape
    if drawn.shape[:2] != (height + 2 * reach, width + 2 * reach):
        raise ValueError(f"drawn {drawn.shape[:2]} does not frame a view of {(height, width)} by {reach}")
    gain = exposure_gain(drawn[reach : reach + height, reach : reach + width], view)
    lab = to_lab(to_srgb8(to_linear(drawn) * np.float32(gain)))
    top, left = best_shift(lab, view)
    found = lab[top : top + height, left : left + width]
    return Likeness(
        view=view.name,
        palette=palette_distance(palette(found[view.region]), view.palette),
        layout=layout_difference(found, view.lab, view.region),
        structure=structure_similarity(found, view.lab, view.region),
        shift=(top - reach, left - reach),
        exposure=gain,
    )


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
            _slide(lab[..., channel] ** 2, mask) - 2 * _slide(lab[..., channel], view.lab[..., channel] * mask)
            for channel in range(3)
        ],
        axis=0,
    )
    top, left = np.unravel_index(int(np.argmin(difference)), difference.shape)
    return int(top), int(left)


def _slide(plane: NDArray[np.float64], pattern: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of plane x pattern at every place where the pattern lies inside the plane, by the correlation theorem."""
    spectrum = np.fft.rfft2(plane) * np.fft.rfft2(pattern, s=plane.shape).conj()
    rows, columns = (outer - inner + 1 for outer, inner in zip(plane.shape, pattern.shape, strict=True))
    return np.asarray(np.fft.irfft2(spectrum, s=plane.shape)[:rows, :columns])


def layout_difference(drawn: Lab, reference: Lab, region: Mask) -> float:
    """Mean dE00 over the region between both pictures blurred within it (a coarse S-CIELAB, Zhang and Wandell 1996).

    Args:
        drawn, reference: (H, W, 3). region: (H, W). The blur is 4 % of the longer side and takes nothing from outside.
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
    """The most like view: a prompt does not fix the view, so each is allowed, and to every product alike."""
    return min(drawn, key=lambda likeness: likeness.distance)
