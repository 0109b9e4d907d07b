"""A declared, bounded relight: the product takes on some of its scene's light, and nobody has to guess how much.

Only the low frequencies change: a gain that is smooth over at least 6 % of the product's height, so that print and
edges stay what they are. It is made of the colours around the product - what lies to its left lights its left side -
and of the main light's direction, and drawn back until the 95th percentile of the colour change on the product's core
(CIEDE2000) is within the budget and the print keeps its contrast. A budget of 0 gives back the packshot's bytes.

What it cannot do: move a highlight of the studio's lamps, or cast the product's own parts into shadow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage import color

from finetune.core.compositing.light import Light
from finetune.core.compositing.placement import Placed
from finetune.core.pictures.images import LUMINANCE, Array, Floats, to_linear, to_srgb8
from finetune.core.pictures.masks import Box, Mask

SMOOTH = 0.06
"""Smallest standard deviation of the gain's blur, share of the product's height."""
CONTRAST = 0.95
"""Least contrast of the print, share of the packshot's."""
GREY = 0.3
"""Mean linear light of a scene in which a packshot needs no change of brightness."""
SIDES, MAIN = 1.2, 0.45
"""Weight of what lies beside the product against the whole scene's, and of the main light's direction."""
DARKEST, BRIGHTEST = 0.15, 1.6
"""Limits of the gain before it is drawn back."""
SAMPLES = 8000
"""Pixels on which the colour change is measured."""
STEPS = 7
"""Halvings of the search for the largest gain within the budget."""


@dataclass(frozen=True)
class Relit:
    """A relit product, and how far it is from the packshot."""

    rgb: Array
    """(H, W, 3) uint8, the product's colours on the canvas."""
    share: float
    """Of the computed change that was made, 0..1."""
    mean: float
    """Mean CIEDE2000 on the core."""
    p95: float
    """Its 95th percentile."""
    contrast: float
    """Of the print, over the packshot's."""


def relight(placed: Placed, scene: Array, light: Light, *, budget: float) -> Relit:
    """Give the product some of its scene's light.

    Args:
        placed: The product on the scene's canvas.
        scene: (H, W, 3) uint8, the scene without the product.
        light: Its main light.
        budget: Largest 95th percentile of CIEDE2000 on the product's core, 0 or more.
    """
    core, box = placed.core, placed.box
    if budget <= 0 or not core.any():
        return Relit(placed.rgb, 0.0, 0.0, 0.0, 1.0)
    gain = _gain(placed, scene, light)
    linear = to_linear(placed.rgb[box.top : box.bottom, box.left : box.right])
    inside = core[box.top : box.bottom, box.left : box.right]
    sample = _sample(inside)
    lab = color.rgb2lab(placed.rgb[box.top : box.bottom, box.left : box.right][sample][None])

    def tried(share: float) -> tuple[Array, Floats, float]:
        lit = to_srgb8(np.clip(linear * np.exp(share * gain), 0, 1).astype(np.float32))
        change = color.deltaE_ciede2000(lab, color.rgb2lab(lit[sample][None]))[0]
        return lit, change, _contrast(lit, inside, box.height) / max(_contrast_of(linear, inside, box.height), 1e-6)

    low, high = 0.0, 1.0
    share = 1.0
    for _ in range(STEPS):
        _, change, contrast = tried(share)
        if float(np.quantile(change, 0.95)) <= budget and contrast >= CONTRAST:
            low = share
        else:
            high = share
        if low == 1.0:
            break
        share = (low + high) / 2
    lit, change, contrast = tried(low)
    rgb = placed.rgb.copy()
    if low > 0:
        rgb[box.top : box.bottom, box.left : box.right] = lit
    return Relit(rgb, low, float(change.mean()), float(np.quantile(change, 0.95)), contrast)


def _gain(placed: Placed, scene: Array, light: Light) -> Floats:
    """Logarithm of the gain at each pixel of the product's box, (h, w, 3), smooth."""
    box = placed.box
    around = _around(scene, placed.matte, box)
    facing, upward = _facing(placed.matte[box.top : box.bottom, box.left : box.right] >= 0.5)
    left, right = np.maximum(-facing, 0)[..., None], np.maximum(facing, 0)[..., None]
    up = np.maximum(upward, 0)[..., None] * 0.5
    colour = around["whole"] + SIDES * (left * around["left"] + right * around["right"] + up * around["above"])
    colour = colour / (1 + SIDES * (left + right + up))
    azimuth, height = math.radians(light.azimuth), math.radians(light.height)
    main = facing * math.sin(azimuth) * math.cos(height) + 0.5 * upward * math.sin(height)
    gain = np.log(np.clip(colour / GREY, DARKEST, BRIGHTEST)) + MAIN * (1 - light.softness / 2) * main[..., None]
    sigma = SMOOTH * box.height
    return np.asarray(ndimage.gaussian_filter(gain, (sigma, sigma, 0), mode="nearest"), dtype=np.float32)


def _around(scene: Array, matte: Floats, box: Box) -> dict[str, Floats]:
    """Mean linear colours of the scene: all of it, and beside and above the product within its own height."""
    linear = to_linear(scene)
    free = matte < 0.02
    top, bottom = max(0, box.top - box.height // 2), min(scene.shape[0], box.bottom + box.height // 4)
    reach = box.height
    parts = {
        "left": (slice(top, bottom), slice(max(0, box.left - reach), box.left)),
        "right": (slice(top, bottom), slice(box.right, box.right + reach)),
        "above": (slice(max(0, box.top - reach), box.top), slice(box.left, box.right)),
    }
    whole = linear[free].mean(axis=0) if free.any() else np.full(3, GREY, dtype=np.float32)
    found = {"whole": whole}
    for name, part in parts.items():
        seen = linear[part][free[part]]
        found[name] = seen.mean(axis=0) if len(seen) > 16 else whole
    return found


def _facing(solid: Mask) -> tuple[Floats, Floats]:
    """How far each pixel's surface turns to the right and upwards, (h, w) in -1..1, as on a body with round edges."""
    height, width = solid.shape
    turned = []
    for axis, size in ((1, width), (0, height)):
        along = np.arange(size, dtype=np.float32) + 0.5
        along = along[None, :] if axis == 1 else along[:, None]
        first = np.argmax(solid, axis=axis, keepdims=True)
        last = size - np.argmax(np.flip(solid, axis=axis), axis=axis, keepdims=True)
        across = (along - (first + last) / 2) / np.maximum((last - first) / 2, 1)
        across = np.clip(across, -1, 1)
        turned.append((across * np.abs(across)).astype(np.float32))
    return turned[0], -turned[1]


def _sample(inside: Mask) -> tuple[np.ndarray, ...]:
    """Indices of at most SAMPLES pixels of the core, evenly taken."""
    rows, columns = np.nonzero(inside)
    step = max(1, len(rows) // SAMPLES)
    return rows[::step], columns[::step]


def _contrast(picture: Array, inside: Mask, height: int) -> float:
    return _contrast_of(to_linear(picture), inside, height)


def _contrast_of(linear: Floats, inside: Mask, height: int) -> float:
    """Spread of the fine detail of log luminance on the core: what makes print legible."""
    tone = np.log(linear @ LUMINANCE + np.float32(0.01))
    fine = tone - ndimage.gaussian_filter(tone, 0.02 * height)
    return float(fine[inside].std())
