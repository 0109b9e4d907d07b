"""Made-up pictures with the statistics of photographs, for the autoencoder.

Dead leaves (occluding shapes of every size) carry edges and flat areas, 1/f noise
carries fine texture. They keep the autoencoder from knowing nothing but one
renderer's pictures.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter


def pink_noise(rng: np.random.Generator, size: int) -> np.ndarray:
    """Coloured noise with a 1/f^a spectrum: (size, size, 3) in [0, 1]."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])
    frequency[0, 0] = 1.0
    slope = rng.uniform(0.9, 1.8)
    planes = []
    for _ in range(3):
        white = rng.normal(size=frequency.shape) + 1j * rng.normal(size=frequency.shape)
        planes.append(np.fft.irfft2(white / frequency**slope, s=(size, size)))
    noise = np.stack(planes, -1)
    noise = (noise - noise.mean((0, 1))) / (noise.std((0, 1)) + 1e-6)
    mixing = np.eye(3) * rng.uniform(0.1, 1.0) + rng.uniform(0.2, 1.0, (1, 3))
    noise = noise @ mixing * rng.uniform(0.05, 0.2) + rng.uniform(0.15, 0.85, 3)
    return np.asarray(np.clip(noise, 0, 1))


def dead_leaves(rng: np.random.Generator, size: int) -> np.ndarray:
    """Occluding discs, boxes and strokes of every size: (size, size, 3) in [0, 1]."""
    canvas = Image.new("RGB", (size, size), tuple(int(c) for c in rng.integers(0, 256, 3)))
    draw = ImageDraw.Draw(canvas)
    palette = rng.integers(0, 256, (6, 3))
    for _ in range(int(rng.integers(20, 140))):
        radius = size * 0.5 * float(rng.power(0.5)) ** 2 + 1.5
        x, y = rng.uniform(0, size, 2)
        jitter = palette[rng.integers(6)] + rng.normal(0, 12, 3)
        fill = tuple(int(c) for c in np.clip(jitter, 0, 255))
        shape = rng.integers(4)
        if shape == 0:
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)
        elif shape == 1:
            half = radius * rng.uniform(0.2, 1.5)
            draw.rectangle((x - radius, y - half, x + radius, y + half), fill=fill)
        elif shape == 2:
            points = np.add(rng.normal(0, radius, (int(rng.integers(3, 6)), 2)), (x, y))
            draw.polygon([tuple(p) for p in points.tolist()], fill=fill)
        else:
            end = np.add(rng.normal(0, 2 * radius, 2), (x, y))
            draw.line((x, y, *end.tolist()), fill=fill, width=int(rng.integers(1, 5)))
    picture = canvas.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 0.8))))
    leaves = np.asarray(picture, np.float32) / 255
    grain = pink_noise(rng, size) - 0.5
    return np.clip(leaves + grain * rng.uniform(0, 0.3), 0, 1)


def texture(rng: np.random.Generator, size: int) -> np.ndarray:
    """One made-up picture: (size, size, 3) uint8."""
    make = dead_leaves if rng.random() < 0.7 else pink_noise
    return np.asarray(make(rng, size) * 255, np.uint8)
