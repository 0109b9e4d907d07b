"""Numbers that overflow in half precision: the picture is painted again in fp32, and that is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from finetune.core.basemodel.resolve import resolve_base
from finetune.core.errors import RunError
from finetune.core.painting.inpainter import Inpainter, Sampling, load_inpainter

pytestmark = pytest.mark.tiny
SAMPLING = Sampling(steps=2)


def paint(inpainter: Inpainter) -> bytes:
    grey = Image.new("RGB", (inpainter.size, inpainter.size), (120, 130, 110))
    everything = np.ones((inpainter.size, inpainter.size), bool)
    return inpainter.paint(grey, everything, "on oak", sampling=SAMPLING, seed=3).tobytes()


def overflowing(inpainter: Inpainter, *, always: bool = False) -> Inpainter:
    """Its UNet gives infinity, as an overflow does, in half precision alone or always."""

    def after(module: torch.nn.Module, given: tuple[object, ...], out: torch.Tensor) -> torch.Tensor:
        return out * float("inf") if always or out.dtype != torch.float32 else out

    inpainter.pipeline.unet.conv_out.register_forward_hook(after)
    return inpainter


def test_it_is_painted_again_in_fp32(tiny_base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = resolve_base(str(tiny_base))
    exact = paint(load_inpainter(base, None, precision="fp32", device="cpu"))
    half = overflowing(load_inpainter(base, None, precision="bf16", device="cpu"))
    capsys.readouterr()
    again = paint(half)
    told = "values overflowed in bfloat16 (seed 3): this picture and all that follow are painted in fp32"
    assert told in capsys.readouterr().err
    difference = np.abs(np.frombuffer(again, np.uint8).astype(int) - np.frombuffer(exact, np.uint8))
    assert difference.mean() < 2, "weights that were rounded to bf16 once"
    paint(half)
    assert "overflowed" not in capsys.readouterr().err


def test_in_fp32_it_is_an_error_of_one_line(tiny_base: Path) -> None:
    inpainter = overflowing(
        load_inpainter(resolve_base(str(tiny_base)), None, precision="fp32", device="cpu"), always=True
    )
    with pytest.raises(RunError, match=r"NaN or infinity instead of a picture \(seed 3\)") as caught:
        paint(inpainter)
    assert "packshot doctor --base" in caught.value.hint
