"""How well the glass layer is found, measured on drawn glass whose transmittance is known.

True masks of renders don't tell transmittance, so products are drawn: a clear or tinted vessel with the dark line that
refraction leaves along its outline, a cap, perhaps print or a label, photographed on a plain ground (blur, noise,
8 bits), cut out, and composited on other grounds. The true composite is the same drawing on that ground. What this
cannot test: refraction moves what is seen through real glass, and real glass reflects its surroundings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from finetune.core.compositing.glass import composite_glass
from finetune.core.pictures.images import to_linear, to_srgb8
from finetune.matting.glass_detection import with_glass
from finetune.matting.matte import Cutout, cut_out

SIDE = 640
BODIES = {"bottle": (220, 200, 420, 590), "jar": (150, 240, 490, 560), "tube": (265, 150, 375, 600)}
TINTS = {"clear": (0.93, 0.93, 0.92), "blue": (0.75, 0.88, 0.95), "green": (0.7, 0.92, 0.8), "rose": (0.94, 0.76, 0.8)}
GROUNDS = {"white": (0.98, 0.98, 0.98), "off-white": (0.85, 0.83, 0.8)}
SCENES = {"dark": (0.03, 0.03, 0.04), "orange": (0.8, 0.35, 0.08), "blue": (0.1, 0.25, 0.6)}

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Drawing:
    """A product as layers, linear light."""

    cover: Values
    """(H, W)."""
    through: Values
    """(H, W, 3): its transmittance, 0 where opaque."""
    own: Values
    """(H, W, 3): its own light, premultiplied."""

    def on(self, ground: Values) -> Values:
        """The true picture on a ground, (H, W, 3)."""
        return self.own + self.through * ground + (1 - self.cover[..., None]) * ground


@dataclass(frozen=True)
class Transmission:
    """The measures of one kind of drawing."""

    found: float
    """Share of the pictures whose glass was found (of the opaque ones: wrongly)."""
    error: float
    """Mean absolute error of the composite inside the product, linear light, mean over channels and scenes."""
    opaque: float
    """The same for the cutout without its glass layer."""


def measure_transmission() -> dict[str, Transmission]:
    """Measure clear and tinted glass, and the same shapes in opaque white and grey."""
    kinds = {}
    for tint, values in TINTS.items():
        kinds[f"{tint} glass"] = _measured(
            [_draw(body, values, kind) for body in BODIES for kind in ("plain", "print")]
        )
    kinds["blue glass, label"] = _measured([_draw(body, TINTS["blue"], "label") for body in BODIES])
    kinds["opaque white"] = _measured([_draw(body, (0.74, 0.73, 0.71), "opaque") for body in BODIES])
    kinds["opaque grey"] = _measured([_draw(body, (0.6, 0.6, 0.6), "opaque") for body in BODIES])
    return kinds


def _measured(drawings: list[Drawing]) -> Transmission:
    found, errors, opaque = [], [], []
    for drawing, ground in ((d, g) for d in drawings for g in GROUNDS.values()):
        picture = _photograph(drawing, ground)
        plain = cut_out(picture)
        cutout = with_glass(plain, picture, "auto", "bottle")
        found.append(cutout.glass is not None)
        inside = drawing.cover > 0.99
        for scene in _scenes():
            true = drawing.on(scene)
            errors.append(np.abs(_composite(cutout, scene) - true)[inside].mean())
            opaque.append(np.abs(_composite(plain, scene) - true)[inside].mean())
    return Transmission(float(np.mean(found)), float(np.mean(errors)), float(np.mean(opaque)))


def _scenes() -> Iterator[Values]:
    for colour in SCENES.values():
        yield np.broadcast_to(np.array(colour), (SIDE, SIDE, 3))
    stripes = np.indices((SIDE, SIDE))[1] // 24 % 2
    yield np.where(stripes[..., None] == 1, SCENES["orange"], SCENES["blue"])


def _photograph(drawing: Drawing, ground: tuple[float, float, float]) -> Image.Image:
    """On a slightly vignetted ground, with a lens's softness and a sensor's noise; always the same."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE - 0.5
    light = drawing.on((1 - 0.1 * (y**2 + x**2))[..., None] * np.array(ground))
    light = ndimage.gaussian_filter(light, (0.6, 0.6, 0))
    noisy = to_srgb8(light.astype(np.float32)) + np.random.default_rng(0).normal(0, 0.7, light.shape)
    return Image.fromarray(np.clip(noisy + 0.5, 0, 255).astype(np.uint8))


def _composite(cutout: Cutout, scene: Values) -> Values:
    layers = []
    for layer in (cutout.rgba, cutout.glass):
        frame = Image.new("RGBA", (SIDE, SIDE))
        if layer is not None:
            frame.paste(layer, (cutout.box.left, cutout.box.top))
        layers.append(np.asarray(frame))
    alpha = (layers[0][..., 3] / 255).astype(np.float32)
    over = np.ascontiguousarray(layers[0][..., :3])
    under = to_srgb8(scene.astype(np.float32))
    return to_linear(composite_glass(over, alpha, under, layers[1])).astype(np.float64)


def _draw(body: str, tint: tuple[float, float, float], kind: str) -> Drawing:
    left, top, right, bottom = BODIES[body]
    middle = (left + right) // 2
    vessel = _shape(lambda d, k: d.rounded_rectangle([k * e for e in (left, top, right, bottom)], 16 * k, fill=255))
    wide = (right - left) // 4
    cap = _shape(lambda d, k: d.rectangle([k * e for e in (middle - wide, top - 70, middle + wide, top + 6)], fill=255))
    print_ = _shape(
        lambda d, k: [
            d.rectangle([k * e for e in (middle - 40 + 22 * n, 380, middle - 26 + 22 * n, 410)], fill=255)
            for n in range(4)
        ]
    )
    paper = _shape(lambda d, k: d.rectangle([k * e for e in (middle - wide, 330, middle + wide, 450)], fill=255))
    solid = cap[..., None]
    if kind == "opaque":
        own = np.array(tint) * vessel[..., None] * (0.9 + 0.1 * np.linspace(1, 0, SIDE))[None, :, None]
        through = np.zeros_like(own)
    else:
        depth = ndimage.distance_transform_edt(vessel > 0.5)
        line = np.clip(np.abs(depth - 4) / 3, 0.15, 1)[..., None]
        through, own = line * np.array(tint) * vessel[..., None], np.zeros((SIDE, SIDE, 3))
    for mask, colour in ((print_, (0.02, 0.02, 0.02)), (paper, (0.83, 0.82, 0.78))):
        if (kind == "print" and mask is print_) or (kind == "label" and mask is paper):
            through, own = through * (1 - mask[..., None]), own + mask[..., None] * np.array(colour)
    own = own * (1 - solid) + solid * np.array((0.06, 0.06, 0.07))
    return Drawing(np.maximum(vessel, cap), through * (1 - solid), own)


def _shape(draw: object) -> Values:
    big = Image.new("L", (4 * SIDE, 4 * SIDE), 0)
    assert callable(draw)
    draw(ImageDraw.Draw(big), 4)
    return np.asarray(big.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float64) / 255
