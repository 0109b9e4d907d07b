"""The inpainter itself, on a tiny base: what it does besides calling diffusers' pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from finetune.core.basemodel.resolve import resolve_base
from finetune.core.errors import OutOfMemory
from finetune.core.painting.inpainter import Inpainter, Sampling, load_inpainter

pytestmark = pytest.mark.tiny
GROUND, WHOLE = Image.new("RGB", (64, 64), (128, 128, 128)), np.ones((64, 64), dtype=bool)


def paint(painter: Inpainter) -> np.ndarray[Any, Any]:
    return np.asarray(painter.paint(GROUND, WHOLE, "a bottle", sampling=Sampling(steps=2), seed=1))


def test_it_decodes_in_fp32_whatever_it_computes_in(tiny_base: Path) -> None:
    base = resolve_base(str(tiny_base))
    painter = load_inpainter(base, None, precision="fp32", device="cpu")
    by_hand = painter.pipeline(
        prompt="a bottle",
        image=GROUND,
        mask_image=Image.new("L", (64, 64), 255),
        width=64,
        height=64,
        num_inference_steps=2,
        guidance_scale=5.0,
        strength=1.0,
        generator=torch.Generator().manual_seed(1),
    ).images[0]
    assert np.array_equal(paint(painter), np.asarray(by_hand)), "in fp32 the pipeline's own picture"
    painter = load_inpainter(base, None, precision="bf16", device="cpu")
    seen = []
    painter.pipeline.vae.decoder.register_forward_pre_hook(lambda module, given: seen.append(given[0].dtype))
    paint(painter)
    assert seen == [torch.float32]
    assert painter.pipeline.vae.dtype == painter.pipeline.unet.dtype == torch.bfloat16, "as it was"


@pytest.mark.parametrize("words", ["CUDA out of memory", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling this"])
def test_too_little_memory_is_said_whoever_notices(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    painter = load_inpainter(resolve_base(str(tiny_base)), None, device="cpu")

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError(words)

    monkeypatch.setattr(painter.pipeline.unet, "forward", fail)
    with pytest.raises(OutOfMemory, match="64x64"):
        paint(painter)
