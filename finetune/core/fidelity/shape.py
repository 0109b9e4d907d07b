"""Is there a product at all, and has it the packshot's outline.

What a segmenter calls product in the drawn picture is compared with the packshot's silhouette. A field of the right
colour has no outline, so it has no share in this score. Pure functions on arrays; the segmenter is the caller's.
"""

from __future__ import annotations

import numpy as np
from scipy import signal

from finetune.core.pictures.images import Floats
from finetune.core.pictures.masks import Mask

SURE = 0.5
"""Probability from which a pixel counts as product."""


def outline_agreement(found: Floats, silhouette: Mask) -> float:
    """Intersection over union of what was found and the packshot's silhouette, where it is largest.

    IoU = max_d |F & S shifted by d| / |F | S shifted by d|, d within the surroundings of the box. All that was found
    counts, also beside the silhouette: a second product lowers it.

    Args:
        found: (H + 2 reach, W + 2 reach) probabilities of a product in the drawn box and its surroundings.
        silhouette: (H, W) of the packshot.

    Returns:
        0..1; 0 where no product was found.
    """
    sure = (found > SURE).astype(np.float32)
    area = float(sure.sum())
    if not area:
        return 0.0
    common = signal.correlate(sure, silhouette.astype(np.float32), mode="valid", method="fft")
    both = float(np.clip(common.max(), 0, None))
    return both / (area + float(silhouette.sum()) - both)
