"""The UNet that is being trained, lent for drawing: as a pipeline wants it, and afterwards as training had it.

Called by previews and by the choice among candidates. accelerate wraps the UNet's forward in autocast and turns what
comes out to fp32; a pipeline in bf16 would hand that to its autoencoder, which refuses it. Placing knows no wrapper.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def lent_for_drawing(unet: Any) -> Iterator[None]:
    """Evaluation mode and the UNet's own forward inside; training mode and accelerate's forward again after.

    Args:
        unet: unwrapped from what accelerate puts around it for several processes.
    """
    training, wrapped = unet.training, unet.__dict__.get("forward")
    if "_original_forward" in unet.__dict__:
        unet.forward = unet._original_forward
    unet.eval()
    try:
        yield
    finally:
        unet.train(training)
        if wrapped is not None:
            unet.forward = wrapped
