"""Grounding: what a scene's ground takes from the product that stands on it - its shadow and its mirror image.

Both are laid under the product, in linear light; the product's own pixels are composited over them afterwards and are
not touched.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from typing import Any

from finetune.core.compositing.camera import ELEVATION, camera_over
from finetune.core.compositing.cast_shadow import ShadowStrength, darken, ground_light
from finetune.core.compositing.light import Light
from finetune.core.compositing.placement import Placed
from finetune.core.compositing.reflection import Surface, reflected
from finetune.core.compositing.volume import LIFT, Pose
from finetune.core.pictures.images import Array

SURFACES: tuple[tuple[str, Surface], ...] = (
    (r"mirror(?:ed|ing)?|chrome", Surface(0.6, 0.03)),
    (r"metal|steel|brass|copper|alumini?um", Surface(0.5, 0.35)),
    (r"wet|puddle|water", Surface(0.03, 0.12)),
    (r"gloss(?:y|ed)?|polished|lacquer(?:ed)?|acrylic|glass|shiny", Surface(0.05, 0.08)),
    (r"marble|granite|ceramic|porcelain|tiles?", Surface(0.045, 0.3)),
    (r"varnished|walnut|mahogany", Surface(0.04, 0.4)),
)
"""Words of a prompt that say how the ground mirrors, as patterns; the first that is found counts."""


GLASS_PASSES = 0.65
"""Share of the light on glass that reaches the ground in its shadow."""


@dataclass(frozen=True)
class Grounding:
    """How the ground of a scene takes the product."""

    light: Light = field(default_factory=Light)
    pose: Pose = "standing"
    surface: Surface = field(default_factory=Surface)
    strength: ShadowStrength = field(default_factory=ShadowStrength)
    reflection: float = 1.0
    """0 none, 1 as computed, up to 2."""
    elevation: float = ELEVATION
    """Degrees by which the scene's camera looks down at the product's foot."""
    horizon: float | None = None
    """Row of the horizon over the picture's height, from its top; None where it is not known."""

    @property
    def facts(self) -> dict[str, Any]:
        """As recipes and manifests record it: plain values."""
        return asdict(self)


def surface_of_prompt(prompt: str) -> Surface:
    """How the ground that a prompt describes mirrors; matt if it says nothing."""
    for pattern, surface in SURFACES:
        if re.search(rf"\b(?:{pattern})\b", prompt, flags=re.IGNORECASE):
            return surface
    return Surface()


def ground_product(scene: Array, placed: Placed, how: Grounding) -> Array:
    """The scene with the product's shadow and mirror image, without the product.

    Args:
        scene: (H, W, 3) uint8, of the canvas's size.
        placed: The product on the canvas.
        how: Light, pose, surface, camera.

    Returns:
        (H, W, 3) uint8; where nothing falls the bytes are copied.
    """
    height, width = scene.shape[:2]
    box = placed.box
    horizon = None if how.horizon is None else how.horizon * height
    below = LIFT * box.height if how.pose == "floating" else 0.0
    foot = ((box.left + box.right) / 2, box.bottom + below)
    camera = camera_over((width, height), foot, elevation=how.elevation, horizon=horizon)
    if how.pose == "standing" and how.reflection > 0:
        scene = reflected(
            scene,
            placed.rgb,
            placed.matte,
            how.surface,
            elevation=camera.elevation,
            strength=how.reflection,
            opacity=placed.solid,
        )
    light = ground_light(
        placed.matte, how.light, camera, pose=how.pose, strength=how.strength, opacity=_opacity(placed)
    )
    return darken(scene, light)


def _opacity(placed: Placed) -> float:
    """Share of the light that a product stops: glass and what it holds bend away some of what they let through."""
    if placed.glass is None:
        return 1.0
    return 1 - GLASS_PASSES * (1 - float(placed.solid.sum() / max(placed.matte.sum(), 1e-6)))
