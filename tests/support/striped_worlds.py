"""A rendered world of drawn stripes."""

from __future__ import annotations

from typing import Any

import numpy as np

from tools.embedded_base.world import World


def record(surface: str, backdrop: str, light: str = "soft daylight", **fields: Any) -> dict[str, Any]:
    kind = {"studio": "studio", "wall": "plain wall"}.get(backdrop.split()[1], backdrop)
    words = {"surface": surface, "backdrop": backdrop, "backdrop_type": kind, "lighting": light}
    colour = backdrop.split()[0] if kind == "plain wall" else ""
    return words | {"backdrop_colour": colour, "class_noun": "mug", "empty": False, "index": 8} | fields


def striped_world(count: int) -> World:
    """Frames with a red or a green ground under a grey wall, and a bright square product."""
    frames, masks = np.full((count, 256, 256, 3), 128, np.uint8), np.zeros((count, 256, 256), np.uint8)
    records = []
    for i in range(count):
        red = i % 2 == 0
        frames[i, 128:] = (170, 40, 40) if red else (40, 150, 40)
        left = 40 + i * 37 % 120
        frames[i, 90:180, left : left + 60], masks[i, 90:180, left : left + 60] = 250, 255
        records.append(record("sand" if red else "green grass", "brick wall behind", index=i))
    return World(records, frames, masks)
