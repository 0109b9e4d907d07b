"""What studios deliver: a seeded chain of ground, resizing, sharpening, noise and JPEG over a clean render.

The render stands on white. The ground it is moved to keeps the render's shadows; the mixed pixels of the rim are
composited anew in linear light. The true mask is resized with the picture and is otherwise untouched.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy import ndimage

from finetune.core.pictures.images import Floats, to_linear, to_srgb8

PLAIN_GROUNDS = {
    "black": (10, 10, 11),
    "dark grey": (70, 70, 72),
    "mid grey": (140, 140, 141),
    "light grey": (205, 205, 206),
    "blue": (60, 110, 190),
    "green": (50, 160, 80),
    "beige": (222, 205, 178),
}
"""Grounds of another plain colour than white, sRGB."""
FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True)
class Delivery:
    """One setting of the chain."""

    ground: str
    """`white`, or a name of PLAIN_GROUNDS."""
    colour: tuple[int, int, int]
    """sRGB of the ground at its middle."""
    gradient: tuple[float, float]
    """Change of the ground's light over the picture, down and across, as shares."""
    vignette: float
    """Share of the ground's light missing in the corners."""
    scale: float
    resampling: str
    radius: float
    """Of the unsharp mask in pixels."""
    amount: float
    """Of the unsharp mask: 1 doubles the contrast of details."""
    noise: float
    """Standard deviation in levels of 255."""
    quality: int
    subsampling: int
    """0 is 4:4:4, 2 is 4:2:0."""
    twice: bool
    """Saved a second time, at quality 90."""

    @property
    def text(self) -> str:
        """The setting in a few words."""
        again = "+90" if self.twice else ""
        colour = "4:2:0" if self.subsampling else "4:4:4"
        sharp = f"sharpened {self.radius:.1f} px x {self.amount:.1f}"
        return f"{self.ground}, x{self.scale:.2f} {self.resampling}, {sharp}, q{self.quality}{again} {colour}"


def delivery(seed: int, *, ground: str = "", quality: int = 0) -> Delivery:
    """Draw a setting.

    Args:
        seed: same seed, same setting.
        ground: fixes the ground's name.
        quality: fixes JPEG's quality, 1..95.
    """
    draw = np.random.default_rng(seed)
    name = "white" if draw.random() < 2 / 3 else str(draw.choice(sorted(PLAIN_GROUNDS)))
    name = ground or name
    level, cast = int(draw.integers(236, 256)), draw.integers(-4, 5, size=3)
    white = tuple(int(v) for v in np.clip(level + cast, 0, 255))
    colour = (white[0], white[1], white[2]) if name == "white" else PLAIN_GROUNDS[name]
    drawn_quality = int(draw.integers(60, 96))
    return Delivery(
        ground=name,
        colour=colour,
        gradient=(float(draw.uniform(-0.06, 0.06)), float(draw.uniform(-0.04, 0.04))),
        vignette=float(draw.choice([0.0, draw.uniform(0, 0.08)])),
        scale=float(draw.uniform(0.75, 1.35)),
        resampling=str(draw.choice(sorted(FILTERS))),
        radius=float(draw.uniform(0.5, 2.0)),
        amount=float(draw.choice([0.0, draw.uniform(0.5, 2.0), draw.uniform(0.5, 1.0)])),
        noise=float(draw.uniform(0, 2.0)),
        quality=quality or drawn_quality,
        subsampling=int(draw.choice([0, 2, 2])),
        twice=bool(draw.random() < 0.3),
    )


def deliver(
    view: NDArray[np.uint8], mask: Floats, setting: Delivery, seed: int, through: Floats | None = None
) -> tuple[Image.Image, Floats]:
    """Take a clean render through the chain.

    Args:
        view: (H, W, 3), on white.
        mask: (H, W) in 0..1, the true coverage.
        setting: of the chain.
        seed: of the noise.
        through: (H, W, 3) in 0..1, the transmittance of glass, 0 where opaque; None without glass.

    Returns:
        The photo as it is read back from its JPEG, RGB, and the true coverage at its size.
    """
    light = _on_ground(to_linear(view), mask, setting, through)
    picture = Image.fromarray(to_srgb8(light))
    size = (round(picture.width * setting.scale), round(picture.height * setting.scale))
    picture = picture.resize(size, FILTERS[setting.resampling])
    coverage = Image.fromarray(mask.astype(np.float32)).resize(size, FILTERS[setting.resampling])
    if setting.amount:
        sharper = ImageFilter.UnsharpMask(setting.radius, round(100 * setting.amount), threshold=0)
        picture = picture.filter(sharper)
    noise = np.random.default_rng(seed).normal(0, setting.noise, (*size[::-1], 3))
    noise = ndimage.gaussian_filter(noise, (0.5, 0.5, 0)) if setting.noise > 1 else noise
    picture = Image.fromarray(np.clip(np.asarray(picture) + noise + 0.5, 0, 255).astype(np.uint8))
    picture = _saved(picture, setting.quality, setting.subsampling)
    if setting.twice:
        picture = _saved(picture, 90, setting.subsampling)
    return picture, np.clip(np.asarray(coverage), 0, 1)


def _saved(picture: Image.Image, quality: int, subsampling: int) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality, subsampling=subsampling)
    return Image.open(file).convert("RGB")


def _on_ground(light: Floats, mask: Floats, setting: Delivery, through: Floats | None) -> Floats:
    """The render on the setting's ground, (H, W, 3) linear light: its white, with shadows, is exchanged."""
    height, width = mask.shape
    outside = mask <= 0
    white = np.percentile(light[outside], 99, axis=0) if outside.any() else np.ones(3, dtype=np.float32)
    rows, columns = ndimage.distance_transform_edt(~outside, return_distances=False, return_indices=True)
    shade = np.clip(light[rows, columns] / white, 0, 1)  # the ground with its shadow, continued under the rim
    down, across = np.linspace(-0.5, 0.5, height)[:, None], np.linspace(-0.5, 0.5, width)[None, :]
    falloff = 1 + setting.gradient[0] * down + setting.gradient[1] * across
    falloff = falloff * (1 - setting.vignette * 2 * (down**2 + across**2))
    target = to_linear(np.array(setting.colour, dtype=np.uint8)[None, None])[0, 0]
    open_share = 1 - mask[..., None]
    seen = open_share if through is None else open_share + mask[..., None] * through
    moved = light + seen * shade * (target * falloff[..., None] - white)
    return np.asarray(np.clip(moved, 0, 1), dtype=np.float32)
