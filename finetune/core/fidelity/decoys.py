"""Products that do not exist: a product's own views in another colour, to be told apart from it as siblings are.

A lone product has no sibling to be mistaken for, so it is compared with what a buyer would call "the same in another
colour": its hues turned by 60 degrees both ways, or, where it has hardly any colour, tinted green and blue. Lighter and
darker would not do: the measures forgive another exposure. Nor would red and yellow: warm light tints a grey product.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from skimage.color import lab2rgb

from finetune.core.fidelity.measures import Lab, View, make_view

TURN = np.pi / 3
"""Angle by which hues are turned, radians."""
NEUTRAL = 12.0
"""Mean chroma (CIELAB) of a product under which it is tinted instead of turned."""
TINT = 28.0
"""By how much, in a* or b*."""


def decoys_of(views: Sequence[View]) -> dict[str, tuple[View, ...]]:
    """Two decoys of a product, by name.

    Args:
        views: Of the product; at least one.
    """
    chroma = np.mean([np.hypot(view.lab[..., 1], view.lab[..., 2])[view.region].mean() for view in views])
    if chroma < NEUTRAL:
        return {
            "decoy: green": tuple(_changed(view, view.lab + np.array([0, -TINT, 0])) for view in views),
            "decoy: blue": tuple(_changed(view, view.lab + np.array([0, 0, -TINT])) for view in views),
        }
    return {
        "decoy: hue +60": tuple(_changed(view, _turned(view.lab, TURN)) for view in views),
        "decoy: hue -60": tuple(_changed(view, _turned(view.lab, -TURN)) for view in views),
    }


def _turned(lab: Lab, angle: float) -> Lab:
    a, b = lab[..., 1], lab[..., 2]
    turned = (np.cos(angle) * a - np.sin(angle) * b, np.sin(angle) * a + np.cos(angle) * b)
    return np.stack([lab[..., 0], *turned], axis=-1)


def _changed(view: View, lab: Lab) -> View:
    """The view with other colours, as sRGB can show them."""
    rgb = np.round(np.clip(lab2rgb(lab), 0, 1) * 255).astype(np.uint8)
    alpha = np.where(view.region, 255, np.where(view.silhouette, 128, 0)).astype(np.uint8)
    return make_view(view.name, np.dstack([rgb, alpha]))
