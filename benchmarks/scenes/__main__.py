"""Light on the ground around a product, against renders of the same scene without and with it.

python -m benchmarks.scenes --world DIR [--lights]

DIR holds `pairs/NNN_empty.jpg`, `NNN_full.jpg` and `NNN_mask.png`. The product's mask stands in the empty picture; the
error is the mean absolute difference of the luminance ratio (full over empty, predicted against true) in a ring of one
product height around it. `--lights` also tries 32 directions a pair: what a known light would reach. Nothing is tuned
on these pairs.
"""

from __future__ import annotations

import argparse
import itertools
import time
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from finetune.core.compositing.camera import camera_over
from finetune.core.compositing.cast_shadow import ground_light
from finetune.core.compositing.light import DIRECTIONS, Light
from finetune.core.pictures.images import LUMINANCE, Floats, to_linear
from finetune.core.pictures.masks import Box, bounding_box
from finetune.examples.contact_shadow import contact_shadow

SMOOTH = 1.5
"""Blur of both pictures before they are divided, pixels: renders have noise."""
ELEVATION = 14.0
HEIGHTS, KINDS = (25.0, 45.0), (0.05, 0.4)


def ratio(full: Path) -> Floats:
    """Luminance of the full picture over that of the empty one, (H, W)."""
    light = []
    for path in (full, full.with_name(full.name.replace("full", "empty"))):
        with Image.open(path) as picture:
            light.append(ndimage.gaussian_filter(to_linear(np.asarray(picture.convert("RGB"))) @ LUMINANCE, SMOOTH))
    return np.asarray(light[0] / np.maximum(light[1], 1e-3), dtype=np.float32)


def error(predicted: Floats, truth: Floats, matte: Floats, box: Box) -> float:
    """Mean difference of the ratios in the ring, 0.05..1.5."""
    distance = ndimage.distance_transform_edt(matte < 0.02)
    ring = (distance > 1.5) & (distance <= box.height)
    return float(np.abs(np.clip(predicted, 0.05, 1.5) - np.clip(truth, 0.05, 1.5))[ring].mean())


def measure(full: Path, lights: bool) -> list[float]:
    """Errors of one pair: no shadow, the plain contact shadow, the default light, and the best light if asked for."""
    with Image.open(full.with_name(full.name.replace("full.jpg", "mask.png"))) as mask:
        matte = (np.asarray(mask.convert("L")) / 255).astype(np.float32)
    box = bounding_box(matte >= 0.5)
    assert box is not None
    truth = ratio(full)
    camera = camera_over(
        (matte.shape[1], matte.shape[0]), ((box.left + box.right) / 2, box.bottom), elevation=ELEVATION
    )

    def of(light: Light) -> float:
        return error(ground_light(matte, light, camera) @ LUMINANCE, truth, matte, box)

    found = [
        error(np.ones_like(matte), truth, matte, box),
        error(contact_shadow(matte, strength=0.8, softness=0.5), truth, matte, box),
        of(Light()),
    ]
    if lights:
        tried = itertools.product(DIRECTIONS.values(), HEIGHTS, KINDS)
        found.append(min(of(Light(azimuth, height, kind, (0.4, 0.4, 0.4))) for azimuth, height, kind in tried))
    return found


def main() -> None:
    """Print the mean errors of all pairs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", type=Path, required=True)
    parser.add_argument("--lights", action="store_true")
    options = parser.parse_args()
    started = time.process_time()
    pairs = sorted((options.world / "pairs").glob("*_full.jpg"))
    if not pairs:
        parser.error(f"{options.world} has no pairs/*_full.jpg")
    means = np.array([measure(pair, options.lights) for pair in pairs]).mean(axis=0)
    names = ["no shadow", "plain contact shadow", "default light", "best of 32 lights"]
    for name, mean in zip(names, means, strict=False):
        print(f"{name:<22} {mean:.4f}  {mean / means[0]:.0%} of no shadow")
    print(f"{len(pairs)} pairs, {time.process_time() - started:.0f} CPU seconds")


if __name__ == "__main__":
    main()
