"""The training UNet in an inpainting pipeline, without accelerate's autocast wrapper; restored on exit.

accelerate wraps the UNet's forward in autocast and casts its output to fp32; a bf16 pipeline would pass that to its
autoencoder, which refuses it. `_original_forward` is accelerate's name for the unwrapped method (seen in 1.14). VAE and
text encoders are loaded on entry and freed on exit; on a GPU that can't hold them all, parts take turns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from finetune.core.adapters.token_embeddings import Tokens
from finetune.core.basemodel.load import load_pipeline
from finetune.core.basemodel.resolve import ResolvedBase
from finetune.core.device import forget_frames, is_out_of_memory, release_memory
from finetune.core.errors import OutOfMemory
from finetune.core.painting.inpainter import Inpainter
from finetune.core.painting.offload import bring_to_device

if TYPE_CHECKING:
    import torch


@contextmanager
def live_inpainter(
    base: ResolvedBase, unet: Any, dtype: torch.dtype, tokens: Callable[[Any], Tokens] | None = None
) -> Iterator[Inpainter]:
    """An inpainter around the UNet with its adapter.

    Args:
        base: whose VAE and text encoders are loaded.
        unet: without accelerate's wrapper for several processes.
        dtype: of VAE and text encoders.
        tokens: puts the trigger word's own tokens into a pipeline, where they are trained.

    Raises:
        BaseModelError: the base's other parts can't be loaded.
        OutOfMemory: there is too little memory for a part, or for what the caller did with the inpainter. As after any
            error the UNet is restored, and the other parts and what the error's frames held are freed.
    """
    device = str(unet.device)
    pipeline = load_pipeline(base, dtype=dtype, device="cpu", without=("unet",))
    expanding = tokens(pipeline) if tokens else None
    training, wrapped = unet.training, unet.__dict__.get("forward")
    if "_original_forward" in unet.__dict__:
        unet.forward = unet._original_forward
    unet.eval()
    pipeline.unet = unet
    painter = Inpainter(base, pipeline, modules=1, tokens=expanding)
    try:
        bring_to_device(pipeline, device)
        yield painter
    except Exception as error:
        painter.set_adapter_scale(1.0)  # the base alone may have been drawing
        if not isinstance(error, OutOfMemory) and not is_out_of_memory(error):
            raise
        forget_frames(error)
        if isinstance(error, OutOfMemory):
            raise
        raise OutOfMemory("the device has too little memory to draw", "close other programs") from error
    finally:
        pipeline.remove_all_hooks()
        pipeline.vae = pipeline.text_encoder = pipeline.text_encoder_2 = (
            None  # a caller that keeps the inpainter keeps no weights
        )
        release_memory(device)
        unet.to(device)  # the whole UNet: a move that ran out of memory stopped half-way
        unet.train(training)
        if wrapped is not None:
            unet.forward = wrapped
