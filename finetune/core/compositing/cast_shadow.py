"""The shadow of a product on its ground: how much of the main light and of the sky each point still sees.

The body's slices (`volume`) are shone on from many points of the main light and from all over the sky, and the hard
shadows are averaged: the penumbra that grows with the distance from the contact, the dark line where product and
ground meet, and the faint wide darkening beneath follow from that by themselves. The ground's light is
`shade x sky seen + (1 - shade) x main light seen`, in linear light and per channel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from finetune.core.compositing.camera import Camera
from finetune.core.compositing.light import Light, sky_directions
from finetune.core.compositing.volume import Body, Pose, body_of
from finetune.core.pictures.images import Array, Floats, to_linear, to_srgb8

LONGEST = 4.0
"""Length at which a shadow is cut off, heights of the product."""
CELLS = (96, 168)
"""Cells along the product's longer side: for a soft light, for a hard one."""
SAMPLES = (40, 14)
"""Points of the main light: for a soft one, for a hard one."""
HARD = 0.15
"""Softness below which a light is hard."""
SKY = 72
"""Directions of the sky."""
EVEN, EVEN_BELOW = 0.06, 0.2
"""Blur of the sky's faint far shadows, share of the product's height, and the share of the sky below which it acts: the
sky is no heap of lamps."""
FOOT, CREASE, CREASE_DEPTH = 0.04, 0.022, 0.9
"""The dark line where product and ground meet: edges are rounded, and the ground under them sees almost nothing. Height
up to which the body counts as its foot, the line's width on the ground (both shares of the product's height), and the
light it takes away."""


@dataclass(frozen=True)
class ShadowStrength:
    """How much of the computed shadow is drawn."""

    contact: float = 1.0
    """Of the sky's: the dark line at the foot and the darkening beneath; 0 none, 1 as computed."""
    cast: float = 1.0
    """Of the main light's; 0 none, 1 as computed."""


def ground_light(
    matte: Floats,
    light: Light,
    camera: Camera,
    *,
    pose: Pose = "standing",
    strength: ShadowStrength | None = None,
    opacity: float = 1.0,
) -> Floats:
    """Light that reaches the scene's ground around a product.

    Args:
        matte: (H, W) in 0..1, the product at its place.
        light: The main light.
        camera: Over this picture. Its foot is where the product stands.
        pose: How it rests; what hangs casts its shadow on a wall behind it.
        strength: How much of it is drawn; all of it if None.
        opacity: Share of the light that the product stops, 0..1; less than 1 for glass.

    Returns:
        (H, W, 3) float32 factors in 0..1 of linear light; 1 where no shadow falls.
    """
    strength = strength or ShadowStrength()
    hard = light.softness < HARD
    body = body_of(matte, pose, camera.elevation, cells=CELLS[hard])
    if body is None or (strength.contact <= 0 and strength.cast <= 0):
        return np.ones((*matte.shape, 3), dtype=np.float32)
    main, sky = light.main_directions(SAMPLES[hard]), sky_directions(SKY)
    if pose == "hanging":
        main, sky = _towards_wall(main), _towards_wall(sky)
    grid = _Grid.around(body, np.concatenate([main, sky]))
    hidden = np.stack([grid.hidden(body, main), _evened(grid.hidden(body, sky), body.height), grid.crease(body)])
    flat = pose in ("lying", "hanging")
    seen = grid.seen(hidden, matte.shape, body, None if flat else camera)
    key = 1 - strength.cast * opacity * seen[0][..., None]
    ambient = 1 - strength.contact * opacity * seen[1][..., None]
    shade = np.asarray(light.shade, dtype=np.float32)
    light_seen = (shade * ambient + (1 - shade) * key) * (1 - strength.contact * seen[2][..., None])
    return np.asarray(np.clip(light_seen, 0, 1), dtype=np.float32)


def _evened(hidden: Floats, height: float) -> Floats:
    """The sky's shadow without the edges that single directions leave where only a few of them are hidden."""
    smooth = ndimage.gaussian_filter(hidden, EVEN * height)
    kept = np.clip(smooth / EVEN_BELOW, 0, 1)
    return np.asarray(kept * hidden + (1 - kept) * smooth, dtype=np.float32)


def _towards_wall(directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Directions seen by a wall behind the product: what is 'towards the camera' there stands out of the wall."""
    right, front, up = directions[:, 0], np.maximum(directions[:, 1], 0.25), directions[:, 2]
    return np.stack([right, -up, front], axis=-1)


@dataclass(frozen=True)
class _Grid:
    """Cells of the ground around a body, rows growing away from the camera."""

    left: int
    near: int
    width: int
    depth: int

    @classmethod
    def around(cls, body: Body, directions: NDArray[np.float64]) -> _Grid:
        """Large enough for every shadow."""
        reach = np.stack([_shift(d, body.height) for d in directions])
        lefts = [s.left for s in body.slices]
        rights = [s.left + s.print.shape[1] for s in body.slices]
        nears, fars = [s.near for s in body.slices], [s.near + s.print.shape[0] for s in body.slices]
        left = min(lefts) + math.floor(min(0, reach[:, 0].min())) - 4
        near = min(nears) + math.floor(min(0, reach[:, 1].min())) - 4
        right = max(rights) + math.ceil(max(0, reach[:, 0].max())) + 4
        far = max(fars) + math.ceil(max(0, reach[:, 1].max())) + 4
        return cls(left, near, right - left, far - near)

    def hidden(self, body: Body, directions: NDArray[np.float64]) -> Floats:
        """Share of the directions that the body hides from each cell, (depth, width) in 0..1."""
        total = np.zeros((self.depth, self.width), dtype=np.float32)
        for direction in directions:
            total += self._shadow(body, direction)
        return np.asarray(total / len(directions), dtype=np.float32)

    def crease(self, body: Body) -> Floats:
        """The dark line round the foot, (depth, width) in 0..1; none under what floats."""
        foot = np.zeros((self.depth, self.width), dtype=np.float32)
        for cut in body.slices:
            if cut.height <= FOOT * body.height:
                y, x = cut.near - self.near, cut.left - self.left
                part = foot[y : y + cut.print.shape[0], x : x + cut.print.shape[1]]
                np.maximum(part, cut.print, out=part)
        return np.asarray(CREASE_DEPTH * ndimage.gaussian_filter(foot, CREASE * body.height), dtype=np.float32)

    def _shadow(self, body: Body, direction: NDArray[np.float64]) -> NDArray[np.bool_]:
        """The hard shadow of a body in the light of one point, (depth, width)."""
        dark = np.zeros((self.depth, self.width), dtype=bool)
        shift = _shift(direction, 1.0)
        parts = max(1, math.ceil(body.step * float(np.abs(shift).max()) / 2))
        limit = LONGEST * body.height
        for cut in body.slices:
            for part in range(parts):
                at = min(cut.height + part * body.step / parts, limit)
                x = round(cut.left + at * float(shift[0])) - self.left
                y = round(cut.near + at * float(shift[1])) - self.near
                rows, columns = cut.print.shape
                if x >= 0 and y >= 0 and x + columns <= self.width and y + rows <= self.depth:
                    dark[y : y + rows, x : x + columns] |= cut.print
        return dark

    def seen(self, hidden: Floats, shape: tuple[int, ...], body: Body, camera: Camera | None) -> Floats:
        """`hidden` (layers, depth, width) as the picture shows it, (layers, H, W); as it is without a camera."""
        smooth = ndimage.gaussian_filter(hidden, (0, 0.8, 0.8))
        rows, columns = (np.arange(n, dtype=np.float32) + 0.5 for n in shape[:2])
        if camera is None:
            right = np.broadcast_to(columns[None, :] - body.foot[0], shape[:2])
            away = np.broadcast_to(body.foot[1] - rows[:, None], shape[:2])
        else:
            right, away = camera.ground(columns, rows)
            right = right + (camera.foot[0] - body.foot[0])
        x, y = right / body.cell - self.left - 0.5, away / body.cell - self.near - 0.5
        out = np.zeros((len(hidden), *shape[:2]), dtype=np.float32)
        inside = (x > -1) & (x < self.width) & (y > -1) & (y < self.depth)  # false where there is no ground (NaN)
        for layer, values in zip(out, smooth, strict=True):
            layer[inside] = ndimage.map_coordinates(values, [y[inside], x[inside]], order=1, mode="constant")
        return out


def _shift(direction: NDArray[np.float64], height: float) -> NDArray[np.float64]:
    """How far the shadow of a point at `height` falls from below it: (right, away)."""
    right, front, up = direction
    length = height / max(float(up), 1e-3)
    flat = np.array([-right, front]) * length
    longest = LONGEST * height
    size = float(np.hypot(*flat))
    return flat if size <= longest else flat * (longest / size)


def darken(scene: Array, light: Floats) -> Array:
    """Multiply a picture by `light` in linear light; where it is exactly 1 the bytes are copied.

    Args:
        scene: (H, W, 3) uint8.
        light: (H, W), or (H, W, 3) by channel: factors in 0..1.
    """
    factor = light if light.ndim == 3 else light[..., None]
    return np.where(factor >= 1.0, scene, to_srgb8(to_linear(scene) * factor)).astype(np.uint8)
