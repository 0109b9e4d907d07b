"""From the renderer's linear light to display levels: exposure and a tone curve that keeps colours."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
SHOULDER, FADE = 0.76, 0.15  # where the curve begins to bend; how fast highlights lose their colour


def exposure(linear: Array, target: float) -> float:
    """Stops that bring the mean brightness to `target`, less where highlights would burn out."""
    light = linear @ np.array((0.2126, 0.7152, 0.0722), np.float32)
    mean = 0.5 * float(np.exp(np.log(light + 1e-3).mean())) + 0.5 * float(light.mean())
    stops = math.log2(target / max(mean, 1e-4))
    bright = max(float(np.percentile(light, 97)), 1e-4)
    if bright * 2.0**stops > 1.06:
        stops = max(math.log2(0.85 / bright), stops - 1.2)
    return max(-2.6, min(2.2, stops))


def tone_map(linear: Array, stops: float) -> Array:
    """The Khronos PBR neutral curve: colours as painted, only highlights compressed."""
    light = linear * np.float32(2.0**stops)
    darkest = light.min(axis=-1, keepdims=True)
    light = light - np.where(darkest < 0.08, darkest - 6.25 * darkest**2, 0.04)
    peak = light.max(axis=-1, keepdims=True)
    room = 1 - SHOULDER
    pressed = 1 - room**2 / (np.maximum(peak, SHOULDER) + room - SHOULDER)
    bent = light * pressed / np.maximum(peak, 1e-6)
    share = 1 - 1 / (FADE * np.maximum(peak - pressed, 0) + 1)
    bent = bent * (1 - share) + pressed * share
    return np.asarray(np.where(peak < SHOULDER, light, bent), np.float32).clip(0, 1)
