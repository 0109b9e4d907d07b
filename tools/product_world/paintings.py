"""Painted distances: lights of a city at night, a garden out of focus, a sunset. Linear light, no Blender."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .draws import Draws

Picture = npt.NDArray[np.float32]
Colour = tuple[float, float, float]
HEIGHT, WIDTH = 256, 384

CITY: tuple[Colour, ...] = (
    (1.0, 0.55, 0.15),
    (1.0, 0.35, 0.08),
    (1.0, 0.8, 0.5),
    (0.9, 0.12, 0.1),
    (0.2, 0.5, 1.0),
    (0.2, 0.9, 0.7),
    (1.0, 0.25, 0.6),
    (0.9, 0.9, 1.0),
)
LEAVES: tuple[Colour, ...] = (
    (0.25, 0.5, 0.08),
    (0.12, 0.32, 0.06),
    (0.5, 0.7, 0.2),
    (0.7, 0.85, 0.4),
    (0.9, 0.95, 0.7),
)
BLOSSOMS: tuple[Colour, ...] = ((0.8, 0.2, 0.3), (0.9, 0.5, 0.7))
Stops = tuple[tuple[float, Colour], ...]  # from the horizon (0) to the top (1)
SKIES: tuple[Stops, ...] = (
    (
        (0.0, (1.25, 0.62, 0.22)),
        (0.25, (1.0, 0.38, 0.2)),
        (0.5, (0.62, 0.25, 0.3)),
        (0.8, (0.2, 0.17, 0.4)),
        (1.0, (0.08, 0.1, 0.3)),
    ),
    (
        (0.0, (1.3, 0.8, 0.4)),
        (0.2, (1.1, 0.5, 0.3)),
        (0.45, (0.8, 0.4, 0.42)),
        (0.75, (0.35, 0.35, 0.6)),
        (1.0, (0.16, 0.24, 0.5)),
    ),
    (
        (0.0, (1.2, 0.45, 0.12)),
        (0.3, (0.85, 0.25, 0.14)),
        (0.6, (0.35, 0.12, 0.2)),
        (1.0, (0.06, 0.05, 0.16)),
    ),
)


def add_disc(picture: Picture, middle: tuple[float, float], radius: float, colour: Picture, soft: float) -> None:
    """A disc of light out of focus, a little brighter along its rim."""
    x, y = middle
    left, right = max(0, int(x - radius - 4)), min(WIDTH, int(x + radius + 4))
    top, bottom = max(0, int(y - radius - 4)), min(HEIGHT, int(y + radius + 4))
    if right <= left or bottom <= top:
        return
    down, across = np.mgrid[top:bottom, left:right]
    distance = np.hypot(across - x, down - y)
    inside = np.clip((radius - distance) / soft + 0.5, 0, 1) * (0.75 + 0.35 * np.clip(distance / radius, 0, 1) ** 3)
    picture[top:bottom, left:right] += inside[..., None] * colour


def discs(
    source: random.Random,
    sky: tuple[Colour, Colour],
    colours: Sequence[Colour],
    count: int,
    radius: float,
    soft: float,
    zone: tuple[float, float],
) -> Picture:
    """Discs of light over a gradient (top, bottom); `zone` is the range of heights they hang in."""
    share = np.linspace(0, 1, HEIGHT)[:, None, None]
    gradient = np.asarray(sky[0]) * (1 - share) + np.asarray(sky[1]) * share
    picture: Picture = np.repeat(gradient, WIDTH, axis=1).astype(np.float32)
    for _ in range(count):
        middle = (source.uniform(0, WIDTH), source.uniform(*zone) * HEIGHT)
        size = source.uniform(0.5, 1.25) * radius
        colour = np.asarray(source.choice(colours), np.float32) * source.uniform(0.25, 1.0)
        add_disc(picture, middle, size, colour, soft)
    return picture


def night(draws: Draws) -> Picture:
    """Lights of a street, three to six colours of them."""
    source = draws.source("night")
    colours = source.sample(CITY, source.randint(3, 6))
    sky = ((0.004, 0.006, 0.02), (0.03, 0.02, 0.03))
    return discs(source, sky, colours, source.randint(60, 150), source.uniform(8, 15), 2.2, (0.15, 0.85))


def garden(draws: Draws) -> Picture:
    """Leaves and patches of sun, at times blossoms."""
    source = draws.source("garden")
    colours = LEAVES + (BLOSSOMS if source.random() < 0.4 else ())
    sky = ((0.12, 0.2, 0.06), (0.04, 0.09, 0.02))
    return 0.55 * discs(source, sky, colours, 150, source.uniform(12, 22), 7.0, (0.0, 1.0))


def sunset(draws: Draws) -> Picture:
    """Sky from the horizon at the bottom upwards: glow, often the sun itself, streaks of cloud."""
    source = draws.source("sunset")
    stops = source.choice(SKIES)
    share = np.linspace(1, 0, HEIGHT)
    bands = [np.interp(share, [s[0] for s in stops], [s[1][k] for s in stops]) for k in range(3)]
    picture = np.repeat(np.stack(bands, -1)[:, None], WIDTH, axis=1)
    down, across = np.mgrid[0:HEIGHT, 0:WIDTH]
    x, y = source.uniform(0.2, 0.8) * WIDTH, source.uniform(0.62, 0.88) * HEIGHT
    distance = np.hypot(across - x, down - y)
    picture += np.exp(-((distance / 46) ** 2))[..., None] * np.array((1.1, 0.6, 0.25))
    if source.random() < 0.6:
        picture += np.clip((12 - distance) / 3, 0, 1)[..., None] * np.array((3.0, 2.0, 1.0))
    cloud = np.zeros((HEIGHT, WIDTH))
    for _ in range(source.randint(2, 10)):
        place = (source.uniform(0, WIDTH), source.uniform(0.2, 0.9) * HEIGHT)
        size = (source.uniform(40, 130), source.uniform(3, 8))
        spread = ((across - place[0]) / size[0]) ** 2 + ((down - place[1]) / size[1]) ** 2
        cloud += source.uniform(0.2, 0.7) * np.exp(-spread)
    cloud = np.clip(cloud, 0, 0.8)[..., None]
    return np.asarray(picture * (1 - cloud) + cloud * np.array((0.55, 0.22, 0.24)), np.float32)
